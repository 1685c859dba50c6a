//! Watching changes: live, replayed, resumed.

use std::sync::atomic::{AtomicBool, Ordering};

use syncro::{Change, Durability, Error, Fields, Mark, Node, Origin, WatchAll};

use crate::support::{Todo, converge, id, key, link, node, soon, todo};

/// The next `count` changes, which must be there or come.
fn take(watch: &mut WatchAll, count: usize) -> Vec<Change<Fields>> {
    (0..count).map(|_| watch.next_blocking().unwrap().expect("the node is open")).collect()
}

fn offsets(changes: &[Change<Fields>]) -> Vec<u64> {
    changes.iter().map(|change| change.offset).collect()
}

#[test]
fn a_watcher_sees_what_was_and_what_is_and_who_did_it() {
    let node = node("a");
    node.create(&todo("before")).unwrap();
    let mut watch = node.watch::<Todo>();
    assert_eq!(watch.try_next().unwrap(), None, "what was before is not told");
    let created = node.create(&todo("milk")).unwrap().unwrap();
    node.update(&id("milk"), |todo: &mut Todo| todo.views = 2).unwrap();
    node.destroy::<Todo>(&id("milk")).unwrap();

    let changes: Vec<_> = (0..3).map(|_| watch.next_blocking().unwrap().unwrap()).collect();
    let milk = Todo { views: 2, ..todo("milk") };
    let lives: Vec<_> =
        changes.iter().map(|c| (c.before.clone(), c.mark, c.after.clone())).collect();
    assert_eq!(
        lives,
        [
            (None, Mark::Create, Some(todo("milk"))),
            (Some(todo("milk")), Mark::Update, Some(milk.clone())),
            (Some(milk), Mark::Destroy, None),
        ]
    );
    assert_eq!((changes[0].stamp, changes[0].offset), (created.stamp, 1));
    assert!(changes.iter().all(|change| change.key == key("todo", "milk")));
    assert!(changes.iter().all(|change| change.origin == Origin::Local));
    assert!(changes.iter().all(|change| change.stamp.author.node == node.id()));
    assert_eq!(watch.try_next().unwrap(), None);
}

#[tokio::test]
async fn a_watcher_tells_whose_change_it_was_and_over_which_session_it_came() {
    let (a, relay, b) = (node("a"), node("relay"), node("b"));
    let mut watch = b.watch::<Todo>();
    let _links = [link(&a, &relay), link(&relay, &b)];
    a.create(&todo("milk")).unwrap();
    let change = soon("the change comes", watch.next()).await.unwrap().unwrap();
    assert_eq!(change.stamp.author.node, a.id(), "written by a");
    assert_eq!(change.origin, Origin::Session(b.sessions()[0].session), "came from the relay");
    assert_eq!((change.before, change.after), (None, Some(todo("milk"))));

    let mut later = b.watch_from::<Todo>(0);
    let change = soon("it is read back", later.next()).await.unwrap().unwrap();
    assert_eq!((change.origin, change.offset), (Origin::Log, 0));
    assert_eq!((change.before, change.after), (None, Some(todo("milk"))));
    converge(&relay, &b).await;
}

#[test]
fn a_watcher_of_a_model_sees_no_other_and_passes_over_what_does_not_fit() {
    let node = node("a");
    let mut watch = node.watch::<Todo>();
    let fields = Fields::from_values(&[(id("title"), syncro::Value::from(1))].into()).unwrap();
    node.transaction(|draft| draft.create_record(key("other", "1"), &fields)).unwrap();
    node.transaction(|draft| draft.create_record(key("todo", "unfit"), &fields)).unwrap();
    node.create(&todo("milk")).unwrap();
    assert!(matches!(watch.next_blocking(), Err(Error::Data(_))));
    assert_eq!(watch.next_blocking().unwrap().unwrap().after, Some(todo("milk")));
}

/// Writes transactions of one to three scribes on three threads at once while `meanwhile` runs.
fn under_writers(node: &Node, transactions: usize, meanwhile: impl FnOnce(&AtomicBool)) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                scope.spawn(move || {
                    for n in 0..transactions {
                        let write = |draft: &mut syncro::Draft| {
                            (0..=n % 3)
                                .try_for_each(|k| draft.create(&todo(&format!("{writer}.{n}.{k}"))))
                        };
                        node.transaction_with(Durability::Deferred, write).unwrap();
                    }
                })
            })
            .collect();
        let over = &is_over;
        scope.spawn(move || {
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            over.store(true, Ordering::SeqCst);
        });
        meanwhile(&is_over);
    });
}

