//! A node to play with, and for scripts to drive.
//!
//! ```sh
//! cargo run --release --example node -- --name NAME [--store FILE] [--listen ADDR]... \
//!     [--connect ADDR]... [--encoding json|msgpack]
//! ```
//!
//! `NAME` gives the node its id (a UUIDv5 of it). Without `--store` it lives in memory; a store is one
//! file, and a copy of it, made while it is closed, is a backup. It connects again after 100 ms, doubling
//! to at most 5 s, at random within that. An address is `HOST:PORT`, or `ws://HOST:PORT/PATH`. Logs go to
//! stderr: among them `listening on HOST:PORT`, with the real port where 0 was asked for.
//!
//! # The contract
//!
//! One command per line on stdin. One JSON object per line on stdout, nothing else: answers in the order
//! of the commands, `{"ok": ...}` or `{"error": {"code": ..., "message": ...}}`, and at any time between
//! them `{"event": ...}` for changes that arrive.
//!
//! | command | answer |
//! |---|---|
//! | `create MODEL ID JSON` | the write; error `exists` when the record is alive |
//! | `update MODEL ID JSON` | the write; error `not_found` when it is not alive |
//! | `destroy MODEL ID` | the write; error `not_found` |
//! | `raise MODEL ID FIELD N` | the write: the counter is raised by the integer N, which may be negative |
//! | `add MODEL ID FIELD JSON`, `remove MODEL ID FIELD JSON` | the write: the set member is added, removed |
//! | `import FILE.csv MODEL IDCOLUMN` | `{"imported": n, "skipped": n}`: a record per row, every column text, ids that are alive skipped; see below |
//! | `begin` ... `commit` or `abort` | the writes between answer `true` at once and happen together at `commit` |
//! | `get MODEL ID` | the fields as an object; `null` when missing or destroyed |
//! | `list MODEL` | an array of objects, the fields and `id`, in id order |
//! | `digest` | one text over all live records, stamps included: equal on nodes that hold the same writes, and no two histories of one content give the same |
//! | `peers` | an array of `{"name", "guid", "connected", "sessions", "incoming", "outgoing", "receipt"}`: scribes to come, scribes to go, the last offset confirmed or `null` |
//! | `log [FROM]` | an array of `{"offset", "time", "ms", "node", "epoch", "scribes": [{"model", "id", "mark", "fields"}]}` from the transaction in which offset FROM lies |
//! | `await NAME` | `true` once everything so far is durable at every connected peer of that name; it waits for one to connect; see below |
//! | `repair NAME` | `{"lost": [[from, to]], "regained": n, "rescued": n, "fetched": n, "kept": null}`: the store is repaired in place, and what was lost is fetched from the peer of that name; it waits for it to connect; see below |
//! | `help` | an array of the commands, each as it is called |
//! | `quit` | `true`, and the node closes; so it does at the end of input |
//!
//! Between `begin` and `commit`, `get` sees what the transaction would leave, `list`, `digest` and `log` what
//! is committed. A command that is refused leaves the transaction open and as it was; a `commit` that is
//! refused has ended it. What it does to one record is one scribe and one event.
//!
//! An `import` reads and checks the whole file before it records anything: a row that cannot be recorded is an
//! error, and nothing is imported. Then the rows are recorded in order, in transactions of at most 250 rows and
//! half a MiB. A process that dies half-way, or whose store fails, has imported whole transactions from the start of the file; the same
//! import again skips them and goes on. Between `begin` and `commit` all rows belong to that transaction.
//!
//! An `await` waits as long as it takes while more input may come. Once a later line says `quit`, or the input
//! has ended, it waits only while the peer goes on confirming: after 2 s without a receipt its answer is error
//! `unconfirmed`, and the lines after it are answered.
//!
//! A `repair` also brings a node back that has stopped because its store failed. It waits as an `await` does; at
//! the end of input its answer is error `unfetched` once nothing has come for 2 s. Where a part of the log was
//! lost, the offsets of before mean something else: the event `{"type": "restart"}` says so.
//!
//! A node that closes says goodbye to its peers before the process ends.
//!
//! The write is `{"offset": n}`, the end of the log with it, or `null` when it changed nothing. Outside
//! `begin` it is answered when it is durable. `JSON` is an object of fields, plain values that are written
//! as a whole; `null` clears one. Bytes, integers beyond 2^53 - 1 in either direction and special floats are
//! shown tagged: `{"$bytes": base64}`, `{"$int": "9007199254740993"}`, `{"$float": "nan"}`. Integers of 64 bits
//! may be given either way; an untagged one beyond them is a float, as it is to JSON. `ID` is text without
//! spaces.
//!
//! A field shows as what was last done to it, if it was not always the same: an array from `create` is a plain
//! value, and `add` begins a set beside it, which then shows without what was in the array; `raise` on a field
//! that was text shows a counter from 0. The other is kept, and shows again when it is written.
//!
//! An event is `{"type": "change", "model", "id", "mark", "offset", "node", "record"}`: `node` wrote it,
//! `record` is the object as in `list`, or `null` when it is not alive.
//!
//! Error codes: `bad_command`, `bad_json`, `exists`, `not_found`, `invalid` (the data), `no_transaction`
//! and `in_transaction`, `io`, `unconfirmed`, `unfetched`, `full` (the disk is, and nothing was recorded; destroys may
//! still fit, and everything is taken again once there is room), `not_durable` (recorded, and on the disk as soon as
//! there is room: not to be repeated), `store` (nothing more is written until the node is repaired or opened again).

