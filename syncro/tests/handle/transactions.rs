//! Several changes that happen together or not at all.

use syncro::{DataError, Durability, Error, Mark};

use crate::support::{Todo, id, key, node, todo};

#[test]
fn an_error_in_the_closure_records_nothing() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let end = node.end();
    let failed = node.transaction(|draft| {
        draft.create(&todo("bread"))?;
        draft.destroy::<Todo>(&id("milk"))?;
        draft.update::<Todo>(&id("nobody"), |todo| todo.views += 1)
    });
    assert!(matches!(failed, Err(Error::Data(DataError::Missing { .. }))), "{failed:?}");
    assert_eq!(node.end(), end);
    let listed = node.list::<Todo>(|_| true).unwrap();
    assert_eq!(listed, [todo("milk")]);
}

#[test]
fn a_record_destroyed_meanwhile_makes_the_whole_transaction_fail() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let mut draft = node.draft();
    draft.create(&todo("bread")).unwrap();
    draft.update(&id("milk"), |todo: &mut Todo| todo.views += 1).unwrap();
    node.destroy::<Todo>(&id("milk")).unwrap();
    let end = node.end();

    match node.commit(draft, Durability::Durable) {
        Err(Error::Data(DataError::Missing { key: missing })) => {
            assert_eq!(missing, key("todo", "milk"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(node.end(), end);
    assert!(node.get::<Todo>(&id("bread")).unwrap().is_none());
}

#[test]
fn a_record_created_meanwhile_makes_the_whole_transaction_fail() {
    let node = node("a");
    let mut draft = node.draft();
    draft.create(&todo("bread")).unwrap();
    draft.create(&todo("milk")).unwrap();
    node.create(&todo("milk")).unwrap();
    let end = node.end();
    let failed = node.commit(draft, Durability::Durable).unwrap_err();
    assert!(matches!(failed, Error::Data(DataError::Exists { .. })), "{failed}");
    assert_eq!(node.end(), end);
}

#[test]
fn a_transaction_reads_what_it_wrote_and_nobody_else_does_before_the_commit() {
    let node = node("a");
    node.create(&Todo { views: 1, ..todo("milk") }).unwrap();
    node.transaction(|draft| {
        draft.update(&id("milk"), |todo: &mut Todo| todo.views += 1)?;
        draft.update(&id("milk"), |todo: &mut Todo| {
            assert_eq!(todo.views, 2);
            todo.views += 1;
            todo.tags.insert(id("shop"));
        })?;
        let milk = draft.get::<Todo>(&id("milk"))?.unwrap();
        assert_eq!((milk.views, milk.tags.len()), (3, 1));
        assert!(draft.create(&todo("milk")).is_err(), "it is there already");

        draft.create(&todo("bread"))?;
        draft.destroy::<Todo>(&id("bread"))?;
        assert!(draft.get::<Todo>(&id("bread"))?.is_none());
        assert!(draft.get_record(&key("todo", "bread"))?.is_none());
        assert_eq!(node.get::<Todo>(&id("milk"))?.unwrap().views, 1);
        Ok(())
    })
    .unwrap();
    assert_eq!(node.get::<Todo>(&id("milk")).unwrap().unwrap().views, 3);
    assert_eq!(node.end().offset, 2, "one scribe for one record");
}

#[test]
fn a_record_created_and_updated_in_one_transaction_is_one_scribe_and_one_change() {
    let node = node("a");
    let mut watch = node.watch::<Todo>();
    node.transaction(|draft| {
        draft.create(&todo("milk"))?;
        draft.update(&id("milk"), |todo: &mut Todo| todo.views = 3)
    })
    .unwrap();
    assert_eq!(node.end().offset, 1);
    let change = watch.try_next().unwrap().unwrap();
    assert_eq!((change.mark, change.before), (Mark::Create, None));
    assert_eq!(change.after, Some(Todo { views: 3, ..todo("milk") }));
    assert!(watch.try_next().unwrap().is_none());
}

#[test]
fn a_record_replaced_in_one_transaction_forgets_what_it_was() {
    let node = node("a");
    let old = Todo { due: Some(id("today")), tags: [id("old")].into(), views: 5, ..todo("milk") };
    node.create(&old).unwrap();
    node.transaction(|draft| {
        draft.destroy::<Todo>(&id("milk"))?;
        draft.create(&Todo { views: 2, ..todo("milk") })?;
        assert_eq!(draft.get(&id("milk"))?, Some(Todo { views: 2, ..todo("milk") }));
        Ok(())
    })
    .unwrap();
    assert_eq!(node.get(&id("milk")).unwrap(), Some(Todo { views: 2, ..todo("milk") }));
    let entries = node.log(1, 1 << 20).unwrap();
    let scribes = entries[0].scribes().unwrap();
    assert_eq!((scribes.len(), scribes[0].mark), (1, Mark::Replace));
}

#[test]
fn a_transaction_without_an_effect_is_none_and_a_dropped_draft_is_nothing() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let end = node.end();
    assert_eq!(node.transaction(|_| Ok(())).unwrap(), None);
    let undone = node.transaction(|draft| {
        draft.create(&todo("bread"))?;
        draft.destroy::<Todo>(&id("bread"))
    });
    assert_eq!(undone.unwrap(), None);
    let mut dropped = node.draft();
    dropped.destroy::<Todo>(&id("milk")).unwrap();
    drop(dropped);
    assert_eq!(node.end(), end);
}

#[test]
fn the_scribes_of_a_transaction_stand_together_in_the_log() {
    let node = node("a");
    let committed =
        node.transaction(|draft| ["c", "a", "b"].iter().try_for_each(|id| draft.create(&todo(id))));
    let committed = committed.unwrap().unwrap();
    let entries = node.log(0, 1 << 20).unwrap();
    assert_eq!((entries.len(), committed.offset), (1, 3));
    assert_eq!(entries[0].transaction.stamp(), committed.stamp);
    let ids: Vec<_> =
        entries[0].scribes().unwrap().iter().map(|scribe| scribe.key.id.to_string()).collect();
    assert_eq!(ids, ["c", "a", "b"], "in the order in which they were first touched");
}
