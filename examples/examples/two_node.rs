//! Two nodes that work offline and converge: a server with 3,376 airports, and a laptop.
//!
//! ```sh
//! cargo run --release --example two_node -- [--dir DIR] [--encoding msgpack|json]
//! ```
//!
//! With `--dir` the stores stay there, and a second run goes on from the first.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use syncro::{Connection, Encoding, Listening, Node, ScribeModel};
use syncro_examples::{Airport, airports, ended};

const HELP: &str = "\
two_node: a server and a laptop edit 3,376 airports, together and apart, and converge

  --dir DIR                  keep the stores there; a second run goes on from the first
  --encoding msgpack|json    how messages are written (msgpack)";

/// A record that both sides make up while they are apart.
#[derive(ScribeModel, Clone, Debug, PartialEq)]
struct Note {
    id: String,
    text: Option<String>,
    seen_by: Option<String>,
}

/// Rows of one transaction of the import.
const ROWS_AT_ONCE: usize = 250;

#[tokio::main]
async fn main() -> ExitCode {
    ended("two_node", start().await)
}

async fn start() -> Result<(), Box<dyn Error>> {
    let mut dir: Option<PathBuf> = None;
    let mut encoding = Encoding::MessagePack;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next().as_deref()) {
            ("--dir", Some(path)) => dir = Some(path.into()),
            ("--encoding", Some("msgpack")) => encoding = Encoding::MessagePack,
            ("--encoding", Some("json")) => encoding = Encoding::Json,
            ("--help", _) => {
                println!("{HELP}");
                return Ok(());
            }
            _ => return Err(format!("{arg:?} is not understood\n\n{HELP}").into()),
        }
    }
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(&dir)?;
            run(&dir, encoding).await
        }
        None => run(tempfile::tempdir()?.path(), encoding).await,
    }
}

async fn run(dir: &Path, encoding: Encoding) -> Result<(), Box<dyn Error>> {
    let world = World::open(dir, encoding).await?;
    let World { server, laptop, .. } = &world;
    let run = server.update_run()?;
    let encoding_name = if encoding == Encoding::Json { "JSON" } else { "MessagePack" };
    println!("run {run} in {encoding_name}, in {}", dir.display());
    println!("{:44} {:>7} {:>7} {:>9} {:>9}", "step", "records", "scribes", "bytes", "ms");

    let import = world.begin();
    server.import_airports()?;
    import.done("the server imports the airports")?;

    // What the laptop lacks is what the server has written since they last met.
    let (lacking, had) = (server.end().offset - laptop.end().offset, laptop.end().offset);
    let first = world.begin();
    let link = world.link()?;
    world.converge().await?;
    first.done(if had == 0 {
        "the laptop syncs for the first time"
    } else {
        "the laptop goes on"
    })?;
    let fetched = laptop.end().offset - had;
    if fetched != lacking {
        return Err(format!("the laptop took {fetched} scribes in and lacked {lacking}").into());
    }

    let apart = world.begin();
    link.close().await;
    edit_apart(server, laptop, run)?;
    apart.done("the link is cut, and both edit offline")?;

    let again = world.begin();
    let link = world.link()?;
    world.converge().await?;
    again.done("the link returns, and both converge")?;
    show_outcome(server, run)?;

    // Timed until the other side has confirmed that it holds the change durably.
    let live = world.begin();
    server.update::<Airport>(&"SFO".into(), |sfo| sfo.visits += 1)?;
    server.confirmed_by(laptop.id(), server.end().offset).await?;
    live.done("one live change, server to laptop")?;
    world.converge().await?;
    let live = world.begin();
    laptop.update::<Airport>(&"JFK".into(), |jfk| jfk.visits += 1)?;
    laptop.confirmed_by(server.id(), laptop.end().offset).await?;
    live.done("one live change, laptop to server")?;
    world.converge().await?;

    let rate = world.begin();
    let started = Instant::now();
    for n in 0..200 {
        laptop
            .update::<Airport>(&"LAX".into(), |lax| lax.name = format!("Los Angeles {run}.{n}"))?;
    }
    let per_second = 200.0 / started.elapsed().as_secs_f64();
    world.converge().await?;
    rate.done("200 changes, each durable before the next")?;
    link.close().await;

    let digests = (server.digest()?, laptop.digest()?);
    println!("\n{per_second:.0} durable local changes a second, one by one, with the link up");
    println!("server {}\nlaptop {}", digests.0, digests.1);
    server.close()?;
    laptop.close()?;
    if digests.0 != digests.1 {
        return Err("the two nodes differ".into());
    }
    Ok(())
}

