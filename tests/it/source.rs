//! Stories about repositories on this machine: fetching, reading, history, writing and watching.

use std::sync::Arc;
use std::time::Duration;

use branchline::name::{BranchName, PullNumber, Revision};
use branchline::source::{
    EntryKind, FileChange, FileCommit, GitHosts, Inputs, Limits, Mirror, MirrorOptions, Mirrors, NoteMode,
    Person, RepositoryUrl, SourceError, Watcher,
};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::git::Repo;

/// A repository `shop.git` and the folder of mirrors beside it.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) repo: Repo,
    pub(crate) mirrors: Mirrors,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let repo = Repo::bare(folder.path(), "shop.git");
        let options = MirrorOptions { limits, ..MirrorOptions::default() };
        let mirrors = Mirrors::open(&folder.path().join("mirrors"), options).expect("a folder of mirrors");
        Self { folder, repo, mirrors }
    }

    pub(crate) fn url(&self) -> RepositoryUrl {
        let path = self.repo.path.to_str().expect("a path");
        RepositoryUrl::of_operator(path, &GitHosts::default()).expect("a local path")
    }

    pub(crate) fn mirror(&self) -> Mirror {
        self.mirrors.mirror(&self.url())
    }

    fn mirror_folder(&self) -> std::path::PathBuf {
        let mut folders = std::fs::read_dir(self.folder.path().join("mirrors")).expect("a folder");
        folders.next().expect("one mirror").expect("an entry").path()
    }
}

pub(crate) fn id(text: &str) -> Revision {
    text.parse().expect("a revision")
}

pub(crate) fn main_branch() -> BranchName {
    "main".parse().expect("a branch")
}

fn person() -> Person {
    Person { name: "Grace".to_owned(), email: "grace@example.com".to_owned() }
}

pub(crate) fn file_commit(expected: &Revision, path: &str, content: &str) -> FileCommit {
    FileCommit {
        branch: main_branch(),
        expected: expected.clone(),
        onto_new_branch: None,
        changes: vec![FileChange::Write { path: path.to_owned(), bytes: content.as_bytes().to_vec() }],
        author: person(),
        committer: Person { name: "Branchline".to_owned(), email: "branchline@example.com".to_owned() },
        at: "2026-11-22T12:00:00Z".parse().expect("a time"),
        message: "promote api\n".to_owned(),
    }
}

fn inputs(take: &[&str]) -> Inputs {
    Inputs::new(take, &["**/*.md"]).expect("patterns")
}

#[tokio::test]
async fn a_push_is_fetched_and_read_by_revision() {
    let world = World::new();
    let first = id(&world.repo.push("services/api/service.yaml", "kind: Service\n"));
    let mirror = world.mirror();
    assert!(matches!(mirror.heads().await, Err(SourceError::NotFetched { .. })));
    let fetched = mirror.fetch().await.expect("a fetch");
    assert_eq!(fetched.changes.len(), 1);
    let heads = mirror.heads().await.expect("heads");
    assert_eq!(heads.default, Some(main_branch()));
    assert_eq!(heads.branches[&main_branch()], first);

    let second = id(&world.repo.push("services/api/service.yaml", "kind: Other\n"));
    let fetched = mirror.fetch().await.expect("a fetch");
    assert_eq!(fetched.changes[0].new.as_ref(), Some(&second));
    assert_eq!(mirror.read(&first, "services/api/service.yaml").await.expect("a file"), b"kind: Service\n");
    assert_eq!(mirror.read(&second, "services/api/service.yaml").await.expect("a file"), b"kind: Other\n");
    assert!(matches!(mirror.read(&second, "nothing").await, Err(SourceError::NoPath { .. })));

    let again = mirror.fetch().await.expect("a fetch");
    assert_eq!((again.changes.len(), again.objects), (0, 0), "nothing is new");
}

