//! Values by space and key, for what other rooms keep across restarts: sealed secrets, the parents of apply
//! sets, addresses.

use super::{Store, StoreError};

impl Store {
    /// Writes the value at `key` of `space`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn put(&self, space: &str, key: &str, value: &[u8]) -> Result<(), StoreError> {
        let (space, key, value) = (space.to_owned(), key.to_owned(), value.to_vec());
        self.write_one("writing a value", move |c| {
            Box::pin(async move {
                sqlx::query("INSERT OR REPLACE INTO kv (space, key, value) VALUES (?, ?, ?)")
                    .bind(space)
                    .bind(key)
                    .bind(value)
                    .execute(c)
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// Writes `value` at `key` unless there is one, and answers what stands there afterwards: an address is
    /// allotted once, whoever asks at the same time.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn put_if_absent(&self, space: &str, key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (space, key, value) = (space.to_owned(), key.to_owned(), value.to_vec());
        self.write_one("writing a value once", move |c| {
            Box::pin(async move {
                sqlx::query_scalar(
                    "INSERT INTO kv (space, key, value) VALUES (?, ?, ?)
                     ON CONFLICT (space, key) DO UPDATE SET value = value RETURNING value",
                )
                .bind(space)
                .bind(key)
                .bind(value)
                .fetch_one(c)
                .await
            })
        })
        .await
    }

    /// The value at `key` of `space`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn get(&self, space: &str, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        self.read("reading a value", |c| {
            Box::pin(async move {
                sqlx::query_scalar("SELECT value FROM kv WHERE space = ? AND key = ?")
                    .bind(space)
                    .bind(key)
                    .fetch_optional(c)
                    .await
            })
        })
        .await
    }

    /// Everything in `space`, by key.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn list(&self, space: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let space = space.to_owned();
        self.read("listing values", |c| {
            Box::pin(async move {
                sqlx::query_as("SELECT key, value FROM kv WHERE space = ? ORDER BY key")
                    .bind(space)
                    .fetch_all(c)
                    .await
            })
        })
        .await
    }

    /// Removes the value at `key` of `space`; whether there was one.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn remove(&self, space: &str, key: &str) -> Result<bool, StoreError> {
        let (space, key) = (space.to_owned(), key.to_owned());
        self.write_one("removing a value", move |c| {
            Box::pin(async move {
                let removed = sqlx::query("DELETE FROM kv WHERE space = ? AND key = ?")
                    .bind(space)
                    .bind(key)
                    .execute(c)
                    .await?;
                Ok(removed.rows_affected() > 0)
            })
        })
        .await
    }
}
