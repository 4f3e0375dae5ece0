//! The outside reads the newest wish in the end, however often it changed and whoever died on the way.

use std::time::Duration;

use branchline::store::Change;

use super::{Place, at, want};

const LEASE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn wishes_within_a_pause_become_one_sending() {
    let place = Place::new();
    let store = place.open().await;
    store.want(want("check/api", "queued", 0)).await.unwrap();
    let first = store.claim("acme", at(0), LEASE, 10).await.unwrap().remove(0);
    store.want(want("check/api", "building", 1)).await.unwrap();
    // While one sender has it, nobody else gets it.
    assert_eq!(store.claim("acme", at(1), LEASE, 10).await.unwrap(), vec![]);
    store.complete("check/api", first.version, Some("4711"), at(5)).await.unwrap();
    store.want(want("check/api", "live", 2)).await.unwrap();
    assert_eq!(store.claim("acme", at(4), LEASE, 10).await.unwrap(), vec![]);
    assert_eq!(store.next_due("acme").await.unwrap(), Some(at(5)));

    let second = store.claim("acme", at(5), LEASE, 10).await.unwrap().remove(0);
    assert_eq!(second.payload["title"], "live");
    assert_eq!((second.version, second.external_id.as_deref()), (3, Some("4711")));
    store.complete("check/api", second.version, None, at(10)).await.unwrap();
    assert_eq!(store.count_outbox().await.unwrap().unsent, 0);
    assert_eq!(store.next_due("acme").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_wish_again_is_not_sent_again() {
    let place = Place::new();
    let store = place.open().await;
    let mut changes = store.changes();
    assert_eq!(store.want(want("check/api", "live", 0)).await.unwrap(), 1);
    assert_eq!(changes.recv().await.unwrap(), Change::Outbox);
    let sent = store.claim("acme", at(0), LEASE, 10).await.unwrap().remove(0);
    store.complete("check/api", sent.version, None, at(5)).await.unwrap();
    assert_eq!(store.want(want("check/api", "live", 9)).await.unwrap(), 1);
    assert_eq!(store.claim("acme", at(9), LEASE, 10).await.unwrap(), vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_died_holds_nothing_up() {
    let place = Place::new();
    let store = place.open().await;
    store.want(want("check/api", "live", 0)).await.unwrap();
    assert_eq!(store.claim("acme", at(0), LEASE, 10).await.unwrap().len(), 1);
    store.close().await;
    let store = place.open().await;
    assert_eq!(store.claim("acme", at(0), LEASE, 10).await.unwrap().len(), 1);
    // Without a restart the lease runs out.
    assert_eq!(store.claim("acme", at(59), LEASE, 10).await.unwrap().len(), 0);
    assert_eq!(store.claim("acme", at(60), LEASE, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_waits_and_a_hopeless_one_ends() {
    let place = Place::new();
    let store = place.open().await;
    store.want(want("check/api", "live", 0)).await.unwrap();
    store.claim("acme", at(0), LEASE, 10).await.unwrap();
    store.fail("check/api", "502 from the forge", at(30)).await.unwrap();
    assert_eq!(store.claim("acme", at(29), LEASE, 10).await.unwrap(), vec![]);
    assert_eq!(store.count_outbox().await.unwrap().failing, 1);

    let again = store.claim("acme", at(30), LEASE, 10).await.unwrap().remove(0);
    assert_eq!((again.tries, again.error.as_deref()), (1, Some("502 from the forge")));
    store.give_up("check/api", again.version, "the commit is unknown").await.unwrap();
    assert_eq!(store.count_outbox().await.unwrap().unsent, 0);
    let seen = store.outbox_items("check/", 10).await.unwrap().remove(0);
    assert_eq!(seen.error.as_deref(), Some("the commit is unknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_has_its_own_sender() {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..5 {
        store.want(want(&format!("check/{n}"), "live", n)).await.unwrap();
    }
    assert_eq!(store.claim("other", at(9), LEASE, 10).await.unwrap(), vec![]);
    let keys: Vec<String> =
        store.claim("acme", at(9), LEASE, 3).await.unwrap().into_iter().map(|item| item.key).collect();
    assert_eq!(keys, ["check/0", "check/1", "check/2"], "the longest due first");
}