#[tokio::test]
async fn files_are_listed_with_kind_and_size() {
    let world = World::new();
    let blob = world.repo.blob(b"hello");
    let link = world.repo.blob(b"a.txt");
    let tree = world.repo.raw_tree(&[
        ("100644", b"a.txt", &blob),
        ("120000", b"link", &link),
        ("100755", b"run", &blob),
    ]);
    let root = world.repo.raw_tree(&[("40000", b"app", &tree)]);
    let commit = world.repo.commit_tree(&root, &[], "files");
    world.repo.git(&["update-ref", "refs/heads/main", &commit]);
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let files = mirror.with(move |reader| reader.files(&id(&commit), "app/")).await.expect("files");
    let seen: Vec<(&str, EntryKind, u64)> = files.iter().map(|f| (f.path.as_str(), f.kind, f.size)).collect();
    let wanted = [
        ("app/a.txt", EntryKind::File, 5),
        ("app/link", EntryKind::Link, 5),
        ("app/run", EntryKind::Executable, 5),
    ];
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn g2_a_tree_with_a_hostile_name_is_refused_with_the_path_named() {
    let world = World::new();
    let blob = world.repo.blob(b"x");
    let mirror = world.mirror();
    for name in [&b".."[..], b".git", b".GIT", b"a\\b", b"-rf", b"x\r", b"caf\xe9", ".g\u{200c}it".as_bytes()]
    {
        let inner = world.repo.raw_tree(&[("100644", name, &blob)]);
        let root = world.repo.raw_tree(&[("40000", b"app", &inner)]);
        let commit = world.repo.commit_tree(&root, &[], "hostile");
        world.repo.git(&["update-ref", "refs/heads/main", &commit]);
        mirror.fetch().await.expect("a fetch");
        let into = world.folder.path().join("out");
        let refused =
            mirror.with(move |reader| reader.unpack(&id(&commit), "app", &into)).await.expect_err("hostile");
        assert!(
            matches!(&refused, SourceError::Refused { path, .. } if path.starts_with("app/")),
            "{refused}"
        );
        assert!(refused.is_authors());
    }
    assert!(!world.folder.path().join("out").exists());
}

#[tokio::test]
async fn g1_g3_links_that_leave_submodules_and_lfs_pointers_are_never_unpacked() {
    let world = World::new();
    let mirror = world.mirror();
    let file = world.repo.blob(b"x");
    let out = world.repo.blob(b"/etc/passwd");
    let up = world.repo.blob(b"../other");
    let lfs = world.repo.blob(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    let commit =
        world.repo.commit_tree(&world.repo.raw_tree(&[("100644", b"x", &file)]), &[], "a submodule's commit");
    let duplicate = [("120000", &b"d"[..], up.as_str()), ("100644", b"d", file.as_str())];
    for (entries, named) in [
        (&[("120000", &b"l"[..], out.as_str())][..], "l"),
        (&[("120000", b"l", up.as_str())], "l"),
        (&[("160000", b"sub", commit.as_str())], "sub"),
        (&[("100644", b"big.bin", lfs.as_str())], "big.bin"),
        (&duplicate, "d"),
    ] {
        let commit = world.repo.commit_tree(&world.repo.raw_tree(entries), &[], "hostile");
        world.repo.git(&["update-ref", "refs/heads/main", &commit]);
        mirror.fetch().await.expect("a fetch");
        let into = world.folder.path().join(format!("out-{commit}"));
        let refused =
            mirror.with(move |reader| reader.unpack(&id(&commit), "", &into)).await.expect_err(named);
        assert!(matches!(&refused, SourceError::Refused { path, .. } if path == named), "{named}: {refused}");
    }
}

#[tokio::test]
async fn a_tree_is_unpacked_with_modes_and_inner_links() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let blob = world.repo.blob(b"#!/bin/sh\n");
    let link = world.repo.blob(b"../run");
    let inner = world.repo.raw_tree(&[("120000", b"start", &link)]);
    let tree = world.repo.raw_tree(&[("40000", b"bin", &inner), ("100755", b"run", &blob)]);
    let root = world.repo.raw_tree(&[("40000", b"app", &tree), ("100644", b"other", &blob)]);
    let commit = world.repo.commit_tree(&root, &[], "an app");
    world.repo.git(&["update-ref", "refs/heads/main", &commit]);
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let into = world.folder.path().join("out");
    let to = into.clone();
    let unpacked =
        mirror.with(move |reader| reader.unpack(&id(&commit), "app", &to)).await.expect("unpacked");
    assert_eq!((unpacked.files, unpacked.bytes), (2, 10));
    assert_eq!(std::fs::read(into.join("bin/start")).expect("through the link"), b"#!/bin/sh\n");
    assert_eq!(std::fs::metadata(into.join("run")).expect("a file").permissions().mode() & 0o777, 0o755);
    assert!(!into.join("other").exists());
}

#[tokio::test]
async fn g8_five_hundred_callers_share_one_fetch_and_latecomers_the_next() {
    let world = World::new();
    world.repo.push("a", "1");
    let mirror = world.mirror();
    let hint = mirror.hint();
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let mirror = mirror.clone();
            tokio::spawn(async move { mirror.fetch_for(hint).await.expect("a fetch") })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no panic"));
    }
    let mut distinct: Vec<_> = results.iter().map(Arc::as_ptr).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 1, "one fetch for one hint");
    let later = mirror.fetch().await.expect("a fetch");
    assert!(!Arc::ptr_eq(&later, &results[0]), "a hint after the fetch is a new fetch");
}

