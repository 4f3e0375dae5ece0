//! Containers as processes: what they are given, and that nothing of them stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use branchline::clock::Clock;
use branchline::embedded::LogRequest;
use branchline::embedded::node::logs::Logs;
use branchline::embedded::node::runtime::{Container, Launch, PodPlan, Runtime, Signal};
use branchline::embedded::process::{ProcessOptions, ProcessRuntime};
use futures::StreamExt;
use tokio_util::task::TaskTracker;

/// A machine with one artifact, the folder `app`.
struct Machine {
    root: tempfile::TempDir,
    runtime: ProcessRuntime,
    logs: Logs,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("folders/app/site")).unwrap();
        let runtime = runtime(root.path());
        Self { root, runtime, logs: Logs::new(Clock::system()) }
    }

    async fn start(&self, command: &[&str], env: &[(&str, &str)]) -> Box<dyn Container> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let ports = BTreeMap::from([("main".to_owned(), vec![8080])]);
        self.runtime.place(&PodPlan { uid: "uid".to_owned(), ports }).await.unwrap();
        let launch = Launch {
            pod: "uid".to_owned(),
            container: "main".to_owned(),
            image: "folder:app".to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            working_dir: None,
            env: env.iter().map(owned).collect(),
            log: self.logs.begin("shop", "web", "uid", "main"),
        };
        self.runtime.start(launch).await.unwrap()
    }

    async fn log(&self) -> String {
        let lines = self.logs.read(&request(false)).unwrap();
        String::from_utf8(lines.collect::<Vec<_>>().await.concat()).unwrap()
    }

    /// Waits for the first line of the log.
    async fn first_line(&self) -> String {
        let mut lines = self.logs.read(&request(true)).unwrap();
        let line = tokio::time::timeout(Duration::from_mins(2), lines.next()).await.unwrap().unwrap();
        String::from_utf8(line.to_vec()).unwrap().trim().to_owned()
    }
}

fn request(follow: bool) -> LogRequest {
    LogRequest {
        namespace: "shop".to_owned(),
        pod: "web".to_owned(),
        uid: "uid".to_owned(),
        container: "main".to_owned(),
        follow,
        previous: false,
        timestamps: false,
        tail_lines: None,
        since_seconds: None,
        since_time: None,
        limit_bytes: None,
    }
}

