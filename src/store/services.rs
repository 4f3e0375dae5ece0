//! The current record of each service in each environment: what a page shows at first glance.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, QueryBuilder, Row, Sqlite};

use super::rows::{maybe_json, time};
use super::{Change, Store, StoreError, micros};

/// How a service in an environment is doing now.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRow {
    /// The project's name.
    pub project: String,
    /// The environment's name.
    pub environment: String,
    /// The service's name.
    pub service: String,
    /// Its state.
    pub state: String,
    /// The headline: one sentence.
    pub message: String,
    /// The deployment that is live.
    pub live_deployment: Option<String>,
    /// Whatever else its pages show: URLs, drift, replicas. JSON, the writer's own.
    pub detail: Option<Value>,
    /// When this was written.
    pub updated: Timestamp,
}

impl Store {
    /// Writes the current record of a service, whole.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn put_service(&self, row: ServiceRow) -> Result<(), StoreError> {
        let tell = self.tell();
        let change = change(&row.project, &row.environment, &row.service);
        self.write_then(
            "writing the record of a service",
            move |c| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT OR REPLACE INTO services
                             (project, environment, service, state, message, live_deployment, detail, updated)
                         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(row.project)
                    .bind(row.environment)
                    .bind(row.service)
                    .bind(row.state)
                    .bind(row.message)
                    .bind(row.live_deployment)
                    .bind(row.detail.map(|detail| detail.to_string()))
                    .bind(micros(row.updated))
                    .execute(c)
                    .await
                    .map(|_| ())
                })
            },
            move |()| tell(change),
        )
        .await
    }

    /// Removes the current record of a service that is no more.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn remove_service(
        &self,
        project: &str,
        environment: &str,
        service: &str,
    ) -> Result<(), StoreError> {
        let tell = self.tell();
        let change = change(project, environment, service);
        let key = [project, environment, service].map(str::to_owned);
        self.write_then(
            "removing the record of a service",
            move |c| {
                Box::pin(async move {
                    let [project, environment, service] = key;
                    sqlx::query("DELETE FROM services WHERE project = ? AND environment = ? AND service = ?")
                        .bind(project)
                        .bind(environment)
                        .bind(service)
                        .execute(c)
                        .await
                        .map(|_| ())
                })
            },
            move |()| tell(change),
        )
        .await
    }

    /// The current records, of one project and environment where given, in the order of their names.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn services(
        &self,
        project: Option<&str>,
        environment: Option<&str>,
    ) -> Result<Vec<ServiceRow>, StoreError> {
        let mut query: QueryBuilder<Sqlite> = QueryBuilder::new("SELECT * FROM services WHERE 1");
        for (column, wanted) in [(" AND project = ", project), (" AND environment = ", environment)] {
            if let Some(wanted) = wanted {
                query.push(column).push_bind(wanted.to_owned());
            }
        }
        query.push(" ORDER BY project, environment, service");
        self.read("reading the records of services", |c| {
            Box::pin(async move { query.build_query_as().fetch_all(c).await })
        })
        .await
    }
}

fn change(project: &str, environment: &str, service: &str) -> Change {
    Change::Service {
        project: project.to_owned(),
        environment: environment.to_owned(),
        service: service.to_owned(),
    }
}

impl FromRow<'_, SqliteRow> for ServiceRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            project: row.try_get("project")?,
            environment: row.try_get("environment")?,
            service: row.try_get("service")?,
            state: row.try_get("state")?,
            message: row.try_get("message")?,
            live_deployment: row.try_get("live_deployment")?,
            detail: maybe_json(row, "detail")?,
            updated: time(row, "updated")?,
        })
    }
}