#[tokio::test]
async fn g9_a_force_push_is_followed_and_the_old_commit_stays_readable() {
    let world = World::new();
    world.repo.push("a", "1");
    let old = id(&world.repo.push("a", "old"));
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let tree = world.repo.tree(None, &[("a", Some("new"))]);
    let new = world.repo.commit_tree(&tree, &[], "rewritten");
    world.repo.git(&["update-ref", "refs/heads/main", &new]);
    world.repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    world.repo.git(&["gc", "--quiet", "--prune=now"]);
    mirror.fetch().await.expect("a fetch");
    assert_eq!(mirror.branch(&main_branch()).await.expect("a branch"), id(&new));
    crate::git::git(&world.mirror_folder(), &["gc", "--quiet", "--prune=now"]);
    assert_eq!(mirror.read(&old, "a").await.expect("still there"), b"old");
}

#[tokio::test]
async fn g10_an_emptied_or_missing_repository_changes_nothing_of_what_we_have() {
    let world = World::new();
    let head = id(&world.repo.push("a", "1"));
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    world.repo.git(&["update-ref", "-d", "refs/heads/main"]);
    let error = mirror.fetch().await.expect_err("an empty listing");
    assert!(matches!(error, SourceError::EmptyListing { .. }), "{error}");
    assert_eq!(mirror.branch(&main_branch()).await.expect("kept"), head);
    std::fs::remove_dir_all(&world.repo.path).expect("removed");
    let error = mirror.fetch().await.expect_err("it is gone");
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error:?}");
    assert_eq!(mirror.branch(&main_branch()).await.expect("kept"), head);
}

#[tokio::test]
async fn a_branch_that_is_gone_is_gone_only_after_a_complete_listing() {
    let world = World::new();
    let head = world.repo.push("a", "1");
    world.repo.git(&["update-ref", "refs/heads/feature", &head]);
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    world.repo.git(&["update-ref", "-d", "refs/heads/feature"]);
    // a folder of branches takes the place of the branch
    world.repo.git(&["update-ref", "refs/heads/feature/one", &head]);
    let fetched = mirror.fetch().await.expect("a fetch");
    let names: Vec<&str> = fetched.changes.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["refs/heads/feature", "refs/heads/feature/one"]);
    let error = mirror.branch(&"feature".parse().expect("a name")).await.expect_err("gone");
    assert!(matches!(error, SourceError::NoBranch { .. }));
}

#[tokio::test]
async fn pull_requests_without_a_forge_are_refs() {
    let world = World::new();
    let head = world.repo.push("a", "1");
    world.repo.git(&["update-ref", "refs/pull/7/head", &head]);
    world.repo.git(&["update-ref", "refs/pull/7/merge", &head]);
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    assert_eq!(mirror.heads().await.expect("heads").pulls, [(PullNumber(7), id(&head))].into());
    world.repo.git(&["update-ref", "-d", "refs/pull/7/head"]);
    mirror.fetch().await.expect("a fetch");
    assert!(mirror.heads().await.expect("heads").pulls.is_empty());
}

