//! Rows, not domain words: history, logs, inbox, outbox, cluster state. The only user of sqlx.
