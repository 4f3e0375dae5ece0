//! Revisions that were seen, and what became of each in every service: the answer to `why`.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};

use super::rows::{revisions, time};
use super::{Store, StoreError, micros};

/// What became of a revision in one service of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The repository.
    pub repo: String,
    /// The commit, 40 hexadecimal digits.
    pub revision: String,
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The service's name.
    pub service: String,
    /// One of the verdicts.
    pub verdict: String,
    /// More about it: the step that failed, the reason of the freeze.
    pub detail: Option<String>,
    /// When this was said.
    pub time: Timestamp,
}

impl Store {
    /// Writes verdicts; a later one on the same revision and service replaces the earlier.
    ///
    /// # Errors
    /// The store itself fails; then none of them is written.
    pub async fn put_verdicts(&self, verdicts: Vec<Verdict>) -> Result<(), StoreError> {
        self.write("writing verdicts", move |c| Box::pin(async move { put(c, verdicts).await })).await
    }

    /// The verdicts on the revisions that begin with `prefix`, in all repositories, at most `limit`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn verdicts(&self, prefix: &str, limit: u32) -> Result<Vec<Verdict>, StoreError> {
        let (from, to) = revisions(prefix);
        self.read("reading verdicts", |c| {
            Box::pin(async move {
                sqlx::query_as(
                    "SELECT * FROM verdicts WHERE revision >= ? AND revision < ?
                     ORDER BY revision, repo, project, environment, service LIMIT ?",
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

    /// The newest verdicts on revisions for one service, at most `limit`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn verdicts_of_service(
        &self,
        project: &str,
        environment: &str,
        service: &str,
        limit: u32,
    ) -> Result<Vec<Verdict>, StoreError> {
        let key = [project, environment, service].map(str::to_owned);
        self.read("reading the verdicts of a service", |c| {
            Box::pin(async move {
                let [project, environment, service] = key;
                sqlx::query_as(
                    "SELECT * FROM verdicts WHERE project = ? AND environment = ? AND service = ?
                     ORDER BY time DESC, revision LIMIT ?",
                )
                .bind(project)
                .bind(environment)
                .bind(service)
                .bind(limit)
                .fetch_all(c)
                .await
            })
        })
        .await
    }
}

async fn put(c: &mut SqliteConnection, verdicts: Vec<Verdict>) -> sqlx::Result<()> {
    for verdict in verdicts {
        sqlx::query(
            "INSERT OR REPLACE INTO verdicts
                 (repo, revision, project, environment, service, verdict, detail, time)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(verdict.repo)
        .bind(verdict.revision)
        .bind(verdict.project)
        .bind(verdict.environment)
        .bind(verdict.service)
        .bind(verdict.verdict)
        .bind(verdict.detail)
        .bind(micros(verdict.time))
        .execute(&mut *c)
        .await?;
    }
    Ok(())
}

impl FromRow<'_, SqliteRow> for Verdict {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            repo: row.try_get("repo")?,
            revision: row.try_get("revision")?,
            project: row.try_get("project")?,
            environment: row.try_get("environment")?,
            service: row.try_get("service")?,
            verdict: row.try_get("verdict")?,
            detail: row.try_get("detail")?,
            time: time(row, "time")?,
        })
    }
}
