//! Nodes that meet by files.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use syncro::{
    Access, BundleError, CloseReason, Error, Memory, MemoryDisk, Node, Notice, Pattern, Principal,
    Refusal, Rules, UsageError,
};

use crate::support::{Todo, eventually, id, link, node, on, soon, todo};

fn export(from: &Node, to: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.export_for(to.id(), &mut bytes).unwrap();
    bytes
}

fn request(by: &Node, to: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    by.request_for(to.id(), &mut bytes).unwrap();
    bytes
}

#[test]
fn two_nodes_in_files_converge_by_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let open = |name| Node::open(path(name), name).unwrap();
    let (desk, cabin) = (open("desk"), open("cabin"));
    for (round, (from, to)) in
        [(&desk, &cabin), (&cabin, &desk), (&desk, &cabin)].iter().enumerate()
    {
        from.create(&todo(&round.to_string())).unwrap();
        let mut file = BufWriter::new(File::create(path("stick")).unwrap());
        let exported = from.export_for(to.id(), &mut file).unwrap();
        file.into_inner().unwrap().sync_all().unwrap();
        assert_eq!(exported.bytes, path("stick").metadata().unwrap().len());
        assert_eq!(exported.end, from.end().offset);
        let imported = to.import(File::open(path("stick")).unwrap()).unwrap();
        assert_eq!((imported.peer, imported.scribes), (from.id(), 1), "nothing comes back twice");
        assert_eq!(desk.digest().unwrap(), cabin.digest().unwrap());
    }
    assert!(desk.sessions().is_empty() && cabin.sessions().is_empty());
    let known = cabin.peers().unwrap();
    assert_eq!(
        known.iter().map(|peer| (peer.node, peer.sessions)).collect::<Vec<_>>(),
        [(desk.id(), 0)]
    );
    // It is in the store, and the next session has nothing to say of it.
    drop((desk, cabin));
    assert_eq!(open("cabin").list::<Todo>(|_| true).unwrap().len(), 3);
}

#[tokio::test]
async fn word_that_everything_has_arrived_comes_in_a_bundle_too() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    let written = desk.create(&todo("1")).unwrap().unwrap();
    cabin.import(&export(&desk, &cabin)[..]).unwrap();
    assert!(desk.peers().unwrap().is_empty());
    desk.import(&export(&cabin, &desk)[..]).unwrap();
    let receipt = desk.peers().unwrap().remove(0).receipt.expect("it came");
    assert_eq!(receipt.offset, written.offset);
    // And sessions go on where bundles ended.
    let _link = link(&desk, &cabin);
    cabin.create(&todo("2")).unwrap();
    soon("it is there", cabin.confirmed_by(desk.id(), cabin.end().offset)).await.unwrap();
    assert_eq!(desk.digest().unwrap(), cabin.digest().unwrap());
}

/// However much of it could be read: what came is there, and the whole one goes on from there.
#[test]
fn a_bundle_cut_at_any_byte_says_so_and_is_taken_up_by_the_whole() {
    let desk = node("desk");
    for number in 0..5 {
        desk.create(&todo(&number.to_string())).unwrap();
    }
    let cabin = node("cabin");
    let bytes = export(&desk, &cabin);
    for cut in 0..bytes.len() {
        let cabin = node("cabin");
        let error = cabin.import(&bytes[..cut]).unwrap_err();
        let is_bare = matches!(error, Error::Bundle(BundleError::NoBundle { .. }));
        let is_cut = matches!(error, Error::Bundle(BundleError::CutShort { scribes: 0 | 5 }));
        assert!(is_cut || is_bare && cut < 100, "cut at {cut}: {error}");
        cabin.import(&bytes[..]).unwrap();
        assert_eq!(desk.digest().unwrap(), cabin.digest().unwrap(), "cut at {cut}");
        assert_eq!(cabin.end().offset, 5, "cut at {cut}");
    }
}