#[tokio::test]
async fn g12_a_damaged_mirror_is_cloned_again_once() {
    let world = World::new();
    let head = id(&world.repo.push("a", "1"));
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let objects = world.mirror_folder().join("objects");
    std::fs::remove_dir_all(&objects).expect("removed");
    std::fs::create_dir(&objects).expect("made");
    // a new process, which has nothing of it in memory
    let world = World {
        mirrors: Mirrors::open(&world.folder.path().join("mirrors"), MirrorOptions::default()).expect("open"),
        ..world
    };
    let mirror = world.mirror();
    let error = mirror.read(&head, "a").await.expect_err("damaged");
    assert!(matches!(error, SourceError::NoRevision { .. } | SourceError::Corrupt { .. }), "{error}");
    mirror.fetch().await.expect("cloned again");
    assert_eq!(mirror.read(&head, "a").await.expect("a file"), b"1");
    std::fs::write(world.mirror_folder().join("HEAD"), "garbage").expect("written");
    let world = World {
        mirrors: Mirrors::open(&world.folder.path().join("mirrors"), MirrorOptions::default()).expect("open"),
        ..world
    };
    world.mirror().fetch().await.expect("cloned again");
    assert_eq!(world.mirror().read(&head, "a").await.expect("a file"), b"1");
}

#[tokio::test]
async fn g12_locks_of_a_killed_process_do_not_stop_a_fetch() {
    let world = World::new();
    world.repo.push("a", "1");
    world.mirror().fetch().await.expect("a fetch");
    for lock in ["refs/heads/main.lock", "packed-refs.lock", "HEAD.lock"] {
        std::fs::write(world.mirror_folder().join(lock), "").expect("written");
    }
    let second = id(&world.repo.push("a", "2"));
    let world = World {
        mirrors: Mirrors::open(&world.folder.path().join("mirrors"), MirrorOptions::default()).expect("open"),
        ..world
    };
    world.mirror().fetch().await.expect("a fetch");
    assert_eq!(world.mirror().branch(&main_branch()).await.expect("a branch"), second);
}

#[tokio::test]
async fn g6_limits_end_a_fetch_and_leave_the_mirror_as_it_was() {
    let world = World::with(Limits { fetch_objects: 5, ..Limits::default() });
    let first = id(&world.repo.push("a", "1"));
    let mirror = world.mirror();
    mirror.fetch().await.expect("three objects");
    let files: Vec<(String, String)> = (0..20).map(|n| (format!("f{n}"), n.to_string())).collect();
    let files: Vec<(&str, Option<&str>)> =
        files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    world.repo.commit("main", &files, "many");
    let error = mirror.fetch().await.expect_err("too many objects");
    assert!(matches!(error, SourceError::TooLarge { what: "objects in one fetch", .. }), "{error:?}");
    assert_eq!(mirror.branch(&main_branch()).await.expect("as before"), first);
}

#[tokio::test]
async fn a_services_revision_is_the_newest_commit_that_changed_its_inputs() {
    let world = World::new();
    world.repo.push("services/api/main.rs", "1");
    let api = id(&world.repo.push("services/api/main.rs", "2"));
    let web = id(&world.repo.push("services/web/index.html", "1"));
    let docs = world.repo.push("services/api/README.md", "docs");
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let head = id(&docs);
    assert_eq!(
        mirror.newest_change(&head, &inputs(&["services/api"])).await.expect("found"),
        Some(api.clone())
    );
    assert_eq!(
        mirror.newest_change(&head, &inputs(&["services/web/**"])).await.expect("found"),
        Some(web.clone())
    );
    assert_eq!(mirror.newest_change(&head, &inputs(&["nothing"])).await.expect("searched"), None);
    let plain = Inputs::new(&["services/api"], &[] as &[&str]).expect("a pattern");
    assert_eq!(mirror.newest_change(&head, &plain).await.expect("found"), Some(head.clone()));
    let hostile = world.repo.raw_tree(&[("100644", b"-rf", &world.repo.blob(b"x"))]);
    let listed = world.repo.git(&["ls-tree", "main"]).lines().map(str::to_owned).collect::<Vec<_>>();
    let services = listed[0].split([' ', '\t']).nth(2).expect("a tree").to_owned();
    let root = world.repo.raw_tree(&[("40000", b"other", &hostile), ("40000", b"services", &services)]);
    let later = world.repo.commit_tree(&root, &[&docs], "a hostile name elsewhere");
    world.repo.git(&["update-ref", "refs/heads/main", &later]);
    mirror.fetch().await.expect("a fetch");
    let all =
        vec![inputs(&["services/api"]), inputs(&["services/web"]), inputs(&["nothing"]), inputs(&["other"])];
    let found = mirror.newest_changes(&id(&later), all).await.expect("found");
    assert_eq!(found, [Some(api), Some(web), None, Some(id(&later))], "one walk for all");
}

