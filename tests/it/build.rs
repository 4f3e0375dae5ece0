//! Stories about builds on this machine: a tree, a command, a folder, and what must never happen.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use branchline::build::{
    Artifact, BuildEnvironment, BuildError, BuildKey, BuildOrder, Built, FolderBuilder, ImageBuilder as _,
    Limits, LogLine, Recipe,
};
use branchline::name::Revision;
use branchline::secret::Redactor;
use branchline::source::{Mirror, SourceError};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::source::{World, id};

struct Shop {
    world: World,
    mirror: Mirror,
    builder: FolderBuilder,
    redactor: Redactor,
}

/// A build under way: the order's log and its result.
struct Building {
    result: tokio::task::JoinHandle<Result<Built, BuildError>>,
    log: mpsc::Receiver<LogLine>,
    cancel: CancellationToken,
}

impl Building {
    async fn end(mut self) -> (Result<Built, BuildError>, Vec<String>) {
        let mut log = Vec::new();
        while let Some(line) = self.log.recv().await {
            log.push(line.text);
        }
        (self.result.await.expect("no panic"), log)
    }
}

impl Shop {
    fn new() -> Self {
        Self::with(Limits { time: Duration::from_mins(2), ..Limits::default() })
    }

    fn with(limits: Limits) -> Self {
        let world = World::new();
        let builder = open(world.folder.path(), limits);
        let mirror = world.mirror();
        Self { world, mirror, builder, redactor: Redactor::new() }
    }

    async fn push(&self, path: &str, content: &str) -> Revision {
        let revision = id(&self.world.repo.push(path, content));
        self.mirror.fetch().await.expect("a fetch");
        revision
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.folder.path().join(name)
    }

    fn start(&self, revision: &Revision, recipe: &Recipe) -> Building {
        let (sender, log) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let order = BuildOrder {
            mirror: self.mirror.clone(),
            revision: revision.clone(),
            recipe: recipe.clone(),
            log: sender,
            redactor: self.redactor.clone(),
            cancel: cancel.clone(),
        };
        let builder = self.builder.clone();
        Building { result: tokio::spawn(async move { builder.build(order).await }), log, cancel }
    }

    async fn build(&self, revision: &Revision, recipe: &Recipe) -> (Result<Built, BuildError>, Vec<String>) {
        self.start(revision, recipe).end().await
    }

    fn folder(&self, built: &Built) -> PathBuf {
        self.builder.folder(&key(built)).expect("a whole folder")
    }