#[test]
fn watchers_that_resume_anywhere_under_writers_miss_and_repeat_nothing() {
    let node = node("a");
    let mut whole = node.watch_all_from(0);
    under_writers(&node, 60, |is_over| {
        let mut from = 0;
        while !is_over.load(Ordering::SeqCst) {
            let end = node.end().offset;
            from = if from < end { from + 1 } else { 0 };
            let mut watch = node.watch_all_from(from);
            let count = (end - from.min(end)).min(9) as usize;
            let seen = offsets(&take(&mut watch, count));
            assert_eq!(seen, (from..).take(count).collect::<Vec<_>>());
        }
    });
    let end = node.end().offset;
    assert_eq!(end, 3 * 60 * 2);
    assert_eq!(offsets(&take(&mut whole, end as usize)), (0..end).collect::<Vec<_>>());
    assert_eq!(whole.try_next().unwrap(), None);
}

#[test]
fn a_watcher_resumes_at_every_offset_also_inside_a_transaction() {
    let node = node("a");
    under_writers(&node, 12, |_| ());
    let end = node.end().offset;
    for from in 0..=end + 3 {
        let mut watch = node.watch_all_from(from);
        let mut seen = Vec::new();
        while let Some(change) = watch.try_next().unwrap() {
            seen.push(change.offset);
        }
        assert_eq!(seen, (from..end).collect::<Vec<_>>());
    }
}

#[test]
fn a_watcher_that_resumes_at_the_end_is_live_from_there() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let mut watch = node.watch_all_from(node.end().offset);
    assert_eq!(watch.try_next().unwrap(), None);
    node.create(&todo("bread")).unwrap();
    let change = watch.next_blocking().unwrap().unwrap();
    assert_eq!((change.offset, change.origin), (1, Origin::Local));
}

/// A queue holds 4,096 changes; the rest is read back from the log.
#[test]
fn a_watcher_too_slow_for_its_queue_loses_nothing() {
    let node = node("a");
    let mut watch = node.watch_all();
    let write = |from: usize, count: usize| {
        let write = |draft: &mut syncro::Draft| {
            (from..from + count).try_for_each(|n| draft.create(&todo(&n.to_string())))
        };
        node.transaction_with(Durability::Deferred, write).unwrap();
    };
    (0..9).for_each(|n| write(n * 500, 500));
    let first = take(&mut watch, 4300);
    assert_eq!(offsets(&first), (0..4300).collect::<Vec<_>>());
    assert_eq!((first[4095].origin, first[4096].origin), (Origin::Local, Origin::Log));
    write(4500, 10);
    let rest = take(&mut watch, 210);
    assert_eq!(offsets(&rest), (4300..4510).collect::<Vec<_>>());

    assert_eq!(watch.try_next().unwrap(), None);
    write(4510, 1);
    assert_eq!(take(&mut watch, 1)[0].origin, Origin::Local, "it has caught up");
}

#[test]
fn watchers_end_with_the_node_and_get_what_was_before() {
    let node = node("a");
    let (mut live, mut typed) = (node.watch_all(), node.watch::<Todo>());
    let waiting = std::thread::spawn({
        let mut waiting = node.watch::<Todo>();
        move || {
            let first = waiting.next_blocking().unwrap().unwrap();
            (first.offset, waiting.next_blocking().unwrap())
        }
    });
    node.create(&todo("milk")).unwrap();
    node.close().unwrap();
    assert_eq!(waiting.join().unwrap(), (0, None));
    assert_eq!(offsets(&take(&mut live, 1)), [0]);
    assert_eq!(live.next_blocking().unwrap(), None);
    assert!(typed.next_blocking().unwrap().is_some());
    assert_eq!(typed.next_blocking().unwrap(), None);
}

#[test]
fn a_watcher_that_reads_on_from_the_log_ends_with_the_node_too() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let mut behind = node.watch_all_from(0);
    node.close().unwrap();
    assert_eq!(behind.next_blocking().unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_waits_in_a_task_is_woken_by_a_thread() {
    let node = node("a");
    let mut watch = node.watch::<Todo>();
    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some(change) = watch.next().await.unwrap() {
            seen.push(change.offset);
        }
        seen
    });
    let writer = std::thread::spawn({
        let node = node.clone();
        move || {
            (0..200).for_each(|n| _ = node.create(&todo(&n.to_string())).unwrap());
            node.close().unwrap();
        }
    });
    let seen = soon("the watcher has ended", seen).await.unwrap();
    writer.join().unwrap();
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
}
