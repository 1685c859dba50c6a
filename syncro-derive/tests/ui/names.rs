use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
#[scribe(model = "")]
struct Lengths {
    id: String,
    #[scribe(set, map, rename = "")]
    empty: bool,
    #[scribe(rename = "\
123456789_123456789_123456789_123456789_123456789_123456789_123456789_\
123456789_123456789_123456789_123456789_123456789_123456789_123456789_\
123456789_123456789_123456789_123456789_123456789_123456789_123456789_\
123456789_123456789_123456789_123456789_123456")]
    long: bool,
}

#[derive(ScribeModel)]
struct Twice {
    id: String,
    title: String,
    #[scribe(rename = "title")]
    headline: String,
}

fn main() {}
