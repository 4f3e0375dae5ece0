//! Where there is no forge, the report stands in the repository.

use branchline::github::{send_notes, want_note};
use branchline::name::Revision;
use branchline::source::{GitHosts, MirrorOptions, Mirrors, Person, RepositoryUrl};

use super::Office;
use crate::git::Repo;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_a_local_repository_reads_its_report_as_a_note() {
    let office = Office::open().await;
    let folder = office.folder.path();
    let api = Repo::bare(folder, "api.git");
    let revision: Revision = api.push("main.rs", "fn main() {}").parse().unwrap();

    let mut hosts = GitHosts::default();
    hosts.add("file").unwrap();
    let url = RepositoryUrl::of_operator(api.path.to_str().unwrap(), &hosts).unwrap();
    let options = MirrorOptions { hosts, ..MirrorOptions::default() };
    let mirrors = Mirrors::open(&folder.join("mirrors"), options).unwrap();
    let mirror = mirrors.mirror(&url);
    mirror.fetch().await.unwrap();
    let by = Person { name: "Branchline".to_owned(), email: "branchline@example.com".to_owned() };
    let find = |name: &str| (name == url.key()).then(|| mirror.clone());
    for text in ["branchline: queued", "branchline: live"] {
        office.want(want_note(url.key(), &revision, text, office.clock.now())).await;
        let sent = send_notes(&office.store, find, &by, &office.clock).await.unwrap();
        assert_eq!(sent.done, 1, "{}", office.errors().await);
    }
    let shown = api.git(&["notes", "--ref=branchline", "show", revision.as_str()]);
    assert_eq!(shown, "branchline: live");

    office.want(want_note("/gone.git", &revision, "x", office.clock.now())).await;
    send_notes(&office.store, find, &by, &office.clock).await.unwrap();
    assert_eq!(office.errors().await, "/gone.git is in no config any more");
}
