//! Where the series takes place: repositories, GitHub, and the lives of one server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::git::Repo;
use crate::http_backend::HttpBackend;
use crate::program::{left_over, program, until};
use crate::world::World;

/// The secret of the webhooks.
pub(super) const SECRET: &str = "chaos";
/// The repositories.
pub(super) const CONFIG: &str = "acme/config";
pub(super) const SITE: &str = "acme/site";
pub(super) const JOBS: &str = "acme/jobs";
pub(super) const ALL: [&str; 3] = [CONFIG, SITE, JOBS];

/// Everything but the server.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) data: PathBuf,
    pub(super) http: reqwest::Client,
    pub(super) server: String,
    repositories: PathBuf,
    key: PathBuf,
    port: u16,
    lives: AtomicUsize,
    /// Where `git http-backend` is; otherwise the repositories are read from the disk.
    backend: Option<HttpBackend>,
}

/// A server that runs.
pub(super) struct Life {
    child: Child,
    pub(super) log: PathBuf,
}

impl Stage {
    /// Makes empty repositories, and GitHub around them.
    pub(super) async fn set(folder: &Path) -> Self {
        let world = World::start().await;
        world.live_now();
        let repositories = folder.join("git");
        std::fs::create_dir(&repositories).unwrap();
        let backend = HttpBackend::serve(&repositories).await;
        for name in ALL {
            let bare = format!("{}.git", short(name));
            Repo::bare(&repositories, &bare);
            let url = match &backend {
                Some(backend) => backend.url(&bare),
                None => repositories.join(&bare).display().to_string(),
            };
            world.repository(name, &url);
        }
        let key = folder.join("key.pem");
        std::fs::write(&key, World::app().1).unwrap();
        let data = folder.join("data");
        std::fs::create_dir(&data).unwrap();
        // free now; nobody else on this machine takes a port of this range between two lives
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self {
            world,
            data: data.canonicalize().unwrap(),
            http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap(),
            server: format!("http://127.0.0.1:{port}"),
            repositories,
            key,
            port,
            lives: AtomicUsize::new(0),
            backend,
        }
    }

    pub(super) fn repo(&self, name: &str) -> Repo {
        Repo { path: self.repositories.join(format!("{}.git", short(name))) }
    }

    /// Starts the server.
    pub(super) fn start(&self) -> Life {
        let number = self.lives.fetch_add(1, Ordering::SeqCst);
        let log = self.data.with_file_name(format!("life-{number}.log"));
        let mut command = program(&self.data);
        command
            .args(["serve", "--config-repo", CONFIG, "--trust-pull-requests", "--data-dir"])
            .arg(&self.data);
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--git-host", if self.backend.is_some() { "127.0.0.1" } else { "file" }]);
        command.env("BRANCHLINE_GITHUB_URL", &self.world.url);
        command.env("BRANCHLINE_GITHUB_APP_ID", World::app().0.to_string());
        command.env("BRANCHLINE_GITHUB_PRIVATE_KEY_FILE", &self.key);
        command.env("BRANCHLINE_WEBHOOK_SECRET", SECRET);
        command.env("BRANCHLINE_LOG", "info");
        let child = command.stdout(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Life { child, log }
    }

    /// How long a server takes to answer after its start, on this machine as busy as it is.
    pub(super) async fn time_of_a_start(&self) -> Duration {
        let begun = Instant::now();
        let mut life = self.start();
        until("the server answers", async || !self.api("status").await.is_null()).await;
        life.kill();
        begun.elapsed()
    }

    /// Asks the server's API; `null` where it does not answer.
    pub(super) async fn api(&self, path: &str) -> Value {
        let token = std::fs::read_to_string(self.data.join("token")).unwrap_or_default();
        let request = self.http.get(format!("{}/api/v1/{path}", self.server)).bearer_auth(token.trim());
        match request.send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }
}

impl Life {
    /// The front page at a host: status and body; nothing before the server has said where its services are.
    pub(super) async fn get(&self, http: &reqwest::Client, host: &str) -> (u16, String) {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let proxy = said.lines().find_map(|line| Some(line.split_once("behind ")?.1.trim().to_owned()));
        let Some(proxy) = proxy else { return (0, String::new()) };
        match http.get(proxy).header("host", format!("{host}.localhost")).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a person would.
    pub(super) fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // after a failed test; what it supervises ends with it
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left over: {:#?}", left_over(&self.data));
        }
    }
}

/// `site` of `acme/site`.
pub(super) fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
