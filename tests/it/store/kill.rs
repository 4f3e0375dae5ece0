//! An answered delivery survives kill -9: the answer comes after the disk.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use branchline::store::{Store, StoreOptions};

use super::{Place, delivery};

/// Where the child finds the store; unset when somebody runs the child's test by hand.
const STORE: &str = "BRANCHLINE_TEST_CHILD_STORE";
const STORED: &str = "stored ";

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_delivery_is_there_after_a_kill() {
    let place = Place::new();
    let mut all = Vec::new();
    for (round, answers_before_the_kill) in [1, 40, 173, 420].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "store::kill::a_child_that_stores_until_it_is_killed",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(STORE, format!("{round}:{}", place.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut answered = Vec::new();
        for text in BufReader::new(child.stdout.take().unwrap()).lines() {
            let Ok(text) = text else { break };
            // The harness may write before the first of ours on the same line.
            if let Some((_, id)) = text.split_once(STORED) {
                answered.push(id.to_owned());
            }
            if answered.len() == answers_before_the_kill {
                // More answers that are already in the pipe are read until it ends.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(answered.len() >= answers_before_the_kill, "the child stored {}", answered.len());
        all.extend(answered);

        let store = place.open().await;
        let there: std::collections::BTreeSet<String> =
            store.waiting_deliveries(0, 1_000_000).await.unwrap().into_iter().map(|found| found.id).collect();
        let lost: Vec<_> = all.iter().filter(|id| !there.contains(*id)).collect();
        assert!(lost.is_empty(), "lost after round {round}: {lost:?}");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is started, and killed, by `every_answered_delivery_is_there_after_a_kill`"]
#[expect(clippy::print_stdout, reason = "the parent reads the answers there")]
async fn a_child_that_stores_until_it_is_killed() {
    let Ok(told) = std::env::var(STORE) else { return };
    let (round, path) = told.split_once(':').unwrap();
    let store = Store::open(&PathBuf::from(path), &StoreOptions::default()).await.unwrap();
    let writers = (0..8).map(|writer| {
        let (store, round) = (store.clone(), round.to_owned());
        tokio::spawn(async move {
            for n in 0..100_000 {
                let id = format!("{round}-{writer}-{n}");
                store.receive(delivery(&id, "{}")).await.unwrap();
                println!("{STORED}{id}");
            }
        })
    });
    futures::future::join_all(writers).await;
}
