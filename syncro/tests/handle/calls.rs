//! Calls: who answers them, where, and what the caller is told when nobody does.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use syncro::{
    Access, CallFailure, CloseReason, Encoding, Error, Memory, Node, NodeId, Principal, Role,
    Rules, Value, limits,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use crate::support::{PATIENCE, converge, eventually, link, link_in, node, run, soon, todo};
use crate::wire::HELLO;

fn code(result: Result<Value, Error>) -> u16 {
    match result {
        Err(Error::Call(CallFailure { code, .. })) => code,
        other => panic!("{other:?}"),
    }
}

/// A node that gives back what it is sent, twice.
fn echo(name: &str) -> Node {
    let builder = Node::builder().name(name);
    let builder = builder.handler("twice", |_, value| Ok(Value::Array(vec![value.clone(), value])));
    builder.open_on(Memory::new()).unwrap()
}

#[tokio::test]
async fn nodes_answer_each_other_over_tcp_in_both_encodings() {
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let (server, laptop) = (echo("server"), echo("laptop"));
        let listening = server.listen("127.0.0.1:0").await.unwrap();
        let addr = listening.local_addr().to_string();
        let _connection = laptop.connect_in(&addr, encoding).unwrap();
        converge(&server, &laptop).await;
        for (from, to) in [(&laptop, &server), (&server, &laptop)] {
            for value in [Value::from("ü"), Value::Nil, Value::Bytes(vec![0; 200_000])] {
                let answer = from.call(to.id(), "twice", value.clone(), PATIENCE);
                let expected = match value {
                    // Two of them are too long for a reply.
                    Value::Bytes(_) => {
                        let failure = soon("it is answered", answer).await;
                        assert_eq!(code(failure), CallFailure::TOO_LARGE);
                        continue;
                    }
                    value => Value::Array(vec![value.clone(), value]),
                };
                assert_eq!(soon("it is answered", answer).await.unwrap(), expected);
            }
        }
    }
}

/// A handler reads and writes its node, by the same lock that every session needs.
#[tokio::test]
async fn a_handler_may_use_its_node_and_the_session_goes_on_meanwhile() {
    let (server, bar, mut begun) = stuck("server");
    let laptop = node("laptop");
    let _link = link(&laptop, &server);
    converge(&server, &laptop).await;
    let call = laptop.call(server.id(), "wait", Value::Nil, PATIENCE);
    let meanwhile = async {
        assert_eq!(begun.recv().await, Some(laptop.id()));
        // It is at work, and stands still: everything else goes on.
        laptop.create(&todo("meanwhile")).unwrap();
        converge(&server, &laptop).await;
        bar.lift();
    };
    let (answer, ()) = soon("it is answered", async { tokio::join!(call, meanwhile) }).await;
    assert_eq!(answer.unwrap(), Value::from(2));
    converge(&server, &laptop).await;
    assert_eq!(laptop.end().offset, 2);
}

#[tokio::test]
async fn a_caller_is_told_by_a_number_why_there_is_no_answer() {
    let server = Node::builder()
        .name("server")
        .handler("panics", |_, _| panic!("as it should"))
        .handler("refuses", |_, _| Err(CallFailure::new(107, "sold out")));
    let server = server.open_on(Memory::new()).unwrap();
    let laptop = node("laptop");
    let call = |name: &'static str, within| laptop.call(server.id(), name, Value::Nil, within);

    assert_eq!(code(call("refuses", PATIENCE).await), CallFailure::NOT_CONNECTED);
    let link = link(&laptop, &server);
    converge(&server, &laptop).await;
    assert_eq!(code(call("nothing", PATIENCE).await), CallFailure::NO_HANDLER);
    assert_eq!(code(call("refuses", PATIENCE).await), 107);
    assert_eq!(code(call("panics", PATIENCE).await), CallFailure::FAILED);
    assert_eq!(code(call("refuses", PATIENCE).await), 107, "the node goes on");
    server.set_handler("refuses", |_, _| Ok(Value::from(true))).unwrap();
    assert_eq!(call("refuses", PATIENCE).await.unwrap(), Value::from(true), "it was replaced");
    for name in ["", &"x".repeat(256)] {
        let refused = laptop.call(server.id(), name, Value::Nil, PATIENCE).await;
        assert!(matches!(refused, Err(Error::Data(_))), "{refused:?}");
    }
    let nobody = NodeId::named("nobody");
    let failure = laptop.call(nobody, "refuses", Value::Nil, PATIENCE).await;
    assert_eq!(code(failure), CallFailure::NOT_CONNECTED);
    link.cut().await;
    laptop.close().unwrap();
    let closed = call("refuses", PATIENCE).await;
    assert!(matches!(closed, Err(Error::Closed)), "{closed:?}");
}

