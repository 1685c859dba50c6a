//! A server that limits what its clients do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use syncro::{
    Access, CloseReason, Error, MemoryDisk, Node, Notice, Pattern, Principal, Refusal, Rules,
    ScribeModel, UsageError, Verdict,
};

use crate::support::{eventually, id, link, node, soon};

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(channel = "list/{list}", channel = "reader/{readers}")]
struct Entry {
    id: String,
    list: String,
    title: String,
    #[scribe(set)]
    readers: BTreeSet<String>,
    #[scribe(counter)]
    votes: i64,
}

fn entry(id: &str, list: &str) -> Entry {
    let (id, list) = (id.to_owned(), list.to_owned());
    Entry { title: format!("the title of {id}"), id, list, readers: BTreeSet::new(), votes: 0 }
}

/// Whose token is the name of a list may write into that list.
fn rules() -> Rules {
    let rules = Rules::new(|claim| {
        let list = std::str::from_utf8(claim.credentials).ok().filter(|list| !list.is_empty())?;
        let pattern = Pattern::of("list/", list).ok()?;
        Some(Principal::new(list).may_read(Access::All).may_write([pattern]))
    });
    rules.rule(|change: &syncro::Proposed<'_, Entry>| match &change.after {
        Some(entry) if entry.title == "panic" => panic!("a rule that fails"),
        Some(entry) if entry.title.is_empty() => Err(Refusal::new(100, "an entry has a title")),
        _ => Ok(()),
    })
}

fn server() -> Node {
    Node::builder().name("server").rules(rules()).open_on(syncro::Memory::new()).unwrap()
}

fn client(name: &str, token: &str) -> Node {
    let builder = Node::builder().name(name).credentials(token);
    builder.open_on(syncro::Memory::new()).unwrap()
}

/// Lets both say everything.
async fn settle(server: &Node, client: &Node) {
    for (one, other) in [(server, client), (client, server), (server, client)] {
        let end = one.end().offset;
        soon("it is confirmed", one.confirmed_by(other.id(), end)).await.unwrap();
    }
    assert_eq!(server.digest().unwrap(), client.digest().unwrap());
}

#[tokio::test]
async fn what_is_refused_is_undone_and_told_and_the_rest_stays() {
    let (server, ann) = (server(), client("ann", "a"));
    let mut notices = ann.notices();
    server.create(&entry("theirs", "b")).unwrap();
    ann.create(&entry("mine", "a")).unwrap();
    ann.create(&entry("stray", "b")).unwrap();
    ann.update(&id("mine"), |entry: &mut Entry| entry.votes += 2).unwrap();
    let _link = link(&ann, &server);
    settle(&server, &ann).await;
    ann.update(&id("theirs"), |entry: &mut Entry| entry.title = id("mine now")).unwrap();
    ann.update(&id("mine"), |entry: &mut Entry| entry.title = id("")).unwrap();
    ann.update(&id("mine"), |entry: &mut Entry| entry.votes += 3).unwrap();
    settle(&server, &ann).await;
    for node in [&server, &ann] {
        let all = node.list::<Entry>(|_| true).unwrap();
        assert_eq!(all, [Entry { votes: 5, ..entry("mine", "a") }, entry("theirs", "b")]);
    }
    let mut told = Vec::new();
    while let Some(notice) = notices.try_next() {
        if let Notice::Refused { verdict } = notice {
            told.push((verdict.refusal.code, verdict.records[0].id.to_string()));
        }
    }
    let expected = [(Refusal::CHANNEL, "stray"), (Refusal::CHANNEL, "theirs"), (100, "mine")];
    assert_eq!(told, expected.map(|(code, id)| (code, id.to_owned())));

    // Each is there until it was dealt with, which is no business of the server's.
    let verdicts = ann.verdicts().unwrap();
    assert_eq!((verdicts.len(), server.verdicts().unwrap().len()), (3, 0));
    for verdict in &verdicts {
        ann.dismiss(verdict).unwrap();
    }
    settle(&server, &ann).await;
    assert!(ann.verdicts().unwrap().is_empty());
    assert!(server.list::<Verdict>(|_| true).unwrap().is_empty());
}

