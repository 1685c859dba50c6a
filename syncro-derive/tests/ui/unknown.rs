use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
#[scribe(modell = "todo")]
struct Misspelt {
    // The unknown attribute may have meant the id: nothing is said of an id that is missing.
    #[scribe(idd)]
    slug: String,
    #[scribe(count)]
    views: i64,
    #[scribe(lww)]
    due: String,
    #[scribe(rename)]
    title: String,
    #[scribe(set = true)]
    labels: Vec<String>,
}

fn main() {}
