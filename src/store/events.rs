//! What happened, in order: the activity that people read.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, QueryBuilder, Row, Sqlite};

use super::rows::time;
use super::{Change, Store, StoreError, micros};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its row number; grows with time.
    pub id: i64,
    /// What is said about it.
    pub what: NewEvent,
}

/// Something that happens now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The project it belongs to.
    pub project: String,
    /// The environment it belongs to.
    pub environment: Option<String>,
    /// The service it belongs to.
    pub service: Option<String>,
    /// When.
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: String,
    /// Who did it, where somebody did.
    pub actor: Option<String>,
    /// A sentence.
    pub message: String,
}

/// Which events to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Of this project.
    pub project: Option<String>,
    /// Of this environment.
    pub environment: Option<String>,
    /// Of this service.
    pub service: Option<String>,
    /// Before the one with this id: the cursor of the next page.
    pub before: Option<i64>,
    /// How many at most.
    pub limit: u32,
}

impl Store {
    /// Adds an event and answers its id.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn add_event(&self, event: NewEvent) -> Result<i64, StoreError> {
        let (tell, project) = (self.tell(), event.project.clone());
        self.write_then(
            "adding an event",
            move |c| {
                Box::pin(async move {
                    sqlx::query_scalar(
                        "INSERT INTO events (project, environment, service, time, kind, actor, message)
                         VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
                    )
                    .bind(event.project)
                    .bind(event.environment)
                    .bind(event.service)
                    .bind(micros(event.time))
                    .bind(event.kind)
                    .bind(event.actor)
                    .bind(event.message)
                    .fetch_one(c)
                    .await
                })
            },
            move |id: &i64| tell(Change::Event { project, id: *id }),
        )
        .await
    }

    /// Events by `filter`, newest first.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn events(&self, filter: &EventFilter) -> Result<Vec<Event>, StoreError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT * FROM events WHERE 1");
        for (column, wanted) in [
            (" AND project = ", &filter.project),
            (" AND environment = ", &filter.environment),
            (" AND service = ", &filter.service),
        ] {
            if let Some(wanted) = wanted {
                query.push(column).push_bind(wanted.clone());
            }
        }
        if let Some(before) = filter.before {
            query.push(" AND id < ").push_bind(before);
        }
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(filter.limit));
        self.read("reading events", |c| Box::pin(async move { query.build_query_as().fetch_all(c).await }))
            .await
    }
}

impl FromRow<'_, SqliteRow> for Event {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            what: NewEvent {
                project: row.try_get("project")?,
                environment: row.try_get("environment")?,
                service: row.try_get("service")?,
                time: time(row, "time")?,
                kind: row.try_get("kind")?,
                actor: row.try_get("actor")?,
                message: row.try_get("message")?,
            },
        })
    }
}
