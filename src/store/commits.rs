//! Commits that somebody told us of: each is open until its last word has been said.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};

use super::rows::{maybe_time, revisions, time};
use super::{Store, StoreError, micros};

/// By which way a commit is known that a deployment reports on.
pub const VIA_DEPLOYMENT: &str = "deployment";

/// A commit and the way by which it came to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommit {
    /// The repository.
    pub repo: String,
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
    /// `refs/heads/main`, `pull/7`.
    pub via: String,
    /// Where that was until then; without it, the commit that came last by the same way.
    pub before: Option<String>,
    /// Now.
    pub seen: Timestamp,
}

/// A commit that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCommit {
    /// The repository.
    pub repo: String,
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
    /// `refs/heads/main`, `pull/7` or [`VIA_DEPLOYMENT`].
    pub via: String,
    /// Where that was until then.
    pub before: Option<String>,
    /// When it was seen, or opened again.
    pub seen: Timestamp,
    /// When its last word was said.
    pub concluded: Option<Timestamp>,
    /// That word.
    pub verdict: Option<String>,
    /// More about it.
    pub detail: Option<String>,
}

impl Store {
    /// Remembers commits. One that is known by the same way stays as it is; answers the new ones.
    ///
    /// # Errors
    /// The store itself fails; then none of them is remembered.
    pub async fn see_commits(&self, commits: Vec<NewCommit>) -> Result<Vec<NewCommit>, StoreError> {
        self.write("remembering commits", move |c| Box::pin(async move { see(c, commits).await })).await
    }

    /// The commits that have not had their last word, the oldest first, with every way by which they are known; at
    /// most `limit` rows.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn open_commits(&self, limit: u32) -> Result<Vec<SeenCommit>, StoreError> {
        self.read("listing open commits", move |c| {
            Box::pin(async move {
                sqlx::query_as(
                    "SELECT c.* FROM commits c JOIN (
                         SELECT revision, repo, min(seen) AS first FROM commits WHERE concluded IS NULL
                         GROUP BY revision, repo ORDER BY first LIMIT ?) o
                     ON c.revision = o.revision AND c.repo = o.repo ORDER BY o.first, c.revision, c.via",
                )
                .bind(limit)
                .fetch_all(c)
                .await
            })
        })
        .await
    }

    /// The commits that begin with `prefix`, in all repositories, at most `limit` rows.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn commits(&self, prefix: &str, limit: u32) -> Result<Vec<SeenCommit>, StoreError> {
        let (from, to) = revisions(prefix);
        self.read("listing commits", move |c| {
            Box::pin(async move {
                sqlx::query_as(
                    "SELECT * FROM commits WHERE revision >= ? AND revision < ?
                     ORDER BY revision, repo, via LIMIT ?",
                )
                .bind(from)
                .bind(to)
                .bind(limit)
                .fetch_all(c)
                .await
            })
        })
        .await
    }

    /// Opens a commit again: there will be another word on it.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn open_commit(&self, repo: &str, revision: &str, now: Timestamp) -> Result<(), StoreError> {
        let key = (repo.to_owned(), revision.to_owned());
        self.write("opening a commit again", move |c| Box::pin(async move { open(c, &key, now).await })).await
    }

    /// The last word on a commit, for those of its ways in `rows` that have not been opened again since they were read.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn conclude_commit(
        &self,
        rows: &[SeenCommit],
        verdict: &str,
        detail: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let rows = rows.to_vec();
        let (verdict, detail) = (verdict.to_owned(), detail.map(str::to_owned));
        self.write("concluding a commit", move |c| {
            Box::pin(async move {
                for row in rows {
                    sqlx::query(
                        "UPDATE commits SET concluded = ?, verdict = ?, detail = ?
                         WHERE revision = ? AND repo = ? AND via = ? AND seen = ?",
                    )
                    .bind(micros(now))
                    .bind(&verdict)
                    .bind(&detail)
                    .bind(row.revision)
                    .bind(row.repo)
                    .bind(row.via)
                    .bind(micros(row.seen))
                    .execute(&mut *c)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }
}

async fn see(c: &mut SqliteConnection, commits: Vec<NewCommit>) -> sqlx::Result<Vec<NewCommit>> {
    let mut new = Vec::new();
    for commit in commits {
        let inserted = sqlx::query(
            "INSERT INTO commits (repo, revision, via, before, seen)
             VALUES (?1, ?2, ?3, coalesce(?4, (SELECT revision FROM commits
                 WHERE repo = ?1 AND via = ?3 AND revision <> ?2 ORDER BY seen DESC LIMIT 1)), ?5)
             ON CONFLICT DO NOTHING",
        )
        .bind(&commit.repo)
        .bind(&commit.revision)
        .bind(&commit.via)
        .bind(&commit.before)
        .bind(micros(commit.seen))
        .execute(&mut *c)
        .await?;
        if inserted.rows_affected() > 0 {
            new.push(commit);
        }
    }
    Ok(new)
}

/// Opens the commit that a new deployment reports on: there will be another word on it.
pub(super) async fn open(
    c: &mut SqliteConnection,
    (repo, revision): &(String, String),
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO commits (repo, revision, via, seen) VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET seen = excluded.seen, concluded = NULL, verdict = NULL, detail = NULL",
    )
    .bind(repo)
    .bind(revision)
    .bind(VIA_DEPLOYMENT)
    .bind(micros(now))
    .execute(c)
    .await
    .map(|_| ())
}

impl FromRow<'_, SqliteRow> for SeenCommit {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            repo: row.try_get("repo")?,
            revision: row.try_get("revision")?,
            via: row.try_get("via")?,
            before: row.try_get("before")?,
            seen: time(row, "seen")?,
            concluded: maybe_time(row, "concluded")?,
            verdict: row.try_get("verdict")?,
            detail: row.try_get("detail")?,
        })
    }
}
