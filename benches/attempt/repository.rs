//! A config repository of 1,000 services and the app repository that all of them come from.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Services of the one environment.
pub(crate) const SERVICES: usize = 1000;
/// The project.
pub(crate) const PROJECT: &str = "bench";

/// A bare repository.
pub(crate) struct Repo {
    pub(crate) path: PathBuf,
}

impl Repo {
    /// An empty one in a folder.
    pub(crate) fn bare(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let path = folder.join(name);
        let done =
            Command::new("git").args(["init", "--quiet", "--bare", "-b", "main"]).arg(&path).status()?;
        ensure!(done.success(), "git init failed");
        Ok(Self { path })
    }

    /// Commits files on top of `main`.
    pub(crate) fn commit(&self, files: &[(String, String)]) -> anyhow::Result<()> {
        let mut stream =
            String::from("commit refs/heads/main\ncommitter Bench <bench@example.com> now\ndata 5\nbench\n");
        if self.path.join("refs/heads/main").exists() {
            stream.push_str("from refs/heads/main^0\n");
        }
        for (path, text) in files {
            write!(stream, "M 644 inline {path}\ndata {}\n{text}\n", text.len())?;
        }
        let mut git = Command::new("git")
            .args(["fast-import", "--quiet", "--date-format=now"])
            .current_dir(&self.path)
            .stdin(Stdio::piped())
            .spawn()?;
        git.stdin.take().context("it is piped")?.write_all(stream.as_bytes())?;
        ensure!(git.wait()?.success(), "git fast-import failed");
        Ok(())
    }
}

/// The name of a service.
pub(crate) fn name(number: usize) -> String {
    format!("service-{number:04}")
}

/// The files of the config repository. `cluster` is the document of a cluster of its own.
pub(crate) fn config(namespace: &str, cluster: Option<&str>) -> Vec<(String, String)> {
    let mut files = vec![
        ("branchline.yaml".to_owned(), document("Config", "bench", "{defaults: {service: {replicas: 0}}}")),
        (
            format!("projects/{PROJECT}/project.yaml"),
            document("Project", PROJECT, "{environments: [staging]}"),
        ),
        (
            format!("projects/{PROJECT}/environments/staging/environment.yaml"),
            document(
                "Environment",
                "staging",
                &format!("{{namespace: {namespace}, shared: {{DOMAIN: example.com}}}}"),
            ),
        ),
    ];
    files.extend(
        cluster
            .map(|name| (format!("clusters/{name}.yaml"), document("Cluster", name, "{type: kubeconfig}"))),
    );
    files.extend((0..SERVICES).map(|number| service(number, "first")));
    files
}

/// The document of one service: its own source and image (by its digest, since no registry is asked here), and a
/// reference to the last service.
pub(crate) fn service(number: usize, level: &str) -> (String, String) {
    let hub = SERVICES - 1;
    let other =
        if number == hub { String::new() } else { format!(", HUB: '${{{{ services.{}.url }}}}'", name(hub)) };
    let (name, digest) = (name(number), "7d".repeat(32));
    let spec = format!(
        "{{type: web, source: {{repo: ../apps.git, path: services/{name}}}, \
         image: 'registry.example.com/{name}@sha256:{digest}', \
         env: {{LEVEL: {level}, RELEASE: '${{{{ git.sha }}}}', DOMAIN: '${{{{ shared.DOMAIN }}}}'{other}}}, \
         disruption: {{maxUnavailable: 1}}, healthCheck: {{path: /health}}}}"
    );
    (format!("projects/{PROJECT}/services/{name}.yaml"), document("Service", &name, &spec))
}

/// The source of one service.
pub(crate) fn source(number: usize, text: &str) -> (String, String) {
    (format!("services/{}/main.txt", name(number)), format!("{text}\n"))
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: branchline.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}
