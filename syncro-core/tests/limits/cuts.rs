//! Every kind of refusal, at every place of a batch, with an end of the connection at every message.

use syncro_core::{Proposal, RecordId, RecordKey, Refusal, Value};

use super::town::{Rules, Town, key, set, writer};

/// What the client may not do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Create,
    Update,
    Destroy,
    Move,
    Replace,
    Raise,
    Reserved,
    Gone,
    Rule,
    Forged,
}

const FAULTS: [Fault; 10] = [
    Fault::Create,
    Fault::Update,
    Fault::Destroy,
    Fault::Move,
    Fault::Replace,
    Fault::Raise,
    Fault::Reserved,
    Fault::Gone,
    Fault::Rule,
    Fault::Forged,
];

impl Fault {
    fn code(self) -> u16 {
        match self {
            Self::Reserved => Refusal::RESERVED,
            Self::Gone => Refusal::GONE,
            Self::Rule => Refusal::APPLICATION,
            Self::Forged => 0,
            _ => Refusal::CHANNEL,
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Cut,
    ServerCrashes,
    ClientCrashes,
}

const SERVER: usize = 0;
const CLIENT: usize = 1;
/// Writes of the batch beside the one that is refused.
const GOOD: usize = 4;

/// A server, and a client that has done something wrong in the middle of other things, offline.
fn town(fault: Fault, place: usize) -> Town {
    let (mut town, rules) = (Town::default(), Rules::default());
    rules.let_in("ann", writer("ann", &["list/a"]));
    rules.forbid_title(13);
    assert_eq!(
        (town.add("server", Some(rules.clone())), town.add("client", None)),
        (SERVER, CLIENT)
    );
    town.create(SERVER, 100, "b", 1);
    town.raise(SERVER, 100, 50);
    town.create(SERVER, 101, "a", 1);
    town.visit(CLIENT, SERVER, "ann");
    town.destroy(SERVER, 101);
    town.sync(SERVER);
    if fault == Fault::Forged {
        let other = town.add("other", None);
        town.create(other, 200, "a", 1);
        for good in 0..=GOOD {
            if good == place {
                town.visit(other, CLIENT, "");
            }
            if good < GOOD {
                town.create(CLIENT, good as i64, "a", good as i64);
            }
        }
    } else {
        for good in 0..=GOOD {
            if good == place {
                town.commit_fault(fault);
            }
            if good < GOOD {
                town.create(CLIENT, good as i64, "a", good as i64);
            }
        }
    }
    town.sync(CLIENT);
    town
}

impl Town {
    fn commit_fault(&mut self, fault: Fault) {
        let mut proposal = Proposal::default();
        match fault {
            Fault::Create => return self.create(CLIENT, 300, "b", 5),
            Fault::Update => return self.retitle(CLIENT, 100, 9),
            Fault::Destroy => return self.destroy(CLIENT, 100),
            Fault::Move => return self.edit(CLIENT, 100, vec![set("list", Value::from("a"))]),
            Fault::Raise => return self.raise(CLIENT, 100, 7),
            Fault::Gone => return self.retitle(CLIENT, 101, 9),
            Fault::Rule => return self.create(CLIENT, 300, "a", 13),
            Fault::Replace => {
                proposal.destroy(key(100)).unwrap();
                proposal.create(key(100), &Default::default()).unwrap();
            }
            Fault::Reserved => {
                let model = syncro_core::Name::new("syncro.model").unwrap();
                let key = RecordKey { model, id: RecordId::text("other").unwrap() };
                proposal.create(key, &Default::default()).unwrap();
            }
            Fault::Forged => return,
        }
        self.propose(CLIENT, proposal);
    }
}

/// Ends the connection after so many messages, and lets both meet again. Returns whether there were as many.
fn play(fault: Fault, place: usize, messages: usize, ending: Ending) -> bool {
    let mut town = town(fault, place);
    let link = town.connect(CLIENT, SERVER, "ann");
    let mut delivered = 0;
    'talk: for round in 0..200 {
        for side in [round % 2, 1 - round % 2] {
            if delivered == messages {
                break 'talk;
            }
            delivered += usize::from(town.step(link, side));
        }
        // Flushes come late, so that much is lost in a crash.
        if round % 7 == 6 {
            town.sync(SERVER);
            town.sync(CLIENT);
        }
    }
    match ending {
        Ending::Cut => town.cut(link),
        Ending::ServerCrashes => town.crash(SERVER),
        Ending::ClientCrashes => town.crash(CLIENT),
    }
    let link = town.connect(CLIENT, SERVER, "ann");
    town.drive();
    let what = format!("{fault:?} at {place}, {ending:?} after {messages} messages");
    assert!(town.is_open(link), "{what}: {:?}", town.closed(CLIENT));
    // Who crashes may be told again of what it had forgotten: told for good is what the store says.
    let told = town.codes(CLIENT);
    let codes = if fault == Fault::Forged { vec![] } else { vec![fault.code()] };
    let is_told = told == codes
        || ending == Ending::ClientCrashes
            && !told.is_empty()
            && told.iter().all(|code| *code == fault.code());
    assert!(is_told, "{what}: told {told:?}");
    assert_eq!(town.verdicts(CLIENT), codes.len(), "{what}");
    assert_eq!(town.verdicts(SERVER), codes.len(), "{what}");
    for good in 0..GOOD {
        assert_eq!(town.title(SERVER, good as i64), Some(good as i64), "{what}: the rest arrives");
    }
    assert_eq!((town.title(SERVER, 100), town.views(SERVER, 100)), (Some(1), 50), "{what}");
    assert_eq!((town.values(SERVER, 300), town.values(SERVER, 200)), (None, None), "{what}");
    if fault != Fault::Forged {
        town.assert_equal(&[SERVER, CLIENT]);
    }
    delivered == messages
}

#[test]
fn wherever_it_is_refused_and_whenever_the_connection_ends_the_rest_arrives_and_the_author_is_told_once()
 {
    let mut cases = 0;
    for fault in FAULTS {
        for place in 0..=GOOD {
            for ending in [Ending::Cut, Ending::ServerCrashes, Ending::ClientCrashes] {
                cases += (0..).take_while(|messages| play(fault, place, *messages, ending)).count();
            }
        }
    }
    assert!(cases > 1000, "{cases}");
}