// A file beside this one would be an example too.
#[path = "node/waiting.rs"]
mod waiting;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::{Value as Json, json};
use syncro::{
    Change, Committed, DataError, Draft, Durability, Edit, Encoded, Encoding, Entry, Error, Fields,
    Name, Node, NodeId, Notice, Notices, Origin, RecordId, RecordKey, StoreError, UsageError,
    Value, WatchAll,
};
use tokio::runtime::Runtime;

use waiting::{Input, confirmed, repaired};

const HELP: &str = "\
node: a Syncro node that takes commands on stdin and answers in JSON on stdout

  --name NAME                what the node is called, and what its id is made of
  --store FILE               where it is kept (in memory)
  --listen ADDR              take connections there, HOST:PORT or ws://HOST:PORT/PATH; may be repeated
  --connect ADDR             keep a connection there; may be repeated
  --encoding json|msgpack    how messages are written on connections made (msgpack)

The command `help` lists the commands; the head of examples/examples/node.rs explains them.";

/// Every command, as it is called.
const COMMANDS: [&str; 19] = [
    "create MODEL ID JSON",
    "update MODEL ID JSON",
    "destroy MODEL ID",
    "raise MODEL ID FIELD N",
    "add MODEL ID FIELD JSON",
    "remove MODEL ID FIELD JSON",
    "import FILE.csv MODEL IDCOLUMN",
    "begin",
    "commit",
    "abort",
    "get MODEL ID",
    "list MODEL",
    "digest",
    "peers",
    "log [FROM]",
    "await NAME",
    "repair NAME",
    "help",
    "quit",
];

/// Rows of a CSV file in one transaction, and the bytes of their ids, names and values.
const ROWS_AT_ONCE: usize = 250;
const ROWS_BYTES: usize = 512 << 10;

/// How often an import says how far it is, on stderr.
const IMPORT_TOLD_EVERY: Duration = Duration::from_millis(500);

/// Bytes of one value, and of a row: what a transaction takes, less what its encoding adds.
const VALUE_BYTES_MAX: usize = 256 << 10;
const ROW_BYTES_MAX: usize = 1000 << 10;

#[derive(Default)]
struct Options {
    name: String,
    store: Option<PathBuf>,
    listen: Vec<String>,
    connect: Vec<String>,
    encoding: Encoding,
}