    /// Waits until a file holds something.
    async fn wait_for(&self, name: &str) -> String {
        let path = self.path(name);
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.ends_with('\n') {
                return text;
            }
            assert!(Instant::now() < deadline, "{name} was never written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn open(folder: &Path, limits: Limits) -> FolderBuilder {
    let environment = BuildEnvironment {
        path: std::env::var_os("PATH").unwrap_or_default(),
        lang: Some("C.UTF-8".into()),
        toolchains: [("RUSTUP_HOME".to_owned(), "/somewhere".into())].into(),
    };
    FolderBuilder::open(&folder.join("builds"), environment, None, limits, TaskTracker::new())
        .expect("a builder")
}

fn recipe(command: &str) -> Recipe {
    Recipe { command: Some(command.to_owned()), ..Recipe::at("app", None) }
}

fn key(built: &Built) -> BuildKey {
    match &built.artifact {
        Artifact::Folder { key } => *key,
        Artifact::Image { .. } => panic!("a folder was asked for"),
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

async fn ends(pid: &str) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_tree_is_built_in_a_folder_with_an_environment_of_its_own() {
    let shop = Shop::new();
    let revision = shop.push("app/in.txt", "hello\n").await;
    let mut wanted = recipe("cat in.txt > out.txt; env | sort; echo oops >&2");
    wanted.args.insert("NODE_ENV".to_owned(), "production".to_owned());
    let (built, log) = shop.build(&revision, &wanted).await;
    let built = built.expect("built");
    assert!(!built.reused);
    let folder = shop.folder(&built);
    assert_eq!(std::fs::read_to_string(folder.join("out.txt")).expect("made"), "hello\n");
    assert_eq!(log[0], format!("Unpacked 1 file of {} at {}.", shop.mirror.url(), revision.short()));
    assert!(log.contains(&"oops".to_owned()));
    let variables: BTreeSet<&str> = log
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(' '))
        .collect();
    // PWD, OLDPWD, SHLVL and _ are the shell's own
    let ours: BTreeSet<&str> =
        variables.difference(&["PWD", "OLDPWD", "SHLVL", "_"].into()).copied().collect();
    assert_eq!(ours, ["HOME", "LANG", "NODE_ENV", "PATH", "RUSTUP_HOME", "TMPDIR"].into());
    assert_eq!(
        std::fs::read_dir(shop.path("builds/scratch")).expect("a folder").count(),
        0,
        "HOME is temporary"
    );
}

#[tokio::test]
async fn a_static_service_needs_no_command() {
    let shop = Shop::new();
    let revision = shop.push("app/index.html", "<h1>hi</h1>").await;
    let plain = Recipe::at("./app/", None);
    let (built, _) = shop.build(&revision, &plain).await;
    assert!(shop.folder(&built.expect("built")).join("index.html").is_file());
}

#[tokio::test]
async fn a_service_with_a_wider_context_is_built_and_started_in_its_own_folder() {
    let shop = Shop::new();
    shop.push("libs/tax", "7").await;
    let revision = shop.push("services/api/main", "1").await;
    let wanted =
        Recipe { command: Some("cp ../../libs/tax .".to_owned()), ..Recipe::at("services/api", Some(".")) };
    let folder = shop.folder(&shop.build(&revision, &wanted).await.0.expect("built"));
    assert!(folder.ends_with("app/services/api"));
    assert_eq!(std::fs::read_to_string(folder.join("tax")).expect("made"), "7");
    let gone = Recipe::at("services/web", Some("."));
    let error = shop.build(&revision, &gone).await.0.expect_err("no folder");
    assert!(
        matches!(&error, BuildError::Source { source: SourceError::NoPath { path, .. } } if path == "services/web")
    );
}

#[tokio::test]
async fn the_same_key_is_built_once_by_however_many_and_after_a_restart() {
    let mut shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    let wanted = recipe(&format!("echo run >> {}", shop.path("count").display()));
    let building: Vec<Building> = (0..20).map(|_| shop.start(&revision, &wanted)).collect();
    for one in building {
        one.end().await.0.expect("built");
    }
    // another commit with the same tree, as after a merge
    let merged = shop.push("other", "x").await;
    let (built, log) = shop.build(&merged, &wanted).await;
    assert!(built.expect("there").reused && log.is_empty());
    shop.builder = open(shop.world.folder.path(), Limits::default());
    assert!(shop.build(&revision, &wanted).await.0.expect("there").reused);
    assert_eq!(std::fs::read_to_string(shop.path("count")).expect("counted"), "run\n");
}

#[tokio::test]
async fn the_key_is_the_tree_the_command_and_the_arguments() {
    let shop = Shop::new();
    let first = shop.push("app/a", "1").await;
    let second = shop.push("app/a", "2").await;
    let mut args = recipe("true");
    args.args.insert("A".to_owned(), "1".to_owned());
    let mut keys = BTreeSet::new();
    for (revision, recipe) in
        [(&first, recipe("true")), (&second, recipe("true")), (&first, recipe("false")), (&first, args)]
    {
        let (sender, _log) = mpsc::channel(1);
        let (mirror, redactor) = (shop.mirror.clone(), Redactor::new());
        let order = BuildOrder {
            mirror,
            revision: revision.clone(),
            recipe,
            log: sender,
            redactor,
            cancel: CancellationToken::new(),
        };
        let key = shop.builder.key(&order).await.expect("a key");
        assert!(!shop.builder.has(&key).await);
        assert_eq!(key.to_string().parse::<BuildKey>().expect("a key"), key);
        keys.insert(key);
    }
    assert_eq!(keys.len(), 4);
}

#[tokio::test]
async fn a_missing_or_unfinished_folder_is_built_again() {
    let shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    let wanted = recipe("echo made > out");
    let built = shop.build(&revision, &wanted).await.0.expect("built");
    let folder = shop.folder(&built);
    std::fs::remove_dir_all(folder.parent().expect("a parent")).expect("removed");
    assert!(shop.builder.folder(&key(&built)).is_none());
    assert!(!shop.build(&revision, &wanted).await.0.expect("built").reused);
    // as a kill -9 in the middle leaves it: without the marker
    let marker = folder.with_file_name("done");
    std::fs::remove_file(marker).expect("removed");
    std::fs::write(folder.join("half"), "").expect("written");
    let again = shop.build(&revision, &wanted).await.0.expect("built");
    assert!(!again.reused && !folder.join("half").exists());
}

#[tokio::test]
async fn a_failing_command_tells_its_status_its_last_lines_and_what_to_do() {
    let shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    let count = shop.path("count");
    let wanted = recipe(&format!("echo run >> {}; echo compiling; no-such-tool; exit 3", count.display()));
    let building: Vec<Building> = (0..5).map(|_| shop.start(&revision, &wanted)).collect();
    for one in building {
        let error = one.end().await.0.expect_err("failed");
        assert!(matches!(&error, BuildError::Failed { status, .. } if status == "exit code 3"), "{error:?}");
        assert!(error.tail().contains(&"compiling".to_owned()) && error.is_authors());
        assert!(error.to_string().contains("hint: install the tool"), "{error}");
    }
    assert_eq!(
        std::fs::read_to_string(&count).expect("counted"),
        "run\n",
        "those who waited share the failure"
    );
    assert_eq!(
        std::fs::read_dir(shop.path("builds/folders")).expect("a folder").count(),
        0,
        "the disk is reclaimed"
    );
    shop.build(&revision, &wanted).await.0.expect_err("failed");
    assert_eq!(std::fs::read_to_string(&count).expect("counted"), "run\nrun\n", "a later wish tries again");
}

#[tokio::test]
async fn b6_a_command_that_hangs_is_stopped_with_everything_it_started() {
    let shop = Shop::with(Limits { time: Duration::from_millis(500), ..Limits::default() });
    let revision = shop.push("app/a", "1").await;
    let pid = shop.path("pid");
    let wanted =
        recipe(&format!("trap '' TERM; sleep 1000 & echo $! > {}; echo waiting; wait", pid.display()));
    let (result, _) = shop.build(&revision, &wanted).await;
    let error = result.expect_err("too long");
    assert!(matches!(&error, BuildError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.tail(), ["waiting"]);
    ends(&shop.wait_for("pid").await).await;
}

#[tokio::test]
async fn what_a_command_leaves_running_ends_with_it() {
    let shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    let wanted = recipe(&format!("sleep 1000 & echo $! > {}", shop.path("pid").display()));
    let began = Instant::now();
    shop.build(&revision, &wanted).await.0.expect("built");
    assert!(began.elapsed() < Duration::from_secs(5), "its open pipe is not waited for");
    ends(&shop.wait_for("pid").await).await;
}

#[tokio::test]
async fn b5_endless_output_fills_neither_disk_nor_memory() {
    let shop = Shop::with(Limits { log_bytes: 10_000, output_bytes: 20 << 20, ..Limits::default() });
    let revision = shop.push("app/a", "1").await;
    let (result, log) = shop.build(&revision, &recipe("yes 'a line of output'")).await;
    let error = result.expect_err("too much");
    assert!(matches!(error, BuildError::TooMuchOutput { .. }), "{error:?}");
    let bytes: usize = log.iter().map(String::len).sum();
    assert!(bytes < 11_000, "{bytes}");
    assert_eq!(log.last().expect("a line"), "… the log is cut here: only its first 10000 bytes are kept");
    // below the limit the command goes on, and only the log is cut
    let (result, log) = shop.build(&revision, &recipe("yes 'a line of output' | head -c 5000000")).await;
    result.expect("built");
    assert!(log.len() < 1_000);
}

#[tokio::test]
async fn b6_a_command_that_fills_the_disk_is_stopped() {
    let shop = Shop::with(Limits { folder_bytes: 1 << 20, ..Limits::default() });
    let revision = shop.push("app/a", "1").await;
    let (result, _) = shop.build(&revision, &recipe("head -c 3000000 /dev/zero > big; sleep 100")).await;
    let error = result.expect_err("too large");
    assert!(matches!(error, BuildError::TooManyFiles { .. }), "{error:?}");
    let of_home = recipe("head -c 3000000 /dev/zero > $TMPDIR/big; sleep 100");
    let error = shop.build(&revision, &of_home).await.0.expect_err("too large");
    assert!(matches!(error, BuildError::TooManyFiles { .. }), "{error:?}");
    let (result, _) = shop.build(&revision, &recipe("cp a /dev/full")).await;
    let error = result.expect_err("full");
    assert!(error.to_string().ends_with("hint: the disk is full"), "{error} {:?}", error.tail());
    // the builder's own disk
    std::fs::remove_dir(shop.path("builds/folders")).expect("removed");
    std::fs::write(shop.path("builds/folders"), "").expect("written");
    let error = shop.build(&revision, &recipe("true")).await.0.expect_err("no folder");
    assert!(matches!(error, BuildError::Disk { .. }) && !error.is_authors(), "{error:?}");
}

#[tokio::test]
async fn a_cancelled_or_dropped_build_leaves_nothing_behind() {
    let shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    for (name, by_token) in [("one", true), ("two", false)] {
        let wanted = recipe(&format!("echo $$ > {}; sleep 1000", shop.path(name).display()));
        let building = shop.start(&revision, &wanted);
        let pid = shop.wait_for(name).await;
        if by_token {
            building.cancel.cancel();
            assert!(matches!(building.end().await.0, Err(BuildError::Cancelled)));
        } else {
            building.result.abort();
        }
        ends(&pid).await;
    }
    // the next wish for the key is built
    let wanted = recipe("true");
    shop.build(&revision, &wanted).await.0.expect("built");
}

#[tokio::test]
async fn the_next_in_line_builds_when_the_first_is_cancelled() {
    let shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    let go = shop.path("go");
    let wanted =
        recipe(&format!("echo $$ > {}; test -e {} || sleep 1000", shop.path("pid").display(), go.display()));
    let first = shop.start(&revision, &wanted);
    shop.wait_for("pid").await;
    let mut second = shop.start(&revision, &wanted);
    let said = second.log.recv().await.expect("a line");
    assert_eq!(said.text, "The same tree is being built already; waiting for it.");
    std::fs::write(&go, "").expect("written");
    first.cancel.cancel();
    assert!(matches!(first.end().await.0, Err(BuildError::Cancelled)));
    assert!(!second.end().await.0.expect("built").reused);
}

#[tokio::test]
async fn b4_secrets_are_hidden_in_the_log_and_in_the_error() {
    let shop = Shop::new();
    shop.redactor.add("hunter2hunter2");
    let revision = shop.push("app/half", "hunter2").await;
    let (result, log) = shop.build(&revision, &recipe("cat half; sleep 0.1; cat half; exit 1")).await;
    let error = result.expect_err("failed");
    assert_eq!(error.tail(), ["[redacted]"]);
    assert!(!log.join("\n").contains("hunter2"), "{log:?}");
}

#[tokio::test]
async fn old_folders_that_nobody_uses_are_removed_by_an_explicit_call() {
    let shop = Shop::new();
    let revision = shop.push("app/a", "1").await;
    let used =
        shop.build(&revision, &recipe("mkdir ro && touch ro/x && chmod 555 ro")).await.0.expect("built");
    let unused = shop
        .build(&revision, &recipe("mkdir ro && touch ro/x && chmod 555 ro && true"))
        .await
        .0
        .expect("built");
    let running =
        shop.start(&revision, &recipe(&format!("echo $$ > {}; sleep 1000", shop.path("pid").display())));
    shop.wait_for("pid").await;
    let in_use = [key(&used)].into();
    let collect = |before| shop.builder.collect(&in_use, before);
    let now = Timestamp::now();
    assert_eq!(collect(now - Duration::from_hours(1)).await.expect("collected"), []);
    assert_eq!(collect(now + Duration::from_hours(1)).await.expect("collected"), [key(&unused)]);
    assert!(shop.builder.folder(&key(&used)).is_some());
    running.cancel.cancel();
    assert!(matches!(running.end().await.0, Err(BuildError::Cancelled)));
}

#[tokio::test]
async fn a_context_that_is_not_there_or_holds_a_submodule_is_the_authors_error() {
    let shop = Shop::new();
    let revision = shop.push("other/a", "1").await;
    let error = shop.build(&revision, &recipe("true")).await.0.expect_err("no folder");
    assert!(
        matches!(&error, BuildError::Source { source: SourceError::NoPath { path, .. } } if path == "app"),
        "{error:?}"
    );
    assert!(error.is_authors());
    let commit = shop.world.repo.find("main").expect("a commit");
    let inner = shop.world.repo.raw_tree(&[("160000", b"lib", &commit)]);
    let root = shop.world.repo.raw_tree(&[("40000", b"app", &inner)]);
    let hostile = shop.world.repo.commit_tree(&root, &[&commit], "a submodule");
    shop.world.repo.git(&["update-ref", "refs/heads/main", &hostile]);
    shop.mirror.fetch().await.expect("a fetch");
    let error = shop.build(&id(&hostile), &recipe("true")).await.0.expect_err("a submodule");
    assert!(
        matches!(&error, BuildError::Source { source: SourceError::Refused { path, .. } } if path == "app/lib"),
        "{error:?}"
    );
}
