//! A server that shows each of its clients some channels only.

use std::collections::BTreeSet;

use syncro::{
    Change, CloseReason, DataError, Error, Mark, MemoryDisk, Node, Notice, Pattern, Principal,
    Refusal, Rules, ScribeModel, UsageError,
};

use crate::support::{eventually, id, link, node};

#[derive(ScribeModel, Clone, Debug, PartialEq)]
#[scribe(channel = "list/{list}")]
struct Entry {
    id: String,
    list: String,
    title: String,
}

fn entry(id: &str, list: &str) -> Entry {
    Entry { id: id.to_owned(), list: list.to_owned(), title: String::new() }
}

/// Whose token is `a+b` sees and writes the lists a and b.
fn rules() -> Rules {
    let rules = Rules::new(|claim| {
        let lists = std::str::from_utf8(claim.credentials).ok().filter(|it| !it.is_empty())?;
        let lists = lists.split('+').map(|list| Pattern::of("list/", list));
        let lists: Vec<Pattern> = lists.collect::<Result<_, _>>().ok()?;
        Some(Principal::new("somebody").may_read(lists.clone()).may_write(lists))
    });
    rules.rule(|change: &syncro::Proposed<'_, Entry>| match &change.after {
        Some(entry) if entry.title == "no" => Err(Refusal::new(100, "that is no title")),
        _ => Ok(()),
    })
}

fn server() -> Node {
    Node::builder().name("server").rules(rules()).open_on(syncro::Memory::new()).unwrap()
}

fn view(disk: &MemoryDisk, token: &str) -> Node {
    let builder = Node::builder().name("view").credentials(token).view();
    builder.open_on(disk.open().unwrap()).unwrap()
}

fn shown(node: &Node) -> BTreeSet<String> {
    node.list(|_: &Entry| true).unwrap().into_iter().map(|entry| entry.id).collect()
}

#[tokio::test]
async fn a_view_has_its_channels_and_goes_on_without_its_server() {
    let (server, disk) = (server(), MemoryDisk::new());
    for (id, list) in [("1", "a"), ("2", "b"), ("3", "c")] {
        server.create(&entry(id, list)).unwrap();
    }
    let ann = view(&disk, "a+b");
    ann.subscribe("list/a").unwrap();
    let mut changes = ann.watch::<Entry>();
    let session = link(&ann, &server);
    eventually("its list is here", || shown(&ann) == ["1".to_owned()].into()).await;
    let change: Change<Entry> = changes.next().await.unwrap().unwrap();
    assert_eq!((change.mark, change.after), (Mark::State, Some(entry("1", "a"))));
    server.update(&id("2"), |entry: &mut Entry| entry.list = id("a")).unwrap();
    server.update(&id("1"), |entry: &mut Entry| entry.list = id("c")).unwrap();
    eventually("one came and one went", || shown(&ann) == ["2".to_owned()].into()).await;
    // What is written here the server gets, and keeps or refuses.
    ann.create(&entry("4", "a")).unwrap();
    ann.create(&Entry { title: id("no"), ..entry("5", "a") }).unwrap();
    let both: BTreeSet<String> = ["2", "4"].map(str::to_owned).into();
    eventually("it is decided", || shown(&ann) == both && !ann.verdicts().unwrap().is_empty())
        .await;
    assert!(server.get::<Entry>(&id("4")).unwrap().is_some());
    assert!(server.get::<Entry>(&id("5")).unwrap().is_none());
    session.cut().await;
    eventually("nobody is there", || ann.sessions().is_empty()).await;
    // Offline, over a crash and a restart.
    ann.update(&id("4"), |entry: &mut Entry| entry.title = id("offline")).unwrap();
    drop((changes, ann));
    let ann = view(&disk, "a+b");
    assert_eq!(shown(&ann), both);
    assert_eq!(ann.get::<Entry>(&id("4")).unwrap().unwrap().title, "offline");
    let _link = link(&ann, &server);
    let title = || server.get::<Entry>(&id("4")).unwrap().unwrap().title;
    eventually("the server has it", || title() == "offline").await;
    ann.subscribe("list/b").unwrap();
    ann.unsubscribe("list/a").unwrap();
    eventually("that list is gone", || shown(&ann).is_empty()).await;
}

#[tokio::test]
async fn what_may_not_be_seen_is_withheld_until_it_may_be() {
    let (server, disk) = (server(), MemoryDisk::new());
    server.create(&entry("1", "a")).unwrap();
    let ann = view(&disk, "b");
    let mut notices = ann.notices();
    ann.subscribe("list/a").unwrap();
    let _link = link(&ann, &server);
    loop {
        if let Notice::Withheld { channel, .. } = notices.next().await.unwrap() {
            assert_eq!(channel.as_str(), "list/a");
            break;
        }
    }
    let may = |list| Some(Principal::new("ann").may_read([Pattern::new(list).unwrap()]));
    server.set_principal(ann.id(), may("list/a")).unwrap();
    eventually("it is shown", || shown(&ann).len() == 1).await;
    server.set_principal(ann.id(), may("list/b")).unwrap();
    eventually("it is not any more", || shown(&ann).is_empty()).await;
    assert_eq!(ann.subscriptions().len(), 2, "it stays subscribed, and to what is for its node");
}

