//! Each command, and each way in which one is refused.

use serde_json::json;
use syncro::store::{Batch, Durability, Table};
use syncro::{Backend, Redb};

use crate::shell::{Shell, run};

fn node() -> Shell {
    Shell::start(&["--name", "a"])
}

#[test]
fn records_are_created_updated_destroyed_and_read() {
    let mut a = node();
    assert_eq!(
        a.ok(r#"create todo t1 {"title":"milk","due":null,"n":[1,{"x":2.5}]}"#),
        json!({"offset": 1})
    );
    assert_eq!(a.ok("get todo t1"), json!({"title": "milk", "n": [1, {"x": 2.5}]}));
    assert_eq!(a.ok(r#"update todo t1 {"title":"oat milk","n":null}"#), json!({"offset": 2}));
    assert_eq!(a.ok(r#"update todo t1 {"title":"oat milk"}"#), json!(null), "it changes nothing");
    assert_eq!(a.ok(r#"create todo t0 {"id":"t0"}"#), json!({"offset": 3}));
    assert_eq!(a.ok("list todo"), json!([{"id": "t0"}, {"id": "t1", "title": "oat milk"}]));
    assert_eq!(a.ok("destroy todo t1"), json!({"offset": 4}));
    assert_eq!(a.ok("get todo t1"), json!(null));
    assert_eq!(a.ok("get todo never"), json!(null));
    assert_eq!(a.ok("list nothing"), json!([]));
    assert_eq!(a.ok(r#"create todo t1 {"title":"again"}"#), json!({"offset": 5}));
    assert_eq!(a.ok("get todo t1"), json!({"title": "again"}));
    a.quit();
}

#[test]
fn counters_are_raised_and_set_members_come_and_go() {
    let mut a = node();
    a.ok("create todo t1 {}");
    a.ok("raise todo t1 views 5");
    a.ok("raise todo t1 views -7");
    assert_eq!(a.ok("raise todo t1 views 0"), json!(null));
    a.ok(r#"add todo t1 tags "b c""#);
    a.ok(r#"add todo t1 tags "a""#);
    a.ok(r#"add todo t1 tags {"x":[1]}"#);
    assert_eq!(a.ok(r#"add todo t1 tags "a""#), json!(null), "it is a member already");
    a.ok(r#"remove todo t1 tags {"x":[1]}"#);
    let found = a.ok("get todo t1");
    assert_eq!(found["views"], -2);
    assert_eq!(found["tags"].as_array().unwrap().len(), 2);
    assert_eq!(a.code("raise todo t1 views 9223372036854775808"), "bad_command");
    a.ok("raise todo t1 views 9223372036854775807");
    assert_eq!(a.code("raise todo t1 views 9223372036854775807"), "invalid");
}

#[test]
fn values_that_json_lacks_are_tagged() {
    let mut a = node();
    let tagged = json!({"bytes": {"$bytes": "AQI="}, "big": {"$int": "9007199254740993"},
        "nan": {"$float": "nan"}, "text": "ü\n\"", "$$dollar": true});
    a.ok(&format!("create x 1 {tagged}"));
    assert_eq!(a.ok("get x 1")["bytes"], tagged["bytes"]);
    assert_eq!(a.ok("get x 1")["big"], tagged["big"]);
    assert_eq!(a.ok("get x 1")["nan"], tagged["nan"]);
    assert_eq!(a.ok("get x 1")["text"], tagged["text"]);
}

#[test]
fn an_integer_may_be_given_plain_and_is_shown_tagged_beyond_2_to_the_53() {
    let mut a = node();
    let ints =
        ["9007199254740991", "9007199254740992", "-9007199254740992", "18446744073709551615"];
    for (id, int) in ints.iter().enumerate() {
        a.ok(&format!(r#"create x {id} {{"plain":{int},"tagged":{{"$int":"{int}"}}}}"#));
        let found = a.ok(&format!("get x {id}"));
        let shown = if id == 0 { json!(9_007_199_254_740_991_i64) } else { json!({ "$int": int }) };
        assert_eq!((&found["plain"], &found["tagged"]), (&shown, &shown));
    }
    a.ok(r#"create x over {"plain":18446744073709551616}"#);
    assert_eq!(a.ok("get x over"), json!({"plain": 18_446_744_073_709_551_616.0_f64}));
    assert_eq!(a.code(r#"create x z {"n":{"$int":"18446744073709551616"}}"#), "bad_json");
}

#[test]
fn a_field_shows_as_what_was_last_done_to_it() {
    let mut a = node();
    a.ok(r#"create todo t1 {"tags":["a"],"views":"many"}"#);
    a.ok(r#"add todo t1 tags "b""#);
    a.ok("raise todo t1 views 2");
    assert_eq!(a.ok("get todo t1"), json!({"tags": ["b"], "views": 2}));
    a.ok(r#"update todo t1 {"tags":["c"],"views":"few"}"#);
    assert_eq!(a.ok("get todo t1"), json!({"tags": ["c"], "views": "few"}));
    a.ok(r#"add todo t1 tags "d""#);
    a.ok("raise todo t1 views 1");
    assert_eq!(a.ok("get todo t1"), json!({"tags": ["b", "d"], "views": 3}));
}

#[test]
fn what_cannot_be_done_is_an_error_with_a_code_and_changes_nothing() {
    let mut a = node();
    a.ok(r#"create todo t1 {"title":"milk"}"#);
    let digest = a.digest();
    let long = "x".repeat(256);
    let huge = "x".repeat(257 << 10);
    let refused = [
        ("create todo t1 {}", "exists"),
        ("update todo t2 {}", "not_found"),
        ("destroy todo t2", "not_found"),
        ("raise todo t2 views 1", "not_found"),
        ("add todo t2 tags 1", "not_found"),
        ("remove todo t2 tags 1", "not_found"),
        ("create todo t2 {", "bad_json"),
        ("create todo t2 [1]", "bad_json"),
        ("create todo t2 {} {}", "bad_json"),
        (r#"create todo t2 {"a":1,"a":2}"#, "bad_json"),
        ("raise todo t1 views 1.5", "bad_command"),
        ("log x", "bad_command"),
        ("frobnicate", "bad_command"),
        ("CREATE todo t2 {}", "bad_command"),
        (r#"create todo t2 {"":1}"#, "invalid"),
        (r#"create todo t2 {"id":"t3"}"#, "invalid"),
        (r#"create todo t2 {"id":2}"#, "invalid"),
        (&format!("create todo {long} {{}}"), "invalid"),
        (&format!("create {long} t2 {{}}"), "invalid"),
        (&format!(r#"create todo t2 {{"big":"{huge}"}}"#), "invalid"),
        ("commit", "no_transaction"),
        ("abort", "no_transaction"),
        ("import /nowhere.csv todo id", "io"),
    ];
    for (command, code) in refused {
        let shown: String = command.chars().take(60).collect();
        assert_eq!(a.code(command), code, "{shown}");
    }
    assert_eq!(a.digest(), digest);
    assert_eq!(a.ok("log").as_array().unwrap().len(), 1);
}

#[test]
fn errors_name_the_field_and_the_file() {
    let mut a = node();
    let huge = "x".repeat(257 << 10);
    let answer = a.ask(&format!(r#"create todo t2 {{"picture":"{huge}"}}"#));
    assert!(answer["error"]["message"].as_str().unwrap().contains("\"picture\""), "{answer}");
    let answer = a.ask("import /nowhere.csv todo id");
    assert!(answer["error"]["message"].as_str().unwrap().contains("/nowhere.csv"), "{answer}");
}

/// A command without its arguments was blamed for the JSON that was not there, or for an empty name; an
/// `await` for nobody waited for ever.
#[test]
fn a_command_that_lacks_an_argument_is_refused_with_how_it_is_called() {
    let mut a = node();
    let help = a.ok("help");
    let calls: Vec<_> =
        help.as_array().unwrap().iter().map(|call| call.as_str().unwrap()).collect();
    assert!(calls.contains(&"await NAME") && calls.contains(&"log [FROM]"));
    for call in calls {
        let mut words: Vec<_> = call.split(' ').filter(|word| !word.starts_with('[')).collect();
        while words.len() > 1 {
            words.pop();
            let answer = a.ask(&words.join(" "));
            assert_eq!(answer["error"]["code"], "bad_command", "{words:?}: {answer}");
            assert!(answer["error"]["message"].as_str().unwrap().ends_with(call), "{answer}");
        }
    }
    let answer = a.ask("frobnicate");
    assert!(answer["error"]["message"].as_str().unwrap().contains("`help`"), "{answer}");
}

#[test]
fn text_that_is_no_json_is_refused_with_the_place() {
    let mut a = node();
    for (json, place) in
        [("{", "column 1"), (r#"{"a" 1}"#, "column 6"), (r#"{"a":1} x"#, "column 9")]
    {
        let answer = a.ask(&format!("create todo t1 {json}"));
        assert_eq!(answer["error"]["code"], "bad_json");
        assert!(answer["error"]["message"].as_str().unwrap().contains(place), "{answer}");
    }
}

/// A line that was not UTF-8 ended the program, with a message about threads.
#[test]
fn a_line_that_is_no_text_is_refused_and_the_next_is_answered() {
    let mut a = node();
    a.send_bytes(b"create todo \xff {}\n");
    let answer = a.next_answer().expect("it lives on");
    assert_eq!(answer["error"]["code"], "bad_command");
    assert_eq!(a.ok("create todo t1 {}"), json!({"offset": 1}));
}

#[test]
fn a_transaction_is_whole_and_reads_its_own_writes() {
    let mut a = node();
    a.ok(r#"create todo old {"title":"x"}"#);
    assert_eq!(a.ok("begin"), true);
    assert_eq!(a.code("begin"), "in_transaction");
    assert_eq!(a.ok(r#"create todo t1 {"title":"milk"}"#), true);
    assert_eq!(a.ok("raise todo t1 views 2"), true);
    assert_eq!(a.ok("destroy todo old"), true);
    assert_eq!(a.code("create todo t1 {}"), "exists");
    assert_eq!(a.code("update todo old {}"), "not_found");
    assert_eq!(a.code("frobnicate"), "bad_command", "and it stays open");
    let (digest, log) = (a.digest(), a.ok("log"));
    assert_eq!(a.ok("get todo t1"), json!({"title": "milk", "views": 2}));
    assert_eq!(a.ok("get todo old"), json!(null));
    assert_eq!(a.ok("list todo"), json!([{"id": "old", "title": "x"}]), "as it is committed");
    assert_eq!((a.digest(), a.ok("log")), (digest.clone(), log));
    assert_eq!(a.ok("commit"), json!({"offset": 3}));
    assert_ne!(a.digest(), digest);
    assert_eq!(a.ok("list todo"), json!([{"id": "t1", "title": "milk", "views": 2}]));

    a.ok("begin");
    a.ok("destroy todo t1");
    assert_eq!(a.ok("abort"), true);
    assert_eq!(a.ok("get todo t1")["views"], 2);
    a.ok("begin");
    assert_eq!(a.ok("commit"), json!(null), "nothing was to be done");
    assert_eq!(a.ok("log").as_array().unwrap().len(), 2);
}

#[test]
fn the_log_tells_what_was_written_from_any_offset() {
    let mut a = node();
    a.ok("begin");
    (0..3).for_each(|n| _ = a.ok(&format!(r#"create todo t{n} {{"title":"x"}}"#)));
    a.ok("commit");
    a.ok("destroy todo t1");
    let log = a.ok("log");
    assert_eq!(log.as_array().unwrap().len(), 2);
    assert_eq!((&log[0]["offset"], &log[1]["offset"]), (&json!(0), &json!(3)));
    let first = json!({"model": "todo", "id": "t0", "mark": "create", "fields": {"title": "x"}});
    assert_eq!(log[0]["scribes"][0], first);
    assert_eq!(log[1]["scribes"][0]["mark"], "destroy");
    assert!(log[0]["node"] == log[1]["node"] && log[0]["epoch"] == log[1]["epoch"]);
    assert_eq!(a.ok("log 2").as_array().unwrap().len(), 2, "2 lies inside the first");
    assert_eq!(a.ok("log 3").as_array().unwrap().len(), 1);
    assert_eq!(a.ok("log 4"), json!([]));
}

#[test]
fn the_airports_are_imported_once() {
    let csv = concat!(env!("CARGO_MANIFEST_DIR"), "/data/airports.csv");
    let mut a = node();
    let import = format!("import {csv} airport iata");
    assert_eq!(a.ok(&import), json!({"imported": 3376, "skipped": 0}));
    assert_eq!(a.ok(&import), json!({"imported": 0, "skipped": 3376}));
    let sfo = a.ok("get airport SFO");
    assert_eq!(sfo["city"], "San Francisco");
    assert!(sfo["latitude"].is_string() && sfo.get("iata").is_none(), "{sfo}");
    assert_eq!(a.ok("list airport").as_array().unwrap().len(), 3376);
    assert_eq!(a.code(&format!("import {csv} airport nocolumn")), "io");

    a.ok("begin");
    assert_eq!(a.ok(&format!("import {csv} other iata"))["imported"], 3376);
    a.ok("abort");
    assert_eq!(a.ok("list other"), json!([]));
}

/// A row in the middle of the file that could not be recorded left the rows before it in the store, and an
/// error for an answer.
#[test]
fn an_import_with_a_row_that_cannot_be_recorded_imports_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let csv = dir.path().join("rows.csv");
    let mut a = node();
    let good: String = (0..600).map(|n| format!("{n},x,y\n")).collect();
    let huge = "x".repeat(300 << 10);
    let long = "x".repeat(256);
    let wide = ["x".repeat(200 << 10), "y".repeat(200 << 10)].join(",");
    for (row, code) in [
        (format!("bad,{huge},y\n"), "invalid"),
        (format!("{long},x,y\n"), "invalid"),
        (",x,y\n".to_owned(), "invalid"),
        ("bad,x\n".to_owned(), "io"),
    ] {
        std::fs::write(&csv, format!("id,a,b\n{good}{row}")).unwrap();
        assert_eq!(a.code(&format!("import {} todo id", csv.display())), code);
        assert_eq!(a.ok("list todo"), json!([]), "{code}");
    }
    // Large rows are few to a transaction.
    let large: String = (0..20).map(|n| format!("{n},{wide}\n")).collect();
    std::fs::write(&csv, format!("id,a,b\n{large}{good}")).unwrap();
    let answer = a.ok(&format!("import {} todo id", csv.display()));
    assert_eq!(answer, json!({"imported": 600, "skipped": 20}));
    a.quit();
}

/// An `await` for a peer that never came kept the process for ever, whatever was said after it.
#[test]
fn an_await_in_vain_does_not_keep_a_process_that_is_told_to_quit() {
    let mut a = node();
    a.ok("create todo t1 {}");
    a.send_bytes(b"await nobody\nget todo t1\nawait nobody\nquit\n");
    let mut answers = std::iter::from_fn(|| a.next_answer());
    assert_eq!(answers.next().unwrap()["error"]["code"], "unconfirmed");
    assert_eq!(answers.next().unwrap(), json!({"ok": {}}));
    assert_eq!(answers.next().unwrap()["error"]["code"], "unconfirmed");
    assert_eq!(answers.next().unwrap(), json!({"ok": true}));
    assert_eq!(answers.next(), None);
    assert!(a.wait().success());

    let mut a = node();
    a.send("await nobody");
    a.hang_up();
    assert_eq!(a.next_answer().unwrap()["error"]["code"], "unconfirmed");
    assert!(a.wait().success());
}

#[test]
fn quit_and_the_end_of_input_close_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a.redb");
    let args = ["--name", "a", "--store", store.to_str().unwrap()];
    let mut a = Shell::start(&args);
    a.ok("create todo t1 {}");
    let digest = a.digest();
    a.quit();

    let mut a = Shell::start(&args);
    assert_eq!(a.digest(), digest);
    a.ok("begin");
    a.ok("create todo t2 {}");
    a.hang_up();
    assert!(a.wait().success());

    let mut a = Shell::start(&args);
    assert_eq!(a.digest(), digest, "an open transaction is not committed by leaving");
    a.send_bytes(b"   \n\ncreate todo t3 {}");
    a.hang_up();
    assert_eq!(a.next_answer().unwrap(), json!({"ok": {"offset": 2}}), "the last line counts");
    assert!(a.wait().success());
}

#[test]
fn a_program_that_cannot_start_says_why_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("a.redb");
    let store = store.to_str().unwrap();
    let (_open, addr) = Shell::listening(&["--name", "a", "--store", store]);
    let letter = dir.path().join("letter.txt");
    std::fs::write(&letter, "Dear Ann").unwrap();
    let letter = letter.to_str().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&[], "needs a --name"),
        (&["--name"], "wants a value"),
        (&["--name", "b", "--encoding", "xml"], "is not understood"),
        (&["--name", "a", "--store", store], "close it there"),
        (&["--name", "b", "--store", letter], "no store"),
        (&["--name", "b", "--listen", &addr], "already in use"),
        (&["--name", "b", "--listen", "nonsense"], "host:port"),
        (&["--name", "b", "--connect", "nonsense"], "\"nonsense\" is no address: write host:port"),
        (&["--name", "b", "--connect", "127.0.0.1:http"], "host:port"),
    ];
    for (args, message) in cases {
        let (status, out, err) = run("node", args);
        assert!(!status.success() && out.is_empty(), "{args:?}: {out}");
        assert!(err.contains(message), "{args:?}: {err}");
        assert!(!err.contains("panicked"), "{err}");
    }
    let (status, out, _) = run("node", &["--help"]);
    assert!(status.success() && out.contains("--store FILE"));
}

/// A store was damaged while nobody looked. To have it repaired, the program had to be ended.
#[test]
fn a_damaged_store_is_repaired_by_a_command_with_what_a_peer_has() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("laptop.redb");
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    let args = ["--name", "laptop", "--store", store.to_str().unwrap(), "--connect", &addr];
    let mut laptop = Shell::start(&args);
    for n in 0..60 {
        laptop.ok(&format!(r#"create todo t{n} {{"text":"{}"}}"#, "x".repeat(500)));
    }
    // What is overwritten is in the log alone.
    for n in 0..60 {
        laptop.ok(&format!(r#"update todo t{n} {{"text":"short"}}"#));
    }
    laptop.ok("await server");
    let digest = server.digest();
    laptop.quit();
    {
        let backend = Redb::open(&store).unwrap();
        let pages = backend.scan(Table::Log, &[], None, 2).unwrap();
        let mut batch = Batch::new();
        batch.delete(Table::Log, pages[1].0.clone());
        backend.write(&batch, Durability::Durable).unwrap();
    }
    let mut laptop = Shell::start(&args);
    assert_eq!(laptop.code("log"), "store");
    let repaired = laptop.ok("repair server");
    assert_eq!(repaired["lost"].as_array().unwrap().len(), 1, "{repaired}");
    // Of what the peer was quick to send again before the repair nothing was left to be fetched.
    let [fetched, regained] = ["fetched", "regained"].map(|key| repaired[key].as_u64().unwrap());
    assert!(fetched + regained > 0, "{repaired}");
    assert_eq!(laptop.event()["type"], "restart");
    assert_eq!(laptop.digest(), digest);
    laptop.ok("log");
    assert_eq!(laptop.ok("repair server")["lost"], json!([]));

    laptop.send_bytes(b"repair nobody\nget todo t1\nquit\n");
    let answers = laptop.last_answers();
    assert_eq!(answers[0]["error"]["code"], "unfetched", "{answers:?}");
    assert!(answers[1]["ok"].is_object());
}
