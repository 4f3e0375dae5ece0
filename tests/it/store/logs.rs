//! A log is read without gap or double, while it grows and after a reconnect, and never grows without end.

use std::time::Duration;

use branchline::store::{LogLimits, Store, StoreError, StoreOptions};

use super::{Place, deployment, line};

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sees_every_line_once_while_many_write() {
    let place = Place::new();
    let store = place.open().await;
    store.create_deployment(deployment("01", "api")).await.unwrap();
    let followers: Vec<_> =
        [0, 0, 250].into_iter().map(|from| (from, store.follow_log("01", None, from))).collect();
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for batch in 0..25 {
                let lines = (0..5).map(|n| line(&format!("{writer}.{batch}.{n}"))).collect();
                store.append_log("01", "build", lines).await.unwrap();
            }
        })
    });
    let writers = futures::future::join_all(writers);
    let reading = followers.into_iter().map(|(from, mut tail)| async move {
        let mut offsets = Vec::new();
        while offsets.last() != Some(&499) {
            offsets.extend(tail.next().await.unwrap().into_iter().map(|line| line.offset));
        }
        assert_eq!(offsets, (from..500).collect::<Vec<i64>>());
    });
    let reading = futures::future::join_all(reading);
    let (written, _) =
        tokio::time::timeout(Duration::from_mins(2), futures::future::join(writers, reading)).await.unwrap();
    assert!(written.iter().all(Result::is_ok));

    let mut texts: Vec<String> =
        store.log("01", Some("build"), 0, 1000).await.unwrap().into_iter().map(|line| line.line).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_share_the_offsets_of_their_deployment() {
    let place = Place::new();
    let store = place.open().await;
    store.create_deployment(deployment("01", "api")).await.unwrap();
    store.append_log("01", "build", vec![line("a"), line("b")]).await.unwrap();
    store.append_log("01", "rollout", vec![line("c")]).await.unwrap();
    assert_eq!(store.append_log("01", "build", vec![line("d")]).await.unwrap(), 4);
    let of_build = store.log("01", Some("build"), 1, 10).await.unwrap();
    let of_build: Vec<_> = of_build.iter().map(|line| (line.offset, line.line.as_str())).collect();
    assert_eq!(of_build, [(1, "b"), (3, "d")]);
    let end = store.log_end("01", None, 2).await.unwrap();
    assert_eq!(end.iter().map(|line| line.line.as_str()).collect::<Vec<_>>(), ["c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_log_is_cut_with_a_marker_and_other_steps_go_on() {
    let place = Place::new();
    let options =
        StoreOptions { logs: LogLimits { line_bytes: 20, step_bytes: 60 }, ..StoreOptions::default() };
    let store = Store::open(&place.path(), &options).await.unwrap();
    store.create_deployment(deployment("01", "api")).await.unwrap();
    store.append_log("01", "build", vec![line("äöüäöüäöüäöüäöü"), line("short")]).await.unwrap();
    for _ in 0..10 {
        store.append_log("01", "build", vec![line("more"), line("and more")]).await.unwrap();
    }
    store.append_log("01", "rollout", vec![line("a\0b")]).await.unwrap();
    let texts: Vec<String> =
        store.log("01", None, 0, 100).await.unwrap().into_iter().map(|line| line.line).collect();
    insta::assert_snapshot!(texts.join("\n").replace('\0', "␀"), @"
    äöüäöüäöüä [10 bytes more]
    short
    more
    and more
    [the log of this step is cut here, after 60 bytes]
    a␀b
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_an_unknown_deployment_are_refused_without_harm_to_their_neighbours() {
    let place = Place::new();
    let store = place.open().await;
    store.create_deployment(deployment("01", "api")).await.unwrap();
    let sends = (0..50).map(|n| {
        let store = store.clone();
        let to = if n % 2 == 0 { "01" } else { "unknown" };
        async move { store.append_log(to, "build", vec![line("x")]).await }
    });
    let answers = futures::future::join_all(sends).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 25);
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(|error| !error.passes()));
    assert!(matches!(answers[1], Err(StoreError::Query { .. })), "{:?}", answers[1]);
    assert_eq!(store.log("01", None, 0, 100).await.unwrap().len(), 25);
}
