//! The sender: makes GitHub say what the outbox says.
//!
//! A row is done when GitHub reads its newest version; whatever happens between (a refusal, a rate limit, a timeout
//! after the write went through, kill -9) costs time and never makes a second run or a second comment: what may be
//! there already is looked for before it is made. Rows of one installation go out one after the other, as GitHub asks
//! (<https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api>).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::checks::Run;
use super::client::Client;
use super::error::{GitHubError, Retry};
use super::outbox::{CHANNEL, CheckRow, CommentRow, Row, unreadable, until_due, until_wanted};
use crate::clock::Clock;
use crate::hash::Hasher;
use crate::name::{RepoSlug, Revision};
use crate::store::{OutboxItem, Store, StoreError};

/// Rows of one round.
const ROUND: u32 = 50;
/// Longer than a round can take when every request runs into its deadline.
const LEASE: Duration = Duration::from_hours(1);
/// A row is rewritten at most this often.
const PAUSE: Duration = Duration::from_secs(5);
/// How long something that a person must mend is tried.
const PATIENCE: Duration = Duration::from_hours(72);
/// Refusals for good that are tried again: GitHub may not know a commit yet that it has just been sent.
const DOUBTS: u32 = 3;

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Rows that GitHub reads now.
    pub done: u32,
    /// Rows that wait: for a rate limit, or for another try.
    pub postponed: u32,
    /// Rows that can never be sent; they show why.
    pub given_up: u32,
}

impl Sent {
    /// Whether nothing was due.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// Sends what is due, once.
///
/// # Errors
/// The store itself fails. What GitHub answers is noted in the rows.
pub async fn send_due(store: &Store, client: &Client, clock: &Clock) -> Result<Sent, StoreError> {
    let items = store.claim(CHANNEL, clock.now(), LEASE, ROUND).await?;
    let mut sent = Sent::default();
    let mut owners: BTreeMap<String, Vec<(Row, OutboxItem)>> = BTreeMap::new();
    for item in items {
        match Row::read(&item) {
            Ok(row) => {
                let owner = row.repository().as_str().split('/').next().unwrap_or_default();
                owners.entry(owner.to_ascii_lowercase()).or_default().push((row, item));
            }
            Err(error) => {
                store.give_up(&item.key, item.version, &error).await?;
                sent.given_up += 1;
            }
        }
    }
    let rounds = owners.into_values().map(|rows| {
        let round = Round { store, client, clock, known: BTreeMap::new(), sent: Sent::default() };
        round.send(rows)
    });
    for round in futures::future::join_all(rounds).await {
        let round = round?;
        sent.done += round.done;
        sent.postponed += round.postponed;
        sent.given_up += round.given_up;
    }
    Ok(sent)
}

/// Sends whatever becomes due, until `stop`.
pub async fn run(store: Store, client: Client, clock: Clock, stop: CancellationToken) {
    let mut changes = store.changes();
    loop {
        let wait = match send_due(&store, &client, &clock).await {
            Ok(sent) if !sent.is_idle() => continue,
            Ok(_) => until_due(&store, CHANNEL, &clock).await,
            Err(error) => unreadable(&error),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(wait) => {}
            () = until_wanted(&mut changes) => {}
        }
    }
}

/// The rows of one installation in one round.
struct Round<'a> {
    store: &'a Store,
    client: &'a Client,
    clock: &'a Clock,
    /// Our check runs on a commit, listed once a round.
    known: BTreeMap<(RepoSlug, Revision), BTreeMap<String, Run>>,
    sent: Sent,
}

