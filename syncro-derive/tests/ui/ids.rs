use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
struct NoId {
    name: String,
}

#[derive(ScribeModel)]
struct TwoIds {
    #[scribe(id)]
    slug: String,
    #[scribe(id)]
    number: u32,
}

#[derive(ScribeModel)]
struct IdWithKind {
    #[scribe(counter, rename = "number")]
    id: i64,
}

fn main() {}