fn main() -> ExitCode {
    match options().and_then(|options| match options {
        Some(options) => run(&options).map_err(|error| error.to_string()),
        None => Ok(()),
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("node: {message}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Option<Options>, String> {
    let mut options = Options::default();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--help" {
            println!("{HELP}");
            return Ok(None);
        }
        let value = args.next().ok_or_else(|| format!("{arg} wants a value\n\n{HELP}"))?;
        match (arg.as_str(), value.as_str()) {
            ("--name", _) => options.name = value,
            ("--store", _) => options.store = Some(value.into()),
            ("--listen", _) => options.listen.push(value),
            ("--connect", _) => options.connect.push(value),
            ("--encoding", "json") => options.encoding = Encoding::Json,
            ("--encoding", "msgpack") => options.encoding = Encoding::MessagePack,
            _ => return Err(format!("{arg} {value:?} is not understood\n\n{HELP}")),
        }
    }
    if options.name.is_empty() {
        return Err(format!("a node needs a --name\n\n{HELP}"));
    }
    Ok(Some(options))
}

fn run(options: &Options) -> Result<(), Error> {
    let node = match &options.store {
        Some(path) => Node::open(path, &options.name)?,
        None => Node::in_memory(&options.name)?,
    };
    let runtime = Runtime::new().map_err(Error::Thread)?;
    let _entered = runtime.enter();
    runtime.spawn(log_notices(node.notices()));
    let mut listening = Vec::new();
    for addr in &options.listen {
        let listener = runtime.block_on(node.listen(addr))?;
        eprintln!("listening on {}", listener.local_addr());
        listening.push(listener);
    }
    let connect = |addr: &String| node.connect_in(addr, options.encoding);
    let connections = options.connect.iter().map(connect).collect::<Result<Vec<_>, _>>()?;

    let events = tell(node.watch_all(), node.id());
    let input = Input::new();
    let mut shell = Shell { node: node.clone(), runtime: &runtime, draft: None, input, events };
    while let Some(line) = shell.input.next() {
        let command = str::from_utf8(&line).map(str::trim);
        let answer = match command {
            Ok("") => continue,
            Ok(command) => shell.answer(command),
            Err(_) => Err(refusal("bad_command", "the line is no UTF-8 text")),
        };
        match answer {
            Ok(ok) => print(&json!({ "ok": ok })),
            Err(Refusal { code, message }) => {
                print(&json!({ "error": { "code": code, "message": message } }));
            }
        }
        if command == Ok("quit") {
            break;
        }
    }
    let closed = node.close();
    runtime.block_on(node.closed());
    drop((listening, connections));
    // The thread ends with the node; a script that has stopped reading must not keep us.
    let patience = Instant::now() + Duration::from_secs(2);
    while !shell.events.is_finished() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(1));
    }
    closed
}

/// Prints what changes elsewhere, in a thread of its own, until the node stops.
fn tell(mut changes: WatchAll, me: NodeId) -> JoinHandle<()> {
    std::thread::spawn(move || {
        loop {
            let change = match changes.next_blocking() {
                Ok(Some(change)) => change,
                Err(Error::Usage(UsageError::UnknownPoint { .. })) => {
                    print(&json!({ "event": { "type": "restart" } }));
                    continue;
                }
                Ok(None) | Err(_) => return,
            };
            let is_own = match change.origin {
                Origin::Local => true,
                Origin::Session(_) => false,
                Origin::Log => change.stamp.author.node == me,
            };
            if !is_own {
                print(&json!({ "event": event(change) }));
            }
        }
    })
}

/// Says what happens beside changes. What is tried again and again is said when it changes.
async fn log_notices(mut notices: Notices) {
    let mut said = BTreeMap::new();
    while let Some(notice) = notices.next().await {
        let (about, what) = match &notice {
            Notice::ConnectFailed { addr, error } => (Some(addr.clone()), error.clone()),
            Notice::Closed { peer: None, reason, by_peer, detail, .. } => {
                (None, format!("{reason} {by_peer} {detail}"))
            }
            _ => {
                said.clear();
                eprintln!("{notice}");
                continue;
            }
        };
        if said.insert(about, what.clone()) != Some(what) {
            eprintln!("{notice}");
        }
    }
}

/// Why a command did nothing.
struct Refusal {
    code: &'static str,
    message: String,
}

fn refusal(code: &'static str, message: impl ToString) -> Refusal {
    Refusal { code, message: message.to_string() }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Data(DataError::Exists { .. }) => "exists",
            Error::Data(DataError::Missing { .. }) => "not_found",
            Error::Data(_) => "invalid",
            Error::Store(StoreError::Full) => "full",
            Error::NotDurable(_) => "not_durable",
            _ => "store",
        };
        refusal(code, error)
    }
}

