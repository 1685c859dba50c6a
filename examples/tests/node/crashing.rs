//! Processes that are killed under writes.

use serde_json::{Value as Json, json};

use crate::shell::Shell;

/// A laptop that writes without a pause is killed while a server is attached, several times. What it had
/// acknowledged is there when it is started again, and both converge.
#[test]
fn no_acknowledged_write_is_lost_when_the_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("laptop.redb");
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    let args = ["--name", "laptop", "--store", store.to_str().unwrap(), "--connect", &addr];
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut laptop = Shell::start(&args);
        laptop.ok("peers");
        // More than it gets to answer: it is killed in the middle.
        for n in 0..400 {
            laptop.send(&format!(r#"create todo {round}.{n} {{"title":"x"}}"#));
            laptop.send(&format!("raise todo {round}.{n} views {n}"));
        }
        for n in 0..60 + round * 7 {
            assert!(laptop.next_answer().unwrap().get("ok").is_some());
            assert!(laptop.next_answer().unwrap().get("ok").is_some());
            acknowledged.push((format!("{round}.{n}"), n));
        }
        laptop.kill();
    }

    let mut laptop = Shell::start(&args);
    for (id, views) in &acknowledged {
        let found = laptop.ok(&format!("get todo {id}"));
        let raised = found.get("views").and_then(Json::as_i64).unwrap_or(0);
        assert_eq!((&found["title"], raised), (&json!("x"), *views as i64), "{id}");
    }
    laptop.ok("create todo last {}");
    assert_eq!(laptop.ok("await server"), true);
    assert_eq!(server.ok("await laptop"), true);
    assert_eq!(laptop.digest(), server.digest());
}

/// The server is killed while a laptop writes through it; what it had acknowledged as durable stays.
#[test]
fn no_confirmed_write_is_lost_when_the_server_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("server.redb");
    let args = ["--name", "server", "--store", store.to_str().unwrap()];
    let (mut server, addr) = Shell::listening(&args);
    let mut laptop = Shell::start(&["--name", "laptop", "--connect", &addr]);
    for n in 0..30 {
        laptop.ok(&format!("create todo {n} {{}}"));
    }
    assert_eq!(laptop.ok("await server"), true);
    for n in 30..60 {
        laptop.send(&format!("create todo {n} {{}}"));
    }
    server.kill();
    let mut alone = Shell::start(&args);
    let kept = alone.ok("list todo").as_array().unwrap().len();
    assert!(kept >= 30, "{kept} of the 30 confirmed");
    alone.quit();

    for _ in 30..60 {
        assert!(laptop.next_answer().unwrap().get("ok").is_some());
    }
    let mut server = Shell::start(&[&args[..], &["--listen", &addr]].concat());
    assert_eq!(laptop.ok("await server"), true);
    assert_eq!(server.ok("list todo").as_array().unwrap().len(), 60);
    assert_eq!(server.digest(), laptop.digest());
}

/// A transaction is answered when all of it is durable, and a kill finds all of it or nothing.
#[test]
fn a_kill_leaves_no_half_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a.redb");
    let args = ["--name", "a", "--store", store.to_str().unwrap()];
    let mut a = Shell::start(&args);
    for n in 0..60 {
        let inner = (0..20).map(|k| format!("create m{k} {n} {{}}\n")).collect::<String>();
        a.send_bytes(format!("begin\n{inner}commit\n").as_bytes());
    }
    (0..22 * 15 + 7).for_each(|_| assert!(a.next_answer().unwrap().get("ok").is_some()));
    a.kill();

    let mut a = Shell::start(&args);
    let first = a.ok("list m0");
    assert!(first.as_array().unwrap().len() >= 15);
    (1..20).for_each(|k| assert_eq!(a.ok(&format!("list m{k}")), first));
}
