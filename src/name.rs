//! Names checked when they are parsed, and the one function that maps them to Kubernetes names.
//!
//! A value of one of these types is valid by construction, so no room below checks a name again.
//! The limits are those of the config repository (`docs/config.md`); the Kubernetes limits are RFC 1123's.

mod image;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::hash::Hasher;

/// The longest DNS label (RFC 1123), which is also the longest Kubernetes namespace and label value.
pub const LABEL: usize = 63;
/// The longest CronJob name: its Jobs get eleven more characters.
pub const CRON_JOB: usize = 52;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {rule}")]
pub struct NameError {
    /// What the text was to name, such as `project name`.
    pub what: &'static str,
    /// The refused text, cut to 80 characters.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn refuse(what: &'static str, value: &str, rule: &'static str) -> NameError {
    NameError { what, value: value.chars().take(80).collect(), rule }
}

/// Declares a text newtype that is checked by `$check` whenever it is parsed or deserialised.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(refuse($what, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

fn plain_name(text: &str) -> bool {
    (3..=50).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn dns_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= LABEL && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
}

name!(
    /// A project: the tenant. 3 to 50 of `a-z A-Z 0-9 - _`.
    ProjectName, "project name", "it takes 3 to 50 of the characters a-z, A-Z, 0-9, - and _", plain_name
);
name!(
    /// A service or an add-on of a project. 3 to 50 of `a-z A-Z 0-9 - _`; the two share one name space, and an
    /// add-on may be as short as one character.
    ServiceName, "service name", "it takes 1 to 50 of the characters a-z, A-Z, 0-9, - and _",
    |text| (1..=50).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
);
name!(
    /// An environment of a project: `^[a-z][a-z0-9-]{0,19}$`, or a preview's `pr-…` up to a DNS label.
    EnvironmentName, "environment name", "it begins with a-z, then up to 19 of a-z, 0-9 and -",
    |text| {
        let limit = if text.starts_with("pr-") { LABEL } else { 20 };
        text.len() <= limit
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
);
name!(
    /// A Kubernetes namespace: a DNS label.
    Namespace, "namespace", "it takes up to 63 of a-z, 0-9 and -, and begins and ends with a letter or digit", dns_label
);
name!(
    /// A cluster of the config repository: a DNS label.
    ClusterName, "cluster name", "it takes up to 63 of a-z, 0-9 and -, and begins and ends with a letter or digit", dns_label
);
name!(
    /// A Git branch without `refs/heads/`: 1 to 100 characters, as git-check-ref-format(1) allows them.
    BranchName, "branch name", "it takes 1 to 100 characters that git allows in a branch",
    |text| {
        (1..=100).contains(&text.chars().count())
            && !text.starts_with(['-', '/', '.'])
            && !text.ends_with(['/', '.'])
            && text.strip_suffix(".lock").is_none()
            && ["..", "//", "@{", "/.", ".lock/"].iter().all(|bad| !text.contains(bad))
            && text != "@"
            && !text.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
    }
);
name!(
    /// A commit id: 40 lower-case hex digits.
    Revision, "revision", "it takes the 40 hex digits of a commit id",
    |text| text.len() == 40 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
);
name!(
    /// A forge repository: `owner/name`.
    RepoSlug, "repository", "it is written owner/name",
    |text| {
        let part = |s: &str| {
            !s.is_empty() && s.len() <= 100 && s != "." && s != ".."
                && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
    }
);
name!(
    /// An image digest: `sha256:` and 64 hex digits (OCI image specification, descriptor digests).
    Digest, "image digest", "it is written sha256: and 64 hex digits",
    |text| text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
);
name!(
    /// A container image reference: `registry/repository:tag` or `…@sha256:…`.
    ImageRef, "image", "it is written registry/repository:tag or registry/repository@sha256:…, the repository in lower case",
    image::is_reference
);

impl Revision {
    /// The first seven digits, as people read them.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

/// The number of a pull request. Numbers are per repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PullNumber(pub u64);

impl fmt::Display for PullNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Maps the parts of a name to one DNS label of at most `limit` characters.
///
/// The parts are joined by `-`, made lower case, `_` and every other character that a label cannot hold become
/// `-`, and the edges are trimmed. Where anything but the case of the letters had to change, or the result is too
/// long, it is cut and ends in `-` and six hex digits of the hash of the original, so that `feature/x` and
/// `feature-x` stay apart.
#[must_use]
pub fn k8s_name(parts: &[&str], limit: usize) -> String {
    let original = parts.join("-");
    let mapped: String = original
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9' | '-') => c,
            _ => '-',
        })
        .collect();
    let mapped = mapped.trim_matches('-');
    if mapped == original && mapped.len() <= limit {
        return mapped.to_owned();
    }
    let suffix = &Hasher::new("name").text(&original).finish().to_string()[..6];
    let cut = mapped[..mapped.len().min(limit - 7)].trim_end_matches('-');
    if cut.is_empty() { format!("x-{suffix}") } else { format!("{cut}-{suffix}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_when_they_are_parsed() {
        assert!("shop".parse::<ProjectName>().is_ok());
        assert!("no".parse::<ProjectName>().is_err());
        assert!("staging".parse::<EnvironmentName>().is_ok());
        assert!("Staging".parse::<EnvironmentName>().is_err());
        assert!("feature/x".parse::<BranchName>().is_ok());
        for bad in ["", "-x", "a..b", "a b", "x.lock", "a~1", "main;\u{7}"] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
        assert!("acme/shop".parse::<RepoSlug>().is_ok());
        assert!("acme/../shop".parse::<RepoSlug>().is_err());
        let refused = "x y".parse::<ProjectName>().expect_err("a space");
        insta::assert_snapshot!(refused, @"`x y` is not a valid project name: it takes 3 to 50 of the characters a-z, A-Z, 0-9, - and _");
    }

    #[test]
    fn a_name_that_had_to_change_ends_in_a_hash_of_the_original() {
        assert_eq!(k8s_name(&["shop", "staging"], LABEL), "shop-staging");
        let slash = k8s_name(&["feature/x"], LABEL);
        let dash = k8s_name(&["feature-x"], LABEL);
        assert_eq!(dash, "feature-x");
        assert_ne!(slash, dash);
        assert!(slash.starts_with("feature-x-"));
        assert_ne!(k8s_name(&["API"], LABEL), k8s_name(&["api"], LABEL));
        let long = k8s_name(&["a".repeat(200).as_str()], LABEL);
        assert_eq!(long.len(), LABEL);
        assert!(k8s_name(&["___"], LABEL).starts_with("x-"));
    }

    proptest::proptest! {
        #[test]
        fn every_text_maps_to_a_dns_label(text in "\\PC{1,90}", limit in 20usize..64) {
            let name = k8s_name(&[&text], limit);
            proptest::prop_assert!(name.parse::<Namespace>().is_ok(), "{}", name);
            proptest::prop_assert!(name.len() <= limit);
        }
    }
}
