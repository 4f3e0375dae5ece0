//! The key of a build: what goes in, hashed, so that the same goes in only once.

use std::fmt;
use std::str::FromStr;

use super::Recipe;
use crate::hash::{ContentHash, Hasher, NotAHash};
use crate::source::ObjectId;

/// Changes when a builder makes something else from the same tree and recipe.
const FOLDER_VERSION: &str = "1";

/// The hash of everything that an artifact is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuildKey(ContentHash);

/// A text that is no build key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no build key")]
pub struct NotAKey {
    /// The text.
    pub text: String,
    /// Why.
    #[source]
    pub source: NotAHash,
}

impl BuildKey {
    /// The key of a folder: the tree of the context and the recipe.
    ///
    /// The place of the context in its repository and the revision are no part of it: the same tree is the same build
    /// on every branch and after a merge.
    #[must_use]
    pub fn of_folder(tree: ObjectId, recipe: &Recipe) -> Self {
        let hasher =
            Hasher::new("folder build").text(FOLDER_VERSION).text(&tree.to_string()).text(&recipe.within);
        let hasher = match &recipe.command {
            Some(command) => hasher.text("command").text(command),
            None => hasher.text("no command"),
        };
        let hasher = recipe.args.iter().fold(hasher, |hasher, (name, value)| hasher.text(name).text(value));
        Self(hasher.finish())
    }

    /// The tag of an image of this key.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("k-{}", self.0.short())
    }
}

impl fmt::Display for BuildKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for BuildKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        text.parse().map(Self).map_err(|source| NotAKey { text: text.chars().take(80).collect(), source })
    }
}
