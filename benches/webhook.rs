//! Webhooks accepted and durable, a second, and how long each waits.
//!
//! Goal: 500 a second with p99 ≤ 10 ms, each synced to the disk before its answer. Deliveries of 10 KB come over
//! real connections that stay open; one synced write of the same disk is measured beside them, because that is
//! the floor. Also how fast the inbox is handed out again.
#![expect(clippy::disallowed_methods, reason = "a bench ends its tasks with itself")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use branchline::clock::Clock;
use branchline::github::inbox::{HintReader, Inbox};
use branchline::secret::Secret;
use branchline::server::{Limits, Routes, Server, ServerSettings, ServerState};
use branchline::store::{Store, StoreOptions};
use branchline::telemetry::Metrics;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::common::{at, synced_write};

const SECRET: &str = "of the benchmark";
const PAYLOAD_BYTES: usize = 10_000;
const EACH: usize = 2000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    println!(
        "webhook: deliveries of 10 KB over open connections, each synced before its answer; one synced write of the disk takes {:.1?}",
        synced_write(folder.path())?
    );
    let (address, mut reader) = start(folder.path()).await?;
    let mut stored = 0;
    for connections in [1, 8, 32, 128] {
        let begun = Instant::now();
        let senders = (0..connections)
            .map(|sender| tokio::spawn(send(address, format!("{connections}-{sender}"), EACH / connections)));
        let mut waits = Vec::new();
        for sender in futures::future::join_all(senders).await {
            waits.extend(sender??);
        }
        stored += waits.len();
        report(connections, begun.elapsed(), waits);
    }
    let begun = Instant::now();
    let mut handed_out = 0;
    while handed_out < stored {
        let hints = reader.next().await?;
        reader.finish(&hints).await?;
        handed_out += hints.len();
    }
    println!("  {handed_out} hints read, handed out and finished in {:.1?}", begun.elapsed());
    Ok(())
}

fn report(connections: usize, took: Duration, mut waits: Vec<Duration>) {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = waits.len() as f64 / took.as_secs_f64();
    println!(
        "  {connections:>3} connections: {rate:.0} a second, p50 {:.1?}, p99 {:.1?}, worst {:.1?} (goal: 500 a second, p99 10 ms)",
        at(&mut waits, 50),
        at(&mut waits, 99),
        at(&mut waits, 100)
    );
}

async fn start(folder: &Path) -> anyhow::Result<(SocketAddr, HintReader)> {
    let store = Store::open(&folder.join("branchline.db"), &StoreOptions::default()).await?;
    let (inbox, reader) = Inbox::new(store.clone(), Clock::system());
    let settings = ServerSettings {
        public_url: None,
        token: Secret::new("token".to_owned()),
        webhook_secrets: vec![Secret::new(SECRET.to_owned())],
        environment: "benchmark".to_owned(),
        limits: Limits::default(),
    };
    let state = ServerState::new(store, Clock::system(), Metrics::default(), inbox, settings);
    let server = Server::bind("127.0.0.1:0".parse()?, state.clone()).await?;
    let address = server.address();
    let tasks = TaskTracker::new();
    let of_server = tasks.clone();
    tasks
        .spawn(async move { server.serve(Routes::base(&state), &of_server, CancellationToken::new()).await });
    Ok((address, reader))
}

/// Sends `count` deliveries one after the other and gives the time of each.
async fn send(address: SocketAddr, name: String, count: usize) -> anyhow::Result<Vec<Duration>> {
    let body = json!({
        "ref": "refs/heads/main",
        "after": "3f2c1aa000000000000000000000000000000000",
        "repository": { "id": 7, "full_name": "acme/api" },
        "sender": { "login": "ada" },
        "padding": "x".repeat(PAYLOAD_BYTES),
    })
    .to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hex::encode(hmac::sign(&key, body.as_bytes()));
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut waits = Vec::with_capacity(count);
    let mut answer = vec![0; 4096];
    for n in 0..count {
        let request = format!(
            "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             x-github-event: push\r\nx-github-delivery: {name}-{n}\r\nx-hub-signature-256: sha256={signature}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        let mut read = 0;
        while !answer[..read].ends_with(b"}") {
            let more = stream.read(&mut answer[read..]).await?;
            ensure!(more > 0, "the server hung up");
            read += more;
        }
        let text = std::str::from_utf8(&answer[..read]).context("the answer is text")?;
        ensure!(text.starts_with("HTTP/1.1 202"), "{text}");
        waits.push(begun.elapsed());
    }
    Ok(waits)
}
