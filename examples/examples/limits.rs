//! Who may see and change what: a server that lets in whom it knows, shows each what is theirs, and undoes what they may not
//! do.
//!
//! ```sh
//! cargo run --release --example limits -- [--dir DIR]
//! ```
//!
//! A library of 2010 asked an application two questions: which clients may see a record (`scribe_clients`), and whether
//! a client may make a change (`scribe_authorized?`). Channels answer the first, and with [`Rules`] the second: the clients
//! are views, each of its own user's pages.
//!
//! With `--dir` the stores stay there, and a second run goes on from the first. Nothing but this machine's own loopback
//! carries the tokens; anywhere else it would be TLS.

// A file beside this one would be an example too.
#[path = "limits/token.rs"]
mod token;

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use syncro::{
    CloseReason, Connection, Listening, Memory, Node, NodeBuilder, NodeId, Notice, Notices,
    Pattern, Principal, Proposed, Refusal, Rules, ScribeModel, Verdict,
};

use syncro_examples::ended;
use token::{Key, Token};

const HELP: &str = "\
limits: a server and two clients with tokens, and what becomes of what they may not do

  --dir DIR    keep the stores there; a second run goes on from the first (in memory)";

/// A page is in one channel for each of its owners. Whoever may read one of them sees it, and whoever may write into one of
/// them may change it.
#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(channel = "user/{owners}")]
struct Page {
    id: String,
    #[scribe(set)]
    owners: BTreeSet<String>,
    title: String,
    text: String,
}

/// The server's own reason to refuse, for programs.
const UNTITLED: u16 = Refusal::APPLICATION;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a token is good. Nobody can take one back before, but with all others, by another key: so it is short.
const TOKEN_MS: u64 = 60 * 60 * 1000;

fn rules(key: Key) -> Rules {
    let authenticate = move |token: &[u8], node, now_ms| {
        let token = key.verify(token, node, now_ms)?;
        let own = Pattern::of("user/", &token.user).ok()?;
        let principal = Principal::new(&token.user)
            .may_read([own.clone()])
            .of_node(token.node)
            .until(token.until_ms);
        Some(principal.may_write([own]))
    };
    Rules::new(move |claim| authenticate(claim.credentials, claim.node, claim.now.wall_ms))
        .rule(may_become)
}

/// Says what may become of a page, of all that the channels allow.
fn may_become(change: &Proposed<'_, Page>) -> Result<(), Refusal> {
    match &change.after {
        Some(page) if page.title.is_empty() => Err(Refusal::new(UNTITLED, "a page has a title")),
        _ => Ok(()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    ended("limits", start().await)
}

async fn start() -> Result<(), Box<dyn Error>> {
    let mut dir: Option<PathBuf> = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            ("--dir", Some(path)) => dir = Some(path.into()),
            ("--help", _) => {
                println!("{HELP}");
                return Ok(());
            }
            _ => return Err(format!("{arg:?} is not understood\n\n{HELP}").into()),
        }
    }
    if let Some(dir) = &dir {
        std::fs::create_dir_all(dir)?;
    }
    let world = World::open(dir.as_deref()).await?;
    world.everybody_writes_pages_of_their_own().await?;
    world.what_nobody_may_is_undone().await?;
    world.a_page_of_two_is_changed_by_both().await?;
    world.a_wrong_token_does_not_get_in().await?;
    world.close().await
}

/// A server, and two clients that it knows.
struct World {
    server: Node,
    ann: Node,
    bob: Node,
    key: Key,
    listening: Listening,
    /// Pages of earlier runs stay, so each run has ids of its own.
    run: usize,
}