#[test]
fn a_request_closes_a_gap() {
    let (desk, old, new) = (node("desk"), node("cabin"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    old.import(&export(&desk, &old)[..]).unwrap();
    desk.import(&export(&old, &desk)[..]).unwrap();
    // The cabin burns down, and is built up again under its name.
    desk.create(&todo("2")).unwrap();
    let late = export(&desk, &new);
    let error = new.import(&late[..]).unwrap_err();
    assert!(
        matches!(error, Error::Bundle(BundleError::Gap { peer, .. }) if peer == desk.id()),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("that desk ({}) exported", desk.id())), "{error}");
    assert_eq!(new.end().offset, 0, "nothing of it was taken");
    let imported = desk.import(&request(&new, &desk)[..]).unwrap();
    assert_eq!((imported.peer, imported.scribes), (new.id(), 0));
    assert_eq!(new.import(&export(&desk, &new)[..]).unwrap().scribes, 2);
    assert_eq!(desk.digest().unwrap(), new.digest().unwrap());
}

#[test]
fn what_is_no_bundle_is_told_from_one_that_is_damaged() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    let bytes = export(&desk, &cabin);
    let stories: [&[u8]; 6] = [
        b"",
        b"\0\0",
        b"Dear diary, today I have carried a stick.",
        b"\0\0\0\0",
        b"\0\0\0\x06\x81\xa1a\x01\xa1b",
        &bytes[4..],
    ];
    for story in stories {
        let error = cabin.import(story).unwrap_err();
        assert!(matches!(error, Error::Bundle(BundleError::NoBundle { .. })), "{story:?}: {error}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x55;
        let cabin = node("cabin");
        match cabin.import(&damaged[..]) {
            // Not all that is in it is about content: names, clocks, credentials.
            Ok(_) => assert_eq!(desk.digest().unwrap(), cabin.digest().unwrap(), "byte {at}"),
            Err(Error::Bundle(_)) => {
                assert!(cabin.end() == syncro::Point::START || cabin.end() == desk.end());
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn errors_of_the_file_and_of_the_node_are_told_apart() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    let error = desk.export_for(cabin.id(), Full).unwrap_err();
    assert!(matches!(error, Error::Bundle(BundleError::Io(_))), "{error}");
    let bytes = export(&desk, &cabin);
    cabin.close().unwrap();
    assert!(matches!(cabin.import(&bytes[..]), Err(Error::Closed)));
    assert!(matches!(cabin.export_for(desk.id(), io::sink()), Err(Error::Closed)));
}

/// Whose token is `ann` may see and change everything, but for some titles.
fn rules() -> Rules {
    let ann = || Principal::new("ann").may_read(Access::All).may_write(Access::All);
    let rules = Rules::new(move |claim| (claim.credentials == b"ann").then(ann));
    let rules = rules.rule(|change: &syncro::Proposed<'_, Todo>| match &change.after {
        Some(todo) if todo.title == "no" => Err(Refusal::new(100, "that is no title")),
        _ => Ok(()),
    });
    rules.authors(move |node| (node == syncro::NodeId::named("ann")).then(ann))
}

#[test]
fn limits_hold_for_bundles_as_for_sessions() {
    let server = Node::builder().name("server").rules(rules()).open_on(Memory::new()).unwrap();
    let named = |name: &str, token: &str| {
        Node::builder().name(name).credentials(token).open_on(Memory::new()).unwrap()
    };
    let (ann, eve) = (named("ann", "ann"), named("eve", "eve"));
    ann.create(&todo("1")).unwrap();
    ann.create(&Todo { title: id("no"), ..todo("2") }).unwrap();
    ann.create(&todo("3")).unwrap();
    server.import(&export(&ann, &server)[..]).unwrap();
    assert_eq!(server.list::<Todo>(|_| true).unwrap().len(), 2, "what is refused holds nothing up");
    ann.import(&export(&server, &ann)[..]).unwrap();
    assert_eq!(ann.verdicts().unwrap().len(), 1);
    assert_eq!(ann.get::<Todo>(&id("2")).unwrap(), None);

    eve.create(&todo("4")).unwrap();
    let denied = server.import(&export(&eve, &server)[..]).unwrap_err();
    let is_denied = |reason: &CloseReason| *reason == CloseReason::Denied;
    assert!(
        matches!(&denied, Error::Bundle(BundleError::Refused { reason, .. }) if is_denied(reason)),
        "{denied}"
    );
    // Nobody has said that she may see everything.
    let export = server.export_for(eve.id(), io::sink()).unwrap_err();
    assert!(matches!(export, Error::Usage(UsageError::MayNotSee { .. })), "{export}");
}

#[test]
fn whoever_imports_what_it_has_exported_has_no_peer_more() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    assert_eq!(desk.import(&export(&desk, &cabin)[..]).unwrap().scribes, 0);
    assert_eq!(desk.peers().unwrap(), []);
}

#[test]
fn a_view_hands_in_what_it_wrote_and_takes_nothing_in() {
    let server = node("server");
    let view = Node::builder().name("view").view().open_on(Memory::new()).unwrap();
    view.create(&todo("1")).unwrap();
    assert_eq!(server.import(&export(&view, &server)[..]).unwrap().scribes, 1);
    let refused = view.import(&export(&server, &view)[..]).unwrap_err();
    assert!(matches!(refused, Error::Usage(UsageError::ViewImports)), "{refused}");
}

/// More than is held in memory before it is flushed, in records that grow: the store keeps up on the way.
#[test]
fn a_large_bundle_is_taken_in_piece_by_piece() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    for number in 0..120 {
        desk.create(&Todo { title: "x".repeat(200_000), ..todo(&number.to_string()) }).unwrap();
    }
    let imported = cabin.import(&export(&desk, &cabin)[..]).unwrap();
    assert_eq!(imported.scribes, 120);
    assert_eq!(desk.digest().unwrap(), cabin.digest().unwrap());
}

#[test]
fn an_import_posts_no_notice_of_a_session_that_ended() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    let mut notices = cabin.notices();
    cabin.import(&export(&desk, &cabin)[..]).unwrap();
    let bytes = export(&desk, &cabin);
    cabin.import(&bytes[..bytes.len() - 1]).unwrap_err();
    while let Some(notice) = notices.try_next() {
        assert!(!matches!(notice, Notice::Closed { .. }), "{notice:?}");
    }
}

