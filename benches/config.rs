//! Reading and planning of config repositories of 1,000 services: goals of the issue that built them.
//!
//! `cargo bench --bench config`. No server is involved.

use std::collections::BTreeMap;

use branchline::config::{self, File, Repository};
use branchline::desired::{self, Found, Hosts, Inputs, Runtime};

fn main() {
    divan::main();
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

/// Goal: at most 1 s for 1,000 services.
#[divan::bench(args = [100, 1000], sample_count = 10)]
fn validate(bencher: divan::Bencher<'_, '_>, services: usize) {
    bencher.with_inputs(|| files(services)).bench_values(config::load);
}

#[divan::bench(args = [100, 1000], sample_count = 10)]
fn desired(bencher: divan::Bencher<'_, '_>, services: usize) {
    let repository = load(services);
    let revision: branchline::name::Revision = "1".repeat(40).parse().expect("a revision");
    let found: BTreeMap<_, _> = desired::lookups(&repository, &[], |_, _| false)
        .into_iter()
        .map(|lookup| {
            let (revision, head) = (revision.clone(), revision.clone());
            (lookup.key, Found::Revision { revision, head, changed: true, app_file: None })
        })
        .collect();
    bencher.bench(|| {
        let inputs = Inputs {
            config: &repository,
            found: &found,
            pulls: &[],
            deployed: &BTreeMap::new(),
            embedded: Runtime::Process,
            trust_pull_requests: false,
            hosts: &Hosts { scheme: "https".to_owned(), port: None },
            addresses: &|_, _| 28000,
        };
        desired::desired(&inputs, &mut desired::Memory::default())
    });
}
