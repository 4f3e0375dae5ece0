//! Deployments and their steps.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::rows::{maybe_json, maybe_time, time};
use super::{Change, Store, StoreError, micros};

/// One revision of one service on its way to, in, or back from one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// `UUIDv7`; sorts by creation.
    pub id: String,
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The service's name.
    pub service: String,
    /// What went in, as a hash.
    pub input_digest: String,
    /// Counts from 1 for the same input.
    pub attempt: u32,
    /// One of the states of the one table.
    pub state: String,
    /// The commit of the app repository.
    pub app_revision: Option<String>,
    /// The commit of the config repository.
    pub config_revision: Option<String>,
    /// What runs, as JSON.
    pub artifact: Option<Value>,
    /// Why it came about, as a sentence.
    pub cause: String,
    /// Repository and revision of the commit that it reports on.
    pub reported_on: Option<(String, String)>,
    /// When it was made.
    pub created: Timestamp,
    /// When work on it began.
    pub started: Option<Timestamp>,
    /// When it came to its end: live, failed, superseded, cancelled.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// The way out.
    pub hint: Option<String>,
}

/// What is known when a deployment begins; its attempt is counted here.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// `UUIDv7`.
    pub id: String,
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The service's name.
    pub service: String,
    /// What goes in, as a hash.
    pub input_digest: String,
    /// Its first state.
    pub state: String,
    /// The commit of the app repository.
    pub app_revision: Option<String>,
    /// The commit of the config repository.
    pub config_revision: Option<String>,
    /// What will run, where known already.
    pub artifact: Option<Value>,
    /// Why it comes about, as a sentence.
    pub cause: String,
    /// Repository and revision of the commit that it reports on.
    pub reported_on: Option<(String, String)>,
    /// Repository and revision of the commit that comes to the environment with it, where that is another one.
    pub brings: Option<(String, String)>,
    /// Now.
    pub created: Timestamp,
}

/// What moves on; `None` leaves a column as it is.
#[derive(Debug, Clone, Default)]
pub struct DeploymentChange {
    /// Only where the state is one of these; empty means any.
    pub only_from: Vec<String>,
    /// The new state.
    pub state: Option<String>,
    /// What runs.
    pub artifact: Option<Value>,
    /// Repository and revision of the commit that it reports on.
    pub reported_on: Option<(String, String)>,
    /// When work began; the first time that is said stays.
    pub started: Option<Timestamp>,
    /// When it came to its end.
    pub ended: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// The way out.
    pub hint: Option<String>,
}

/// Which deployments to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct DeploymentFilter {
    /// Of this project.
    pub project: Option<String>,
    /// Of this environment.
    pub environment: Option<String>,
    /// Of this service.
    pub service: Option<String>,
    /// In one of these states; empty means any.
    pub states: Vec<String>,
    /// Whose app or config revision begins with this.
    pub revision: Option<String>,
    /// That report on this repository and revision.
    pub reported_on: Option<(String, String)>,
    /// Only those that have not ended.
    pub unfinished: bool,
    /// Made before the one with this id: the cursor of the next page.
    pub before: Option<String>,
    /// How many at most.
    pub limit: u32,
}

/// A step of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The deployment's id.
    pub deployment: String,
    /// The step's name, unique in its deployment.
    pub name: String,
    /// Its state.
    pub state: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What is to be said about it.
    pub detail: Option<String>,
}

impl Store {
    /// Makes a deployment, counting its attempt, and opens the commits that it is news of.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the id exists; otherwise the store itself fails.
    pub async fn create_deployment(&self, new: NewDeployment) -> Result<Deployment, StoreError> {
        let tell = self.tell();
        self.write_then(
            "making a deployment",
            move |c| Box::pin(async move { insert(c, new).await }),
            move |made: &Deployment| tell(made.change()),
        )
        .await
    }

