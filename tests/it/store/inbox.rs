//! Deliveries are stored once, handled at least once, and set aside when they cannot be.

use branchline::store::{InboxCounts, Received, Tried};

use super::{Place, delivery};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_delivery_a_hundred_times_at_once_is_one_row() {
    let place = Place::new();
    let store = place.open().await;
    let sends = (0..100).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.receive(delivery("d-1", "{}")).await.unwrap() })
    });
    let answers = futures::future::join_all(sends).await;
    let stored = answers.iter().filter(|answer| matches!(answer, Ok(Received::Stored { .. }))).count();
    assert_eq!(stored, 1);
    assert_eq!(store.waiting_deliveries(0, 1000).await.unwrap().len(), 1);

    store.close().await;
    let store = place.open().await;
    assert_eq!(store.receive(delivery("d-1", "{}")).await.unwrap(), Received::Again { same_body: true });
    assert_eq!(store.receive(delivery("d-1", "[]")).await.unwrap(), Received::Again { same_body: false });
    assert_eq!(store.waiting_deliveries(0, 10).await.unwrap()[0].body, b"{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handled_delivery_is_still_known_but_its_body_is_gone() {
    let place = Place::new();
    let store = place.open().await;
    let Received::Stored { seq } = store.receive(delivery("d-1", "{}")).await.unwrap() else {
        panic!("a new id is stored")
    };
    store.finish_deliveries(&[seq]).await.unwrap();
    assert_eq!(store.waiting_deliveries(0, 10).await.unwrap(), vec![]);
    assert_eq!(store.receive(delivery("d-1", "{}")).await.unwrap(), Received::Again { same_body: true });
    assert_eq!(store.count_inbox().await.unwrap(), InboxCounts::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_keeps_failing_is_set_aside_and_holds_up_nobody() {
    let place = Place::new();
    let store = place.open().await;
    store.receive(delivery("poison", "{}")).await.unwrap();
    store.receive(delivery("good", "{}")).await.unwrap();
    let seq = store.waiting_deliveries(0, 10).await.unwrap()[0].seq;
    assert_eq!(store.fail_delivery(seq, "it cannot be read", 3).await.unwrap(), Tried::Waiting);
    assert_eq!(store.fail_delivery(seq, "it cannot be read", 3).await.unwrap(), Tried::Waiting);
    assert_eq!(store.fail_delivery(seq, "it cannot be read", 3).await.unwrap(), Tried::Quarantined);

    let waiting = store.waiting_deliveries(0, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].id, "good");
    let aside = store.quarantined_deliveries(10).await.unwrap();
    assert_eq!((aside[0].id.as_str(), aside[0].tries), ("poison", 3));
    assert_eq!(aside[0].error.as_deref(), Some("it cannot be read"));
    assert_eq!(store.count_inbox().await.unwrap(), InboxCounts { waiting: 1, quarantined: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn large_deliveries_are_read_few_at_once_and_none_is_left_out() {
    let place = Place::new();
    let store = place.open().await;
    let sizes = [5, 2, 3, 20, 1, 1].map(|mib| mib * 1024 * 1024);
    for (n, size) in sizes.into_iter().enumerate() {
        store.receive(delivery(&format!("d-{n}"), &"x".repeat(size))).await.unwrap();
    }
    let mut batches = Vec::new();
    let mut after = 0;
    loop {
        let batch = store.waiting_deliveries(after, 100).await.unwrap();
        let Some(last) = batch.last() else { break };
        after = last.seq;
        batches.push(batch.len());
    }
    assert_eq!(batches, [2, 1, 1, 2]);
}