/// What holds handlers up until the test lets them go.
#[derive(Clone, Default)]
struct Bar(Arc<(Mutex<bool>, Condvar)>);

impl Bar {
    fn lift(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let is_down = |is_lifted: &mut bool| !*is_lifted;
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), is_down).unwrap());
    }
}

/// A server whose handlers say that they begin, and wait behind a bar.
fn stuck(name: &str) -> (Node, Bar, Begun) {
    let (bar, (began, begins)) = (Bar::default(), mpsc::unbounded_channel());
    let at_server = bar.clone();
    let server = Node::builder().name(name).handler("wait", move |caller, _| {
        // Nobody has to ask.
        let _ = began.send(caller.peer);
        at_server.wait();
        let written = caller.node.save(&todo("called")).map_or(None, |written| written);
        Ok(Value::from(written.map_or(0, |written| written.offset) as i64))
    });
    (server.open_on(Memory::new()).unwrap(), bar, begins)
}

type Begun = mpsc::UnboundedReceiver<NodeId>;

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_ends_whatever_its_handler_does() {
    let (server, bar, mut begun) = stuck("server");
    let laptop = node("laptop");
    let _link = link(&laptop, &server);
    converge(&server, &laptop).await;
    let call = laptop.call(server.id(), "wait", Value::Nil, Duration::from_millis(20));
    assert_eq!(code(soon("it expires", call).await), CallFailure::EXPIRED);
    // The late answer is nobody's, and does no harm.
    soon("the handler begins", begun.recv()).await;
    bar.lift();
    eventually("the handler is done", || server.end().offset == 1).await;
    laptop.create(&todo("milk")).unwrap();
    converge(&server, &laptop).await;
}

#[tokio::test]
async fn a_call_is_cut_when_its_session_ends_by_either_side_or_by_nobody() {
    for how in 0..3 {
        let (server, bar, mut begun) = stuck("server");
        let laptop = node("laptop");
        let link = link(&laptop, &server);
        converge(&server, &laptop).await;
        let call = laptop.call(server.id(), "wait", Value::Nil, PATIENCE);
        let end = async {
            begun.recv().await.unwrap();
            match how {
                0 => link.cut().await,
                1 => server.close().unwrap(),
                _ => laptop.close().unwrap(),
            }
        };
        let (answer, ()) = soon("it is cut", async { tokio::join!(call, end) }).await;
        assert_eq!(code(answer), CallFailure::CUT, "{how}");
        bar.lift();
    }
}

/// The laptop's calls keep as many threads as they may; a call more is refused there and then.
#[tokio::test]
async fn no_more_calls_wait_in_a_session_than_may() {
    let (server, bar, mut begun) = stuck("server");
    let laptop = node("laptop");
    let _link = link(&laptop, &server);
    converge(&server, &laptop).await;
    let calls: Vec<_> = (0..limits::CALLS_MAX)
        .map(|_| {
            let (laptop, server) = (laptop.clone(), server.id());
            tokio::spawn(async move { laptop.call(server, "wait", Value::Nil, PATIENCE).await })
        })
        .collect();
    for _ in &calls {
        soon("it is being answered", begun.recv()).await;
    }
    let one_more = laptop.call(server.id(), "wait", Value::Nil, PATIENCE).await;
    assert_eq!(code(one_more), CallFailure::BUSY);
    bar.lift();
    for call in calls {
        soon("it is answered", call).await.unwrap().unwrap();
    }
}