impl From<DataError> for Refusal {
    fn from(error: DataError) -> Self {
        Error::from(error).into()
    }
}

struct Shell<'a> {
    node: Node,
    runtime: &'a Runtime,
    draft: Option<Draft>,
    input: Input,
    events: JoinHandle<()>,
}

impl Shell<'_> {
    fn answer(&mut self, line: &str) -> Result<Json, Refusal> {
        let (command, rest) = word(line);
        if let Some(usage) = COMMANDS.iter().find(|usage| word(usage).0 == command) {
            let wanted = usage.split(' ').skip(1).filter(|word| !word.starts_with('[')).count();
            if rest.split_whitespace().take(wanted).count() < wanted {
                return Err(refusal("bad_command", format!("something is missing: {usage}")));
            }
        }
        match command {
            "create" => {
                let (key, json) = record(rest)?;
                let fields = Fields::from_values(&object(json, &key)?)?;
                self.write(|draft| draft.create_record(key, &fields))
            }
            "update" => {
                let (key, json) = record(rest)?;
                let edits = object(json, &key)?
                    .into_iter()
                    .map(|(field, value)| Ok(Edit::value(Name::new(&field)?, value.encode())))
                    .collect::<Result<_, DataError>>()?;
                self.write(|draft| draft.update_record(key, edits))
            }
            "destroy" => {
                let (key, _) = record(rest)?;
                self.write(|draft| draft.destroy_record(key))
            }
            "raise" | "add" | "remove" => {
                let (key, rest) = record(rest)?;
                let edit = edit(command, rest)?;
                self.write(|draft| draft.update_record(key, vec![edit]))
            }
            "import" => self.import(rest),
            "begin" if self.draft.is_some() => {
                Err(refusal("in_transaction", "a transaction is open: commit or abort it first"))
            }
            "begin" => {
                self.draft = Some(self.node.draft());
                Ok(Json::Bool(true))
            }
            "commit" => {
                let draft = self.draft.take().ok_or_else(no_transaction)?;
                Ok(written(self.node.commit(draft, Durability::Durable)?))
            }
            "abort" => self.draft.take().map(|_| Json::Bool(true)).ok_or_else(no_transaction),
            "get" => {
                let (key, _) = record(rest)?;
                let fields = match &self.draft {
                    Some(draft) => draft.get_record(&key)?,
                    None => self.node.get_record(&key)?,
                };
                Ok(fields.map_or(Json::Null, |fields| shown(None, &fields)))
            }
            "list" => {
                let records = self.node.list_records(&Name::new(rest)?)?;
                Ok(records.iter().map(|(id, fields)| shown(Some(id), fields)).collect())
            }
            "digest" => Ok(Json::String(self.node.digest()?.to_string())),
            "peers" => self.peers(),
            "log" => self.log(rest),
            "await" => self.runtime.block_on(confirmed(&self.node, rest, &mut self.input)),
            "repair" => self.repair(rest),
            "help" => Ok(json!(COMMANDS)),
            "quit" => Ok(Json::Bool(true)),
            _ => {
                let message =
                    format!("there is no command {command:?}; `help` lists those there are");
                Err(refusal("bad_command", message))
            }
        }
    }

    /// Writes into the open transaction, or in one of its own.
    fn write(
        &mut self,
        write: impl FnOnce(&mut Draft) -> Result<(), Error>,
    ) -> Result<Json, Refusal> {
        match &mut self.draft {
            Some(draft) => {
                write(draft)?;
                Ok(Json::Bool(true))
            }
            None => Ok(written(self.node.transaction(write)?)),
        }
    }

    fn repair(&mut self, name: &str) -> Result<Json, Refusal> {
        // It goes on with the node when that has stopped.
        let changes = self.node.watch_all();
        let answer = self.runtime.block_on(repaired(&self.node, name, &mut self.input));
        if self.events.is_finished() {
            self.events = tell(changes, self.node.id());
        }
        answer
    }

    fn import(&mut self, rest: &str) -> Result<Json, Refusal> {
        let (file, rest) = word(rest);
        let (model, column) = word(rest);
        let rows = rows(file, &Name::new(model)?, column)?;
        let (mut imported, mut skipped, all) = (0, 0, rows.len());
        let (mut rows, mut said) = (rows.into_iter().peekable(), Instant::now());
        while rows.peek().is_some() {
            self.write(|draft| {
                let (mut count, mut bytes) = (0, 0);
                while let Some(row) = rows.next_if(|row| {
                    count == 0 || (count < ROWS_AT_ONCE && bytes + row.bytes <= ROWS_BYTES)
                }) {
                    (count, bytes) = (count + 1, bytes + row.bytes);
                    match draft.create_record(row.key, &row.fields) {
                        Ok(()) => imported += 1,
                        Err(Error::Data(DataError::Exists { .. })) => skipped += 1,
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })?;
            if rows.peek().is_some() && said.elapsed() >= IMPORT_TOLD_EVERY {
                eprintln!("{} of {all} rows of {file} are imported", imported + skipped);
                said = Instant::now();
            }
        }
        Ok(json!({ "imported": imported, "skipped": skipped }))
    }

    fn peers(&self) -> Result<Json, Refusal> {
        let peers = self.node.peers()?;
        let shown = peers.iter().map(|peer| {
            json!({
                "name": peer.name.as_ref().map(Name::as_str),
                "guid": peer.node.to_string(),
                "connected": peer.is_connected(),
                "sessions": peer.sessions,
                "incoming": peer.incoming,
                "outgoing": peer.outgoing,
                "receipt": peer.receipt.map(|receipt| receipt.offset),
            })
        });
        Ok(shown.collect())
    }

    fn log(&self, rest: &str) -> Result<Json, Refusal> {
        let from: u64 = match rest {
            "" => 0,
            number => number
                .parse()
                .map_err(|_| refusal("bad_command", format!("{number:?} is no offset")))?,
        };
        let mut shown = Vec::new();
        let mut next = 0;
        loop {
            let entries = self.node.log(next, 1 << 20)?;
            let Some(last) = entries.last() else { return Ok(Json::Array(shown)) };
            next = last.end().offset;
            for found in entries.iter().filter(|entry| entry.end().offset > from) {
                shown.push(entry(found)?);
            }
        }
    }
}

/// A row of a CSV file, fit to be recorded.
struct Row {
    key: RecordKey,
    fields: Fields,
    bytes: usize,
}

/// Reads and checks a whole CSV file.
fn rows(file: &str, model: &Name, column: &str) -> Result<Vec<Row>, Refusal> {
    let io = |error: csv::Error| refusal("io", format!("{file}: {error}"));
    let mut reader = csv::Reader::from_path(file).map_err(io)?;
    let row = |row: csv::Result<BTreeMap<String, String>>| {
        let mut row = row.map_err(io)?;
        let id = row
            .remove(column)
            .ok_or_else(|| refusal("io", format!("{file} has no column {column:?} for the ids")))?;
        let key = RecordKey { model: model.clone(), id: RecordId::text(&id)? };
        let invalid = |what: String| refusal("invalid", format!("{file}: {key}: {what}"));
        if let Some((name, _)) = row.iter().find(|(_, text)| text.len() + 5 > VALUE_BYTES_MAX) {
            return Err(invalid(format!("field {name:?} has over {VALUE_BYTES_MAX} bytes")));
        }
        // Names and values carry a few bytes around them.
        let bytes =
            row.iter().map(|(name, text)| name.len() + text.len() + 16).sum::<usize>() + 512;
        if bytes > ROW_BYTES_MAX {
            return Err(invalid(format!("the row has over {ROW_BYTES_MAX} bytes")));
        }
        let values = row.into_iter().map(|(name, text)| (name, Value::Text(text)));
        let fields = Fields::from_values(&values.collect())?;
        Ok(Row { key, fields, bytes })
    };
    reader.deserialize().map(row).collect()
}

fn no_transaction() -> Refusal {
    refusal("no_transaction", "no transaction is open: begin one first")
}

/// Splits off the first word.
fn word(line: &str) -> (&str, &str) {
    match line.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim_start()),
        None => (line, ""),
    }
}