/// The model was forgotten in the rules, and the refusal did not say that it has to be there.
#[tokio::test]
async fn a_model_that_the_rules_do_not_name_is_refused_with_what_to_do() {
    for (pattern, says) in [("list/*", "`Rules::model`)"), ("model/*", "`Rules::rule`")] {
        let rules = Rules::new(move |_| {
            let pattern = Pattern::new(pattern).ok()?;
            Some(Principal::new("ann").may_read(Access::All).may_write([pattern]))
        });
        let server = Node::builder().name("server").rules(rules);
        let server = server.open_on(syncro::Memory::new()).unwrap();
        let ann = client("ann", "a");
        ann.create(&entry("1", "a")).unwrap();
        let _link = link(&ann, &server);
        settle(&server, &ann).await;
        let message = &ann.verdicts().unwrap()[0].refusal.message;
        assert!(message.contains("entry/1") && message.contains(says), "{message}");
    }
}

#[tokio::test]
async fn when_a_write_is_confirmed_its_author_knows_whether_it_was_refused() {
    let (server, ann) = (server(), client("ann", "a"));
    let _link = link(&ann, &server);
    for number in 0..50 {
        let stray = number.to_string();
        let written = ann.create(&entry(&stray, "b")).unwrap().unwrap();
        soon("it is confirmed", ann.confirmed_by(server.id(), written.offset)).await.unwrap();
        assert_eq!(ann.verdicts().unwrap().len(), number + 1);
        assert!(ann.get::<Entry>(&stray).unwrap().is_none());
    }
}

#[tokio::test]
async fn whoever_shows_nothing_or_too_much_does_not_get_in() {
    let (server, stranger) = (server(), node("stranger"));
    let [ends, _] = link(&stranger, &server).ended().await;
    assert_eq!(ends.reason, CloseReason::Denied);
    assert!(!ends.was_open);
    let long = vec![b'x'; 2049];
    let error = stranger.set_credentials(long.clone()).unwrap_err();
    assert!(
        matches!(error, Error::Usage(UsageError::CredentialsTooLong { bytes: 2049 })),
        "{error}"
    );
    let opened = Node::builder().credentials(long).open_on(syncro::Memory::new());
    assert!(matches!(opened, Err(Error::Usage(UsageError::CredentialsTooLong { .. }))));
    stranger.set_credentials("a").unwrap();
    let _link = link(&stranger, &server);
    settle(&server, &stranger).await;
}

#[tokio::test]
async fn a_connection_gets_in_when_its_credentials_are_right() {
    let (server, ann) = (server(), client("ann", ""));
    let listening = server.listen("127.0.0.1:0").await.unwrap();
    let mut notices = ann.notices();
    let _connection = ann.connect(&listening.local_addr().to_string()).unwrap();
    loop {
        let notice = soon("it is told", notices.next()).await.unwrap();
        if matches!(notice, Notice::Closed { reason: CloseReason::Denied, .. }) {
            break;
        }
    }
    ann.set_credentials("a").unwrap();
    eventually("it gets in", || !ann.sessions().is_empty()).await;
    settle(&server, &ann).await;
}

#[tokio::test]
async fn rights_change_while_a_session_is_open() {
    let (server, ann) = (server(), client("ann", "a"));
    let _link = link(&ann, &server);
    settle(&server, &ann).await;
    let all = Pattern::new("list/*").unwrap();
    server
        .set_principal(ann.id(), Some(Principal::new("ann").may_read(Access::All).may_write([all])))
        .unwrap();
    assert_eq!(server.sessions()[0].principal.as_ref().unwrap().name, "ann");
    ann.create(&entry("1", "b")).unwrap();
    settle(&server, &ann).await;
    assert_eq!(server.get(&id("1")).unwrap(), Some(entry("1", "b")));
    server.set_principal(ann.id(), None).unwrap();
    eventually("it is out", || ann.sessions().is_empty()).await;
}

