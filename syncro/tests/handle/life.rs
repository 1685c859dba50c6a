//! The end of a server, as its clients see it.

use syncro::{CloseReason, Connection, MemoryDisk, Node, Notice, Notices, Value};

use crate::support::{PATIENCE, Todo, converge, eventually, id, node, on, soon, todo};

/// Waits until the session of a client ends, and says why, and whether by the peer.
async fn closed(notices: &mut Notices) -> (CloseReason, bool) {
    soon("the session ends", async {
        loop {
            match notices.next().await {
                Some(Notice::Closed { reason, by_peer, .. }) => return (reason, by_peer),
                Some(_) => {}
                None => panic!("the node is gone"),
            }
        }
    })
    .await
}

/// What was written last, and answered last, goes out before the goodbye; every client hears it, whatever carries its
/// session; and each comes back by itself when the server does, and not before.
#[tokio::test]
async fn a_server_that_shuts_down_says_everything_then_why_and_its_clients_come_back() {
    let disk = MemoryDisk::new();
    let server = on(&disk, "server");
    server
        .set_handler("last words", |caller, _| {
            // The answer and the goodbye, one right after the other.
            caller.node.create(&todo("last")).unwrap();
            Ok(Value::from("goodbye"))
        })
        .unwrap();
    let plain = server.listen("127.0.0.1:0").await.unwrap();
    let web = server.listen("ws://127.0.0.1:0/sync").await.unwrap();
    let plain_addr = plain.local_addr().to_string();
    let web_addr = format!("ws://{}/sync", web.local_addr());
    let mut clients: Vec<(Node, Notices, Connection)> = Vec::new();
    for n in 0..8 {
        let client = node(&format!("client {n}"));
        let addr = if n % 2 == 0 { &plain_addr } else { &web_addr };
        let (notices, connection) = (client.notices(), client.connect(addr).unwrap());
        converge(&client, &server).await;
        clients.push((client, notices, connection));
    }
    let call = clients[0].0.call(server.id(), "last words", Value::Nil, PATIENCE);
    assert_eq!(soon("it is answered", call).await.unwrap(), Value::from("goodbye"));
    server.update(&id("last"), |todo: &mut Todo| todo.title = id("the very last")).unwrap();
    server.close().unwrap();
    soon("the server is closed", server.closed()).await;
    for (client, notices, _) in &mut clients {
        assert_eq!(closed(notices).await, (CloseReason::ShuttingDown, true));
        let last: Option<Todo> = client.get(&id("last")).unwrap();
        assert_eq!(last.unwrap().title, "the very last", "the goodbye comes last");
        assert!(client.sessions().is_empty());
    }
    // Nobody is there: they try, and find out.
    let (_, notices, _) = &mut clients[0];
    let failed =
        async { while !matches!(notices.next().await, Some(Notice::ConnectFailed { .. })) {} };
    soon("an attempt fails", failed).await;

    let server = on(&disk, "server");
    let _plain = server.listen(&plain_addr).await.unwrap();
    let _web = server.listen(&web_addr).await.unwrap();
    eventually("all are back", || server.sessions().len() == clients.len()).await;
    for (client, ..) in &clients {
        converge(client, &server).await;
    }
}
