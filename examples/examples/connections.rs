//! Thousands of nodes at one server: what a connection costs, that a change reaches all of them, that readers which
//! stop reading hold up nobody else, and that all come back when the server was away.
//!
//! ```sh
//! cargo run --release --example connections -- [--connections N] [--transport tcp|ws]
//! ```
//!
//! The server is a process, and so are the clients, since each of them needs a file descriptor per connection. Both
//! are this program again, as `connections server` and `connections clients`, which take commands on stdin and answer
//! on stdout, a line each. Every client is a whole node in memory. One in a hundred will stop reading.
//!
//! It prints a line for each thing that it shows, and fails at the first that does not hold. Where the system allows
//! too few open files it prints a line that begins with `skip:`.

#[path = "connections/clients.rs"]
mod clients;
#[path = "connections/process.rs"]
mod process;
#[path = "connections/server.rs"]
mod server;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use process::Process;
use syncro::ScribeModel;

const HELP: &str = "\
connections: thousands of nodes at one server

  --connections N        how many (2000)
  --transport tcp|ws     over what (tcp)";

/// Whoever has all of one writing has its mark, which is written last.
#[derive(ScribeModel, Clone, Debug, PartialEq)]
struct Mark {
    id: i64,
}

/// What there is to carry.
#[derive(ScribeModel, Clone, Debug, PartialEq)]
struct Load {
    id: i64,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    WebSocket,
}

impl Transport {
    fn parse(word: &str) -> Result<Self, Fault> {
        match word {
            "tcp" => Ok(Self::Tcp),
            "ws" => Ok(Self::WebSocket),
            _ => Err(format!("--transport is tcp or ws, not {word:?}\n\n{HELP}").into()),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::WebSocket => "ws",
        }
    }