/// Edits of every sort, made on both sides while they cannot hear each other.
fn edit_apart(server: &Node, laptop: &Node, run: i64) -> Result<(), syncro::Error> {
    // Disjoint records.
    server.update::<Airport>(&"ORD".into(), |ord| ord.name = format!("O'Hare, run {run}"))?;
    laptop.update::<Airport>(&"SEA".into(), |sea| sea.name = format!("Tacoma, run {run}"))?;
    // The same field: the later writer wins, on both sides. Later is what the stamps say, which have
    // milliseconds: the laptop writes in one that the server's write has not seen.
    server.update::<Airport>(&"DEN".into(), |den| den.name = format!("Denver by server {run}"))?;
    let written_at = unix_ms();
    while unix_ms() == written_at {
        std::hint::spin_loop();
    }
    laptop.update::<Airport>(&"DEN".into(), |den| den.name = format!("Denver by laptop {run}"))?;
    // Different fields of one record: both stay.
    server.update::<Airport>(&"BOS".into(), |bos| bos.city = format!("Boston {run}"))?;
    laptop.update::<Airport>(&"BOS".into(), |bos| bos.name = format!("Logan {run}"))?;
    // A counter raised on both sides: the raises add up.
    server.update::<Airport>(&"ATL".into(), |atl| atl.visits += 3)?;
    laptop.update::<Airport>(&"ATL".into(), |atl| atl.visits += 4)?;
    // A set changed on both sides: members join one by one.
    server.update::<Airport>(&"MIA".into(), |mia| mia.tags.push(format!("warm {run}")))?;
    laptop.update::<Airport>(&"MIA".into(), |mia| mia.tags.push(format!("sea {run}")))?;
    // A destroy against an update: the destroy beats what was written before it.
    let doomed = format!("doomed {run}");
    laptop.update::<Note>(&doomed, |note| note.text = Some("still here?".into()))?;
    server.destroy::<Note>(&doomed)?;
    // The same new id on both sides: one record, with the fields of both.
    let id = format!("made twice {run}");
    let (text, seen_by) = (Some("by the server".to_owned()), Some("the laptop".to_owned()));
    server.create(&Note { id: id.clone(), text, seen_by: None })?;
    laptop.create(&Note { id, text: None, seen_by })?;
    Ok(())
}

fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis())
}

fn show_outcome(node: &Node, run: i64) -> Result<(), Box<dyn Error>> {
    let airport = |iata: &str| -> Result<Airport, Box<dyn Error>> {
        Ok(node.get(&iata.to_owned())?.ok_or_else(|| format!("{iata} is gone"))?)
    };
    let (den, bos, atl, mia) = (airport("DEN")?, airport("BOS")?, airport("ATL")?, airport("MIA")?);
    let note = node.get::<Note>(&format!("made twice {run}"))?.ok_or("the note is gone")?;
    println!("    same field         {:?}", den.name);
    println!("    two fields         {:?} in {:?}", bos.name, bos.city);
    println!("    counter 3 + 4      {} after {run} runs", atl.visits);
    println!("    set                {:?}", mia.tags);
    println!("    destroyed          {}", node.get::<Note>(&format!("doomed {run}"))?.is_none());
    println!("    created twice      {:?}, seen by {:?}", note.text, note.seen_by);
    Ok(())
}

/// The two nodes, and the wire between them.
struct World {
    server: Node,
    laptop: Node,
    listening: Listening,
    encoding: Encoding,
}

impl World {
    async fn open(dir: &Path, encoding: Encoding) -> Result<Self, syncro::Error> {
        let server = Node::open(dir.join("server.redb"), "server")?;
        let laptop = Node::open(dir.join("laptop.redb"), "laptop")?;
        let listening = server.listen("127.0.0.1:0").await?;
        Ok(Self { server, laptop, listening, encoding })
    }

    fn link(&self) -> Result<Connection, syncro::Error> {
        self.laptop.connect_in(&self.listening.local_addr().to_string(), self.encoding)
    }

    /// Waits until each has confirmed that it holds the other's log durably.
    async fn converge(&self) -> Result<(), syncro::Error> {
        self.server.confirmed_by(self.laptop.id(), self.server.end().offset).await?;
        self.laptop.confirmed_by(self.server.id(), self.laptop.end().offset).await
    }

    /// Scribes in both logs together: each counts where it was written and where it was taken in.
    fn scribes(&self) -> u64 {
        self.server.end().offset + self.laptop.end().offset
    }

    fn begin(&self) -> Step<'_> {
        let (read, written) = self.laptop.traffic();
        Step {
            world: self,
            bytes: read + written,
            scribes: self.scribes(),
            started: Instant::now(),
        }
    }
}

/// One step, measured from its beginning.
struct Step<'a> {
    world: &'a World,
    bytes: u64,
    scribes: u64,
    started: Instant,
}

impl Step<'_> {
    fn done(self, name: &str) -> Result<(), syncro::Error> {
        let ms = self.started.elapsed().as_secs_f64() * 1000.0;
        let (read, written) = self.world.laptop.traffic();
        let scribes = self.world.scribes() - self.scribes;
        let records = self.world.laptop.list::<Airport>(|_| true)?.len();
        let bytes = read + written - self.bytes;
        println!("{name:44} {records:>7} {scribes:>7} {bytes:>9} {ms:>9.1}");
        Ok(())
    }
}

/// What only this example asks of a server.
trait Server {
    fn import_airports(&self) -> Result<(), Box<dyn Error>>;
    fn update_run(&self) -> Result<i64, syncro::Error>;
}

impl Server for Node {
    /// Imports the airports that are not there yet.
    fn import_airports(&self) -> Result<(), Box<dyn Error>> {
        let here: Vec<Airport> = self.list(|_| true)?;
        let here: std::collections::BTreeSet<&str> = here.iter().map(|a| a.iata.as_str()).collect();
        let mut lacking = airports()?;
        lacking.retain(|airport| !here.contains(airport.iata.as_str()));
        for rows in lacking.chunks(ROWS_AT_ONCE) {
            self.transaction(|draft| rows.iter().try_for_each(|airport| draft.create(airport)))?;
        }
        Ok(())
    }

    /// Counts the runs, and notes one that will be destroyed while the nodes are apart.
    fn update_run(&self) -> Result<i64, syncro::Error> {
        let run = self.list::<Note>(|note| note.id.starts_with("run "))?.len() as i64 + 1;
        self.transaction(|draft| {
            let note = |id: String| Note { id, text: None, seen_by: None };
            draft.create(&note(format!("run {run}")))?;
            draft.create(&note(format!("doomed {run}")))
        })?;
        Ok(run)
    }
}
