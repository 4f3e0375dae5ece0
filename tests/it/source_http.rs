//! Stories about repositories behind http: the wire, its rules, and pushes.

use branchline::secret::Secret;
use branchline::source::{
    Access, Credentials, GitHosts, Limits, Mirror, MirrorOptions, Mirrors, NoteMode, Person, RepositoryUrl,
    SourceError,
};
use futures::FutureExt as _;
use tempfile::TempDir;

use crate::git::Repo;
use crate::http_backend::{Asked, HttpBackend, basic};
use crate::source::{file_commit, id, main_branch};

struct World {
    folder: TempDir,
    repo: Repo,
    backend: HttpBackend,
}

impl World {
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let repo = Repo::bare(folder.path(), "shop.git");
        let backend = HttpBackend::serve(folder.path()).await?;
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Some(Self { folder, repo, backend })
    }

    fn hosts() -> GitHosts {
        "127.0.0.1".parse().expect("a list")
    }

    fn mirror(&self, options: MirrorOptions) -> Mirror {
        let options = MirrorOptions { hosts: Self::hosts(), ..options };
        let mirrors = Mirrors::open(&self.folder.path().join("mirrors"), options).expect("mirrors");
        let url = RepositoryUrl::of_operator(&self.backend.url("shop.git"), &Self::hosts()).expect("named");
        mirrors.mirror(&url)
    }

    fn with_token(token: &'static str) -> MirrorOptions {
        let credentials =
            Credentials::new(move |_| std::future::ready(Ok(Some(Secret::new(token.to_owned())))).boxed());
        MirrorOptions { credentials, ..MirrorOptions::default() }
    }
}

