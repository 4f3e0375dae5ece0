//! Times and JSON in a row, and the bounds of those that are asked for.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// The time in `column`.
pub(super) fn time(row: &SqliteRow, column: &str) -> sqlx::Result<Timestamp> {
    decoded(column, row.try_get(column)?)
}

/// The time in `column`, where there is one.
pub(super) fn maybe_time(row: &SqliteRow, column: &str) -> sqlx::Result<Option<Timestamp>> {
    row.try_get::<Option<i64>, _>(column)?.map(|micros| decoded(column, micros)).transpose()
}

/// The JSON in `column`, where there is some.
pub(super) fn maybe_json(row: &SqliteRow, column: &str) -> sqlx::Result<Option<serde_json::Value>> {
    row.try_get::<Option<String>, _>(column)?.map(|text| json(column, &text)).transpose()
}

/// Reads `text` as the JSON of `column`.
pub(super) fn json(column: &str, text: &str) -> sqlx::Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|source| undecodable(column, source))
}

/// The bounds of the revisions that begin with a prefix: from the first to before the second. A range, unlike LIKE, uses
/// the index; `g` follows every hexadecimal digit.
pub(super) fn revisions(prefix: &str) -> (String, String) {
    (prefix.to_owned(), format!("{prefix}g"))
}

fn decoded(column: &str, micros: i64) -> sqlx::Result<Timestamp> {
    Timestamp::from_microsecond(micros).map_err(|source| undecodable(column, source))
}

fn undecodable(column: &str, source: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(source) }
}
