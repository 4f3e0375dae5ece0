//! The real program as `branchline demo`, and what a person sees of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::git::git;
use crate::program::{PATIENCE, left_over, program};

/// A demo that runs.
pub(crate) struct Demo {
    pub(crate) data: PathBuf,
    child: Child,
    pub(crate) server: String,
    proxy: String,
    http: reqwest::Client,
}

impl Demo {
    /// Starts it, and waits until it says that it has settled.
    pub(crate) fn start(data: &Path) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut child = program(data)
            .args(["demo", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::options().create(true).append(true).open(log_of(data)).unwrap())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (mut server, mut proxy) = (None, None);
        let until = Instant::now() + PATIENCE;
        loop {
            let line = lines.recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.expect("the demo settles");
            if let Some(rest) = line.strip_prefix("The dashboard ") {
                server = Some(rest.trim().to_owned());
            }
            if let Some((_, port)) = line.split_once(".localhost:") {
                proxy = Some(format!("http://127.0.0.1:{}/", port.trim()));
            }
            if line.starts_with("Settled in ") {
                break;
            }
        }
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let (server, proxy) = (server.unwrap(), proxy.unwrap());
        Self { data: data.canonicalize().unwrap(), child, server, proxy, http }
    }

    /// Starts `serve` on the repositories of a demo, and waits until it listens.
    pub(crate) fn serve(data: &Path, more: impl FnOnce(&mut Command)) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut command = program(data);
        command.args(["serve", "--listen", "127.0.0.1:0", "--git-host", "file", "--log-format", "pretty"]);
        command.arg("--config-repo").arg(data.join("git/config.git")).arg("--data-dir").arg(data);
        more(&mut command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let said = BufReader::new(child.stderr.take().unwrap());
        let mut log = std::fs::File::options().create(true).append(true).open(log_of(data)).unwrap();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                let _ = sender.send(line);
            }
        });
        let (mut server, mut proxy) = (None, None);
        let until = Instant::now() + PATIENCE;
        while proxy.is_none() {
            let line =
                lines.recv_timeout(until.saturating_duration_since(Instant::now())).expect("it listens");
            if let Some(address) = line.strip_prefix("Listening on ") {
                server = Some(address.to_owned());
            }
            proxy = line.split_once("behind ").map(|(_, address)| format!("{address}/"));
        }
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        let (server, proxy) = (server.unwrap(), proxy.unwrap());
        Self { data: data.canonicalize().unwrap(), child, server, proxy, http }
    }

    /// Runs a verb; gives what it prints and whether it went well.
    pub(crate) fn run(&self, arguments: &[&str]) -> (String, bool) {
        let token = std::fs::read_to_string(self.data.join("token")).unwrap();
        let output = program(&self.data)
            .args(arguments)
            .args(["-p", "shop"])
            .env("BRANCHLINE_SERVER", &self.server)
            .env("BRANCHLINE_TOKEN", token.trim())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), output.status.success())
    }

    /// Runs a verb as a person would, in a folder of theirs; gives what it prints, what it complains of and its code.
    pub(super) fn verb(&self, folder: &Path, arguments: &[&str]) -> (String, String, i32) {
        // the demo wrote down where it is
        let output = program(&self.data).current_dir(folder).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code().unwrap())
    }

    /// The whole status.
    pub(crate) fn status(&self) -> Value {
        let (said, well) = self.run(&["status", "-o", "json"]);
        assert!(well, "{said}");
        serde_json::from_str(&said).unwrap()
    }

    /// The status of all projects.
    pub(crate) async fn whole_status(&self) -> Value {
        let token = std::fs::read_to_string(self.data.join("token")).unwrap();
        let answer = self.http.get(format!("{}/api/v1/status", self.server)).bearer_auth(token.trim());
        answer.send().await.unwrap().json().await.unwrap()
    }

    /// The record of a service, `null` where there is none.
    pub(crate) fn service(&self, environment: &str, service: &str) -> Value {
        let status = self.status();
        let mut rows = status["services"].as_array().unwrap().iter();
        let found = rows.find(|row| row["environment"] == environment && row["service"] == service);
        found.cloned().unwrap_or_default()
    }

    /// The front page at a host, through the proxy: status and body.
    pub(crate) async fn get(&self, host: &str) -> (u16, String) {
        let request = self.http.get(&self.proxy).header("host", format!("{host}.localhost"));
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }

    /// The status that the server answers at a path.
    pub(crate) async fn answers(&self, path: &str) -> u16 {
        self.http.get(format!("{}{path}", self.server)).send().await.unwrap().status().as_u16()
    }

    /// A page of the dashboard.
    pub(crate) async fn page(&self, path: &str) -> String {
        self.http.get(format!("{}{path}", self.server)).send().await.unwrap().text().await.unwrap()
    }

    /// The deployments of a service, newest first.
    pub(crate) async fn deployments(&self, environment: &str, service: &str) -> Vec<Value> {
        let token = std::fs::read_to_string(self.data.join("token")).unwrap();
        let url = format!(
            "{}/api/v1/deployments?project=shop&environment={environment}&service={service}",
            self.server
        );
        let answer = self.http.get(url).bearer_auth(token.trim()).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["deployments"].as_array().unwrap().clone()
    }

    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.data.join("work").join(name)
    }

    /// Runs git in a working clone.
    pub(crate) fn git(&self, name: &str, arguments: &[&str]) -> String {
        git(&self.work(name), arguments)
    }

    /// Writes a file of a working clone, commits and pushes it; gives the revision.
    pub(crate) fn push(&self, name: &str, file: &str, content: &str) -> String {
        self.git(name, &["pull", "--quiet", "--ff-only"]);
        let path = self.work(name).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--message", &format!("change {file}")]);
        self.git(name, &["push", "--quiet"]);
        self.git(name, &["rev-parse", "HEAD"])
    }

    /// The note on a commit in a repository; empty where there is none.
    pub(crate) fn note(&self, name: &str, revision: &str) -> String {
        let repository = self.data.join("git").join(format!("{name}.git"));
        let mut git = Command::new("git");
        git.arg("-C").arg(repository).args(["notes", "--ref=branchline", "show", revision]);
        String::from_utf8(git.output().unwrap().stdout).unwrap()
    }

    /// Undoes the last commit of a working clone.
    pub(crate) fn revert(&self, name: &str) {
        self.git(name, &["revert", "--no-edit", "HEAD"]);
        self.git(name, &["push", "--quiet"]);
    }

    /// Ends it as a person would, and checks that nothing runs on.
    pub(crate) fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert_eq!(left_over(&self.data), Vec::<String>::new());
    }

    /// kill -9.
    pub(crate) fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.data.clone()
    }
}

impl Demo {
    /// What somebody needs to see of a demo that did not do what a test expected.
    #[expect(clippy::print_stdout, reason = "the harness keeps it for tests that fail")]
    fn show(&self) {
        let log = std::fs::read_to_string(log_of(&self.data)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(200)..].join("\n"));
        println!("{}\n{}", self.run(&["status"]).0, self.run(&["status", "-o", "json"]).0);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // after a failed test; what it supervises ends with it
        if std::thread::panicking() {
            self.show();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the demo of a data folder writes what it has to say.
fn log_of(data: &Path) -> PathBuf {
    data.with_extension("log")
}