    /// Moves a deployment on. Answers the row as it is afterwards, or `None` where there is no such
    /// deployment or it is in none of the states of `only_from`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn update_deployment(
        &self,
        id: &str,
        change: DeploymentChange,
    ) -> Result<Option<Deployment>, StoreError> {
        let (id, tell) = (id.to_owned(), self.tell());
        self.write_then(
            "moving a deployment on",
            move |c| Box::pin(async move { update(c, &id, change).await }),
            move |moved: &Option<Deployment>| {
                if let Some(moved) = moved {
                    tell(moved.change());
                }
            },
        )
        .await
    }

    /// The deployment with this id.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn deployment(&self, id: &str) -> Result<Option<Deployment>, StoreError> {
        let id = id.to_owned();
        self.read("reading a deployment", |c| {
            Box::pin(async move {
                sqlx::query_as("SELECT * FROM deployments WHERE id = ?").bind(id).fetch_optional(c).await
            })
        })
        .await
    }

    /// Deployments by `filter`, newest first.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn deployments(&self, filter: &DeploymentFilter) -> Result<Vec<Deployment>, StoreError> {
        let mut query = selection(filter);
        self.read("listing deployments", |c| {
            Box::pin(async move { query.build_query_as().fetch_all(c).await })
        })
        .await
    }

    /// How many deployments a project has, by state.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn count_deployments(&self, project: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let project = project.to_owned();
        let counted: Vec<(String, i64)> = self
            .read("counting deployments", |c| {
                Box::pin(async move {
                    sqlx::query_as(
                        "SELECT state, count(*) FROM deployments WHERE project = ? GROUP BY state ORDER BY state",
                    )
                    .bind(project)
                    .fetch_all(c)
                    .await
                })
            })
            .await?;
        Ok(counted.into_iter().map(|(state, count)| (state, count.unsigned_abs())).collect())
    }

    /// Writes a step, new or moved on; its place in the order is that of its first writing. Times and detail
    /// that are `None` stay as they were.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where there is no such deployment; otherwise the store itself fails.
    pub async fn put_step(&self, step: Step) -> Result<(), StoreError> {
        let tell = self.tell();
        self.write_then(
            "writing a step",
            move |c| Box::pin(async move { put_step(c, step).await }),
            move |owner: &Option<Deployment>| {
                if let Some(owner) = owner {
                    tell(owner.change());
                }
            },
        )
        .await
        .map(|_| ())
    }

    /// The steps of a deployment in the order of their first writing.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn steps(&self, deployment: &str) -> Result<Vec<Step>, StoreError> {
        let deployment = deployment.to_owned();
        self.read("reading steps", |c| {
            Box::pin(async move {
                sqlx::query_as("SELECT * FROM steps WHERE deployment = ? ORDER BY position")
                    .bind(deployment)
                    .fetch_all(c)
                    .await
            })
        })
        .await
    }
}

impl Deployment {
    fn change(&self) -> Change {
        Change::Deployment {
            id: self.id.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
            service: self.service.clone(),
        }
    }
}

async fn insert(c: &mut SqliteConnection, new: NewDeployment) -> sqlx::Result<Deployment> {
    for commit in new.reported_on.iter().chain(&new.brings) {
        super::commits::open(&mut *c, commit, new.created).await?;
    }
    let (reported_repo, reported_revision) = new.reported_on.unzip();
    sqlx::query_as(
        "INSERT INTO deployments (id, project, environment, service, input_digest, attempt, state,
             app_revision, config_revision, artifact, cause, reported_repo, reported_revision, created)
         VALUES (?1, ?2, ?3, ?4, ?5,
             (SELECT coalesce(max(attempt), 0) + 1 FROM deployments
              WHERE project = ?2 AND environment = ?3 AND service = ?4 AND input_digest = ?5),
             ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
         RETURNING *",
    )
    .bind(new.id)
    .bind(new.project)
    .bind(new.environment)
    .bind(new.service)
    .bind(new.input_digest)
    .bind(new.state)
    .bind(new.app_revision)
    .bind(new.config_revision)
    .bind(new.artifact.map(|artifact| artifact.to_string()))
    .bind(new.cause)
    .bind(reported_repo)
    .bind(reported_revision)
    .bind(micros(new.created))
    .fetch_one(c)
    .await
}

