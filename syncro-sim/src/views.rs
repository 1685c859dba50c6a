//! Random stories of sources and views: who may see what, and changes while it is under way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;

use crate::story::{Op, Story};
use crate::swarm::{Swarm, ops, stories};
use crate::world::{Cast, Change, Listed, Write};

/// Stories of a swarm in which some see less than all.
pub(crate) fn stories_of_views(swarm: Swarm) -> impl Strategy<Value = Story> {
    let writes = listed().prop_map(move |write| swarm.tame(write)).boxed();
    let fills = (0..5_u8, 50..60_u8).prop_map(|(id, kib)| Listed::Fill { id, kib });
    let fills = fills.prop_map(Write::Listed).boxed();
    let cast = (1..=2_u8, 0..=1_u8, 1..=3_u8);
    let cast = cast.prop_map(|(sources, replicas, views)| Cast { sources, replicas, views });
    let more = Union::new_weighted(vec![
        (3, changes(swarm).prop_map(Op::Change).boxed()),
        (9, ops(swarm, writes.clone(), fills.clone()).boxed()),
    ]);
    let more = vec(more, 1..swarm.ops_max());
    (stories(swarm, writes, fills), cast, more).prop_map(|(story, cast, ops)| Story {
        cast: Some(cast),
        ops,
        ..story
    })
}

fn changes(swarm: Swarm) -> impl Strategy<Value = Change> {
    let at = any::<u8>;
    let floods = (at(), at()).prop_map(|(view, source)| Change::Flood(view, source));
    let others = prop_oneof![
        2 => (at(), 0..4_u8, any::<bool>())
            .prop_map(|(view, list, is_wanted)| Change::Subscribe(view, list, is_wanted)),
        2 => (at(), [0..16_u8, 0..16_u8]).prop_map(|(view, rights)| Change::Rights(view, rights)),
        6 => (at(), at(), any::<bool>())
            .prop_map(|(view, source, is_json)| Change::Follow(view, source, is_json)),
    ];
    match swarm.is_large() {
        true => prop_oneof![1 => floods, 5 => others].boxed(),
        // They take most of the time that there is.
        false => prop_oneof![1 => floods, 50 => others].boxed(),
    }
}

/// What is done to memos.
fn listed() -> impl Strategy<Value = Write> {
    let (id, list) = (|| 0..5_u8, || 0..3_u8);
    let listed = prop_oneof![
        3 => (id(), list()).prop_map(|(id, list)| Listed::Create { id, list }),
        4 => (id(), list()).prop_map(|(id, list)| Listed::Move { id, list }),
        3 => (id(), 0..9_u8).prop_map(|(id, title)| Listed::Retitle { id, title }),
        1 => (id(), any::<i8>()).prop_map(|(id, by)| Listed::Raise { id, by }),
        2 => (id(), list(), any::<bool>())
            .prop_map(|(id, who, is_named)| Listed::Reader { id, who, is_named }),
        2 => id().prop_map(|id| Listed::Destroy { id }),
        1 => [id(), id()].prop_map(|ids| Listed::Swap { ids }),
        1 => (id(), 120..=255_u8).prop_map(|(id, kib)| Listed::Fill { id, kib }),
    ];
    listed.prop_map(Write::Listed)
}