#[tokio::test]
async fn a_merge_deploys_the_commit_that_the_pull_request_built() {
    let world = World::new();
    let base = world.repo.push("api/main.rs", "1");
    world.repo.git(&["update-ref", "refs/heads/feature", &base]);
    let feature = world.repo.commit("feature", &[("api/main.rs", Some("2"))], "fix tax");
    let main = world.repo.push("web/index.html", "x");
    let tree = world.repo.tree(Some(&main), &[("api/main.rs", Some("2"))]);
    let merge = world.repo.commit_tree(&tree, &[&main, &feature], "merge");
    world.repo.git(&["update-ref", "refs/heads/main", &merge]);
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let newest = mirror.newest_change(&id(&merge), &inputs(&["api"])).await.expect("found");
    assert_eq!(newest, Some(id(&feature)));
    let (merge, feature, base, main) = (id(&merge), id(&feature), id(&base), id(&main));
    mirror
        .with(move |reader| {
            assert!(reader.is_ancestor(&feature, &merge)?);
            assert!(reader.is_ancestor(&merge, &merge)?);
            assert!(!reader.is_ancestor(&merge, &feature)?);
            assert_eq!(reader.merge_base(&main, &feature)?, Some(base.clone()));
            let changed: Vec<String> = reader.changed(&base, &merge)?.into_iter().map(|c| c.path).collect();
            assert_eq!(changed, ["api/main.rs", "web/index.html"]);
            assert_eq!(reader.tree_id(&base, "web")?, None);
            assert_eq!(reader.tree_id(&merge, "api")?, reader.tree_id(&feature, "api")?);
            let info = reader.commit(&feature)?;
            assert_eq!((info.author.name.as_str(), info.summary.as_str()), ("Ada", "fix tax"));
            assert_eq!(reader.resolve("main")?, merge);
            assert_eq!(reader.resolve(feature.short())?, feature);
            assert!(reader.resolve("nothing").is_err());
            Ok(())
        })
        .await
        .expect("read");
}

/// A history of `commits` commits with merges, made by a seed, in one run of fast-import.
fn random_history(world: &World, seed: u64, commits: u64) -> Vec<Revision> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut script = String::new();
    for n in 1..=commits {
        let text = format!("{}", random(3));
        script += &format!(
            "commit refs/heads/h{n}\nmark :{n}\ncommitter A <a@b> {} +0000\ndata 1\nx\n",
            1_800_000_000 + n
        );
        if n > 1 {
            let first = n - 1 - random(3.min(n - 1));
            script += &format!("from :{first}\n");
            let second = 1 + random(n - 1);
            if random(3) == 0 && second != first {
                script += &format!("merge :{second}\n");
            }
        }
        let path = ["api/a", "api/b", "web/a", "libs/x/a"][usize::try_from(random(4)).expect("small")];
        script += &format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len());
    }
    world.repo.fast_import(&script);
    (1..=commits).map(|n| id(&world.repo.find(&format!("refs/heads/h{n}")).expect("a commit"))).collect()
}

#[tokio::test]
async fn the_newest_change_is_what_git_log_says() {
    for seed in 1..=6 {
        let world = World::new();
        let commits = random_history(&world, seed, 40);
        let mirror = world.mirror();
        mirror.fetch().await.expect("a fetch");
        let paths = ["api", "api/a", "web", "libs/x", "nothing"];
        let sets: Vec<Inputs> =
            paths.iter().map(|path| Inputs::new(&[path], &[] as &[&str]).expect("a path")).collect();
        for head in commits.iter().rev().step_by(7) {
            let found = mirror.newest_changes(head, sets.clone()).await.expect("found");
            for (path, found) in paths.iter().zip(found) {
                let said = world.repo.git(&["log", "-1", "--format=%H", head.as_str(), "--", path]);
                assert_eq!(
                    found.map(|found| found.to_string()).unwrap_or_default(),
                    said,
                    "seed {seed}, {path} at {head}"
                );
            }
        }
    }
}

