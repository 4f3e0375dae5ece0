//! W11: kill -9 between a body, its row and its answer. GitHub sees a failure, or the event is acted on.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use branchline::server::Routes;
use branchline::store::{Store, StoreOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{PATIENCE, SECRET, Setup, bind, push, sign};

/// Where the child keeps its store; unset when somebody runs the child's test by hand.
const FOLDER: &str = "BRANCHLINE_TEST_CHILD_SERVER";
const LISTENS: &str = "listens on ";

#[tokio::test(flavor = "multi_thread")]
async fn no_delivery_is_answered_and_lost_by_a_killed_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered = Vec::new();
    for (round, answers_before_the_kill) in [0, 3, 50, 111].into_iter().enumerate() {
        let (mut child, port) = start(folder.path());
        answered.extend(send_until(&mut child, port, round, answers_before_the_kill).await);
        child.wait().unwrap();

        let store =
            Store::open(&folder.path().join("branchline.db"), &StoreOptions::default()).await.unwrap();
        let rows = store.waiting_deliveries(0, 100_000).await.unwrap();
        let there: std::collections::BTreeSet<String> = rows.into_iter().map(|row| row.id).collect();
        let lost: Vec<_> = answered.iter().filter(|id| !there.contains(*id)).collect();
        assert!(lost.is_empty(), "answered and lost in round {round}: {lost:?}");
        store.close().await;
    }
    assert!(answered.len() >= 164, "{} were answered", answered.len());
}

/// Sends from many connections at once and kills the server after so many answers; gives the ids of all
/// deliveries that were answered with a yes.
async fn send_until(child: &mut Child, port: u16, round: usize, answers: usize) -> Vec<String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
    let body = push(2000);
    let signature = sign(SECRET, body.as_bytes());
    let count = Arc::new(AtomicUsize::new(0));
    let killed = CancellationToken::new();
    let senders = (0..12).map(|sender| {
        let (client, body, signature) = (client.clone(), body.clone(), signature.clone());
        let (count, killed) = (count.clone(), killed.clone());
        tokio::spawn(async move {
            let mut answered = Vec::new();
            for n in 0.. {
                let id = format!("{round}-{sender}-{n}");
                let sent = client
                    .post(format!("http://127.0.0.1:{port}/webhooks/github"))
                    .header("content-type", "application/json")
                    .header("x-github-event", "push")
                    .header("x-github-delivery", &id)
                    .header("x-hub-signature-256", &signature)
                    .body(body.clone());
                match sent.send().await {
                    Ok(answer) => {
                        assert_eq!(answer.status(), 202);
                        answered.push(id);
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(_) => break,
                }
                if killed.is_cancelled() {
                    break;
                }
            }
            answered
        })
    });
    let senders: Vec<_> = senders.collect();
    while count.load(Ordering::SeqCst) < answers {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    child.kill().unwrap();
    killed.cancel();
    futures::future::join_all(senders).await.into_iter().flat_map(Result::unwrap).collect()
}

fn start(folder: &std::path::Path) -> (Child, u16) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["server::kill::a_child_that_serves_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port =
        lines.find_map(|line| line.unwrap().split_once(LISTENS).map(|(_, port)| port.parse().unwrap()));
    (child, port.expect("the child listens"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is started, and killed, by `no_delivery_is_answered_and_lost_by_a_killed_server`"]
#[expect(clippy::print_stdout, reason = "the parent reads the port there")]
async fn a_child_that_serves_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let (server, _store, _reader, state) = bind(folder.as_ref(), Setup::default()).await;
    println!("{LISTENS}{}", server.address().port());
    server.serve(Routes::base(&state), &TaskTracker::new(), CancellationToken::new()).await;
}
