//! Attempts of an environment of 1,000 services: the first one, one with nothing to do, one with one change.
//!
//! Goals: an attempt with nothing to do sends no request and takes at most 1 ms of CPU; one change to the config of one
//! service is applied 40 ms after its hint (median). The embedded API runs with its controllers and without its node
//! (`replicas: 0`). With `kubernetes` in `BRANCHLINE_TEST_REQUIRE` the same is measured on the server of `KUBECONFIG`.
//!
//! *Applied* is the moment at which the API has answered the PATCH of the Deployment that the change is about.
#![expect(
    clippy::disallowed_methods,
    reason = "a bench ends its tasks with itself, and is told by the environment"
)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

#[path = "../common/mod.rs"]
mod common;
mod repository;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Context;
use branchline::reconcile::Hint;

use crate::common::{at, cpu, cpu_since, resident};
use crate::repository::SERVICES;
use crate::world::{Server, World, environment};

/// Changes of one service that are measured.
const CHANGES: usize = 40;
/// How long attempts with nothing to do are repeated.
const IDLE: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(Server::Embedded))?;
    let required = std::env::var("BRANCHLINE_TEST_REQUIRE").unwrap_or_default();
    if required.split(',').any(|name| name == "kubernetes") {
        let file = std::env::var("KUBECONFIG").context("KUBECONFIG names no file")?;
        runtime.block_on(measure(Server::Real(file.into())))?;
    } else {
        println!("attempt: without `kubernetes` in BRANCHLINE_TEST_REQUIRE no real API server is asked");
    }
    Ok(())
}

async fn measure(server: Server) -> anyhow::Result<()> {
    let world = World::start(server).await?;
    println!(
        "attempt on {}: {SERVICES} services in one environment; one synced write of the disk takes {:.1?}",
        world.server,
        world.synced_write()?
    );
    first(&world).await?;
    nothing(&world, "its environment alone", &environment()?)?;
    nothing(&world, "both repositories fetched", &Hint::Everything)?;
    one_change(&world, "its config", World::change_config).await?;
    one_change(&world, "its source", World::change_source).await?;
    println!(
        "  memory of this process: {} MB resident (server, clients and repositories in one)",
        resident("self")?
    );
    world.end().await
}

/// From a hint to everything applied and live, on an empty cluster.
async fn first(world: &World) -> anyhow::Result<()> {
    let begun = Instant::now();
    let cpu = cpu()?;
    world.hint(Hint::Everything);
    world.settled().await?;
    let (took, calls) = (begun.elapsed(), world.calls());
    println!(
        "  first: live in {took:.1?}, {} requests, {:.1?} of CPU, the server's in it where it is embedded",
        calls.len(),
        cpu_since(cpu)?
    );
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for call in &calls {
        *kinds.entry(call.kind()).or_default() += 1;
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("    {}", kinds.join(", "));
    Ok(())
}

/// The same again, as often as it goes.
fn nothing(world: &World, what: &str, hint: &Hint) -> anyhow::Result<()> {
    let look =
        || tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(world.look(hint)));
    look();
    world.calls();
    let (begun, cpu) = (Instant::now(), cpu()?);
    let mut times = 0;
    while begun.elapsed() < IDLE {
        look();
        times += 1;
    }
    let (each, cpu, requests) = (begun.elapsed() / times, cpu_since(cpu)? / times, world.calls().len());
    println!(
        "  nothing to do, {what}: {cpu:.2?} of CPU, {each:.2?} each, {requests} requests in {times} (goal: 0 requests, 1 ms of CPU)"
    );
    Ok(())
}

/// Changes of one service after the other.
async fn one_change(
    world: &World,
    what: &str,
    change: fn(&World, usize) -> anyhow::Result<Hint>,
) -> anyhow::Result<()> {
    let (mut applied, mut live, mut requests) = (Vec::new(), Vec::new(), BTreeSet::new());
    let cpu = cpu()?;
    for number in 0..CHANGES {
        let service = number * 7;
        let hint = change(world, service)?;
        world.calls();
        let begun = Instant::now();
        world.hint(hint);
        world.settled().await?;
        live.push(begun.elapsed());
        let calls = world.calls();
        let patched = calls.iter().find(|call| call.is_apply_of(service));
        applied.push(patched.context("the change was not applied")?.answered.duration_since(begun));
        requests.insert(calls.len());
    }
    let cpu = cpu_since(cpu)? / u32::try_from(CHANGES)?;
    println!(
        "  one change, {what}: hint → applied p50 {:.1?}, p95 {:.1?}, → live p50 {:.1?}, {requests:?} requests, {cpu:.1?} of CPU, n={CHANGES} (goal: p50 40 ms)",
        at(&mut applied, 50),
        at(&mut applied, 95),
        at(&mut live, 50),
    );
    Ok(())
}
