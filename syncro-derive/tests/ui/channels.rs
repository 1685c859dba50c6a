use syncro_derive::ScribeModel;

#[derive(ScribeModel)]
#[scribe(channel = "")]
#[scribe(channel = "list/{list", channel = "list/{}", channel = "list}")]
#[scribe(channel = "list/{lists}", channel = "list/{views}", channel = "list/{list}/{id}")]
struct Templates {
    id: String,
    list: String,
    #[scribe(counter)]
    views: i64,
}

fn main() {}