#[test]
fn what_was_taken_in_before_an_error_becomes_durable() {
    let (desk, disk) = (node("desk"), MemoryDisk::new());
    let cabin = on(&disk, "cabin");
    for number in 0..3 {
        desk.create(&Todo { title: "x".repeat(100_000), ..todo(&number.to_string()) }).unwrap();
    }
    let mut bytes = export(&desk, &cabin);
    let last = bytes.len() - 1000;
    bytes[last] ^= 1;
    let error = cabin.import(&bytes[..]).unwrap_err();
    assert!(matches!(error, Error::Bundle(BundleError::Damaged { .. })), "{error}");
    let taken = cabin.end().offset;
    assert!(taken > 0, "something was taken in");
    let crashed = on(&disk.crash(), "cabin");
    assert_eq!(crashed.end().offset, taken);
}

#[test]
fn what_a_request_says_is_durable_when_import_returns() {
    let disk = MemoryDisk::new();
    let (desk, old, new) = (on(&disk, "desk"), node("cabin"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    old.import(&export(&desk, &old)[..]).unwrap();
    desk.import(&export(&old, &desk)[..]).unwrap();
    desk.create(&todo("2")).unwrap();
    let error = new.import(&export(&desk, &new)[..]).unwrap_err();
    assert!(matches!(error, Error::Bundle(BundleError::Gap { .. })), "{error}");
    desk.import(&request(&new, &desk)[..]).unwrap();
    let crashed = on(&disk.crash(), "desk");
    assert_eq!(crashed.export_for(new.id(), io::sink()).unwrap().start, 0);
}

/// Reads bytes, and does something on the way.
struct Meanwhile<'a, F: FnMut()> {
    bytes: &'a [u8],
    at: usize,
    then: Option<F>,
}

impl<F: FnMut()> io::Read for Meanwhile<'_, F> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.bytes.len() <= self.at
            && let Some(mut then) = self.then.take()
        {
            then();
        }
        let n = to.len().min(512);
        io::Read::read(&mut self.bytes, &mut to[..n])
    }
}