#[tokio::test]
async fn g6_g13_deep_trees_many_branches_and_endless_messages_have_limits() {
    let world = World::with(Limits { refs: 5, depth: 20, ..Limits::default() });
    let mut tree = world.repo.raw_tree(&[("100644", b"f", &world.repo.blob(b"x"))]);
    for _ in 0..30 {
        tree = world.repo.raw_tree(&[("40000", b"d", &tree)]);
    }
    let message = format!("\u{1b}[31mred <b>bold</b> {}", "x".repeat(100_000));
    let commit = world.repo.commit_tree(&tree, &[], &message);
    world.repo.git(&["update-ref", "refs/heads/main", &commit]);
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let (head, at) = (id(&commit), id(&commit));
    let error = mirror.with(move |reader| reader.files(&head, "")).await.expect_err("too deep");
    assert!(matches!(error, SourceError::TooLarge { what: "folders within folders", .. }), "{error}");
    let info = mirror.commit_info(&at).await.expect("read");
    assert!(info.message.len() <= 64 << 10 && info.summary.chars().count() == 200);
    for n in 0..6 {
        world.repo.git(&["update-ref", &format!("refs/heads/b{n}"), &commit]);
    }
    let error = mirror.fetch().await.expect_err("too many");
    assert!(matches!(error, SourceError::TooLarge { what: "branches and pull requests", .. }), "{error}");
    assert_eq!(mirror.heads().await.expect("as before").branches.len(), 1);
}

#[tokio::test]
async fn g11_a_sha_256_repository_is_explained() {
    let world = World::new();
    let path = world.folder.path().join("new.git");
    crate::git::git(world.folder.path(), &["init", "--quiet", "--bare", "--object-format=sha256", "new.git"]);
    let url =
        RepositoryUrl::of_operator(path.to_str().expect("a path"), &GitHosts::default()).expect("a path");
    let error = world.mirrors.mirror(&url).fetch().await.expect_err("not supported");
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error:?}");
}

#[tokio::test]
async fn a_commit_is_written_only_where_it_was_expected() {
    let world = World::new();
    let first = id(&world.repo.push("releases.yaml", "api: 1\n"));
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let mut commit = file_commit(&first, "environments/staging/releases.yaml", "api: 2\n");
    commit.changes.push(FileChange::Remove { path: "releases.yaml".to_owned() });
    let made = mirror.commit(commit).await.expect("written");
    assert_eq!(world.repo.find("refs/heads/main"), Some(made.to_string()));
    assert_eq!(
        world.repo.git(&["ls-tree", "-r", "--name-only", "main"]),
        "environments/staging/releases.yaml"
    );
    assert_eq!(
        world.repo.git(&["log", "-1", "--format=%an %ae|%cn|%s", "main"]),
        "Grace grace@example.com|Branchline|promote api"
    );
    assert_eq!(mirror.branch(&main_branch()).await.expect("fetched"), made);

    let error = mirror.commit(file_commit(&first, "releases.yaml", "api: 3\n")).await.expect_err("it moved");
    assert!(matches!(error, SourceError::Moved { .. }), "{error:?}");
    let error = mirror.commit(file_commit(&made, "a/../../x", "")).await.expect_err("hostile");
    assert!(matches!(error, SourceError::Refused { .. }));
    let proposal = FileCommit {
        onto_new_branch: Some("branchline/promote".parse().expect("a name")),
        ..file_commit(&made, "a", "1")
    };
    let proposed = mirror.commit(proposal).await.expect("a new branch");
    assert_eq!(world.repo.find("refs/heads/branchline/promote"), Some(proposed.to_string()));
    assert_eq!(world.repo.find("refs/heads/main"), Some(made.to_string()));
}

