//! What the examples share: the airports.

use std::path::Path;

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