#[test]
fn rights_that_are_taken_away_end_an_import() {
    let server = Node::builder().name("server").rules(rules()).open_on(Memory::new()).unwrap();
    let ann = Node::builder().name("ann").credentials("ann").open_on(Memory::new()).unwrap();
    for number in 0..4 {
        ann.create(&Todo { title: "x".repeat(100_000), ..todo(&number.to_string()) }).unwrap();
    }
    let bytes = export(&ann, &server);
    let then = || {
        assert!(server.end().offset > 0, "it is on its way");
        server.set_principal(ann.id(), None).unwrap();
    };
    let from = Meanwhile { at: bytes.len() / 2, bytes: &bytes, then: Some(then) };
    let error = server.import(from).unwrap_err();
    assert!(
        matches!(error, Error::Bundle(BundleError::Refused { reason: CloseReason::Denied, .. })),
        "{error}"
    );
}

#[test]
fn whose_rights_have_ended_gets_no_bundle() {
    let over = || Principal::new("ann").may_read(Access::All).until(1);
    let rules = Rules::new(|_| None).authors(move |_| Some(over()));
    let server = Node::builder().name("server").rules(rules).open_on(Memory::new()).unwrap();
    server.create(&todo("1")).unwrap();
    let error = server.export_for(syncro::NodeId::named("ann"), io::sink());
    assert!(matches!(error, Err(Error::Usage(UsageError::MayNotSee { .. }))), "{error:?}");
}

/// The server was restored, and the view hands in what comes after what was lost.
#[tokio::test]
async fn a_gap_of_a_view_shows_it_nothing() {
    let rules = || {
        Rules::new(|_| {
            let lists = vec![Pattern::of("todo/", "none").ok()?];
            Some(Principal::new("view").may_read(lists).may_write(Access::All))
        })
        .model::<Todo>()
    };
    let disk = MemoryDisk::new();
    let open = |disk: &MemoryDisk| {
        Node::builder().name("server").rules(rules()).open_on(disk.open().unwrap()).unwrap()
    };
    let server = open(&disk);
    let backup = disk.image();
    server.create(&todo("hidden")).unwrap();
    let view = Node::builder().name("view").view().open_on(Memory::new()).unwrap();
    let written = view.create(&todo("1")).unwrap().unwrap();
    let session = link(&view, &server);
    soon("it is there", view.confirmed_by(server.id(), written.offset)).await.unwrap();
    session.cut().await;
    eventually("nobody is there", || view.sessions().is_empty()).await;
    // The server is restored.
    drop(server);
    let server = open(&backup);
    server.create(&todo("hidden as well")).unwrap();
    view.create(&todo("2")).unwrap();
    let error = server.import(&export(&view, &server)[..]).unwrap_err();
    let Error::Bundle(BundleError::Gap { peer, .. }) = error else { panic!("{error}") };
    let refused = server.request_for(peer, io::sink()).unwrap_err();
    assert!(matches!(refused, Error::Usage(UsageError::MayNotSee { .. })), "{refused}");
    // A session closes it.
    let _link = link(&view, &server);
    eventually("it is there", || server.get::<Todo>(&id("2")).unwrap().is_some()).await;
}

/// Large records that are changed often: each step takes a part of a message. And the desk is on another branch than before.
#[test]
fn a_message_that_takes_two_steps_leaves_no_gap() {
    let disk = MemoryDisk::new();
    let desk = on(&disk, "desk");
    let backup = disk.image();
    let cabin = node("cabin");
    cabin.create(&todo("own")).unwrap();
    for number in 0..300 {
        desk.create(&todo(&format!("lost {number}"))).unwrap();
    }
    cabin.import(&export(&desk, &cabin)[..]).unwrap();
    drop(desk);
    // The desk is restored, and goes on in another way.
    let desk = on(&backup, "desk");
    desk.create(&todo("big")).unwrap();
    for note in ["a", "b", "c", "d"] {
        desk.update(&id("big"), |todo: &mut Todo| {
            todo.notes.insert(id(note), "x".repeat(200_000));
        })
        .unwrap();
    }
    for _ in 0..400 {
        desk.update(&id("big"), |todo: &mut Todo| todo.views += 1).unwrap();
    }
    let bytes = export(&desk, &cabin);
    let imported = cabin.import(&bytes[..]);
    let imported = imported.map_err(|error| {
        format!("{error}, and {} of 405 scribes were taken", cabin.end().offset - 301)
    });
    assert_eq!(imported.unwrap().scribes, 405);
}

