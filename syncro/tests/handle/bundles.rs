//! Nodes that meet by files.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use syncro::{
    Access, BundleError, CloseReason, Error, Memory, Node, Principal, Refusal, Rules, UsageError,
};

use crate::support::{Todo, id, link, node, soon, todo};

fn export(from: &Node, to: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.export_for(to.id(), &mut bytes).unwrap();
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
fn a_gap_comes_with_the_request_that_closes_it() {
    let (desk, old, new) = (node("desk"), node("cabin"), node("cabin"));
    desk.create(&todo("1")).unwrap();
    old.import(&export(&desk, &old)[..]).unwrap();
    desk.import(&export(&old, &desk)[..]).unwrap();
    // The cabin burns down, and is built up again under its name.
    desk.create(&todo("2")).unwrap();
    let late = export(&desk, &new);
    let Err(Error::Bundle(BundleError::Gap { peer, request })) = new.import(&late[..]) else {
        panic!("there is a gap")
    };
    assert_eq!(peer, desk.id());
    assert_eq!(new.end().offset, 0, "nothing of it was taken");
    let imported = desk.import(&request[..]).unwrap();
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
