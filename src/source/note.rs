//! Notes on commits: where there is no forge, what a check run would say stands in the repository itself.

use std::sync::Arc;

use git2::{ErrorCode, Oid, Repository};
use jiff::Timestamp;
use tokio::runtime::Handle;

use super::SourceError;
use super::commit::Person;
use super::mirror::Mirror;
use super::tree::{Reader, oid};
use crate::name::Revision;

/// The ref that holds the notes: `git log --notes=branchline` shows them.
pub(super) const NOTES: &str = "refs/notes/branchline";

/// What becomes of a note that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteMode {
    /// The text is put below it, after an empty line.
    Append,
    /// The text takes its place.
    Replace,
}

impl Reader<'_> {
    /// The note on a commit as of the last fetch, `None` where there is none.
    ///
    /// # Errors
    /// When the mirror is damaged.
    pub fn note(&self, on: &Revision) -> Result<Option<String>, SourceError> {
        read(self.repo, oid(on)).map_err(|e| self.error("read a note", e))
    }
}

impl Mirror {
    /// Writes a note on a commit under `refs/notes/branchline` of the repository itself.
    ///
    /// # Errors
    /// `Moved` when another note was written in between (fetch and retry), and the errors of a write.
    pub async fn write_note(
        &self,
        on: &Revision,
        text: &str,
        mode: NoteMode,
        by: &Person,
        at: Timestamp,
    ) -> Result<(), SourceError> {
        let turn = Arc::clone(&self.flight.lock).lock_owned().await;
        let (mirror, on, text, by) = (self.clone(), on.clone(), text.to_owned(), by.clone());
        let task = tokio::task::spawn_blocking(move || {
            let written = mirror.write_note_blocking(&on, &text, mode, (&by, at));
            drop(turn);
            written
        });
        task.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn write_note_blocking(
        &self,
        on: &Revision,
        text: &str,
        mode: NoteMode,
        by: (&Person, Timestamp),
    ) -> Result<(), SourceError> {
        if let Some(path) = self.state.url.local_path() {
            let repo = Repository::open(path).map_err(|e| self.failed("open it", e))?;
            return self.put(&repo, on, text, mode, by);
        }
        let (repo, generation) = self.state.take()?;
        let tip = |repo: &Repository| repo.refname_to_id(NOTES).unwrap_or(Oid::ZERO_SHA1);
        let before = tip(&repo);
        let written = self.put(&repo, on, text, mode, by).and_then(|()| {
            let pushed = self.push(&repo, tip(&repo), NOTES, before, &Handle::current());
            if pushed.is_err() {
                // the next fetch brings the other side's notes; ours is written again on top of them
                let restored = if before.is_zero() {
                    repo.find_reference(NOTES).and_then(|mut notes| notes.delete())
                } else {
                    repo.reference(NOTES, before, true, "not pushed").map(drop)
                };
                restored.map_err(|e| self.failed("restore the notes", e))?;
            }
            pushed
        });
        self.state.give_back(repo, generation);
        written
    }

    fn put(
        &self,
        repo: &Repository,
        on: &Revision,
        text: &str,
        mode: NoteMode,
        (by, at): (&Person, Timestamp),
    ) -> Result<(), SourceError> {
        let before = read(repo, oid(on)).map_err(|e| self.failed("read a note", e))?;
        let text = text.replace('\0', "");
        let text = match (mode, before) {
            (NoteMode::Append, Some(before)) => format!("{}\n\n{text}", before.trim_end()),
            _ => text,
        };
        let signature = by.sign(at).map_err(|e| self.failed("sign a note", e))?;
        let written = repo.note(&signature, &signature, Some(NOTES), oid(on), &text, true);
        written.map(drop).map_err(|error| match error.code() {
            ErrorCode::Modified | ErrorCode::Locked => self.moved(NOTES, on),
            _ => self.failed("write a note", error),
        })
    }
}

fn read(repo: &Repository, on: Oid) -> Result<Option<String>, git2::Error> {
    match repo.find_note(Some(NOTES), on) {
        Ok(note) => Ok(Some(String::from_utf8_lossy(note.message_bytes()).into_owned())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
