//! Conflicts between an applier and other managers, in the server's words.

use super::managed::{Entry, Operation};
use super::path::Path;

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other manager.
    pub manager: String,
    /// How it came to own the field.
    pub operation: Operation,
    /// The version in which it owns it.
    pub api_version: String,
    /// The subresource through which it wrote; empty for the object itself.
    pub subresource: String,
    /// The field.
    pub path: Path,
}

impl Conflict {
    /// The reason of the cause in the server's Status.
    pub const REASON: &'static str = "FieldManagerConflict";

    pub(super) fn new(entry: &Entry, path: Path) -> Self {
        Self {
            manager: entry.manager.clone(),
            operation: entry.operation,
            api_version: entry.api_version.clone(),
            subresource: entry.subresource.clone(),
            path,
        }
    }

    /// The message of the cause: `conflict with "kubectl" using apps/v1`.
    #[must_use]
    pub fn message(&self) -> String {
        format!("conflict with {}", self.owner())
    }

    /// The field of the cause: `.spec.replicas`.
    #[must_use]
    pub fn field(&self) -> String {
        self.path.to_string()
    }

    fn owner(&self) -> String {
        self.entry().describe()
    }

    fn entry(&self) -> Entry {
        Entry {
            manager: self.manager.clone(),
            operation: self.operation,
            api_version: self.api_version.clone(),
            subresource: self.subresource.clone(),
            time: None,
            fields: super::FieldSet::EMPTY,
        }
    }
}

/// The message of the whole Status: one conflict on one line, several listed by manager.
pub(super) fn message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", only.owner(), only.path);
    }
    let mut lines = Vec::new();
    for same in conflicts.chunk_by(|a, b| a.entry() == b.entry()) {
        lines.push(format!("conflicts with {}:", same[0].owner()));
        lines.extend(same.iter().map(|conflict| format!("- {}", conflict.path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