/// Calls whose time is over cost their caller nothing: with handlers that took long it could have had all threads.
#[tokio::test]
async fn a_peer_that_gives_up_its_calls_keeps_no_more_handlers_busy_than_it_may() {
    let (server, bar, mut begun) = stuck("server");
    let (laptop, phone) = (node("laptop"), node("phone"));
    let _links = [link(&laptop, &server), link(&phone, &server)];
    converge(&server, &laptop).await;
    converge(&server, &phone).await;
    let mut refused = String::new();
    for n in 0.. {
        let call = laptop.call(server.id(), "wait", Value::Nil, Duration::from_millis(2));
        match soon("it ends", call).await {
            Err(Error::Call(failure)) if failure.code == CallFailure::EXPIRED => {}
            // The server is slow to say that it is too late.
            Err(Error::Call(failure)) if failure.message.contains("not answered yet") => {}
            Err(Error::Call(failure)) if failure.message.contains("being answered") => {
                refused = failure.message;
                break;
            }
            other => panic!("call {n}: {other:?}"),
        }
    }
    assert!(!refused.is_empty());
    for _ in 0..limits::CALLS_MAX {
        soon("it was begun", begun.recv()).await;
    }
    assert!(begun.try_recv().is_err(), "and no more");
    let call = phone.call(server.id(), "wait", Value::Nil, PATIENCE);
    let lift = async {
        assert_eq!(begun.recv().await, Some(phone.id()), "which has nothing to do with it");
        bar.lift();
    };
    let (answer, ()) = soon("it is answered", async { tokio::join!(call, lift) }).await;
    answer.unwrap();
    // With those done there is room again.
    let again = || laptop.call(server.id(), "wait", Value::Nil, PATIENCE);
    while soon("it ends", again()).await.is_err() {}
}

#[tokio::test]
async fn a_handler_knows_by_whose_rights_it_is_called_and_nobody_else_is_heard() {
    let rules = Rules::new(|claim| match claim.credentials {
        b"ann's" => Some(Principal::new("ann").may_read(Access::All)),
        _ => None,
    });
    let server = Node::builder().name("server").rules(rules).handler("who", |caller, _| {
        let principal = caller.principal.as_ref();
        Ok(Value::from(principal.map_or("", |principal| principal.name.as_str())))
    });
    let server = server.open_on(Memory::new()).unwrap();
    let ann = Node::builder().name("laptop").credentials("ann's").open_on(Memory::new()).unwrap();
    let _link = link_in(&ann, &server, Encoding::Json);
    eventually("ann is let in", || !ann.sessions().is_empty()).await;
    let who = ann.call(server.id(), "who", Value::Nil, PATIENCE).await;
    assert_eq!(who.unwrap(), Value::from("ann"));

    // Whoever calls before it was let in is closed.
    let (near, mut far) = tokio::io::duplex(4096);
    let session = run(&server, near, Role::Accept);
    let call = br#"{"type":"call","call":0,"name":"who","value":null,"within":1000}"#;
    for message in [HELLO.as_bytes(), call] {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        far.write_all(&[&length, message].concat()).await.unwrap();
    }
    let end = soon("it is closed", session).await.unwrap().unwrap();
    assert_eq!((end.reason, end.was_open), (CloseReason::Denied, false));
}

/// It would have kept itself open for ever.
#[tokio::test]
async fn a_handler_that_holds_its_own_node_lets_it_go_when_it_is_closed() {
    let server = node("server");
    let (own, held) = (server.clone(), Arc::new(()));
    let witness = Arc::downgrade(&held);
    let handler = move |_: &syncro::Caller, _| {
        let _held = &held;
        Ok(Value::from(own.end().offset as i64))
    };
    server.set_handler("end", handler).unwrap();
    assert!(witness.upgrade().is_some());
    server.close().unwrap();
    assert!(witness.upgrade().is_none());
}
