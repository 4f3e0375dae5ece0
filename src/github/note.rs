//! The sender of notes: where there is no forge, a commit's report stands in its own repository.

use std::time::Duration;

use super::error::Retry;
use super::outbox::{NOTES_CHANNEL, NoteRow, payload};
use super::sender::{Sent, next_try};
use crate::clock::Clock;
use crate::source::{Mirror, NoteMode, Person, SourceError};
use crate::store::{Store, StoreError};

/// Notes of one round.
const ROUND: u32 = 20;
const LEASE: Duration = Duration::from_hours(2);
/// How often a note is written that another one beats.
const RACES: u32 = 3;

/// Writes the notes that are due, once. `mirror` finds the mirror of a repository as the row names it.
///
/// # Errors
/// The store itself fails. What Git answers is noted in the rows.
pub async fn send_notes(
    store: &Store,
    mirror: impl Fn(&str) -> Option<Mirror>,
    by: &Person,
    clock: &Clock,
) -> Result<Sent, StoreError> {
    let mut sent = Sent::default();
    for item in store.claim(NOTES_CHANNEL, clock.now(), LEASE, ROUND).await? {
        let row: NoteRow = match payload(&item) {
            Ok(row) => row,
            Err(error) => {
                store.give_up(&item.key, item.version, &error).await?;
                sent.given_up += 1;
                continue;
            }
        };
        let written = match mirror(&row.repository) {
            Some(mirror) => write(&mirror, &row, by, clock).await,
            // nobody names it any more
            None => Err((format!("{} is in no config any more", row.repository), true)),
        };
        match written {
            Ok(()) => {
                store.complete(&item.key, item.version, None, clock.now()).await?;
                sent.done += 1;
            }
            Err((error, true)) => {
                tracing::warn!(outbox.key = item.key, error, "A note cannot be written; it is given up.");
                store.give_up(&item.key, item.version, &error).await?;
                sent.given_up += 1;
            }
            Err((error, false)) => {
                store.fail(&item.key, &error, next_try(&item, Retry::Soon, clock.now())).await?;
                sent.postponed += 1;
            }
        }
    }
    Ok(sent)
}

/// Writes a note; the flag of a failure says that it is for good.
async fn write(mirror: &Mirror, row: &NoteRow, by: &Person, clock: &Clock) -> Result<(), (String, bool)> {
    let mut races = 0;
    loop {
        let written = mirror.write_note(&row.revision, &row.text, NoteMode::Replace, by, clock.now()).await;
        match written {
            Ok(()) => return Ok(()),
            Err(SourceError::Moved { .. }) if races < RACES => {
                races += 1;
                let fetched = mirror.fetch().await;
                fetched.map_err(|error| (error.to_string(), false))?;
            }
            Err(error) => return Err((error.to_string(), error.is_authors())),
        }
    }
}
