//! Where pages lead.

use url::Url;

/// An address outside, if a browser may be sent there: only http and https.
pub(super) fn outside(address: Option<&str>) -> Option<String> {
    let url = Url::parse(address?).ok()?;
    ["http", "https"].contains(&url.scheme()).then(|| url.to_string())
}

/// The address of a page, each part of it escaped.
pub(super) fn page(parts: &[&str]) -> String {
    let mut url = Url::parse("http://here/").expect("this is an address");
    url.path_segments_mut().expect("http addresses have segments").clear().extend(parts);
    url.path().to_owned()
}

pub(super) fn project(project: &str) -> String {
    page(&["projects", project])
}

pub(super) fn service(project: &str, environment: &str, service: &str) -> String {
    page(&["projects", project, "environments", environment, "services", service])
}

pub(super) fn deployment(id: &str) -> String {
    page(&["deployments", id])
}

/// A revision as people write it.
pub(super) fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_is_linked_and_parts_stay_parts() {
        assert_eq!(outside(Some("javascript:alert(1)")), None);
        assert_eq!(outside(Some("http://a.localhost:1")), Some("http://a.localhost:1/".to_owned()));
        assert_eq!(project("a/b\"><"), "/projects/a%2Fb%22%3E%3C");
    }
}
