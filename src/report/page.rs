//! Where our pages are: their paths, and their addresses where a reader of a report can open them.

use url::Url;

/// The pages of a server that others reach at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages(String);

impl Pages {
    /// Pages at `base`, such as `https://branchline.example.com`.
    #[must_use]
    pub fn at(base: &str) -> Self {
        Self(base.trim_end_matches('/').to_owned())
    }

    /// The address of a page, by its path.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// The path of the list of projects.
pub const PROJECTS: &str = "/";

/// The path of a project's page.
#[must_use]
pub fn project(project: &str) -> String {
    path(&["projects", project])
}

/// The path of the page of a service in an environment.
#[must_use]
pub fn service(project: &str, environment: &str, service: &str) -> String {
    path(&["projects", project, "environments", environment, "services", service])
}

/// The path of a deployment's page.
#[must_use]
pub fn deployment(id: &str) -> String {
    path(&["deployments", id])
}

/// A path, each part of it escaped.
fn path(parts: &[&str]) -> String {
    let mut url = Url::parse("http://here/").expect("this is an address");
    url.path_segments_mut().expect("http addresses have segments").clear().extend(parts);
    url.path().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_parts() {
        assert_eq!(project("a/b\"><"), "/projects/a%2Fb%22%3E%3C");
        assert_eq!(Pages::at("https://b.dev/").address(&deployment("1")), "https://b.dev/deployments/1");
    }
}