async fn update(
    c: &mut SqliteConnection,
    id: &str,
    change: DeploymentChange,
) -> sqlx::Result<Option<Deployment>> {
    let (reported_repo, reported_revision) = change.reported_on.unzip();
    sqlx::query_as(
        "UPDATE deployments SET
             state = coalesce(?2, state),
             artifact = coalesce(?3, artifact),
             reported_repo = coalesce(?4, reported_repo),
             reported_revision = coalesce(?5, reported_revision),
             started = coalesce(started, ?6),
             ended = coalesce(?7, ended),
             error = coalesce(?8, error),
             hint = coalesce(?9, hint)
         WHERE id = ?1 AND (?10 = '[]' OR state IN (SELECT value FROM json_each(?10)))
         RETURNING *",
    )
    .bind(id)
    .bind(change.state)
    .bind(change.artifact.map(|artifact| artifact.to_string()))
    .bind(reported_repo)
    .bind(reported_revision)
    .bind(change.started.map(micros))
    .bind(change.ended.map(micros))
    .bind(change.error)
    .bind(change.hint)
    .bind(Value::from(change.only_from).to_string())
    .fetch_optional(c)
    .await
}

async fn put_step(c: &mut SqliteConnection, step: Step) -> sqlx::Result<Option<Deployment>> {
    sqlx::query(
        "INSERT INTO steps (deployment, name, position, state, started, ended, detail)
         VALUES (?1, ?2, (SELECT coalesce(max(position), 0) + 1 FROM steps WHERE deployment = ?1), ?3, ?4, ?5, ?6)
         ON CONFLICT (deployment, name) DO UPDATE SET
             state = excluded.state,
             started = coalesce(excluded.started, started),
             ended = coalesce(excluded.ended, ended),
             detail = coalesce(excluded.detail, detail)",
    )
    .bind(&step.deployment)
    .bind(step.name)
    .bind(step.state)
    .bind(step.started.map(micros))
    .bind(step.ended.map(micros))
    .bind(step.detail)
    .execute(&mut *c)
    .await?;
    sqlx::query_as("SELECT * FROM deployments WHERE id = ?").bind(step.deployment).fetch_optional(c).await
}

fn selection(filter: &DeploymentFilter) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new("SELECT * FROM deployments WHERE 1");
    for (column, wanted) in [
        (" AND project = ", &filter.project),
        (" AND environment = ", &filter.environment),
        (" AND service = ", &filter.service),
        (" AND id < ", &filter.before),
    ] {
        if let Some(wanted) = wanted {
            query.push(column).push_bind(wanted.clone());
        }
    }
    if let Some(prefix) = &filter.revision {
        // A range, unlike LIKE, uses the indexes; `g` follows every hexadecimal digit.
        let end = format!("{prefix}g");
        query
            .push(" AND ((app_revision >= ")
            .push_bind(prefix.clone())
            .push(" AND app_revision < ")
            .push_bind(end.clone())
            .push(") OR (config_revision >= ")
            .push_bind(prefix.clone())
            .push(" AND config_revision < ")
            .push_bind(end)
            .push("))");
    }
    if let Some((repo, revision)) = &filter.reported_on {
        query.push(" AND reported_revision = ").push_bind(revision.clone());
        query.push(" AND reported_repo = ").push_bind(repo.clone());
    }
    if !filter.states.is_empty() {
        let states = Value::from(filter.states.clone()).to_string();
        query.push(" AND state IN (SELECT value FROM json_each(").push_bind(states).push("))");
    }
    if filter.unfinished {
        query.push(" AND ended IS NULL");
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
    query
}

impl FromRow<'_, SqliteRow> for Deployment {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let reported = row.try_get::<Option<String>, _>("reported_repo")?;
        Ok(Self {
            id: row.try_get("id")?,
            project: row.try_get("project")?,
            environment: row.try_get("environment")?,
            service: row.try_get("service")?,
            input_digest: row.try_get("input_digest")?,
            attempt: row.try_get("attempt")?,
            state: row.try_get("state")?,
            app_revision: row.try_get("app_revision")?,
            config_revision: row.try_get("config_revision")?,
            artifact: maybe_json(row, "artifact")?,
            cause: row.try_get("cause")?,
            reported_on: reported.zip(row.try_get("reported_revision")?),
            created: time(row, "created")?,
            started: maybe_time(row, "started")?,
            ended: maybe_time(row, "ended")?,
            error: row.try_get("error")?,
            hint: row.try_get("hint")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Step {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            deployment: row.try_get("deployment")?,
            name: row.try_get("name")?,
            state: row.try_get("state")?,
            started: maybe_time(row, "started")?,
            ended: maybe_time(row, "ended")?,
            detail: row.try_get("detail")?,
        })
    }
}