    fn address(self, addr: &str) -> String {
        format!("{}://{addr}", self.word())
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// One in so many stops reading.
const STALLED_PART: usize = 100;

/// How often something is written while some do not read.
const BURST: usize = 6;

/// Bytes of each of these, up to so many connections: together more than a session hands out for a peer before it waits
/// for room. With more connections they are fewer, since every client keeps them.
const BURST_BYTES: usize = 64 << 10;
const BURST_CONNECTIONS: usize = 2000;

/// What an idle connection may cost the server: twice and more of what it does.
const IDLE_BYTES_MAX: u64 = 64 << 10;

/// Within what all are back: pauses are up to 5 s, and are drawn anew after an attempt that failed.
const RETURN_MAX: Duration = Duration::from_secs(15);

/// File descriptors that a process needs besides those of its connections.
const OTHER_FILES: usize = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["server", transport, store, addr, narrow] => {
            Transport::parse(transport).and_then(|over| server::run(over, store, addr, narrow))
        }
        ["clients", transport, addr, narrow, count, stalled] => Transport::parse(transport)
            .and_then(|over| clients::run(over, [addr, narrow], count.parse()?, stalled.parse()?)),
        ["--help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => options(&args).and_then(|(connections, over)| show(connections, over)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("connections: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn options(args: &[&str]) -> Result<(usize, Transport), Fault> {
    let (mut connections, mut transport) = (2000, Transport::Tcp);
    for pair in args.chunks(2) {
        match pair {
            ["--connections", number] => {
                connections = number
                    .parse()
                    .map_err(|_| format!("--connections takes a number, not {number:?}"))?;
            }
            ["--transport", word] => transport = Transport::parse(word)?,
            _ => return Err(format!("{pair:?} is not understood\n\n{HELP}").into()),
        }
    }
    Ok((connections, transport))
}

/// Shows one thing after the other.
fn show(connections: usize, transport: Transport) -> Result<(), Fault> {
    let needed = connections + OTHER_FILES;
    if let Some(allowed) = process::open_files_max().filter(|allowed| *allowed < needed) {
        println!("skip: {connections} connections need {needed} open files, and {allowed} may be");
        return Ok(());
    }
    let stalled = connections.div_ceil(STALLED_PART);
    let (over, dir) = (transport.word(), tempfile::tempdir()?);
    let store = dir.path().join("server.redb");
    let store = store.to_str().ok_or("the directory has a name that is no text")?;
    let any = "127.0.0.1:0";
    let mut server = Process::start(&["server", over, store, any, any])?;
    let (addr, narrow) = (server.told("listening on ")?, server.told("narrow on ")?);
    let empty = server.memory();

    let begin = Instant::now();
    let numbers = [connections, stalled].map(|number| number.to_string());
    let mut clients = Process::start(&["clients", over, &addr, &narrow, &numbers[0], &numbers[1]])?;
    clients.expect(&format!("open {connections}"))?;
    println!("{connections} sessions over {over} are open after {}", seconds(begin));
    match (empty, server.memory()) {
        (Some(empty), Some(full)) => {
            let each = full.saturating_sub(empty) / connections as u64;
            println!("memory of the server: {} KiB for each idle connection", each >> 10);
            at_most("bytes of an idle connection", each, IDLE_BYTES_MAX)?;
        }
        _ => println!("skip: memory, which this system does not show"),
    }

    let begin = Instant::now();
    server.ask("write 1 100", "written 1")?;
    clients.expect("all have 1")?;
    println!("one change is at all of them after {}", seconds(begin));

    let bytes = BURST_BYTES * BURST_CONNECTIONS / connections.max(BURST_CONNECTIONS);
    let burst = format!("{BURST} {bytes}");
    let begin = Instant::now();
    server.ask(&format!("write {burst}"), "written 2")?;
    clients.expect("all have 2")?;
    println!("{BURST} changes of {} KiB are after {}", bytes >> 10, seconds(begin));

    clients.ask("stall", "stalled")?;
    let (begin, before) = (Instant::now(), server.memory());
    server.ask(&format!("write {burst}"), "written 3")?;
    clients.expect("others have 3")?;
    let took = seconds(begin);
    // They were not hung up on meanwhile: the others did not have to wait for that. Word of what one of the others has
    // may still be on its way.
    server.send("sessions")?;
    let (open, behind) = (server.told("sessions ")?, server.told("behind ")?);
    if open.parse() != Ok(connections) || behind.parse::<usize>()? < stalled {
        return Err(format!("{open} sessions are open, and {behind} of them behind").into());
    }
    println!("as many while {stalled} do not read are at all others after {took}");
    if let (Some(before), Some(after)) = (before, server.memory()) {
        // What is held for each is bounded, and shown by the engine's own tests; here the others' share is in it too,
        // which the allocator keeps.
        println!("memory of the server: {} KiB more", after.saturating_sub(before) >> 10);
    }
    clients.ask("resume", "resumed")?;
    clients.expect("all have 3")?;

    server.send("quit")?;
    server.wait()?;
    clients.expect("open 0")?;
    let mut server = Process::start(&["server", over, store, &addr, &narrow])?;
    server.told("narrow on ")?;
    let begin = Instant::now();
    clients.expect(&format!("open {connections}"))?;
    let took = begin.elapsed();
    println!("all are back {} after the server is", seconds(begin));
    if took > RETURN_MAX {
        return Err(format!("they took longer than {RETURN_MAX:?}").into());
    }

    server.ask("write 1 100", "written 4")?;
    clients.expect("all have 4")?;
    server.send("digest")?;
    let digest = server.told("digest ")?;
    clients.ask("digest", &format!("digest {digest} of {connections}"))?;
    println!("all hold the same: {digest}");
    server.send("quit")?;
    clients.send("quit")?;
    server.wait()?;
    clients.wait()
}

fn at_most(what: &str, seen: u64, most: u64) -> Result<(), Fault> {
    if seen > most { Err(format!("{what}: {seen}, and {most} are allowed").into()) } else { Ok(()) }
}

fn seconds(begin: Instant) -> String {
    format!("{:.1} s", begin.elapsed().as_secs_f32())
}