impl World {
    async fn open(dir: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        // A real server keeps its key, for tokens that outlive it.
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        let key = Key::new(&secret)?;
        let server = opened(Node::builder().rules(rules(Key::new(&secret)?)), "server", dir)?;
        let ann = opened(Node::builder().view(), "ann-laptop", dir)?;
        let bob = opened(Node::builder().view(), "bob-phone", dir)?;
        ann.subscribe("user/ann")?;
        bob.subscribe("user/bob")?;
        ann.set_credentials(key.sign(&token("ann", &ann)?))?;
        bob.set_credentials(key.sign(&token("bob", &bob)?))?;
        let listening = server.listen("127.0.0.1:0").await?;
        let run = 1 + server.list::<Page>(|page| page.id.starts_with("garden-"))?.len();
        Ok(Self { server, ann, bob, key, listening, run })
    }

    async fn everybody_writes_pages_of_their_own(&self) -> Result<(), Box<dyn Error>> {
        println!("Everybody writes pages of their own, and changes them.");
        let links = self.links()?;
        let (garden, kitchen) = (self.id("garden"), self.id("kitchen"));
        self.ann.create(&page(&garden, ["ann"], "Garden", "beans"))?;
        self.bob.create(&page(&kitchen, ["bob"], "Kitchen", "soup"))?;
        self.settle().await?;
        self.ann.update::<Page>(&garden, |page| page.text += ", and a pond")?;
        self.bob.update::<Page>(&kitchen, |page| page.text += ", and bread")?;
        self.settle().await?;
        as_told(
            "ann's page",
            self.shown(&garden)?,
            page(&garden, ["ann"], "Garden", "beans, and a pond"),
        )?;
        as_told(
            "bob's page",
            self.shown(&kitchen)?,
            page(&kitchen, ["bob"], "Kitchen", "soup, and bread"),
        )?;
        as_told("verdicts", self.ann.verdicts()?.len() + self.bob.verdicts()?.len(), 0)?;
        cut(links).await;
        Ok(())
    }

    /// A client needs no rules, and no network: it writes as it likes, and learns what was refused when it connects.
    async fn what_nobody_may_is_undone(&self) -> Result<(), Box<dyn Error>> {
        println!("\nBob is offline, and writes as he likes.");
        let (garden, kitchen) = (self.id("garden"), self.id("kitchen"));
        let (letter, cellar) = (self.id("letter"), self.id("cellar"));
        let (bob, before) = (&self.bob, self.server.get::<Page>(&garden)?);
        as_told("ann's page, on bob's node", bob.get::<Page>(&garden)?, None)?;
        bob.create(&page(&garden, ["bob"], "Garden", "weeds"))?;
        bob.create(&page(&letter, ["ann"], "Letter", "I owe bob a pond"))?;
        bob.update::<Page>(&kitchen, |page| page.owners.extend(["ann".into()]))?;
        bob.update::<Page>(&kitchen, |page| page.title.clear())?;
        bob.create(&page(&cellar, ["bob"], "Cellar", "apples"))?;
        let shown = bob.list::<Page>(|page| [&garden, &letter, &cellar].contains(&&page.id))?;
        println!("  on his node ann's page was not to be seen, and {} are new", shown.len());

        println!("\nHe connects, and the server judges each change by itself.");
        let links = self.links()?;
        self.settle().await?;
        told_and_dismissed(
            bob,
            [
                ("he guesses the id of ann's page", Refusal::CHANNEL),
                ("he writes a page in her name", Refusal::CHANNEL),
                ("he shows her a page unasked", Refusal::CHANNEL),
                ("he takes the title off his own", UNTITLED),
            ],
        )?;
        self.settle().await?;
        println!("  what is refused is undone, and what is not stays:");
        as_told("ann's page", Some(self.shown(&garden)?), before)?;
        as_told("the title", self.shown(&kitchen)?.title, "Kitchen".to_owned())?;
        as_told(
            "bob's new page",
            self.shown(&cellar)?,
            page(&cellar, ["bob"], "Cellar", "apples"),
        )?;
        as_told("the page in her name", bob.get::<Page>(&letter)?, None)?;
        cut(links).await;
        Ok(())
    }

