//! Processes that meet over TCP.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::{Value as Json, json};
use syncro::NodeId;

use crate::process::example;
use crate::shell::Shell;

fn connected(name: &str, addr: &str, more: &[&str]) -> Shell {
    Shell::start(&[&["--name", name, "--connect", addr], more].concat())
}

#[test]
fn two_processes_converge_and_tell_each_other_what_changed() {
    for encoding in ["msgpack", "json"] {
        let (mut server, addr) = Shell::listening(&["--name", "server"]);
        let mut laptop = connected("laptop", &addr, &["--encoding", encoding]);
        server.ok(r#"create todo t1 {"title":"milk"}"#);
        assert_eq!(server.ok("await laptop"), true);
        let event = laptop.event();
        let record = json!({"id": "t1", "title": "milk"});
        assert_eq!(event["record"], record);
        assert_eq!((&event["type"], &event["mark"]), (&json!("change"), &json!("create")));
        assert_eq!((&event["model"], &event["id"]), (&json!("todo"), &json!("t1")));

        laptop.ok("raise todo t1 views 3");
        laptop.ok("destroy todo t1");
        assert_eq!(laptop.ok("await server"), true);
        let (raised, destroyed) = (server.event(), server.event());
        assert_eq!(raised["record"]["views"], 3);
        assert_eq!((&destroyed["mark"], &destroyed["record"]), (&json!("destroy"), &json!(null)));
        assert_eq!(server.digest(), laptop.digest());
        laptop.quit();
        server.quit();
    }
}

/// The server is one, and does not know what carries whom.
#[test]
fn processes_over_tcp_and_websocket_in_both_encodings_come_to_hold_the_same() {
    let (mut server, tcp) = Shell::listening(&["--name", "server", "--listen", "ws://127.0.0.1:0"]);
    // The one over WebSocket was named first.
    let (websocket, tcp) = (format!("ws://{tcp}"), server.logged("listening on "));
    let mut peers = Vec::new();
    server.ok(r#"create todo shared {"views":0}"#);
    for (name, addr, encoding) in [
        ("tcp", &tcp, "msgpack"),
        ("tcp.json", &tcp, "json"),
        ("ws", &websocket, "msgpack"),
        ("ws.json", &websocket, "json"),
    ] {
        let mut peer = connected(name, addr, &["--encoding", encoding]);
        peer.ok(&format!(r#"create todo {name} {{"title":"by {name}"}}"#));
        assert_eq!(peer.ok("await server"), true);
        peers.push((name, peer));
    }
    for (name, _) in &peers {
        assert_eq!(server.ok(&format!("await {name}")), true);
    }
    assert_eq!(server.ok("list todo").as_array().map(Vec::len), Some(5));
    for (_, peer) in peers {
        let mut peer = peer;
        assert_eq!(peer.digest(), server.digest());
        peer.quit();
    }
    server.quit();
}

#[test]
fn peers_are_shown_with_their_names_and_how_far_they_are() {
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    assert_eq!(server.ok("peers"), json!([]));
    let mut laptop = connected("laptop", &addr, &[]);
    server.ok("create todo t1 {}");
    server.ok("await laptop");
    let guid = laptop.ok("log 0")[0]["node"].clone();
    let peer = laptop.ok("peers")[0].clone();
    assert_eq!((&peer["name"], &peer["guid"]), (&json!("server"), &guid));
    let peer = server.until("peers", |peers| peers[0]["receipt"] == 1)[0].clone();
    assert_eq!(peer["name"], "laptop");
    assert_eq!((&peer["connected"], &peer["sessions"]), (&json!(true), &json!(1)));
    assert_eq!((&peer["incoming"], &peer["outgoing"]), (&json!(0), &json!(0)));

    laptop.quit();
    server.until("peers", |peers| peers[0]["connected"] == false);
    server.ok("create todo t2 {}");
    let away = server.ok("peers")[0].clone();
    assert_eq!((&away["outgoing"], &away["receipt"]), (&json!(1), &json!(1)));
}

#[test]
fn await_waits_for_a_peer_that_comes_later() {
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    server.ok("create todo t1 {}");
    server.send("await laptop");
    let mut laptop = connected("laptop", &addr, &[]);
    assert_eq!(server.next_answer().unwrap(), json!({"ok": true}));
    assert_eq!(laptop.ok("get todo t1"), json!({}));
}

/// A script that is piped in as a whole has ended before its `await` is read.
#[test]
fn an_await_before_quit_still_gets_its_answer_from_a_peer_that_is_there() {
    let (_server, addr) = Shell::listening(&["--name", "server"]);
    let mut laptop = connected("laptop", &addr, &[]);
    laptop.send_bytes(b"create todo t1 {}\nawait server\nquit\n");
    laptop.hang_up();
    assert_eq!(laptop.next_answer().unwrap(), json!({"ok": {"offset": 1}}));
    assert_eq!(laptop.next_answer().unwrap(), json!({"ok": true}));
    assert_eq!(laptop.next_answer().unwrap(), json!({"ok": true}));
    assert!(laptop.wait().success());
}

/// It said how long a frame may be, and not who was at fault, at every attempt.
#[test]
fn a_port_that_speaks_something_else_is_named_once() {
    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = web.local_addr().unwrap().to_string();
    let laptop = connected("laptop", &addr, &[]);
    for _ in 0..3 {
        let (mut stream, _) = web.accept().unwrap();
        let mut heard = [0; 1024];
        assert!(stream.read(&mut heard).unwrap() > 0, "a hello");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        assert!(stream.read(&mut heard).unwrap() > 0, "a goodbye");
    }
    drop(web);
    let start = format!("no session with {addr}: ");
    let mut said = vec![laptop.logged(&start)];
    while !said.last().unwrap().contains("refused") {
        said.push(laptop.logged(&start));
    }
    assert!(said[0].starts_with("what answers does not speak Syncro?"), "{said:?}");
    assert!(said.iter().all(|line| line.ends_with("; trying again")), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains("Syncro")).count(), 1, "{said:?}");
}

#[test]
fn a_process_that_quits_says_goodbye() {
    for is_told in [true, false] {
        let (mut server, addr) = Shell::listening(&["--name", "server"]);
        let mut laptop = connected("laptop", &addr, &[]);
        laptop.ok("create todo t1 {}");
        laptop.ok("await server");
        if is_told {
            server.quit();
        } else {
            server.hang_up();
            assert!(server.wait().success());
        }
        let known = format!("session 1 with server ({})", NodeId::named("server"));
        let ended = laptop.logged(&format!("{known} was ended by "));
        assert_eq!(ended, "the peer: the node is shutting down");
        laptop.quit();
    }
}

#[test]
fn a_process_connects_again_when_the_server_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("server.redb");
    let args = ["--name", "server", "--store", store.to_str().unwrap()];
    let (server, addr) = Shell::listening(&args);
    let mut laptop = connected("laptop", &addr, &[]);
    laptop.ok("create todo t1 {}");
    laptop.ok("await server");
    server.quit();
    laptop.until("peers", |peers| peers[0]["connected"] == false);
    laptop.ok("create todo t2 {}");

    let mut server = Shell::start(&[&args[..], &["--listen", &addr]].concat());
    server.logged("listening on ");
    assert_eq!(laptop.ok("await server"), true);
    assert_eq!(server.ok("list todo").as_array().unwrap().len(), 2);
}

/// A store is one file; a copy of it, made while it is closed, is a backup, or a second machine.
#[test]
fn two_copies_of_a_store_connected_to_one_hub_at_once_converge() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (mut hub, addr) = Shell::listening(&["--name", "hub"]);
    let mut laptop = connected("laptop", &addr, &["--store", &path("1.redb")]);
    laptop.ok(r#"create todo t1 {"title":"milk"}"#);
    laptop.ok("raise todo t1 views 1");
    laptop.ok("await hub");
    laptop.quit();
    std::fs::copy(path("1.redb"), path("2.redb")).unwrap();

    let mut clones = ["1.redb", "2.redb"].map(|file| {
        let mut clone = Shell::start(&["--name", "laptop", "--store", &path(file)]);
        clone.ok(&format!("create todo {file} {{}}"));
        clone.ok("raise todo t1 views 10");
        clone.ok(&format!(r#"add todo t1 tags "{file}""#));
        clone.quit();
        connected("laptop", &addr, &["--store", &path(file)])
    });
    hub.until("peers", |peers| peers[0]["sessions"] == 2);
    hub.until("log", |log| log.as_array().unwrap().len() == 8);
    hub.ok("create todo last {}");
    assert_eq!(hub.ok("await laptop"), true);
    for clone in &mut clones {
        clone.until("get todo last", |last| *last == json!({}));
        clone.ok("raise todo t1 views 100");
        assert_eq!(clone.ok("await hub"), true);
    }
    assert_eq!(hub.ok("await laptop"), true);
    let digest = hub.digest();
    for clone in &mut clones {
        assert_eq!(clone.digest(), digest);
    }
    let found = hub.ok("get todo t1");
    assert_eq!(found["views"], 221);
    assert_eq!(found["tags"].as_array().unwrap().len(), 2);
    clones.into_iter().for_each(Shell::quit);
    hub.quit();
}

#[test]
fn a_backup_that_is_put_back_gets_what_it_lost_from_its_peer() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    let open = || connected("laptop", &addr, &["--store", &path("laptop.redb")]);
    let mut laptop = open();
    laptop.ok("create todo before {}");
    laptop.ok("await server");
    laptop.quit();
    std::fs::copy(path("laptop.redb"), path("backup.redb")).unwrap();
    let mut laptop = open();
    laptop.ok("create todo after {}");
    laptop.ok("await server");
    laptop.quit();
    std::fs::copy(path("backup.redb"), path("laptop.redb")).unwrap();

    let mut laptop = open();
    laptop.ok("create todo anew {}");
    laptop.ok("await server");
    server.ok("await laptop");
    assert_eq!(laptop.ok("list todo").as_array().unwrap().len(), 3);
    assert_eq!(laptop.digest(), server.digest());
}

#[test]
fn the_airports_reach_a_second_process() {
    let csv = concat!(env!("CARGO_MANIFEST_DIR"), "/data/airports.csv");
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    server.ok(&format!("import {csv} airport iata"));
    let mut laptop = connected("laptop", &addr, &[]);
    assert_eq!(server.ok("await laptop"), true);
    assert_eq!(server.digest(), laptop.digest());
    let is_airport = |airport: &Json| airport["id"] == "SFO" && airport["state"] == "CA";
    assert!(laptop.ok("list airport").as_array().unwrap().iter().any(is_airport));
}

/// The main job twice over one directory: the second run goes on, and fetches only what is new.
#[test]
fn the_main_job_runs_and_a_second_run_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = main_job(dir.path(), "msgpack");
    let second = main_job(dir.path(), "json");
    let synced = |out: &str, step: &str| {
        let line = out.lines().find(|line| line.starts_with(step)).expect("the step is shown");
        let numbers = line.split_whitespace().rev().take(4).collect::<Vec<_>>();
        (numbers[2].parse::<u64>().unwrap(), numbers[1].parse::<u64>().unwrap())
    };
    let (scribes, bytes) = synced(&first, "the laptop syncs for the first time");
    assert!(scribes >= 3376 && bytes > 200_000, "{first}");
    let (scribes, bytes) = synced(&second, "the laptop goes on");
    assert!(scribes <= 4 && bytes < 8_000, "{second}");
    assert!(first.contains("run 1 in") && second.contains("run 2 in"));
    assert!(second.contains("14 after 2 runs"), "{second}");
    // The laptop wrote later.
    assert!(
        first.contains("Denver by laptop 1") && second.contains("Denver by laptop 2"),
        "{second}"
    );
}

/// Runs it, and returns what it printed; both digests must be equal.
fn main_job(dir: &Path, encoding: &str) -> String {
    let mut command = std::process::Command::new(example("two_node"));
    let output = command.arg("--dir").arg(dir).args(["--encoding", encoding]).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{out}{}", String::from_utf8_lossy(&output.stderr));
    let digest = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned)
    };
    assert!(digest("server ").is_some());
    assert_eq!(digest("server "), digest("laptop "));
    out
}
