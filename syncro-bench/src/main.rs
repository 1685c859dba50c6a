//! What Syncro does in a second, beside what others do: see `docs/performance.md`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use syncro_bench::cases::{self, FAMILIES, Family, Setting};
use syncro_bench::engines::Peer;
use syncro_bench::measure::{Sample, median_by};
use syncro_bench::plot;
use syncro_bench::report::{self, Measured};

const HELP: &str = "\
syncro-bench: one workload, for Syncro and its peers, in one run

  --case C         only this case; may be given several times
  --n N            records (100000); some cases take a fixed part or a multiple of them
  --peers A,B      only these: syncro, automerge, loro, yrs, limit
  --repetitions R  of each case; the median counts
  --json           lines of JSON in place of a table
  --plot FILE.svg  draws it, too
  --list           the names of all cases";

struct Options {
    cases: Vec<String>,
    n: usize,
    peers: Vec<Peer>,
    repetitions: Option<usize>,
    json: bool,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--child", rest)) = args.split_first().map(|(first, rest)| (first.as_str(), rest))
    {
        cases::rest::child(rest);
        return ExitCode::SUCCESS;
    }
    match parse(&args) {
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(None) => ExitCode::SUCCESS,
        Err(misuse) => {
            eprintln!("{misuse}\n\n{HELP}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: &[String]) -> Result<Option<Options>, String> {
    let mut options = Options {
        cases: Vec::new(),
        n: 100_000,
        peers: Peer::ALL.to_vec(),
        repetitions: None,
        json: false,
        plot: None,
    };
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("`{arg}` takes a value"));
        let number = |text: &str| {
            text.replace('_', "").parse().map_err(|_| format!("`{text}` is no number"))
        };
        match arg {
            "--case" => {
                let name = value()?;
                let mut cases = FAMILIES.iter().flat_map(|family| family.cases);
                if cases.all(|case| case.name != name) {
                    return Err(format!("there is no case `{name}`"));
                }
                options.cases.push(name.to_owned());
            }
            "--n" => options.n = number(value()?)?,
            "--repetitions" => options.repetitions = Some(number(value()?)?),
            "--peers" => {
                let named = value()?.split(',').map(|name| {
                    Peer::named(name).ok_or_else(|| format!("there is no peer `{name}`"))
                });
                options.peers = named.collect::<Result<_, _>>()?;
            }
            "--json" => options.json = true,
            "--plot" => options.plot = Some(value()?.into()),
            "--list" => {
                for case in FAMILIES.iter().flat_map(|family| family.cases) {
                    println!("{}", case.name);
                }
                return Ok(None);
            }
            "--help" => {
                println!("{HELP}");
                return Ok(None);
            }
            _ => return Err(format!("`{arg}` is not understood")),
        }
    }
    Ok(Some(options))
}

fn run(options: &Options) -> std::io::Result<()> {
    if !options.json {
        println!("{}\n{}", report::head(), report::rule());
    }
    let mut all = Vec::new();
    for family in FAMILIES {
        for measured in measure_family(family, options) {
            if options.json {
                print!("{}", measured.json());
            } else {
                println!("{}", report::line(&measured));
            }
            all.push(measured);
        }
    }
    match &options.plot {
        Some(file) => std::fs::write(file, plot::svg(&all)),
        None => Ok(()),
    }
}

/// Runs every repetition of every peer, each time in another order: what one leaves on the heap slows the next.
fn measure_family(family: &Family, options: &Options) -> Vec<Measured> {
    let is_wanted =
        |name: &str| options.cases.is_empty() || options.cases.iter().any(|it| it == name);
    let wanted: Vec<_> = family.cases.iter().filter(|case| is_wanted(case.name)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let peers: Vec<Peer> =
        family.peers.iter().copied().filter(|peer| options.peers.contains(peer)).collect();
    let n = (options.n as f64 * family.scale) as usize;
    let mut samples: HashMap<(&str, &str), Vec<Sample>> = HashMap::new();
    for repetition in 0..options.repetitions.unwrap_or(family.repetitions) {
        for turn in 0..peers.len() {
            let peer = peers[(turn + repetition) % peers.len()];
            let dir = tempfile::tempdir().unwrap();
            let setting = Setting {
                n,
                dir: dir.path().to_owned(),
                wanted: wanted.iter().map(|case| case.name).collect(),
            };
            for (case, sample) in (family.run)(peer, &setting) {
                samples.entry((case, peer.name())).or_default().push(sample);
            }
        }
    }
    let mut measured = Vec::new();
    for case in wanted {
        let of = |peer: &Peer| {
            let taken = samples.remove(&(case.name, peer.name())).unwrap_or_default();
            Some((*peer, median_by(taken, |sample| case.metric.cost(sample))?))
        };
        let samples = peers.iter().filter_map(of).collect();
        measured.push(Measured { case: *case, n, samples });
    }
    measured
}