    /// It is the server's operator who writes it: a client lets a page enter no channel but its own.
    async fn a_page_of_two_is_changed_by_both(&self) -> Result<(), Box<dyn Error>> {
        println!("\nA page of two is changed by both.");
        let links = self.links()?;
        let trip = self.id("trip");
        self.server.create(&page(&trip, ["ann", "bob"], "Trip", ""))?;
        self.settle().await?;
        self.ann.update::<Page>(&trip, |page| page.title = "Trip to the sea".into())?;
        self.bob.update::<Page>(&trip, |page| page.text = "Friday, by train".into())?;
        self.settle().await?;
        let both = page(&trip, ["ann", "bob"], "Trip to the sea", "Friday, by train");
        as_told("the page of both", self.shown(&trip)?, both)?;
        as_told("verdicts", self.ann.verdicts()?.len() + self.bob.verdicts()?.len(), 0)?;
        cut(links).await;
        Ok(())
    }

    async fn a_wrong_token_does_not_get_in(&self) -> Result<(), Box<dyn Error>> {
        println!("\nA wrong token does not get in, whatever is wrong with it.");
        let (bob, kitchen) = (&self.bob, self.id("kitchen"));
        let good = token("bob", bob)?;
        let forger = Key::new(b"a guess")?;
        let wrong = [
            (
                "one that has ended",
                self.key.sign(&Token { until_ms: now_ms()? - 1, ..good.clone() }),
            ),
            ("one that bob has signed", forger.sign(&good)),
            ("ann's, on bob's node", self.key.sign(&token("ann", &self.ann)?)),
            ("none", String::new()),
        ];
        for (what, credentials) in wrong {
            bob.set_credentials(credentials)?;
            let mut notices = bob.notices();
            let link = self.link(bob)?;
            denied(&mut notices).await?;
            link.close().await;
            println!("  {what:32} Denied: {}", CloseReason::Denied);
        }
        bob.update::<Page>(&kitchen, |page| page.text = "pancakes".into())?;
        let mut notices = bob.notices();
        let links = self.links()?;
        denied(&mut notices).await?;
        // The connection tries again by itself, and says what the node says by then.
        bob.set_credentials(self.key.sign(&good))?;
        self.settle().await?;
        let principals = self.server.sessions().into_iter().filter_map(|open| open.principal);
        let names: BTreeSet<String> = principals.map(|principal| principal.name.clone()).collect();
        as_told("who is in", names, ["ann".to_owned(), "bob".to_owned()].into())?;
        println!("  {:32} lets bob in, with what he wrote meanwhile:", "one that was renewed");
        as_told("bob's page", self.shown(&kitchen)?.text, "pancakes".to_owned())?;
        cut(links).await;
        Ok(())
    }

    /// Closes the nodes, each of which has to have what it may see.
    async fn close(self) -> Result<(), Box<dyn Error>> {
        let [ann, bob] = self.clients().map(|(client, user)| self.has_its_own(client, user));
        as_told("who has their own pages", [ann?, bob?], [true, true])?;
        let count = |node: &Node| node.list::<Page>(|_| true).map(|pages| pages.len());
        let counts = [count(&self.server)?, count(&self.ann)?, count(&self.bob)?];
        [&self.server, &self.ann, &self.bob].into_iter().try_for_each(Node::close)?;
        let [all, ann, bob] = counts;
        println!("\nThe server has {all} pages, ann's node {ann}, and bob's node {bob}");
        Ok(())
    }

