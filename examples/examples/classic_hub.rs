//! A node that classic peers of 2010 and native peers share.
//!
//! ```sh
//! cargo run --release --example classic_hub -- --store FILE --client UID=ADDR... [--allow KLASS]... \
//!     [--listen ADDR] [--origin ORIGIN]...
//! ```
//!
//! Whoever connects to the address of a client is that client, as with the original: the host decides who a peer
//! is. An address is `HOST:PORT`, or for peers that come over WebSocket `ws://HOST:PORT/PATH`; web pages among them must
//! be of an `--origin`, as browsers write it (`https://app.example`).
//! Without `--allow` no class is accepted. `--listen` takes native peers. `FILE` is the node's store, and
//! `FILE.classic` beside it the list of what classic peers were told; a backup is a copy of both. Without
//! `--store` both are in memory. `--name` names the node, and `classic_hub` is the name without it.
//!
//! What happens is logged on stderr: at first `listening for UID on ADDR` for each client and `listening on ADDR`
//! for native peers, with the real ports where 0 was asked for, then `ready`. The process ends with its input, or
//! with the line `quit` there.

use std::io::BufRead;
use std::process::ExitCode;

use syncro::store::Memory;
use syncro::websocket::Acceptor;
use syncro::{ListenOptions, Node, Redb};
use syncro_classic::{Class, Classic, Event, Hub, Settings, Tables, Uid};
use tokio::sync::broadcast;

const HELP: &str = "\
classic_hub: a Syncro node for classic peers of 2010 and native ones

  --store FILE       where the node is kept, and FILE.classic beside it (in memory)
  --client UID=ADDR  take connections of this client there, HOST:PORT or ws://HOST:PORT/PATH; may be repeated
  --allow KLASS      share the records of this class; may be repeated (none)
  --listen ADDR      take native peers there, likewise; may be repeated
  --origin ORIGIN    let web pages of this origin connect; may be repeated (none)
  --name NAME        what the node is called (classic_hub)";

struct Options {
    name: String,
    store: Option<String>,
    clients: Vec<(Uid, String)>,
    allow: Vec<String>,
    listen: Vec<String>,
    origins: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match options() {
        Ok(Some(options)) => run(options).await.map_err(|error| error.to_string()),
        Ok(None) => Ok(()),
        Err(message) => Err(message),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("classic_hub: {message}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Option<Options>, String> {
    let (clients, allow) = (Vec::new(), Vec::new());
    let (listen, origins) = (Vec::new(), Vec::new());
    let name = "classic_hub".to_owned();
    let mut options = Options { name, store: None, clients, allow, listen, origins };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--help" {
            println!("{HELP}");
            return Ok(None);
        }
        let value = args.next().ok_or_else(|| format!("{arg} wants a value\n\n{HELP}"))?;
        match arg.as_str() {
            "--store" => options.store = Some(value),
            "--allow" => options.allow.push(value),
            "--listen" => options.listen.push(value),
            "--origin" => options.origins.push(value),
            "--name" => options.name = value,
            "--client" => {
                let (uid, addr) = value
                    .split_once('=')
                    .ok_or_else(|| format!("--client wants UID=ADDR, not {value:?}\n\n{HELP}"))?;
                let uid = Uid::new(uid).map_err(|error| error.to_string())?;
                options.clients.push((uid, addr.to_owned()));
            }
            _ => return Err(format!("{arg} {value:?} is not understood\n\n{HELP}")),
        }
    }
    Ok(Some(options))
}

async fn run(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut tables = Tables::default();
    for klass in &options.allow {
        tables = tables.allow(Class::new(klass)?)?;
    }
    let settings = Settings { tables, ..Settings::default() };
    let (node, hub) = match &options.store {
        Some(path) => {
            let node = Node::open(path, &options.name)?;
            (node.clone(), Hub::open(node, Redb::open(format!("{path}.classic"))?, settings)?)
        }
        None => {
            let node = Node::in_memory(&options.name)?;
            (node.clone(), Hub::open(node, Memory::new(), settings)?)
        }
    };
    let classic = Classic::start(hub)?;
    tokio::spawn(log(classic.events()));
    let mut notices = node.notices();
    tokio::spawn(async move {
        while let Some(notice) = notices.next().await {
            eprintln!("{notice}");
        }
    });

    let (mut ports, mut native) = (Vec::new(), Vec::new());
    for (uid, addr) in options.clients {
        let listening = match addr.strip_prefix("ws://") {
            Some(addr) => {
                let (addr, path) = addr.split_once('/').unwrap_or((addr, ""));
                let acceptor = Acceptor::default().path(format!("/{path}"));
                let acceptor = acceptor.origins(options.origins.clone());
                classic.listen_websocket(addr, uid.clone(), acceptor).await?
            }
            None => classic.listen(&addr, uid.clone()).await?,
        };
        eprintln!("listening for {uid} on {}", listening.local_addr());
        ports.push(listening);
    }
    for addr in &options.listen {
        let listening = ListenOptions::new(addr).origins(options.origins.clone());
        let listening = node.listen_with(listening).await?;
        eprintln!("listening on {}", listening.local_addr());
        native.push(listening);
    }
    eprintln!("ready");

    let failed = tokio::select! {
        failed = classic.stopped() => failed,
        () = end_of_input() => None,
    };
    drop(ports);
    let failed = failed.or(classic.close().await);
    node.close()?;
    node.closed().await;
    drop(native);
    failed.map_or(Ok(()), |why| Err(why.into()))
}

/// Returns when the input ends, or says `quit`.
async fn end_of_input() {
    let (end, ended) = tokio::sync::oneshot::channel();
    // Reading blocks, and must not keep the process from ending otherwise.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|line| line.trim() == "quit") {
                break;
            }
        }
        // Nobody waits any more when the process ends.
        let _ = end.send(());
    });
    let _ = ended.await;
}

/// Says what happens.
async fn log(mut events: broadcast::Receiver<Event>) {
    loop {
        match events.recv().await {
            Ok(event) => eprintln!("{event}"),
            Err(broadcast::error::RecvError::Lagged(missed)) => eprintln!("{missed} events missed"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}
