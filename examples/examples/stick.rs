//! Two nodes that never connect: what one wrote is carried to the other on a stick.
//!
//! ```sh
//! cargo run --example stick
//! ```

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read};
use std::path::Path;
use std::process::ExitCode;

use syncro::{BundleError, Imported, Node, NodeId, ScribeModel};
use syncro_examples::ended;

#[derive(ScribeModel, Clone, Debug, PartialEq)]
struct Tree {
    id: u32,
    kind: String,
    height_m: Option<u32>,
}

fn main() -> ExitCode {
    ended("stick", start())
}

fn start() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let stick = path("stick.bundle");
    let office = Node::open(path("office"), "office")?;
    let forest = Node::open(path("forest"), "forest")?;

    println!("The office plans, the forest counts, and a stick goes there and back:");
    for id in 1..=3 {
        office.create(&Tree { id, kind: "oak".into(), height_m: None })?;
    }
    carry(&office, &forest, &stick)?;
    forest.update(&1, |tree: &mut Tree| tree.height_m = Some(24))?;
    forest.create(&Tree { id: 4, kind: "beech".into(), height_m: Some(31) })?;
    office.update(&2, |tree: &mut Tree| tree.kind = "ash".into())?;
    carry(&forest, &office, &stick)?;
    carry(&office, &forest, &stick)?;
    println!("office {}\nforest {}", office.digest()?, forest.digest()?);

    println!("\nThe stick is pulled out too early, and then copied once more:");
    office.update(&3, |tree: &mut Tree| tree.height_m = Some(18))?;
    write(&office, forest.id(), &stick)?;
    let length = fs::metadata(&stick)?.len();
    OpenOptions::new().write(true).open(&stick)?.set_len(length - 60)?;
    let Err(error) = read(&forest, &stick) else { return Err("it is not whole".into()) };
    println!("forest: {error}");
    carry(&office, &forest, &stick)?;

    println!(
        "\nThe forest's machine is lost, and a new one begins with what the office wrote since:"
    );
    carry(&forest, &office, &stick)?;
    forest.close()?;
    let forest = Node::open(path("forest anew"), "forest")?;
    office.create(&Tree { id: 5, kind: "yew".into(), height_m: None })?;
    write(&office, forest.id(), &stick)?;
    match read(&forest, &stick) {
        Err(syncro::Error::Bundle(error @ BundleError::Gap { .. })) => println!("forest: {error}"),
        read => return Err(format!("there is a gap before it: {read:?}").into()),
    }
    forest.request_for(office.id(), File::create(&stick)?)?;
    read(&office, &stick)?;
    carry(&office, &forest, &stick)?;

    for tree in forest.list::<Tree>(|_| true)? {
        println!("{tree:?}");
    }
    println!("office {}\nforest {}", office.digest()?, forest.digest()?);
    Ok(())
}

/// Writes a bundle onto the stick, and reads it at the other node.
fn carry(from: &Node, to: &Node, stick: &Path) -> Result<(), Box<dyn Error>> {
    write(from, to.id(), stick)?;
    read(to, stick)?;
    Ok(())
}

/// Writes what a peer is not known to have, and sees to it that it is on the stick.
fn write(from: &Node, peer: NodeId, stick: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(stick)?);
    let exported = from.export_for(peer, &mut file)?;
    file.into_inner()?.sync_all()?;
    println!("  written: scribes {} to {}, {} bytes", exported.start, exported.end, exported.bytes);
    Ok(())
}

fn read(to: &Node, stick: &Path) -> Result<Imported, syncro::Error> {
    let file = File::open(stick).map_err(BundleError::Io)?;
    let length = file.metadata().map_err(BundleError::Io)?.len();
    let imported = to.import(Counted { file, length, read: 0 })?;
    let by = imported.name.as_ref().map_or("somebody", |name| name.as_str());
    println!("  read: {} new scribes of what is from {by}", imported.scribes);
    Ok(imported)
}

/// Says how far a long reading is.
struct Counted {
    file: File,
    length: u64,
    read: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        let tenth = |bytes: u64| bytes * 10 / self.length.max(1);
        let before = tenth(self.read);
        self.read += u64::try_from(read).unwrap_or_default();
        if self.length > 1 << 20 && tenth(self.read) > before {
            println!("  {} % of {} bytes", tenth(self.read) * 10, self.length);
        }
        Ok(read)
    }
}
