//! Where pages lead.

use url::Url;

pub(super) use crate::report::page::{deployment, project, service};

/// An address outside, if a browser may be sent there: only http and https.
pub(super) fn outside(address: Option<&str>) -> Option<String> {
    let url = Url::parse(address?).ok()?;
    ["http", "https"].contains(&url.scheme()).then(|| url.to_string())
}

/// A revision as people write it.
pub(super) fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_linked() {
        assert_eq!(outside(Some("javascript:alert(1)")), None);
        assert_eq!(outside(Some("http://a.localhost:1")), Some("http://a.localhost:1/".to_owned()));
    }
}
