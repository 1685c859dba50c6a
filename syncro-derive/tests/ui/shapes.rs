use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
enum State {
    Open,
    Done,
}

#[derive(ScribeModel)]
union Bits {
    int: u32,
    float: f32,
}

#[derive(ScribeModel)]
struct Pair(String, u8);

#[derive(ScribeModel)]
struct Unit;

fn main() {}