#[test]
fn a_bundle_of_much_that_is_new_and_much_that_is_held() {
    let (hub, desk, cabin) = (node("hub"), node("desk"), node("cabin"));
    let large = |name: &str| Todo { title: "x".repeat(200_000), ..todo(name) };
    for number in 0..100 {
        hub.create(&large(&format!("hub {number}"))).unwrap();
        desk.create(&large(&format!("desk {number}"))).unwrap();
    }
    desk.import(&export(&hub, &desk)[..]).unwrap();
    cabin.import(&export(&hub, &cabin)[..]).unwrap();
    let imported = cabin.import(&export(&desk, &cabin)[..]);
    assert_eq!(imported.map_err(|error| error.to_string()).map(|it| it.scribes), Ok(100));
}

#[test]
fn a_bundle_that_is_damaged_in_the_middle_is_one() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    for number in 0..3 {
        desk.create(&Todo { title: "x".repeat(100_000), ..todo(&number.to_string()) }).unwrap();
    }
    let mut bytes = export(&desk, &cabin);
    let lengths = std::iter::successors(Some(0), |at| {
        let length = bytes.get(*at..at + 4)?.try_into().unwrap();
        Some(at + 4 + u32::from_be_bytes(length) as usize)
    });
    let frames: Vec<usize> = lengths.collect();
    let bye = frames[frames.len() - 2];
    bytes[bye] = 0xff;
    let error = cabin.import(&bytes[..]).unwrap_err();
    assert!(cabin.end().offset > 0, "it was one");
    assert!(matches!(error, Error::Bundle(BundleError::Damaged { scribes: 1.., .. })), "{error}");
}

#[test]
fn a_reader_is_read_up_to_the_end_of_the_bundle() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    let mut bytes = export(&desk, &cabin);
    bytes.extend(export(&desk, &cabin));
    let mut from = &bytes[..];
    cabin.import(&mut from).unwrap();
    let second = cabin.import(&mut from).map_err(|error| error.to_string());
    assert!(second.is_ok(), "{second:?}");
}

#[test]
fn a_late_bundle_takes_no_word_back() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    cabin.create(&todo("own")).unwrap();
    let late = export(&cabin, &desk);
    desk.create(&todo("1")).unwrap();
    cabin.import(&export(&desk, &cabin)[..]).unwrap();
    desk.import(&export(&cabin, &desk)[..]).unwrap();
    let outgoing = |node: &Node| node.peers().unwrap().remove(0).outgoing;
    let before = (outgoing(&desk), desk.export_for(cabin.id(), io::sink()).unwrap().start);
    desk.import(&late[..]).unwrap();
    let after = (outgoing(&desk), desk.export_for(cabin.id(), io::sink()).unwrap().start);
    assert_eq!(before, after);
}

#[test]
fn imports_at_once_beside_writes_and_exports() {
    let (desk, cabin) = (node("desk"), node("cabin"));
    for number in 0..2000 {
        desk.create(&Todo { title: "x".repeat(500), ..todo(&number.to_string()) }).unwrap();
    }
    let bytes = export(&desk, &cabin);
    std::thread::scope(|scope| {
        let imports: Vec<_> =
            (0..4).map(|_| scope.spawn(|| cabin.import(&bytes[..]).unwrap().scribes)).collect();
        scope.spawn(|| {
            (0..200).for_each(|it| {
                cabin.create(&todo(&format!("own {it}"))).unwrap();
            })
        });
        scope.spawn(|| {
            (0..20).for_each(|_| {
                cabin.export_for(desk.id(), io::sink()).unwrap();
            })
        });
        let all: u64 = imports.into_iter().map(|it| it.join().unwrap()).sum();
        assert_eq!(all, 2000);
    });
    desk.import(&export(&cabin, &desk)[..]).unwrap();
    assert_eq!(desk.digest().unwrap(), cabin.digest().unwrap());
}