#[tokio::test]
async fn what_a_rule_panics_on_is_in_quarantine_until_somebody_decides() {
    let (server, ann) = (server(), client("ann", "a"));
    let mut notices = server.notices();
    ann.create(&Entry { title: id("panic"), ..entry("1", "a") }).unwrap();
    ann.create(&entry("2", "a")).unwrap();
    let _link = link(&ann, &server);
    eventually("the rest is there", || server.get::<Entry>(&id("2")).unwrap().is_some()).await;
    let parked = server.quarantine().unwrap().remove(0);
    assert_eq!((parked.bearer, server.get::<Entry>(&id("1")).unwrap()), (ann.id(), None));
    let told = std::iter::from_fn(|| notices.try_next());
    assert!(told.into_iter().any(|notice| notice == Notice::Parked { parked: parked.clone() }));
    let error = server.retry(&parked).unwrap_err();
    assert!(matches!(error, Error::Usage(UsageError::Unplayable { .. })), "{error}");
    server.discard(&parked, "we know no such entry").unwrap();
    settle(&server, &ann).await;
    assert_eq!(ann.verdicts().unwrap()[0].refusal.message, "we know no such entry");
    assert_eq!(ann.list::<Entry>(|_| true).unwrap(), [entry("2", "a")]);
    assert!(server.quarantine().unwrap().is_empty());
}

#[tokio::test]
async fn what_does_not_fit_its_type_or_has_none_is_refused() {
    #[derive(ScribeModel)]
    #[scribe(model = "entry", channel = "list/{list}")]
    struct Misfit {
        id: String,
        list: String,
        title: i64,
    }
    #[derive(ScribeModel)]
    #[scribe(channel = "list/a")]
    struct Unheard {
        id: String,
    }
    let (server, ann) = (server(), client("ann", "a"));
    ann.create(&Misfit { id: id("1"), list: id("a"), title: 7 }).unwrap();
    ann.create(&Unheard { id: id("2") }).unwrap();
    let _link = link(&ann, &server);
    settle(&server, &ann).await;
    let verdicts = ann.verdicts().unwrap();
    let codes: BTreeSet<u16> = verdicts.iter().map(|verdict| verdict.refusal.code).collect();
    assert_eq!(codes, [Refusal::MISFIT, Refusal::CHANNEL].into());
    assert!(server.list::<Entry>(|_| true).unwrap().is_empty());
}

/// The node that says no is closed, and opened again, before the author hears of it.
#[tokio::test]
async fn a_verdict_outlives_the_node_that_gave_it() {
    let disk = MemoryDisk::new();
    let open = || Node::builder().name("server").rules(rules()).open_on(disk.open().unwrap());
    let ann = client("ann", "a");
    ann.create(&entry("1", "b")).unwrap();
    let server = open().unwrap();
    let first = link(&ann, &server);
    eventually("it is judged", || !server.list::<Verdict>(|_| true).unwrap().is_empty()).await;
    first.cut().await;
    server.close().unwrap();
    drop(server);
    let server = open().unwrap();
    let _link = link(&ann, &server);
    settle(&server, &ann).await;
    assert_eq!(ann.verdicts().unwrap().len(), 1);
    assert!(ann.get::<Entry>(&id("1")).unwrap().is_none());
}

#[tokio::test]
async fn permissions_of_ones_own_making_are_asked() {
    #[derive(Debug)]
    struct Closed(Arc<AtomicBool>);
    impl syncro::Permissions for Closed {
        fn authenticate(&self, _: &syncro::Claim<'_>) -> Option<Arc<Principal>> {
            let all = Pattern::new("*").unwrap();
            Some(Arc::new(Principal::new("anybody").may_read(Access::All).may_write([all])))
        }
        fn authorize(&self, attempt: &syncro::Attempt<'_>) -> Result<(), Refusal> {
            assert_eq!(attempt.principal.name, "anybody");
            match self.0.load(Ordering::Relaxed) {
                true => Err(Refusal::new(101, "we are closed")),
                false => Ok(()),
            }
        }
    }
    let is_closed = Arc::new(AtomicBool::new(true));
    let builder = Node::builder().name("server").permissions(Closed(is_closed.clone()));
    let server = builder.model::<Entry>().open_on(syncro::Memory::new()).unwrap();
    let ann = node("ann");
    let _link = link(&ann, &server);
    ann.create(&entry("1", "a")).unwrap();
    settle(&server, &ann).await;
    assert_eq!(ann.verdicts().unwrap()[0].refusal, Refusal::new(101, "we are closed"));
    is_closed.store(false, Ordering::Relaxed);
    ann.create(&entry("1", "a")).unwrap();
    settle(&server, &ann).await;
    assert_eq!(server.get(&id("1")).unwrap(), Some(entry("1", "a")));
}
