//! A disk that is full, and then not.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::process::PATIENCE;
use crate::shell::{Shell, say};

/// What the disk takes, and what of it something else takes until it is removed.
const DISK_MIB: usize = 12;
const FILLER_BYTES: usize = 5 << 20;

/// More records than fit on the disk.
const RECORDS_MAX: usize = 4000;

/// A laptop writes until its disk is full. It says so, goes on reading, sending and destroying, and writes again
/// once there is room. Nothing that it acknowledged is lost, and its peer has all of it.
#[test]
fn a_node_on_a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            return say(&format!("skip: full disk, since no small one can be mounted: {why}"));
        }
    };
    let mut points = Points::default();
    disk.fill();
    let (mut server, addr) = Shell::listening(&["--name", "server"]);
    let store = disk.path("laptop.redb");
    let args = ["--name", "laptop", "--store", store.to_str().unwrap(), "--connect", &addr];
    let mut laptop = Shell::start(&args);
    let mut there = BTreeSet::new();

    let code = write_until_refused(&mut laptop, "first", &mut there);
    points.add("a write that does not fit is refused as `full`", code == "full");
    points.add("reads go on", reads(&mut laptop, &there));
    points.add("the peer gets what was acknowledged", reaches(&mut server, &there));
    server.ok("create from_server s {}");
    points.add("the peer goes on", server.ok("list from_server") != json!([]));
    let destroyed = there.pop_first().unwrap();
    let is_destroyed = laptop.ask(&format!("destroy todo {destroyed}")).get("ok").is_some();
    points.add("a destroy fits", is_destroyed);
    if is_destroyed {
        points.add("the destroy reaches the peer", reaches(&mut server, &there));
    } else {
        points.add("the destroy reaches the peer", false);
        there.insert(destroyed);
    }

    disk.make_room();
    let resumed = resumes(&mut laptop, &mut there);
    points.add("writing resumes by itself when there is room", resumed);
    if !resumed {
        laptop.kill();
        laptop = Shell::start(&args);
        points.add("writing resumes after reopening", resumes(&mut laptop, &mut there));
    } else {
        points.add("writing resumes after reopening", true);
    }
    points.add("all that was acknowledged is there", reads(&mut laptop, &there));
    points.add("both hold the same", converge(&mut laptop, &mut server));

    // Once more, and the process is killed while the disk is full.
    let code = write_until_refused(&mut laptop, "second", &mut there);
    points.add("a full disk is refused as `full` again", code == "full");
    laptop.kill();
    fs::remove_file(disk.path("ballast")).unwrap();
    let mut laptop = Shell::start(&args);
    points.add("a process killed on a full disk lost nothing", reads(&mut laptop, &there));
    points.add("and writes again", resumes(&mut laptop, &mut there));
    points.add("and both hold the same", converge(&mut laptop, &mut server));
    points.tell();
}

/// Writes until it is refused, and returns the code.
fn write_until_refused(laptop: &mut Shell, run: &str, there: &mut BTreeSet<String>) -> String {
    for number in 0..RECORDS_MAX {
        let id = format!("{run}.{number:04}");
        let answer = laptop.ask(&format!(r#"create todo {id} {{"text":"{}"}}"#, "x".repeat(8000)));
        if let Some(code) = answer["error"]["code"].as_str() {
            return code.to_owned();
        }
        there.insert(id);
    }
    panic!("{RECORDS_MAX} records fit on a disk of {DISK_MIB} MiB");
}

/// Whether the node shows the records that should be there. It may show one more, whose write it refused.
fn reads(shell: &mut Shell, there: &BTreeSet<String>) -> bool {
    let answer = shell.ask("list todo");
    answer["ok"].as_array().is_some_and(|list| there.is_subset(&ids(list)))
}

fn ids(list: &[Json]) -> BTreeSet<String> {
    list.iter().map(|record| record["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the peer holds the records that should be there; and no others but one whose write was refused.
fn reaches(server: &mut Shell, there: &BTreeSet<String>) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        let list = server.ok("list todo");
        let held = ids(list.as_array().unwrap());
        if there.is_subset(&held) && held.len() <= there.len() + 1 {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
    }
}

/// Tries a write until it is taken; as long as it is refused as `full`, there may be room later.
fn resumes(laptop: &mut Shell, there: &mut BTreeSet<String>) -> bool {
    let (end, id) = (Instant::now() + PATIENCE, format!("resumed.{}", there.len()));
    while Instant::now() < end {
        let answer = laptop.ask(&format!(r#"create todo {id} {{"text":"again"}}"#));
        if answer.get("ok").is_some() {
            there.insert(id);
            return true;
        }
        if answer["error"]["code"] != "full" {
            return false;
        }
    }
    false
}

fn converge(laptop: &mut Shell, server: &mut Shell) -> bool {
    laptop.ok("await server");
    server.ok("await laptop");
    laptop.digest() == server.digest()
}

/// What was demanded, and whether it holds.
#[derive(Default)]
struct Points(Vec<(&'static str, bool)>);

impl Points {
    fn add(&mut self, what: &'static str, holds: bool) {
        self.0.push((what, holds));
    }

    fn tell(self) {
        let failed: Vec<_> = self.0.iter().filter(|it| !it.1).map(|it| it.0).collect();
        say(&format!("points {}/{} full disk", self.0.len() - failed.len(), self.0.len()));
        assert!(failed.is_empty(), "does not hold: {failed:#?}");
    }
}

/// A small file system in memory, which only a process of its own sees; others reach it through that one.
struct Disk {
    holder: Child,
    place: TempDir,
}

impl Disk {
    /// Mounts it as whoever may: with rights of its own, or with ours.
    fn mount() -> Result<Self, String> {
        let mut why = String::new();
        for rights in ["-rm", "-m"] {
            match Self::mount_with(rights) {
                Ok(disk) => return Ok(disk),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn mount_with(rights: &str) -> Result<Self, String> {
        let place = TempDir::new().unwrap();
        let script =
            format!("mount -t tmpfs -o size={DISK_MIB}m tmpfs \"$0\" && echo mounted && exec cat");
        let mut command = Command::new("unshare");
        command.args([rights, "sh", "-c", &script]).arg(place.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let disk = Self { holder, place };
        if line != "mounted\n" {
            return Err(format!("unshare {rights} does not mount it"));
        }
        // Where processes may not look into each other's view of the disk, it is of no use.
        fs::write(disk.path("probe"), []).map_err(|error| format!("{error}"))?;
        if disk.place.path().join("probe").exists() {
            return Err("it is everybody's".to_owned());
        }
        Ok(disk)
    }

    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.place.path().strip_prefix("/").unwrap()).join(name)
    }

    /// Puts something on it that can be removed, in two parts.
    fn fill(&self) {
        for name in ["filler", "ballast"] {
            fs::write(self.path(name), vec![1; FILLER_BYTES / 2]).unwrap();
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.path("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
