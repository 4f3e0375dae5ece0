//! The paths of a repository that something is made of.

use std::collections::BTreeSet;
use std::fmt;

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::entry::clean;

/// A path pattern that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no path pattern: {rule}; hint: services/api/** takes everything below services/api")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub rule: String,
}

/// A set of paths: some patterns that take paths in, others that leave them out again.
///
/// A pattern without `*`, `?`, `[` or `{` is a file, or a folder with all below it. In the others `*` stops at a
/// slash and `**` does not. `""` and `.` are the whole repository.
#[derive(Clone)]
pub struct Inputs {
    plain: Vec<String>,
    globs: GlobSet,
    /// The folder below which each glob can match.
    bases: Vec<String>,
    without: GlobSet,
    key: String,
}

impl fmt::Debug for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl Inputs {
    /// The paths that match one of `take` and none of `leave`.
    ///
    /// # Errors
    /// When a pattern cannot be read or leads out of the repository.
    pub fn new<T: AsRef<str>, L: AsRef<str>>(take: &[T], leave: &[L]) -> Result<Self, PatternError> {
        let take: BTreeSet<&str> = take.iter().map(|pattern| clean(pattern.as_ref())).collect();
        let leave: BTreeSet<&str> = leave.iter().map(|pattern| clean(pattern.as_ref())).collect();
        let (mut plain, mut bases) = (Vec::new(), Vec::new());
        let mut globs = GlobSetBuilder::new();
        for pattern in &take {
            if is_glob(pattern) {
                globs.add(glob(pattern)?);
                bases.push(base(pattern));
            } else {
                check(pattern)?;
                plain.push((*pattern).to_owned());
            }
        }
        let mut without = GlobSetBuilder::new();
        for pattern in &leave {
            without.add(glob(pattern)?);
            if !is_glob(pattern) {
                without.add(glob(&format!("{pattern}/**"))?);
            }
        }
        let build = |set: GlobSetBuilder| {
            set.build()
                .map_err(|error| PatternError { pattern: "all patterns".to_owned(), rule: error.to_string() })
        };
        let key = format!("{take:?} without {leave:?}");
        let (globs, without) = (build(globs)?, build(without)?);
        Ok(Self { plain, globs, bases, without, key })
    }

    /// Whether a file belongs to the set.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let taken = self.plain.iter().any(|plain| is_within(path, plain)) || self.globs.is_match(path);
        taken && !self.without.is_match(path)
    }

    /// Whether something in the folder or below it may belong to the set.
    pub(super) fn may_hold(&self, folder: &str) -> bool {
        let mut places = self.plain.iter().chain(&self.bases);
        places.any(|place| is_within(folder, place) || is_within(place, folder))
    }

    /// The same text for the same set.
    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{'])
}

fn is_within(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn base(pattern: &str) -> String {
    let literal: Vec<&str> = pattern.split('/').take_while(|part| !is_glob(part)).collect();
    literal.join("/")
}

fn check(pattern: &str) -> Result<(), PatternError> {
    if pattern.split('/').any(|part| part == "..") {
        let rule = "it leads out of the repository".to_owned();
        return Err(PatternError { pattern: pattern.to_owned(), rule });
    }
    Ok(())
}

fn glob(pattern: &str) -> Result<Glob, PatternError> {
    check(pattern)?;
    let built = GlobBuilder::new(pattern).literal_separator(true).build();
    built.map_err(|error| PatternError { pattern: pattern.to_owned(), rule: error.kind().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &[&str] = &[];

    #[test]
    fn patterns_take_in_and_leave_out() {
        let take = ["services/api", "libs/**/*.rs", "./Cargo.toml"];
        let inputs = Inputs::new(&take, &["**/*.md"]).expect("patterns");
        for path in ["services/api", "services/api/src/main.rs", "libs/a.rs", "libs/x/y/a.rs", "Cargo.toml"] {
            assert!(inputs.matches(path), "{path}");
        }
        for path in ["services/apix", "services", "services/api/README.md", "libs/a.py", "x/Cargo.toml"] {
            assert!(!inputs.matches(path), "{path}");
        }
        assert!(inputs.may_hold("services") && inputs.may_hold("libs/x") && inputs.may_hold(""));
        assert!(!inputs.may_hold("docs") && !inputs.may_hold("services/web"));
        assert!(Inputs::new(&["."], NONE).expect("a pattern").matches("any/thing"));
        let without = Inputs::new(&[""], &["docs"]).expect("patterns");
        assert!(!without.matches("docs/a.md") && without.matches("docs.md"));
    }

    #[test]
    fn a_pattern_cannot_lead_out() {
        for pattern in ["../x", "a/../../b", "a/[", "../**"] {
            assert!(Inputs::new(&[pattern], NONE).is_err(), "{pattern}");
        }
    }
}
