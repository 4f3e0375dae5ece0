//! kill -9 at random moments of a series of pushes, config changes and pull requests, each with its webhook.
//!
//! The server is the real program, GitHub is the world in memory, its repositories stand behind `git http-backend`.
//! At the end the laws of `design/reliability.md` hold: every commit of an accepted webhook has its last word (I7, I8),
//! the cluster is what Git says (I1, M7), nothing is left of what was removed, and no process is left over.
//!
//! `BRANCHLINE_TEST_KILLS` says how often the server is killed (10 unless told), `BRANCHLINE_TEST_SEED` what is drawn.
//! The same seed draws the same steps and the same moments; what the machine does in between is its own.

mod laws;
#[path = "../cluster/twin/random.rs"]
mod random;
mod script;
mod stage;

use std::time::{Duration, Instant};

use laws::Laws;
use random::Random;
use script::Script;
use stage::{Life, Stage};

use crate::program::{PATIENCE, left_over, until};

/// The longest life of a server before it is killed, in starts of a server on this machine, and at least so long.
const STARTS: u32 = 5;
const LIFE: Duration = Duration::from_millis(1800);
/// The longest pause between two steps of the script.
const PAUSE: Duration = Duration::from_millis(1000);
/// The most steps of a series: GitHub takes 500 check runs an hour, and the server keeps to that.
const STEPS: u32 = 150;

/// A number that a person may set.
fn setting(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

impl Random {
    /// Some part of a time.
    fn part_of(&mut self, longest: Duration) -> Duration {
        longest * u32::try_from(self.below(1000)).expect("below a thousand") / 1000
    }
}

/// W10, W11, G12, M7, I1, I7, I8.
#[tokio::test(flavor = "multi_thread")]
async fn every_commit_has_its_last_word_however_often_the_server_is_killed() {
    let (kills, seed) = (setting("BRANCHLINE_TEST_KILLS", 10), setting("BRANCHLINE_TEST_SEED", 1));
    eprintln!("seed {seed}, {kills} kills");
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::set(folder.path()).await;
    let mut script = Script::new(&stage, Random::new(u64::from(seed)));
    let mut moments = Random::new(u64::from(seed ^ 0x6b69_6c6c));
    script.opening();
    let longest = LIFE.max(stage.time_of_a_start().await * STARTS);
    let pause = PAUSE.max(longest * kills / STEPS);
    let mut next = Instant::now();
    for _ in 0..kills {
        let mut life = stage.start();
        let end = Instant::now() + moments.part_of(longest);
        while Instant::now() < end {
            tokio::time::sleep_until(next.min(end).into()).await;
            if Instant::now() >= next {
                script.step();
                next = Instant::now() + moments.part_of(pause);
            }
        }
        life.kill();
    }
    script.mend();
    let life = stage.start();
    script.delivered().await;
    let settled = settle(&stage, &script, life, &format!("seed {seed}, {kills} kills")).await;
    eprintln!(
        "seed {seed}: {kills} kills, {} steps, {} webhooks accepted, {} commits with their last word in {} check runs \
         and {} writes; settled in {settled}",
        script.steps(),
        script.accepted_deliveries(),
        script.accepted().len(),
        stage::ALL.iter().map(|repo| stage.world.all_checks(repo).len()).sum::<usize>(),
        stage.world.asked("POST /repos") + stage.world.asked("PATCH /repos"),
    );
}

/// I7: a config that is broken when the server starts does not say who follows a commit, and is no proof that nobody does.
#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_broken_at_the_start_loses_no_commit() {
    let folder = tempfile::tempdir().unwrap();
    let stage = Stage::set(folder.path()).await;
    let mut script = Script::new(&stage, Random::new(1));
    script.opening();
    script.break_config();
    for _ in 0..2 {
        let mut life = stage.start();
        script.delivered().await;
        until("the config was looked at", async || {
            let status = stage.api("status").await;
            status["busy"] == false && status["configRevision"].is_string()
        })
        .await;
        life.kill();
    }
    assert!(script.accepted().keys().any(|(repo, _)| *repo == stage::JOBS), "nothing was told of the jobs");
    script.mend();
    let life = stage.start();
    script.delivered().await;
    settle(&stage, &script, life, "a broken config at the start").await;
}

/// Waits until every law holds, ends the server, and answers how long it took and what came last.
async fn settle(stage: &Stage, script: &Script<'_>, life: Life, what: &str) -> String {
    let laws = Laws { stage, script };
    let begun = Instant::now();
    let mut last = None;
    loop {
        let broken = laws.broken(&life).await;
        let Some(first) = broken.first() else { break };
        last = Some(first.clone());
        assert!(begun.elapsed() < PATIENCE, "{what}\n{}", laws.report(&broken, life).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let settled = format!("{:.1?}, until then {last:?}", begun.elapsed());
    life.end();
    until("no process is left over", async || left_over(&stage.data).is_empty()).await;
    settled
}
