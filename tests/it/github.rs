//! What GitHub shows in the end, whatever it answers on the way.

use std::time::Duration;

use branchline::clock::Clock;
use branchline::github::{Client, Sent, send_due, want_check, want_comment};
use branchline::name::{PullNumber, RepoSlug, Revision};
use branchline::report::{Check, Comment, MARKER, Reporter, State};
use branchline::store::{Store, StoreOptions, Want};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::report::{commit, service};
use crate::world::World;

mod notes;
mod pulls;
mod sender;
mod troubles;

const SHOP: &str = "acme/shop";
const HEAD: &str = "3f2c1aa0000000000000000000000000000000aa";
const NEXT: &str = "9b8a7c60000000000000000000000000000000bb";

fn shop() -> RepoSlug {
    SHOP.parse().unwrap()
}

fn head() -> Revision {
    HEAD.parse().unwrap()
}

/// A world with one repository and one commit, a store, and us as the App.
struct Office {
    world: World,
    store: Store,
    client: Client,
    clock: Clock,
    as_app: bool,
    folder: TempDir,
}

impl Office {
    async fn open() -> Self {
        Self::with(World::start().await, true).await
    }

    async fn with_token() -> Self {
        Self::with(World::start().await, false).await
    }

    async fn with(world: World, as_app: bool) -> Self {
        world.repository(SHOP, "https://example.com/acme/shop.git");
        world.commit(SHOP, HEAD);
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::test(Timestamp::from_second(1_763_800_000).unwrap());
        let settings = if as_app { world.as_app() } else { world.with_token() };
        let client = Client::new(&settings, clock.clone()).unwrap();
        let store = Store::open(&folder.path().join("b.db"), &StoreOptions::default()).await.unwrap();
        Self { world, store, client, clock, as_app, folder }
    }

    /// We are killed, and start again.
    async fn restart(&mut self) {
        self.store.close().await;
        self.store = Store::open(&self.folder.path().join("b.db"), &StoreOptions::default()).await.unwrap();
        let settings = if self.as_app { self.world.as_app() } else { self.world.with_token() };
        self.client = Client::new(&settings, self.clock.clone()).unwrap();
    }

    async fn want(&self, want: Want) {
        self.store.want(want).await.unwrap();
    }

    /// The services of the commit are in these states.
    async fn report(&self, states: &[(&str, State)]) {
        let services = states.iter().map(|(name, state)| service(name, *state)).collect();
        for check in Reporter::default().commit(&commit(services)) {
            self.want_check(&check).await;
        }
    }

    async fn want_check(&self, check: &Check) {
        self.want(want_check(&shop(), &head(), check, self.as_app, self.clock.now())).await;
    }

    async fn want_comment(&self, pull: u64, text: &str, create: bool) {
        let comment = Comment { body: format!("{MARKER}\n{text}"), create };
        self.want(want_comment(&shop(), PullNumber(pull), &comment, self.clock.now())).await;
    }

    async fn send(&self) -> Sent {
        send_due(&self.store, &self.client, &self.clock).await.unwrap()
    }

    /// Sends until nothing is left, and answers how long that took by the clock.
    async fn settle(&self) -> Duration {
        let began = self.clock.now();
        for _ in 0..10_000 {
            self.send().await;
            let Some(due) = self.store.next_due(branchline::github::CHANNEL).await.unwrap() else {
                return Duration::try_from(self.clock.now().duration_since(began)).unwrap();
            };
            let wait = Duration::try_from(due.duration_since(self.clock.now())).unwrap_or_default();
            self.clock.advance(wait);
        }
        panic!("the outbox does not settle");
    }

    /// The check runs of the commit, one a line.
    fn shown(&self) -> String {
        let line =
            |check: crate::world::Check| format!("{}: {}, {}", check.name, check.standing, check.title);
        self.world.checks(SHOP, HEAD).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Why rows wait or were given up.
    async fn errors(&self) -> String {
        let items = self.store.outbox_items("", 1000).await.unwrap();
        items.into_iter().filter_map(|item| item.error).collect::<Vec<_>>().join("\n")
    }
}