#[tokio::test]
async fn many_fetches_leave_few_packs() {
    let world = World::new();
    world.repo.push("a", "0");
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let mut revisions = Vec::new();
    for n in 1..=60 {
        revisions.push(id(&world.repo.push("a", &n.to_string())));
        mirror.fetch().await.expect("a fetch");
    }
    let packs = std::fs::read_dir(world.mirror_folder().join("objects/pack")).expect("packs");
    let packs = packs.filter(|entry| {
        entry.as_ref().expect("an entry").path().extension().is_some_and(|end| end == "pack")
    });
    assert!(packs.count() < 20);
    for (n, revision) in revisions.iter().enumerate() {
        assert_eq!(mirror.read(revision, "a").await.expect("a file"), (n + 1).to_string().as_bytes());
    }
    crate::git::git(&world.mirror_folder(), &["fsck", "--full"]);
}

#[tokio::test]
async fn g14_branches_with_unusable_names_are_told_apart_from_missing_ones() {
    let world = World::new();
    let head = world.repo.push("a", "1");
    let long = "x".repeat(120);
    for name in ["feature/x", "feature-x", "main;rm", "ünï", &long] {
        world.repo.git(&["update-ref", &format!("refs/heads/{name}"), &head]);
    }
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let heads = mirror.heads().await.expect("heads");
    let names: Vec<&str> = heads.branches.keys().map(BranchName::as_str).collect();
    assert_eq!(names, ["feature-x", "feature/x", "main", "main;rm", "ünï"]);
    assert_eq!(heads.unusable, [long].into());
}

#[tokio::test]
async fn notes_stand_in_the_repository() {
    let world = World::new();
    let head = id(&world.repo.push("a", "1"));
    let mirror = world.mirror();
    mirror.fetch().await.expect("a fetch");
    let at = "2026-11-22T12:00:00Z".parse().expect("a time");
    mirror.write_note(&head, "api: building", NoteMode::Replace, &person(), at).await.expect("written");
    mirror.write_note(&head, "api: live", NoteMode::Replace, &person(), at).await.expect("written");
    mirror.write_note(&head, "web: live", NoteMode::Append, &person(), at).await.expect("written");
    let seen = world.repo.git(&["notes", "--ref=branchline", "show", head.as_str()]);
    assert_eq!(seen, "api: live\n\nweb: live");
    mirror.fetch().await.expect("a fetch");
    let note = mirror.with(move |reader| reader.note(&head)).await.expect("read");
    assert_eq!(note.as_deref(), Some("api: live\n\nweb: live"));
}

#[tokio::test]
async fn a_push_to_a_local_repository_gives_one_hint_at_once() {
    let world = World::new();
    world.repo.push("a", "1");
    let (sender, mut hints) = tokio::sync::mpsc::channel(8);
    let tasks = TaskTracker::new();
    let watcher = Watcher::start(sender, &tasks).expect("a watch");
    watcher.watch(&world.url()).expect("watched");
    watcher.watch(&world.url()).expect("watched");
    for n in 0..3 {
        world.repo.push("a", &n.to_string());
        let hint = tokio::time::timeout(Duration::from_secs(5), hints.recv()).await.expect("in time");
        assert_eq!(hint, Some(world.url()));
        while tokio::time::timeout(Duration::from_millis(100), hints.recv()).await.is_ok() {}
    }
    // a lock, an object, a temporary file: nothing of it is a ref
    std::fs::write(world.repo.path.join("refs/heads/x.lock"), "").expect("written");
    world.repo.blob(b"an object");
    assert!(tokio::time::timeout(Duration::from_millis(200), hints.recv()).await.is_err());
    world.repo.git(&["pack-refs", "--all"]);
    assert!(tokio::time::timeout(Duration::from_secs(5), hints.recv()).await.is_ok(), "packed refs are refs");
    drop(watcher);
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.expect("the task ends with the watcher");
}

#[test]
fn g5_the_configuration_of_the_host_is_not_read() {
    // `insteadOf` in the mirror's own HOME would send the fetch elsewhere; libgit2 is told of no HOME at all
    let world = World::new();
    assert!(world.folder.path().join("mirrors").is_dir());
    let opened = git2::Repository::open_bare(&world.repo.path).expect("a repository");
    let config = opened.config().expect("a configuration");
    let mut levels = std::collections::BTreeSet::new();
    let mut note = |entry: &git2::ConfigEntry<'_>| levels.extend([format!("{:?}", entry.level())]);
    config.entries(None).expect("entries").for_each(|entry| note(entry)).expect("read");
    assert_eq!(levels, ["Local".to_owned()].into());
}