/// Reads `MODEL ID` and what follows.
fn record(rest: &str) -> Result<(RecordKey, &str), Refusal> {
    let (model, rest) = word(rest);
    let (id, rest) = word(rest);
    Ok((RecordKey { model: Name::new(model)?, id: RecordId::text(id)? }, rest))
}

fn value(json: &str) -> Result<Value, Refusal> {
    Value::from_json(json).map_err(|fault| match serde_json::from_str::<IgnoredAny>(json) {
        // Where it is no JSON at all, it is worth a second look to say where.
        Err(error) => refusal("bad_json", format!("{error} of the JSON")),
        Ok(_) => refusal("bad_json", fault),
    })
}

/// Reads an object of fields. An `id` in it must be the record's, and is no field.
fn object(json: &str, key: &RecordKey) -> Result<BTreeMap<String, Value>, Refusal> {
    let Value::Map(mut fields) = value(json)? else {
        return Err(refusal("bad_json", "an object of fields is wanted"));
    };
    match fields.remove("id") {
        None => Ok(fields),
        Some(Value::Text(id)) if id == key.id.to_string() => Ok(fields),
        Some(other) => {
            let other = other.to_json();
            Err(refusal("invalid", format!("the id {other} in the object is not that of {key}")))
        }
    }
}

fn edit(command: &str, rest: &str) -> Result<Edit, Refusal> {
    let (field, rest) = word(rest);
    let field = Name::new(field)?;
    if command == "raise" {
        let by = rest.parse();
        let by = by.map_err(|_| refusal("bad_command", format!("{rest:?} is no integer")))?;
        return Ok(Edit::Raise { field, by });
    }
    let member = value(rest)?.encode();
    let edit = if command == "add" { Edit::add } else { Edit::remove };
    Ok(edit(field, member)?)
}

