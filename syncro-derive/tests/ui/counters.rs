use syncro_derive::ScribeModel;

type Count = i64;

#[derive(ScribeModel)]
struct Counted {
    id: String,
    #[scribe(counter)]
    unsigned: u64,
    #[scribe(counter)]
    maybe: Option<i64>,
    #[scribe(counter, rename = "both")]
    pair: (i64, i64),
    #[scribe(counter)]
    alias: Count,
    #[scribe(counter)]
    qualified: std::primitive::i64,
}

fn main() {}
