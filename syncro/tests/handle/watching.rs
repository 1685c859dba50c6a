//! Watching changes: live, replayed, resumed.

use std::sync::atomic::{AtomicBool, Ordering};

use syncro::{
    Change, Digest, Durability, Error, Fields, Mark, MemoryDisk, Node, Origin, Point, UsageError,
    WatchAll,
};

use crate::support::{Gate, Todo, converge, id, key, link, node, on, soon, todo};

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

    let mut later = b.watch_from::<Todo>(Point::START).unwrap();
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

/// What is left for a watcher that begins at a point.
fn rest(node: &Node, from: Point) -> Vec<Change<Fields>> {
    let mut watch = node.watch_all_from(from).unwrap();
    std::iter::from_fn(|| watch.try_next().unwrap()).collect()
}

#[test]
fn watchers_that_resume_anywhere_under_writers_miss_and_repeat_nothing() {
    let node = node("a");
    let mut whole = node.watch_all_from(Point::START).unwrap();
    under_writers(&node, 60, |is_over| {
        let mut from = Point::START;
        while !is_over.load(Ordering::SeqCst) {
            let end = node.end();
            let mut watch = node.watch_all_from(from).unwrap();
            let count = (end.offset - from.offset).min(9) as usize;
            let seen = take(&mut watch, count);
            assert_eq!(offsets(&seen), (from.offset..).take(count).collect::<Vec<_>>());
            from = seen.last().map_or(Point::START, |change| change.resume);
        }
    });
    let end = node.end().offset;
    assert_eq!(end, 3 * 60 * 2);
    assert_eq!(offsets(&take(&mut whole, end as usize)), (0..end).collect::<Vec<_>>());
    assert_eq!(whole.try_next().unwrap(), None);
}

#[test]
fn a_watcher_resumes_after_any_change_and_sees_a_transaction_half_dealt_with_again() {
    let node = node("a");
    let mut live = node.watch_all();
    under_writers(&node, 12, |_| ());
    let end = node.end().offset;
    let told = take(&mut live, end as usize);
    let read_back = rest(&node, Point::START);
    assert_eq!(offsets(&read_back), (0..end).collect::<Vec<_>>());
    let resumes = |changes: &[Change<Fields>]| changes.iter().map(|c| c.resume).collect::<Vec<_>>();
    assert_eq!(resumes(&told), resumes(&read_back), "live and from the log");

    let transactions = node.log(0, usize::MAX).unwrap();
    for change in told {
        let around = |entry: &&syncro::Entry| entry.end().offset > change.offset;
        let transaction = transactions.iter().find(around).unwrap();
        let is_last = change.offset + 1 == transaction.end().offset;
        let from = if is_last { change.offset + 1 } else { transaction.offset };
        let seen = offsets(&rest(&node, change.resume));
        assert_eq!(seen, (from..end).collect::<Vec<_>>());
    }
}

#[test]
fn a_point_that_is_not_in_the_log_is_refused_and_the_error_says_what_to_do() {
    let node = node("a");
    node.create(&todo("1")).unwrap();
    node.transaction(|draft| ["2", "3"].iter().try_for_each(|id| draft.create(&todo(id)))).unwrap();
    let end = node.end();
    let unknown = [
        Point { offset: end.offset + 1, ..end },
        Point { offset: u64::MAX, ..end },
        Point { offset: end.offset - 1, ..end },
        Point { digest: Digest([7; 16]), ..end },
        Point { digest: Digest([7; 16]), ..Point::START },
    ];
    for point in unknown {
        let refused = node.watch_all_from(point).unwrap_err();
        let is_so = matches!(refused, Error::Usage(UsageError::UnknownPoint { point: named }) if named == point);
        assert!(is_so, "{refused}");
        assert!(refused.to_string().contains("Node::end()"), "{refused}");
        assert!(matches!(node.watch_from::<Todo>(point), Err(Error::Usage(_))));
    }
}

/// A watcher had dealt with a change that was not durable yet. After the crash another transaction stood
/// in its place, and the watcher went on after it without having seen it.
#[test]
fn a_watcher_never_goes_on_in_another_history() {
    let (gate, disk) = (Gate::default(), MemoryDisk::new());
    let node = Node::builder().name("a").open_on(gate.over(&disk)).unwrap();
    let kept = node.create(&todo("kept")).unwrap().unwrap();
    gate.shut();
    let mut watch = node.watch_all();
    let write = |draft: &mut syncro::Draft| draft.create(&todo("lost"));
    node.transaction_with(Durability::Deferred, write).unwrap();
    let resume = watch.try_next().unwrap().unwrap().resume;
    let crashed = disk.crash();
    gate.open();

    let node = on(&crashed, "a");
    assert_eq!(node.end().offset, kept.offset, "the change is gone");
    assert!(matches!(node.watch_all_from(resume), Err(Error::Usage(_))), "beyond the end");
    node.create(&todo("other")).unwrap();
    assert_eq!(node.end().offset, resume.offset);
    assert!(matches!(node.watch_all_from(resume), Err(Error::Usage(_))), "another history");
}

#[test]
fn a_watcher_that_resumes_at_the_end_is_live_from_there() {
    let node = node("a");
    node.create(&todo("milk")).unwrap();
    let mut watch = node.watch_all_from(node.end()).unwrap();
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

/// The queue ends in the middle of a transaction, whose rest is read back.
#[test]
fn a_watcher_that_falls_behind_within_a_transaction_goes_on_at_the_next_change() {
    let node = node("a");
    let mut watch = node.watch_all();
    for n in 0..3 {
        let mut todos = (0..3000).map(|k| todo(&format!("{n}.{k}")));
        let write = |draft: &mut syncro::Draft| todos.try_for_each(|todo| draft.create(&todo));
        node.transaction_with(Durability::Deferred, write).unwrap();
    }
    let seen = take(&mut watch, 9000);
    assert_eq!(offsets(&seen), (0..9000).collect::<Vec<_>>());
    assert_eq!((seen[4095].origin, seen[4096].origin), (Origin::Local, Origin::Log));
    assert!(seen[3000..5999].iter().all(|change| change.resume == seen[2999].resume));
    assert_eq!(seen[8999].resume, node.end());
}

/// A record of 1 MiB that changed 4,000 times kept 8 GiB for a watcher that had not asked yet.
#[test]
fn a_watcher_keeps_few_bytes_of_records_in_memory() {
    let node = node("a");
    let big = "x".repeat(200 << 10);
    let notes = (0..5).map(|n| (n.to_string(), big.clone())).collect();
    node.create(&Todo { notes, ..todo("big") }).unwrap();
    let mut watch = node.watch_all();
    for _ in 0..40 {
        let raise =
            |draft: &mut syncro::Draft| draft.update(&id("big"), |todo: &mut Todo| todo.views += 1);
        node.transaction_with(Durability::Deferred, raise).unwrap();
    }
    let seen = take(&mut watch, 40);
    assert_eq!(offsets(&seen), (1..41).collect::<Vec<_>>());
    let live = seen.iter().take_while(|change| change.origin == Origin::Local).count();
    assert!((6..9).contains(&live), "{live} of 2 MiB each in 16 MiB");
    assert!(seen[live..].iter().all(|change| change.origin == Origin::Log));
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
    let mut behind = node.watch_all_from(Point::START).unwrap();
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