fn written(committed: Option<Committed>) -> Json {
    committed.map_or(Json::Null, |committed| json!({ "offset": committed.offset }))
}

/// A value in the protocol's JSON.
fn plain(value: &Value) -> Json {
    serde_json::from_str(&value.to_json()).unwrap_or(Json::Null)
}

/// The fields as an object, with the id where it is asked for.
fn shown(id: Option<&RecordId>, fields: &Fields) -> Json {
    let mut object: serde_json::Map<String, Json> =
        fields.to_values().iter().map(|(name, value)| (name.clone(), plain(value))).collect();
    if let Some(id) = id {
        object.insert("id".to_owned(), Json::String(id.to_string()));
    }
    Json::Object(object)
}

fn event(change: Change<Fields>) -> Json {
    let id = &change.key.id;
    json!({
        "type": "change",
        "model": change.key.model.as_str(),
        "id": id.to_string(),
        "mark": change.mark.as_str(),
        "offset": change.offset,
        "node": change.stamp.author.node.to_string(),
        "record": change.after.as_ref().map(|fields| shown(Some(id), fields)),
    })
}

fn entry(entry: &Entry) -> Result<Json, Error> {
    let stamp = entry.transaction.stamp();
    let scribes = entry.scribes()?.into_iter().map(|scribe| {
        let fields = scribe.fields.iter().map(|(path, value)| (path.to_string(), value));
        let fields = fields.map(|(path, value): (String, &Encoded)| (path, plain(&value.decode())));
        json!({
            "model": scribe.key.model.as_str(),
            "id": scribe.key.id.to_string(),
            "mark": scribe.mark.as_str(),
            "fields": fields.collect::<serde_json::Map<_, _>>(),
        })
    });
    Ok(json!({
        "offset": entry.offset,
        "time": stamp.time.bits(),
        "ms": stamp.time.ms(),
        "node": stamp.author.node.to_string(),
        "epoch": format!("{:016x}", stamp.author.epoch.0),
        "scribes": scribes.collect::<Vec<_>>(),
    }))
}

/// Prints one line, and flushes it: scripts wait for it.
fn print(line: &Json) {
    let mut out = std::io::stdout().lock();
    // Whoever closed our output does not want to read any more.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