impl Round<'_> {
    async fn send(mut self, rows: Vec<(Row, OutboxItem)>) -> Result<Sent, StoreError> {
        let mut rows = rows.into_iter();
        while let Some((row, item)) = rows.next() {
            match self.deliver(&row, &item).await {
                Ok(external_id) => {
                    let pause = self.clock.now() + PAUSE;
                    self.store.complete(&item.key, item.version, external_id.as_deref(), pause).await?;
                    self.sent.done += 1;
                }
                Err(error @ GitHubError::Limited { .. }) => {
                    // the others would hear the same
                    let waiting: Vec<OutboxItem> =
                        std::iter::once(item).chain(rows.by_ref().map(|(_, item)| item)).collect();
                    let settled = waiting.iter().map(|item| self.note(item, &error));
                    for settled in futures::future::join_all(settled).await {
                        settled?;
                    }
                    self.sent.postponed += u32::try_from(waiting.len()).unwrap_or(u32::MAX);
                }
                Err(error) if self.is_hopeless(&item, &error) => {
                    tracing::error!(outbox.key = item.key, error = %error, "GitHub can never read this; it is given up.");
                    self.store.give_up(&item.key, item.version, &error.to_string()).await?;
                    self.sent.given_up += 1;
                }
                Err(error) => {
                    if item.tries == 0 {
                        tracing::warn!(outbox.key = item.key, error = %error, "GitHub does not read this yet; it is tried again.");
                    }
                    self.note(&item, &error).await?;
                    self.sent.postponed += 1;
                }
            }
        }
        Ok(self.sent)
    }

    /// Makes GitHub read a row; answers its id there.
    async fn deliver(&mut self, row: &Row, item: &OutboxItem) -> Result<Option<String>, GitHubError> {
        let id = item.external_id.as_deref().and_then(|id| id.parse().ok());
        match row {
            Row::Check(row) => self.check(row, &item.key, id).await.map(|run| Some(run.to_string())),
            Row::Comment(row) => self.comment(row, id).await.map(|id| id.map(|id| id.to_string())),
            Row::Status(row) => {
                self.client.put_status(&row.repository, &row.revision, &row.status).await.map(|()| None)
            }
        }
    }

    async fn check(&mut self, row: &CheckRow, key: &str, id: Option<u64>) -> Result<u64, GitHubError> {
        let CheckRow { repository, revision, check } = row;
        // the row's key is our id of the run: by it a run is found that was made before we were told its number
        if let Some(id) = id {
            match self.client.update_run(repository, id, key, check).await {
                Err(error) if error.is_not_found() => {}
                other => return other.map(|_| id),
            }
        }
        let commit = (repository.clone(), revision.clone());
        if !self.known.contains_key(&commit) {
            let runs = self.client.our_runs(repository, revision).await?;
            self.known.insert(commit.clone(), runs);
        }
        let found = self.known[&commit].get(key).map(|run| run.id).filter(|found| Some(*found) != id);
        match found {
            Some(id) => self.client.update_run(repository, id, key, check).await.map(|_| id),
            None => self.client.create_run(repository, revision, key, check).await.map(|run| run.id),
        }
    }

    async fn comment(&self, row: &CommentRow, id: Option<u64>) -> Result<Option<u64>, GitHubError> {
        let CommentRow { repository, pull, comment } = row;
        if let Some(id) = id {
            match self.client.edit_comment(repository, id, &comment.body).await {
                Err(error) if error.is_not_found() => {}
                other => return other.map(|()| Some(id)),
            }
        }
        match self.client.our_comment(repository, *pull).await? {
            Some(id) => self.client.edit_comment(repository, id, &comment.body).await.map(|()| Some(id)),
            None if comment.create => {
                self.client.create_comment(repository, *pull, &comment.body).await.map(Some)
            }
            None => Ok(None),
        }
    }

    fn is_hopeless(&self, item: &OutboxItem, error: &GitHubError) -> bool {
        match error.retry() {
            Retry::Never => item.tries + 1 >= DOUBTS,
            Retry::WhenMended => item.changed + PATIENCE <= self.clock.now(),
            Retry::At(_) | Retry::Soon => false,
        }
    }

    /// Notes in the row why it waits, and for how long.
    async fn note(&self, item: &OutboxItem, error: &GitHubError) -> Result<(), StoreError> {
        let at = next_try(item, error.retry(), self.clock.now());
        self.store.fail(&item.key, &error.to_string(), at).await
    }
}

/// Later each time, and not at the same moment for all rows.
pub(super) fn next_try(item: &OutboxItem, retry: Retry, now: Timestamp) -> Timestamp {
    let (first, longest) = match retry {
        Retry::At(time) => return time,
        Retry::Soon | Retry::Never => (Duration::from_secs(2), Duration::from_mins(15)),
        Retry::WhenMended => (Duration::from_mins(1), Duration::from_hours(1)),
    };
    let pause = first.saturating_mul(1 << item.tries.min(12)).min(longest);
    let hash = Hasher::new("outbox retry").text(&item.key).text(&item.tries.to_string()).finish();
    let tenths = u32::from(hash.to_string().as_bytes()[0]) % 5;
    now + pause + pause / 10 * tenths
}
