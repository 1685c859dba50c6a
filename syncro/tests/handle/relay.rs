//! More than two nodes: hubs, chains, rings, clones.

use syncro::{MemoryDisk, Node};

use crate::support::{Todo, converge, eventually, id, link, node, on, todo};

/// Whether no session has anything left to send or to confirm.
fn is_at_rest(nodes: &[&Node], sessions: usize) -> bool {
    nodes.iter().all(|node| {
        let (open, end) = (node.sessions(), Some(node.end().offset));
        open.len() == sessions && open.iter().all(|s| (s.incoming, s.receipt) == (0, end))
    })
}

fn same(nodes: &[&Node]) -> bool {
    let first = nodes[0].digest().unwrap();
    nodes.iter().all(|node| node.digest().unwrap() == first)
}

#[tokio::test]
async fn a_hub_relays_live_edits_between_its_spokes() {
    let (hub, left, right) = (node("hub"), node("left"), node("right"));
    let mut watch = right.watch::<Todo>();
    let _links = [link(&left, &hub), link(&right, &hub)];
    left.create(&todo("milk")).unwrap();
    let change = watch.next().await.unwrap().unwrap();
    assert_eq!(change.stamp.author.node, left.id());
    for n in 1..=50 {
        let (writer, other) = if n % 2 == 0 { (&left, &right) } else { (&right, &left) };
        writer.update(&id("milk"), |todo: &mut Todo| todo.views += 1).unwrap();
        eventually("the other spoke shows it", || {
            other.get::<Todo>(&id("milk")).unwrap().is_some_and(|todo| todo.views == n)
        })
        .await;
    }
    converge(&hub, &left).await;
    converge(&hub, &right).await;
    assert!(same(&[&hub, &left, &right]));
    assert!([hub, left, right].iter().all(|node| node.end().offset == 51), "nothing twice");
}

#[tokio::test]
async fn a_chain_passes_on_what_its_ends_wrote_before_they_met() {
    let nodes: Vec<_> = ["1", "2", "3", "4", "5"].map(node).into();
    for node in &nodes {
        node.create(&todo(&node.id().to_string())).unwrap();
    }
    let _links: Vec<_> = nodes.windows(2).map(|pair| link(&pair[0], &pair[1])).collect();
    let all: Vec<&Node> = nodes.iter().collect();
    eventually("everything is everywhere", || {
        nodes.iter().all(|node| node.end().offset == 5) && same(&all)
    })
    .await;
}

/// In a ring every transaction could run round for ever.
#[tokio::test]
async fn a_ring_comes_to_rest_and_stays_silent() {
    let (a, b, c) = (node("a"), node("b"), node("c"));
    let ring = [&a, &b, &c];
    let _links = [link(&a, &b), link(&b, &c), link(&c, &a)];
    for n in 0..20 {
        ring[n % 3].create(&todo(&n.to_string())).unwrap();
        tokio::task::yield_now().await;
    }
    eventually("the ring is at rest", || {
        ring.iter().all(|node| node.end().offset == 20) && is_at_rest(&ring, 2)
    })
    .await;
    assert!(same(&ring));

    // Every word has been confirmed, so nothing is under way: what follows are goodbyes, and no more.
    let written = || ring.map(|node| node.traffic().1);
    let before = written();
    for node in ring {
        node.close().unwrap();
    }
    eventually("the goodbyes are out", || {
        written().iter().zip(before).any(|(now, before)| *now > before)
    })
    .await;
    for (now, before) in written().iter().zip(before) {
        assert!(now - before <= 2 * 40, "{} bytes after the rest", now - before);
    }
    assert!(ring.iter().all(|node| node.end().offset == 20), "nothing twice");
}

#[tokio::test]
async fn a_reconnect_of_equal_nodes_sends_no_scribe_again() {
    let (a, b) = (node("a"), node("b"));
    (0..50).for_each(|n| _ = a.create(&Todo { title: "x".repeat(1000), ..todo(&n.to_string()) }));
    let met = link(&a, &b);
    converge(&a, &b).await;
    let first = a.traffic().1;
    met.cut().await;
    let _again = link(&a, &b);
    eventually("both sessions are gone and come", || is_at_rest(&[&a, &b], 1)).await;
    converge(&a, &b).await;
    let second = a.traffic().1 - first;
    assert!(first > 50_000 && second < 2_000, "{first} bytes at first, then {second}");
    assert_eq!((a.end().offset, b.end().offset), (50, 50));
}

/// Two people restore one backup on two machines, and both go on.
#[tokio::test]
async fn clones_of_one_store_converge_through_a_hub() {
    let disk = MemoryDisk::new();
    let (hub, laptop) = (node("hub"), on(&disk, "laptop"));
    laptop.create(&Todo { views: 1, ..todo("milk") }).unwrap();
    drop(laptop);
    let (first, second) = (on(&disk.image(), "laptop"), on(&disk.image(), "laptop"));
    for (clone, tag) in [(&first, "first"), (&second, "second")] {
        clone.create(&todo(tag)).unwrap();
        let edit = |todo: &mut Todo| {
            todo.views += 1;
            todo.tags.insert(id(tag));
        };
        clone.update(&id("milk"), edit).unwrap();
    }
    let _links = [link(&first, &hub), link(&second, &hub)];
    let all = [&hub, &first, &second];
    eventually("everything is everywhere", || {
        all.iter().all(|node| node.end().offset == 5) && same(&all)
    })
    .await;
    let milk: Todo = hub.get(&id("milk")).unwrap().unwrap();
    assert_eq!((milk.views, milk.tags.len()), (3, 2));
}
