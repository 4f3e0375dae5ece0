//! Reading and planning of config repositories of 1,000 services: goals of the issue that built them.
//!
//! `cargo bench --bench config`. No server is involved.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::cell::Cell;
use std::collections::BTreeMap;

use branchline::config::{self, File, Repository};
use branchline::desired::{self, Found, Hosts, Inputs, Lookup, LookupKey, Runtime};

use crate::common::rate;

const SERVICES: usize = 1000;
/// The files before those of the services.
const FIRST: usize = 3;
static HOSTS: Hosts = Hosts { scheme: String::new(), port: None };

fn main() -> anyhow::Result<()> {
    println!("config of {SERVICES} services in one environment, no server:");
    measure()
}

fn files(services: usize) -> Vec<File> {
    let file =
        |path: String, text: String| File { id: path.clone(), path, bytes: Ok(text.into_bytes().into()) };
    let document = |kind: &str, name: &str, spec: &str| {
        format!("apiVersion: branchline.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let mut all = vec![
        file(
            "branchline.yaml".to_owned(),
            document("Config", "bench", "{defaults: {service: {replicas: 2}}}"),
        ),
        file(
            "projects/shop/project.yaml".to_owned(),
            document("Project", "shop", "{environments: [staging]}"),
        ),
        file(
            "projects/shop/environments/staging/environment.yaml".to_owned(),
            document("Environment", "staging", "{shared: {DOMAIN: example.com}}"),
        ),
    ];
    for number in 0..services {
        let name = format!("service-{number:04}");
        let spec = format!(
            "{{type: web, source: {{repo: acme/mono, path: services/{name}}}, build: {{command: make}}, command: [./run], env: {{LEVEL: info, DOMAIN: '${{{{ shared.DOMAIN }}}}', SHA: '${{{{ git.sha }}}}'}}, healthCheck: {{path: /health}}}}"
        );
        all.push(file(format!("projects/shop/services/{name}.yaml"), document("Service", &name, &spec)));
    }
    all
}

fn load(services: usize) -> Repository {
    let repository = config::load(files(services));
    assert_eq!(repository.problems, [], "the bench measures a sound repository");
    repository
}

fn measure() -> anyhow::Result<()> {
    let read = files(SERVICES);
    rate("services validated", (1000, 1), "goal: 1,000 at once in 1 s", || read.clone(), config::load)?;
    let repository = load(SERVICES);
    let changed = |number: usize| {
        let mut files = read.clone();
        let file = &mut files[FIRST + number % SERVICES];
        let text = String::from_utf8_lossy(file.bytes.as_ref().expect("it is readable"));
        let text = text.replace("LEVEL: info", &format!("LEVEL: l{number}"));
        file.bytes = Ok(text.into_bytes().into());
        file.id = format!("{} changed {number}", file.path);
        files
    };
    let number = Cell::new(0);
    let another = || changed(number.replace(number.get() + 1));
    let reread = |files| config::load_after(&repository, files);
    rate("services reread after one of them changed", (1000, 20), "part of one change", another, reread)?;
    let found = found(&repository);
    let anew = |()| desired::desired(&inputs(&repository, &found), &mut desired::Memory::default());
    rate("services put together", (1000, 5), "part of the first attempt", || (), anew)?;
    let mut memory = desired::Memory::default();
    let _ = desired::desired(&inputs(&repository, &found), &mut memory);
    let next = || config::load_after(&repository, another());
    let after = |config| desired::desired(&inputs(&config, &found), &mut memory);
    rate("services put together after one of them changed", (1000, 20), "part of one change", next, after)
}

fn inputs<'a>(config: &'a Repository, found: &'a BTreeMap<LookupKey, Found>) -> Inputs<'a> {
    Inputs {
        config,
        found,
        pulls: &[],
        deployed: &|_, _, _| None,
        embedded: Runtime::Process,
        trust_pull_requests: false,
        hosts: &HOSTS,
        addresses: &|_, _| 28000,
    }
}

/// Every question to Git, answered.
fn found(repository: &Repository) -> BTreeMap<LookupKey, Found> {
    let revision: branchline::name::Revision = "1".repeat(40).parse().expect("a revision");
    let answer = |lookup: Lookup| {
        let (revision, head) = (revision.clone(), revision.clone());
        (lookup.key, Found::Revision { revision, head, changed: true, app_file: None })
    };
    desired::lookups(repository, &[], |_, _| false).into_iter().map(answer).collect()
}