    fn clients(&self) -> [(&Node, &'static str); 2] {
        [(&self.ann, "ann"), (&self.bob, "bob")]
    }

    /// Whether a client shows the pages of its user, as the server has them, and no others.
    fn has_its_own(&self, client: &Node, user: &str) -> Result<bool, syncro::Error> {
        let theirs = self.server.list::<Page>(|page| page.owners.contains(user))?;
        Ok(client.list::<Page>(|_| true)? == theirs)
    }

    fn links(&self) -> Result<[Connection; 2], syncro::Error> {
        Ok([self.link(&self.ann)?, self.link(&self.bob)?])
    }

    fn link(&self, client: &Node) -> Result<Connection, syncro::Error> {
        client.connect(&self.listening.local_addr().to_string())
    }

    /// Lets the clients say everything, and waits until each shows what the server has of it.
    async fn settle(&self) -> Result<(), Box<dyn Error>> {
        for (client, _) in self.clients() {
            let confirmed = client.confirmed_by(self.server.id(), client.end().offset);
            tokio::time::timeout(PATIENCE, confirmed).await??;
        }
        for (client, user) in self.clients() {
            let mut changes = client.watch::<Page>();
            while !self.has_its_own(client, user)? {
                tokio::time::timeout(PATIENCE, changes.next()).await??;
            }
        }
        Ok(())
    }

    /// Prints a page as the server has it, and its owners' nodes.
    fn shown(&self, id: &String) -> Result<Page, Box<dyn Error>> {
        let shown = self.server.get::<Page>(id)?.ok_or_else(|| format!("{id} is gone"))?;
        for (client, user) in self.clients() {
            let expected = Some(&shown).filter(|page| page.owners.contains(user));
            as_told(id, client.get::<Page>(id)?.as_ref(), expected)?;
        }
        let Page { id, owners, title, text } = &shown;
        let owners = owners.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
        println!("  {id:12} of {owners:12} {title:?}: {text:?}");
        Ok(shown)
    }

    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }
}

async fn cut(links: [Connection; 2]) {
    for link in links {
        link.close().await;
    }
}

fn opened(builder: NodeBuilder, name: &str, dir: Option<&Path>) -> Result<Node, syncro::Error> {
    let builder = builder.name(name);
    match dir {
        Some(dir) => builder.open(dir.join(format!("{name}.redb"))),
        None => builder.open_on(Memory::new()),
    }
}

fn page<const N: usize>(id: &str, owners: [&str; N], title: &str, text: &str) -> Page {
    let owners = owners.map(str::to_owned).into();
    Page { id: id.to_owned(), owners, title: title.to_owned(), text: text.to_owned() }
}

/// What a server gives to somebody who has shown by a password, or by whatever else, who they are.
fn token(user: &str, client: &Node) -> Result<Token, Box<dyn Error>> {
    let (user, node): (String, NodeId) = (user.to_owned(), client.id());
    Ok(Token { user, node, until_ms: now_ms()? + TOKEN_MS })
}

fn now_ms() -> Result<u64, Box<dyn Error>> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?)
}

/// Prints the verdicts on what a client did, in the order in which it did it, and deals with them.
fn told_and_dismissed<const N: usize>(
    client: &Node,
    expected: [(&str, u16); N],
) -> Result<(), Box<dyn Error>> {
    let mut verdicts = client.verdicts()?;
    verdicts.sort_by_key(|verdict| verdict.stamp);
    for ((did, _), Verdict { refusal, records, .. }) in expected.iter().zip(&verdicts) {
        println!("  {did:32} {}: {}", refusal.code, refusal.message);
        as_told("records of a verdict", records.len(), 1)?;
    }
    let codes: Vec<u16> = verdicts.iter().map(|verdict| verdict.refusal.code).collect();
    as_told("the codes", codes, expected.map(|(_, code)| code).into())?;
    for verdict in &verdicts {
        client.dismiss(verdict)?;
    }
    Ok(())
}

/// Waits until a server has not let a client in; a session that was cut off on the way is tried again by itself.
async fn denied(notices: &mut Notices) -> Result<(), Box<dyn Error>> {
    loop {
        match tokio::time::timeout(PATIENCE, notices.next()).await? {
            Some(Notice::Closed { reason: CloseReason::Denied, .. }) => return Ok(()),
            Some(Notice::Opened { .. }) => return Err("it was let in".into()),
            Some(_) => {}
            None => return Err("the node has closed".into()),
        }
    }
}

/// Fails where the story is not what this program tells.
fn as_told<T: PartialEq + Debug>(what: &str, is: T, told: T) -> Result<(), Box<dyn Error>> {
    match is == told {
        true => Ok(()),
        false => Err(format!("{what}: {is:?}, and it should be {told:?}").into()),
    }
}