#[tokio::test]
async fn a_whole_replica_and_a_view_are_told_apart() {
    let server = server();
    let whole = Node::builder().name("whole").credentials("a").open_on(syncro::Memory::new());
    let whole = whole.unwrap();
    let mut notices = whole.notices();
    let _link = link(&whole, &server);
    loop {
        if let Notice::Closed { reason, detail, .. } = notices.next().await.unwrap() {
            assert_eq!(reason, CloseReason::Forbidden);
            assert!(
                detail.contains("has to be a view: open it with `NodeBuilder::view`"),
                "{detail}"
            );
            break;
        }
    }
    assert!(matches!(whole.subscribe("list/a"), Err(Error::Usage(UsageError::NoView))));
    let disk = MemoryDisk::new();
    let ann = view(&disk, "a");
    assert!(matches!(ann.subscribe(""), Err(Error::Data(DataError::BadTemplate { .. }))));
    drop(ann);
    let opened = Node::builder().name("view").open_on(disk.open().unwrap());
    assert!(matches!(opened, Err(Error::Usage(UsageError::IsAView))));
    let disk = MemoryDisk::new();
    drop(Node::builder().name("view").open_on(disk.open().unwrap()).unwrap());
    let opened = Node::builder().name("view").view().open_on(disk.open().unwrap());
    assert!(matches!(opened, Err(Error::Usage(UsageError::NotAView))));
    let limiting = Node::builder().name("view").view().rules(rules());
    let opened = limiting.open_on(syncro::Memory::new());
    assert!(matches!(opened, Err(Error::Usage(UsageError::ViewLimits))));
    // An open node has no channels to show.
    let (open, ann) = (node("open"), view(&MemoryDisk::new(), ""));
    let mut notices = ann.notices();
    let _link = link(&ann, &open);
    loop {
        if let Notice::Closed { reason, detail, .. } = notices.next().await.unwrap() {
            assert_eq!(reason, CloseReason::Forbidden);
            assert!(detail.contains("without rules has no channels"), "{detail}");
            break;
        }
    }
}

/// Edits that were made offline, when rights were withdrawn meanwhile: the record goes, the edits are kept aside.
#[tokio::test]
async fn edits_that_came_too_late_are_kept_and_reported() {
    let (server, disk) = (server(), MemoryDisk::new());
    server.create(&entry("1", "a")).unwrap();
    let ann = view(&disk, "a");
    ann.subscribe("list/a").unwrap();
    let session = link(&ann, &server);
    eventually("its list is here", || shown(&ann).len() == 1).await;
    session.cut().await;
    eventually("nobody is there", || ann.sessions().is_empty()).await;
    ann.update(&id("1"), |entry: &mut Entry| entry.title = id("offline")).unwrap();
    ann.create(&Entry { title: id("new"), ..entry("2", "a") }).unwrap();
    drop(ann);
    // The list is another's now; she has one of her own.
    let ann = view(&disk, "b");
    let mut notices = ann.notices();
    let session = link(&ann, &server);
    eventually("the list is gone", || shown(&ann).is_empty()).await;
    let mut told = BTreeSet::new();
    while told.len() < 2 {
        if let Notice::Refused { verdict } = notices.next().await.unwrap() {
            assert!(told.insert(verdict.id), "each is told once");
        }
    }
    session.cut().await;
    eventually("nobody is there", || ann.sessions().is_empty()).await;
    drop((notices, ann));
    // And they last.
    let ann = view(&disk, "b");
    let mut titles = BTreeSet::new();
    for verdict in ann.verdicts().unwrap() {
        assert_eq!(verdict.refusal.code, Refusal::CHANNEL);
        for scribe in ann.refused(&verdict).unwrap() {
            let title = scribe.fields.iter().find(|(path, _)| path.field.as_str() == "title");
            titles.insert((scribe.key.to_string(), title.unwrap().1.clone()));
        }
        ann.dismiss(&verdict).unwrap();
    }
    let title = |key: &str, title: &str| (id(key), syncro::Value::Text(id(title)).encode());
    assert_eq!(titles, [title("entry/1", "offline"), title("entry/2", "new")].into());
    assert!(ann.verdicts().unwrap().is_empty());
    assert!(server.get::<Entry>(&id("2")).unwrap().is_none());
}