fn count(asked: &[Asked], method: &str) -> usize {
    asked.iter().filter(|asked| asked.method == method).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_listing_and_one_pack_per_hint_however_many_ask() {
    let Some(world) = World::new().await else { return };
    world.repo.push("a", "1");
    let mirror = world.mirror(MirrorOptions::default());
    mirror.fetch().await.expect("a clone");
    assert_eq!(mirror.read(&id(&world.repo.find("main").expect("a head")), "a").await.expect("a file"), b"1");
    world.backend.asked();
    mirror.fetch().await.expect("nothing new");
    let asked = world.backend.asked();
    assert_eq!((count(&asked, "GET"), count(&asked, "POST")), (1, 0));

    let head = id(&world.repo.push("a", "2"));
    let hint = mirror.hint();
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let mirror = mirror.clone();
            tokio::spawn(async move { mirror.fetch_for(hint).await.map(drop) })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("a fetch");
    }
    let asked = world.backend.asked();
    assert_eq!(count(&asked, "GET"), 1, "{asked:?}");
    assert_eq!(mirror.branch(&main_branch()).await.expect("a branch"), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g15_a_token_that_expired_is_asked_for_anew_once() {
    let Some(world) = World::new().await else { return };
    world.repo.push("a", "1");
    world.backend.behaviour.lock().expect("no panic").token = Some("fresh".to_owned());
    let credentials = Credentials::new(|request| {
        assert_eq!(request.access, Access::Read);
        let token = if request.refused { "fresh" } else { "stale" };
        std::future::ready(Ok(Some(Secret::new(token.to_owned())))).boxed()
    });
    let mirror = world.mirror(MirrorOptions { credentials, ..MirrorOptions::default() });
    mirror.fetch().await.expect("with the fresh token");
    let asked = world.backend.asked();
    assert_eq!(asked[0].authorization, Some(basic("stale")));
    assert!(asked[1..].iter().all(|asked| asked.authorization == Some(basic("fresh"))), "{asked:?}");

    let refused = world.mirror(World::with_token("wrong")).fetch().await.expect_err("the wrong token");
    assert!(matches!(refused, SourceError::Denied { status: 401, what: "read", .. }), "{refused:?}");
    assert!(!format!("{refused:?} {refused}").contains("wrong"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_a_redirect_to_another_place_is_refused_and_sees_no_token() {
    let Some(world) = World::new().await else { return };
    world.repo.push("a", "1");
    let other = HttpBackend::serve(world.folder.path()).await.expect("a second server");
    let to = format!("{}/info/refs?service=git-upload-pack", other.url("shop.git"));
    world.backend.behaviour.lock().expect("no panic").redirect = Some(("/shop.git".to_owned(), to));
    let error = world.mirror(World::with_token("secret")).fetch().await.expect_err("another origin");
    assert!(matches!(error, SourceError::Forbidden { .. }), "{error:?}");
    assert_eq!(other.asked(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g4_a_name_that_resolves_to_a_private_address_is_refused() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    // the forge is allowed, the address that its clone_url resolves to is not
    let named: GitHosts = "https://localhost".parse().expect("a list");
    let shop = RepositoryUrl::of_operator("https://localhost:9/acme/shop", &named).expect("named");
    let mirrors = Mirrors::open(folder.path(), MirrorOptions::default()).expect("mirrors");
    let error = mirrors.mirror(&shop).fetch().await.expect_err("private");
    assert!(matches!(error, SourceError::Forbidden { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_a_server_that_fails_leaves_the_mirror_as_it_was() {
    let Some(world) = World::new().await else { return };
    let head = id(&world.repo.push("a", "1"));
    let limits = Limits { idle: std::time::Duration::from_millis(300), ..Limits::default() };
    let mirror = world.mirror(MirrorOptions { limits, ..MirrorOptions::default() });
    mirror.fetch().await.expect("a clone");
    let next = id(&world.repo.push("a", "2"));
    for status in [403, 404, 429, 500, 503] {
        world.backend.behaviour.lock().expect("no panic").status = Some(status);
        let error = mirror.fetch().await.expect_err("a failing server");
        assert_eq!(matches!(error, SourceError::Denied { .. }), matches!(status, 403 | 404), "{error:?}");
        assert_eq!(mirror.branch(&main_branch()).await.expect("as before"), head);
    }
    world.backend.behaviour.lock().expect("no panic").status = None;
    for bytes in [0, 30, 120, 200] {
        world.backend.behaviour.lock().expect("no panic").truncate = Some(bytes);
        mirror.fetch().await.expect_err("a pack cut short");
        assert_eq!(mirror.branch(&main_branch()).await.expect("as before"), head);
    }
    world.backend.behaviour.lock().expect("no panic").truncate = None;
    world.backend.behaviour.lock().expect("no panic").hang = true;
    let error = mirror.fetch().await.expect_err("a silent server");
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error:?}");
    world.backend.behaviour.lock().expect("no panic").hang = false;
    mirror.fetch().await.expect("well again");
    assert_eq!(mirror.branch(&main_branch()).await.expect("a branch"), next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_bytes_are_limited_on_the_wire() {
    let Some(world) = World::new().await else { return };
    let noise: String = (0..2_000_u32)
        .map(|n| branchline::hash::Hasher::new("noise").text(&n.to_string()).finish().to_string())
        .collect();
    world.repo.push("big", &noise);
    let limits = Limits { fetch_bytes: 10_000, ..Limits::default() };
    let error = world
        .mirror(MirrorOptions { limits, ..MirrorOptions::default() })
        .fetch()
        .await
        .expect_err("too much");
    assert!(matches!(error, SourceError::TooLarge { what: "bytes in one fetch", .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_and_a_note_are_pushed() {
    let Some(world) = World::new().await else { return };
    let first = id(&world.repo.push("releases.yaml", "api: 1\n"));
    let mirror = world.mirror(World::with_token("writer"));
    mirror.fetch().await.expect("a clone");
    world.backend.behaviour.lock().expect("no panic").token = Some("writer".to_owned());
    let made = mirror.commit(file_commit(&first, "releases.yaml", "api: 2\n")).await.expect("pushed");
    assert_eq!(world.repo.find("refs/heads/main"), Some(made.to_string()));
    assert_eq!(mirror.branch(&main_branch()).await.expect("fetched"), made);

    let theirs = world.repo.push("other", "1");
    let error = mirror.commit(file_commit(&made, "releases.yaml", "api: 3\n")).await.expect_err("it moved");
    assert!(matches!(error, SourceError::Moved { .. }), "{error:?}");
    assert_eq!(world.repo.find("refs/heads/main"), Some(theirs));

    let by = Person { name: "Branchline".to_owned(), email: "branchline@example.com".to_owned() };
    let at = "2026-11-22T12:00:00Z".parse().expect("a time");
    mirror.write_note(&made, "api: live", NoteMode::Replace, &by, at).await.expect("pushed");
    mirror.write_note(&first, "api: replaced", NoteMode::Replace, &by, at).await.expect("pushed");
    assert_eq!(world.repo.git(&["notes", "--ref=branchline", "show", made.as_str()]), "api: live");
    world.repo.git(&["config", "receive.denyNonFastForwards", "true"]);
    world.repo.git(&["notes", "--ref=branchline", "add", "-f", "-m", "theirs", made.as_str()]);
    let error = mirror.write_note(&made, "ours", NoteMode::Replace, &by, at).await.expect_err("it moved");
    assert!(matches!(error, SourceError::Moved { .. }), "{error:?}");
    mirror.fetch().await.expect("a fetch");
    mirror.write_note(&made, "ours", NoteMode::Append, &by, at).await.expect("on top of theirs");
    assert_eq!(world.repo.git(&["notes", "--ref=branchline", "show", made.as_str()]), "theirs\n\nours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_repository_is_followed_on_its_own_host() {
    let Some(world) = World::new().await else { return };
    let head = id(&world.repo.push("a", "1"));
    let url = RepositoryUrl::of_operator(&world.backend.url("old-name.git"), &World::hosts()).expect("named");
    let options = MirrorOptions { hosts: World::hosts(), ..World::with_token("token") };
    let mirror = Mirrors::open(&world.folder.path().join("renamed"), options).expect("mirrors").mirror(&url);
    let to = world.backend.url("shop.git/info/refs?service=git-upload-pack");
    world.backend.behaviour.lock().expect("no panic").redirect = Some(("/old-name.git".to_owned(), to));
    mirror.fetch().await.expect("followed");
    assert_eq!(mirror.branch(&main_branch()).await.expect("a branch"), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinned_commit_that_no_branch_reaches_is_fetched_by_its_id() {
    let Some(world) = World::new().await else { return };
    world.repo.push("a", "1");
    let pinned = id(&world.repo.push("a", "pinned"));
    world.repo.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    world.repo.git(&["update-ref", "refs/heads/main", "main~1"]);
    let mirror = world.mirror(MirrorOptions::default());
    mirror.fetch().await.expect("a clone");
    assert!(mirror.read(&pinned, "a").await.is_err());
    mirror.fetch_revision(&pinned).await.expect("fetched");
    assert_eq!(mirror.read(&pinned, "a").await.expect("a file"), b"pinned");
    let nothing = id(&"1".repeat(40));
    let error = mirror.fetch_revision(&nothing).await.expect_err("nowhere");
    assert!(matches!(error, SourceError::NoRevision { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_protected_branch_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(world) = World::new().await else { return };
    let first = id(&world.repo.push("a", "1"));
    let hook = world.repo.path.join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho protected >&2\nexit 1\n").expect("written");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let mirror = world.mirror(MirrorOptions::default());
    mirror.fetch().await.expect("a clone");
    let error = mirror.commit(file_commit(&first, "a", "2")).await.expect_err("refused");
    assert!(matches!(error, SourceError::Rejected { .. }), "{error:?}");
}
