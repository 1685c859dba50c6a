//! Looks at everything in a store, and names what is damaged.
//!
//! ```text
//! cargo run --release --example verify -- FILE
//! ```
//!
//! The file must not be open elsewhere. It is opened as a node would open it, for writing, so that what a crash
//! left is put in order first, and an older format made today's; a store that cannot be opened is told with the
//! reason. Over damage the database may put the file in another order: copy it first if that matters. Each finding is a line on stdout, progress goes to stderr. Exit code 0: sound; 1: damaged; 2: not
//! looked at.

use std::process::ExitCode;

use syncro::store::LogStore;
use syncro::{Redb, StoreError, Verified};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file] = args.as_slice() else {
        eprintln!("usage: verify FILE");
        return ExitCode::from(2);
    };
    // What the database panics over is told as damage.
    std::panic::set_hook(Box::new(|_| {}));
    let verified = verify(file);
    let _ = std::panic::take_hook();
    match verified {
        Ok(verified) if verified.is_sound() => {
            println!("sound: {} transactions, {} records", verified.transactions, verified.records);
            ExitCode::SUCCESS
        }
        Ok(verified) => {
            verified.damage.iter().for_each(|damage| println!("damaged: {damage}"));
            println!("{} findings", verified.findings);
            ExitCode::FAILURE
        }
        Err(error @ (StoreError::Corrupt { .. } | StoreError::NotAStore { .. })) => {
            println!("damaged: {error}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn verify(file: &str) -> Result<Verified, StoreError> {
    // To open a file that is not there would make a store of it.
    std::fs::metadata(file)
        .map_err(|error| std::io::Error::new(error.kind(), format!("{file}: {error}")))?;
    let store = LogStore::open(Redb::open(file)?)?;
    let mut told = 0;
    store.reader().verify(|offset, end| {
        let percent = (offset * 100).checked_div(end).unwrap_or(100);
        if percent >= told + 10 {
            told = percent;
            eprintln!("{percent} % of the log");
        }
    })
}
