//! What the examples share: the airports, and how they end.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use syncro::ScribeModel;

/// An airport of the United States, with two fields that people may change together.
#[derive(ScribeModel, Clone, Debug, PartialEq)]
pub struct Airport {
    /// The code of the International Air Transport Association.
    #[scribe(id)]
    pub iata: String,
    /// What it is called.
    pub name: String,
    /// The town.
    pub city: String,
    /// Two letters.
    pub state: String,
    /// Three letters.
    pub country: String,
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// How often somebody was there: raised on any node, at any time.
    #[scribe(counter)]
    pub visits: i64,
    /// What people say of it: added and removed one by one.
    #[scribe(set)]
    pub tags: Vec<String>,
}

/// A row of `airports.csv`.
#[derive(Deserialize)]
struct Row {
    iata: String,
    name: String,
    city: String,
    state: String,
    country: String,
    latitude: f64,
    longitude: f64,
}

/// Reads the 3,376 airports that come with the examples.
///
/// # Errors
///
/// When the file is not where this crate was compiled, or is not the CSV that it was.
pub fn airports() -> Result<Vec<Airport>, csv::Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/airports.csv");
    let rows = csv::Reader::from_path(path)?.into_deserialize();
    let airports = rows.map(|row| {
        let Row { iata, name, city, state, country, latitude, longitude } = row?;
        let (visits, tags) = (0, Vec::new());
        Ok(Airport { iata, name, city, state, country, latitude, longitude, visits, tags })
    });
    airports.collect()
}

/// Ends a program. An error is told as people read it, with what lies below it and was not said yet; `main` would print it
/// as programmers do, with every line break escaped.
pub fn ended(program: &str, done: Result<(), Box<dyn Error>>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {}", told(&*error));
            ExitCode::FAILURE
        }
    }
}

fn told(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let cause = error.to_string();
        if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
        below = error.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_what_lies_below_it_and_nothing_twice() {
        let below = || std::io::Error::other("no such\nthing");
        let wrapped = std::io::Error::other(csv::Error::from(below()));
        assert_eq!(told(&wrapped), "no such\nthing");
        let error = "x".parse::<u8>().map_err(Wrapped).unwrap_err();
        assert_eq!(told(&error), "no number: invalid digit found in string");
    }

    #[derive(Debug)]
    struct Wrapped(std::num::ParseIntError);

    impl std::fmt::Display for Wrapped {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("no number")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
}