fn runtime(root: &Path) -> ProcessRuntime {
    let options = ProcessOptions {
        folders: {
            let folders = root.join("folders");
            std::sync::Arc::new(move |key: &str| Some(folders.join(key)))
        },
        data: root.join("runtime"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_branchline")),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        clock: Clock::system(),
    };
    ProcessRuntime::new(options, TaskTracker::new()).unwrap()
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let alive = Command::new("kill").args(["-0", pid]).stderr(Stdio::null()).status().unwrap().success();
    alive && !stat.contains(") Z ")
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_mins(2), "{what}: not in time");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_container_runs_in_its_folder_and_sees_only_its_own_environment() {
    let machine = Machine::new();
    let container =
        machine.start(&["sh", "-c", "pwd; env; echo oops >&2; exit 3"], &[("GREETING", "hello")]).await;
    assert_eq!(container.ended().await, 3);
    let log = machine.log().await;
    let root = machine.root.path().display().to_string();
    assert!(log.contains(&format!("{root}/folders/app\n")), "{log}");
    assert!(log.contains("GREETING=hello\n") && log.contains("oops\n"), "{log}");
    assert!(log.contains(&format!("HOME={root}/runtime/scratch/uid/home\n")), "{log}");
    assert!(!log.contains("CARGO"), "nothing of ours: {log}");
    machine.runtime.leave("uid").await;
    assert!(!machine.root.path().join("runtime/scratch/uid").exists());
}

#[tokio::test]
async fn a_program_that_is_not_there_says_so_in_its_log() {
    let machine = Machine::new();
    let container = machine.start(&["./no-such-program"], &[]).await;
    assert_eq!(container.ended().await, 127);
    insta::assert_snapshot!(
        machine.log().await,
        @r#"branchline: cannot start "./no-such-program": No such file or directory (os error 2)"#
    );
}

#[tokio::test]
async fn the_whole_group_ends_with_its_first_process() {
    let machine = Machine::new();
    let container = machine.start(&["sh", "-c", "sleep 300 & echo $!; exit 0"], &[]).await;
    let child = machine.first_line().await;
    assert_eq!(container.ended().await, 0);
    wait_until("the process left behind ends", || !is_alive(&child));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_daemon_that_left_the_group_ends_too() {
    let machine = Machine::new();
    let container =
        machine.start(&["sh", "-c", "setsid sh -c 'echo $$; exec sleep 300' & sleep 300"], &[]).await;
    let daemon = machine.first_line().await;
    container.signal(Signal::Terminate);
    assert_eq!(container.ended().await, 128 + 15);
    wait_until("the daemon ends", || !is_alive(&daemon));
}

#[tokio::test]
async fn a_process_that_ignores_the_polite_order_is_killed_by_the_other() {
    let machine = Machine::new();
    let container =
        machine.start(&["sh", "-c", "trap 'echo no' TERM; echo up; while :; do sleep 0.01; done"], &[]).await;
    assert_eq!(machine.first_line().await, "up");
    container.signal(Signal::Terminate);
    let ended = container.ended();
    assert!(tokio::time::timeout(Duration::from_millis(200), ended).await.is_err(), "it goes on");
    container.signal(Signal::Kill);
    assert_eq!(container.ended().await, 128 + 9);
    assert!(machine.log().await.contains("no\n"));
}

#[tokio::test]
async fn a_command_runs_beside_the_container_and_is_ended_when_it_takes_too_long() {
    let machine = Machine::new();
    let container = machine.start(&["sleep", "300"], &[("MODE", "fast")]).await;
    let command = |text: &str| ["sh", "-c", text].map(str::to_owned);
    let limit = Duration::from_mins(2);
    assert_eq!(container.exec(&command("test $MODE = fast"), limit).await.unwrap(), 0);
    assert_eq!(container.exec(&command("exit 4"), limit).await.unwrap(), 4);
    let slow = container.exec(&command("echo $$ > pid; exec sleep 300"), Duration::from_millis(300)).await;
    insta::assert_snapshot!(slow.unwrap_err(), @"the command did not end within 300ms");
    let pid = std::fs::read_to_string(machine.root.path().join("folders/app/pid")).unwrap();
    wait_until("the command ends", || !is_alive(pid.trim()));
    container.signal(Signal::Kill);
    container.ended().await;
}

/// Starts a supervisor whose pipe is held by a process that can be killed, as Branchline can be.
fn held_by_somebody(root: &Path, script: &str) -> (std::process::Child, std::process::Child) {
    let mut holder = Command::new("sleep").arg("300").stdout(Stdio::piped()).spawn().unwrap();
    let pipe = holder.stdout.take().unwrap();
    std::fs::create_dir_all(root.join("runtime/run")).unwrap();
    let supervisor = Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args(["supervise", "--record"])
        .arg(root.join("runtime/run/one.json"))
        .args(["--", "sh", "-c", script])
        .stdin(pipe)
        .current_dir(root)
        .spawn();
    (holder, supervisor.unwrap())
}

fn pid_in(path: &Path) -> String {
    wait_until("the pid is written", || std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n')));
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn when_whoever_holds_the_pipe_is_killed_nothing_is_left() {
    let root = tempfile::tempdir().unwrap();
    let script =
        "trap '' TERM; sh -c 'echo $$ > child; sleep 300' & echo $$ > main; while :; do sleep 1; done";
    let (mut holder, mut supervisor) = held_by_somebody(root.path(), script);
    let pids = [pid_in(&root.path().join("main")), pid_in(&root.path().join("child"))];
    assert!(pids.iter().all(|pid| is_alive(pid)));
    holder.kill().unwrap();
    holder.wait().unwrap();
    supervisor.wait().unwrap();
    wait_until("all of it ends", || !pids.iter().any(|pid| is_alive(pid)));
    assert!(!root.path().join("runtime/run/one.json").exists());
}

#[test]
fn what_is_left_after_the_supervisor_was_killed_too_ends_at_the_next_start() {
    let root = tempfile::tempdir().unwrap();
    let (mut holder, mut supervisor) = held_by_somebody(root.path(), "echo $$ > main; exec sleep 300");
    let pid = pid_in(&root.path().join("main"));
    let record = root.path().join("runtime/run/one.json");
    wait_until("the record is kept", || record.exists());
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(is_alive(&pid), "nobody was there to end it");
    std::fs::create_dir_all(root.path().join("folders")).unwrap();
    drop(runtime(root.path()));
    wait_until("it ends", || !is_alive(&pid));
    assert!(!record.exists());
}

#[test]
fn another_process_of_the_same_number_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("runtime/run")).unwrap();
    let mut other = Command::new("sleep").arg("300").spawn().unwrap();
    let record = format!("{{\"pid\":{},\"started\":\"1\"}}", other.id());
    std::fs::write(root.path().join("runtime/run/old.json"), record).unwrap();
    drop(runtime(root.path()));
    assert!(is_alive(&other.id().to_string()));
    other.kill().unwrap();
    other.wait().unwrap();
}
