//! What should exist: environments, revisions, values and hosts, as a person would expect them.

use std::collections::BTreeMap;
use std::sync::Arc;

use branchline::config::{self, File, Repository};
use branchline::desired::{
    ArtifactSource, Environment, Found, Hosts, Inputs, LookupKey, Memory, PullRequest, Runtime, Service,
    Wanted, desired, lookups,
};
use branchline::name::{PullNumber, Revision};

const HEAD: &str = "1111111111111111111111111111111111111111";
const PULL: &str = "2222222222222222222222222222222222222222";
const PIN: &str = "3333333333333333333333333333333333333333";

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: branchline.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// A shop with an API, a site that refers to it, staging by branch and production by pins.
fn shop() -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("branchline.yaml", document("Config", "acme", "{}")),
        (
            "projects/shop/project.yaml",
            document(
                "Project",
                "shop",
                "{environments: [staging, production], previews: {enabled: true, base: staging}}",
            ),
        ),
        (
            "projects/shop/services/api.yaml",
            document(
                "Service",
                "api",
                "{type: web, source: {repo: acme/api}, build: {command: make}, command: [./api], env: {SHA: '${{ git.shortSha }}', KEY: {secret: key}, COOKIE: {generate: {length: 32}}}, domains: [{host: API.example.com}]}",
            ),
        ),
        (
            "projects/shop/services/site.yaml",
            document(
                "Service",
                "site",
                "{type: static, source: {repo: acme/site}, env: {API: '${{ services.api.url }}', PUBLIC: '${{ api.publicUrl }}/v1', WHERE: '${{ shared.WHERE }} ${{ environment.name }}'}}",
            ),
        ),
        (
            "projects/shop/services/mailer.yaml",
            document(
                "Service",
                "mailer",
                "{type: worker, source: {repo: acme/api}, build: {from: api}, command: [./mail]}",
            ),
        ),
        (
            "projects/shop/environments/staging/environment.yaml",
            document("Environment", "staging", "{shared: {WHERE: in}}"),
        ),
        (
            "projects/shop/environments/production/environment.yaml",
            document("Environment", "production", "{follow: releases, shared: {WHERE: at}}"),
        ),
        (
            "projects/shop/environments/production/releases.yaml",
            document("Releases", "production", &format!("{{api: {{revision: \"{PIN}\"}}}}")),
        ),
    ])
}

/// The files as Git has them: the same content has the same id.
fn committed(files: &BTreeMap<&'static str, String>) -> Vec<File> {
    let file = |(path, text): (&&str, &String)| File {
        path: (*path).to_owned(),
        id: text.clone(),
        bytes: Ok(text.as_bytes().into()),
    };
    files.iter().map(file).collect()
}

fn load(files: &BTreeMap<&'static str, String>) -> Repository {
    let repository = config::load(committed(files));
    assert_eq!(repository.problems, []);
    repository
}

fn pull(repository: &str, number: u64) -> PullRequest {
    PullRequest {
        repository: repository.to_owned(),
        short_name: repository.split('/').next_back().unwrap_or_default().to_owned(),
        number: PullNumber(number),
        head: PULL.parse().expect("a revision"),
        base: None,
        of_forge: true,
        fork: None,
        draft: false,
        bot: false,
        labels: Vec::new(),
        expired: false,
    }
}

fn answer(revision: &str) -> Found {
    let revision: Revision = revision.parse().expect("a revision");
    Found::Revision { head: revision.clone(), revision, changed: true, app_file: None }
}

/// Every lookup answered: branches with `HEAD`, pull requests with their head.
fn environments(config: &Repository, pulls: &[PullRequest]) -> Vec<Arc<Environment>> {
    let asked = lookups(config, pulls, |repo, pull| repo == pull.repository);
    let found = asked
        .into_iter()
        .map(|lookup| (lookup.key, answer(if lookup.head.is_some() { PULL } else { HEAD })))
        .collect();
    with(config, pulls, &found)
}

fn with(
    config: &Repository,
    pulls: &[PullRequest],
    found: &BTreeMap<LookupKey, Found>,
) -> Vec<Arc<Environment>> {
    after(&mut Memory::default(), config, pulls, found)
}

fn after(
    memory: &mut Memory,
    config: &Repository,
    pulls: &[PullRequest],
    found: &BTreeMap<LookupKey, Found>,
) -> Vec<Arc<Environment>> {
    let inputs = Inputs {
        config,
        found,
        pulls,
        deployed: &|_, _, _| None,
        embedded: Runtime::Process,
        trust_pull_requests: true,
        hosts: &Hosts { scheme: "https".to_owned(), port: Some(8080) },
        addresses: &|namespace, name| {
            20000 + u16::try_from(namespace.as_str().len() * 100 + name.len()).expect("small")
        },
    };
    desired(&inputs, memory)
}

fn service<'a>(environments: &'a [Arc<Environment>], environment: &str, name: &str) -> &'a Service {
    let found = environments.iter().find(|e| e.name.as_str() == environment).expect("the environment");
    &found.services[&name.parse().expect("a name")]
}

fn run(service: &Service) -> &branchline::desired::Run {
    match &service.state {
        Wanted::Run(run) => run,
        other => panic!("{} should run, and is {other:?}", service.name),
    }
}

#[test]
fn what_refers_to_a_broken_file_is_left_as_it_is() {
    let mut files = shop();
    let api = files["projects/shop/services/api.yaml"].replace("type: web", "typo: web");
    files.insert("projects/shop/services/api.yaml", api);
    let config = config::load(files.iter().map(|(path, text)| File {
        path: (*path).to_owned(),
        id: String::new(),
        bytes: Ok(text.as_bytes().into()),
    }));
    let all = environments(&config, &[]);
    let staging = all.iter().find(|e| e.name.as_str() == "staging").expect("the environment");
    let broken: Vec<_> = staging.broken.keys().map(ToString::to_string).collect();
    assert_eq!(broken, ["api", "mailer", "site"]);
    assert!(staging.services.is_empty(), "{:?}", staging.services.keys());
}

#[test]
fn staging_runs_heads_and_production_runs_pins() {
    let config = load(&shop());
    let all = environments(&config, &[]);
    assert_eq!(
        all.iter().map(|e| e.namespace.as_str()).collect::<Vec<_>>(),
        ["shop-staging", "shop-production"]
    );
    assert_eq!(run(service(&all, "staging", "api")).revision.as_ref().map(Revision::as_str), Some(HEAD));
    assert_eq!(run(service(&all, "production", "api")).revision.as_ref().map(Revision::as_str), Some(PIN));
    assert_eq!(service(&all, "production", "site").state, Wanted::NotReleased);
}

#[test]
fn the_values_of_a_service_hold_what_its_references_give() {
    let config = load(&shop());
    let all = environments(&config, &[]);
    insta::assert_json_snapshot!(run(service(&all, "staging", "site")).values);
    let api = service(&all, "staging", "api");
    insta::assert_json_snapshot!(run(api).values["env"], @r#"
    [
      {
        "name": "COOKIE",
        "secret": {
          "name": "branchline-generated",
          "key": "api.COOKIE"
        }
      },
      {
        "name": "KEY",
        "secret": {
          "name": "branchline-secrets",
          "key": "key"
        }
      },
      {
        "name": "SHA",
        "value": "1111111"
      }
    ]
    "#);
    assert_eq!(api.generated, BTreeMap::from([("api.COOKIE".to_owned(), 32)]));
    assert_eq!(
        service(&all, "staging", "site").after.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["api"]
    );
}

#[test]
fn a_domain_belongs_to_the_last_environment_and_never_to_a_preview() {
    let config = load(&shop());
    let all = environments(&config, &[pull("acme/api", 7)]);
    assert_eq!(service(&all, "staging", "api").hosts, ["api-shop-staging.localhost"]);
    assert_eq!(
        service(&all, "production", "api").hosts,
        ["api-shop-production.localhost", "api.example.com"]
    );
    assert_eq!(service(&all, "pr-api-7", "api").hosts, ["api-shop-pr-api-7.localhost"]);
    assert_eq!(
        service(&all, "staging", "api").url.as_deref(),
        Some("http://api-shop-staging.localhost:8080")
    );
}

#[test]
fn a_service_that_runs_the_artifact_of_another_asks_for_the_same_build() {
    let config = load(&shop());
    let all = environments(&config, &[]);
    let (ArtifactSource::Tree(api), ArtifactSource::Tree(mailer)) =
        (&run(service(&all, "staging", "api")).artifact, &run(service(&all, "staging", "mailer")).artifact)
    else {
        panic!("both are built")
    };
    assert_eq!((&api.command, &api.args), (&mailer.command, &mailer.args));
}

#[test]
fn a_preview_holds_what_changed_and_what_refers_to_it() {
    let config = load(&shop());
    let pulls = [pull("acme/api", 7), pull("acme/site", 8)];
    let all = environments(&config, &pulls);
    let names = |name: &str| {
        let found = all.iter().find(|e| e.name.as_str() == name).expect("the preview");
        found.services.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names("pr-api-7"), ["api", "mailer", "site"]);
    assert_eq!(names("pr-site-8"), ["site"]);
    let env = |preview: &str| run(service(&all, preview, "site")).values["env"].clone();
    let value = |env: serde_json::Value, name: &str| {
        env.as_array().expect("a list").iter().find(|v| v["name"] == name).expect("there")["value"].clone()
    };
    assert_eq!(value(env("pr-api-7"), "PUBLIC"), "http://api-shop-pr-api-7.localhost:8080/v1");
    assert_eq!(
        value(env("pr-site-8"), "PUBLIC"),
        "http://api-shop-staging.localhost:8080/v1",
        "shared from the base"
    );
    assert_eq!(value(env("pr-site-8"), "WHERE"), "in pr-site-8");
}

#[test]
fn a_pull_request_of_a_fork_a_draft_or_one_that_expired_gets_no_preview() {
    let config = load(&shop());
    let base = pull("acme/api", 7);
    for unwanted in [
        PullRequest { fork: Some("mallory/api".to_owned()), ..base.clone() },
        PullRequest { draft: true, ..base.clone() },
        PullRequest { bot: true, ..base.clone() },
        PullRequest { expired: true, ..base.clone() },
        PullRequest { base: Some("other".parse().expect("a branch")), ..base.clone() },
    ] {
        assert_eq!(environments(&config, &[unwanted]).len(), 2);
    }
}

#[test]
fn a_repository_that_does_not_answer_leaves_its_services_as_they_are() {
    let config = load(&shop());
    let asked = lookups(&config, &[], |_, _| false);
    let found = asked
        .into_iter()
        .map(|lookup| (lookup.key, Found::Nothing("the branch `main` is gone".to_owned())))
        .collect();
    let all = with(&config, &[], &found);
    assert_eq!(
        service(&all, "staging", "api").state,
        Wanted::Unknown("the branch `main` is gone".to_owned())
    );
    assert!(matches!(service(&all, "production", "api").state, Wanted::Run(_)), "a pin needs no branch");
}

#[test]
fn a_config_that_cannot_be_known_wants_nothing_rather_than_less() {
    let empty = config::load([]);
    assert_eq!(with(&empty, &[], &BTreeMap::new()), []);
    assert!(!empty.is_usable(), "and whoever asks can tell it from a repository without environments");
}

#[test]
fn a_secret_never_becomes_a_part_of_a_text() {
    let mut files = shop();
    files.insert("projects/shop/services/site.yaml", document("Service", "site", "{type: static, source: {repo: acme/site}, env: {A: '${{ secrets.db }}', B: 'x-${{ secrets.db }}'}}"));
    let config = load(&files);
    let all = environments(&config, &[]);
    let staging = all.iter().find(|e| e.name.as_str() == "staging").expect("staging");
    let problems = &staging.broken[&"site".parse().expect("a name")];
    insta::assert_snapshot!(problems[0], @r"
    projects/shop/services/site.yaml:4:82: ${{ secrets.db }} is a secret and cannot be a part of a text
      hint: give it a variable of its own, and put them together in the app
    ");
}

/// A commit of the config: what it writes, and what it removes.
type Commit = (&'static str, &'static str, Option<String>);

/// Commits that change one thing each, of every kind that something is made of.
fn commits() -> Vec<Commit> {
    let service = |name: &str, spec: &str| Some(document("Service", name, spec));
    let site = "{type: static, source: {repo: acme/site}, env: {API: '${{ services.api.url }}'}}";
    vec![
        ("nothing", "README.md", Some("text".to_owned())),
        ("a service", "projects/shop/services/site.yaml", service("site", site)),
        (
            "a service that others refer to",
            "projects/shop/services/api.yaml",
            service(
                "api",
                "{type: web, source: {repo: acme/api}, build: {command: make all}, command: [./api], ports: [{name: http, port: 9000}]}",
            ),
        ),
        (
            "defaults",
            "branchline.yaml",
            Some(document("Config", "acme", "{defaults: {service: {replicas: 3}}}")),
        ),
        ("a domain", "branchline.yaml", Some(document("Config", "acme", "{domains: {base: example.com}}"))),
        (
            "an environment",
            "projects/shop/environments/staging/environment.yaml",
            Some(document("Environment", "staging", "{shared: {WHERE: on}, services: {api: {replicas: 2}}}")),
        ),
        ("another cluster", "clusters/real.yaml", Some(document("Cluster", "real", "{type: kubeconfig}"))),
        (
            "a pin",
            "projects/shop/environments/production/releases.yaml",
            Some(document("Releases", "production", &format!("{{site: {{revision: \"{HEAD}\"}}}}"))),
        ),
        (
            "the order of promotion",
            "projects/shop/project.yaml",
            Some(document(
                "Project",
                "shop",
                "{environments: [production, staging], previews: {enabled: true, base: staging}}",
            )),
        ),
        (
            "a reference to what is not there",
            "projects/shop/services/site.yaml",
            service(
                "site",
                "{type: static, source: {repo: acme/site}, env: {API: '${{ services.gone.url }}'}}",
            ),
        ),
        ("a service less", "projects/shop/services/site.yaml", None),
        ("a broken service", "projects/shop/services/mailer.yaml", service("mailer", "{type: nothing}")),
        ("a broken environment", "projects/shop/environments/staging/environment.yaml", Some("{".to_owned())),
    ]
}

#[test]
fn what_is_known_from_before_saves_work_and_decides_nothing() {
    let mut files = shop();
    let (mut config, mut memory) = (load(&files), Memory::default());
    let pulls = [pull("acme/api", 7)];
    for (what, path, text) in commits() {
        match text {
            Some(text) => drop(files.insert(path, text)),
            None => drop(files.remove(path)),
        }
        let anew = config::load(committed(&files));
        config = config::load_after(&config, committed(&files));
        if config.standing.is_empty() {
            assert_eq!(config, anew, "{what}");
        }
        let found: BTreeMap<_, _> = lookups(&config, &pulls, |repo, pull| repo == pull.repository)
            .into_iter()
            .map(|lookup| (lookup.key, answer(HEAD)))
            .collect();
        assert_eq!(after(&mut memory, &config, &pulls, &found), with(&config, &pulls, &found), "{what}");
        let again = after(&mut memory, &config, &pulls, &found);
        let same = again.iter().zip(after(&mut memory, &config, &pulls, &found));
        assert!(same.into_iter().all(|(one, other)| Arc::ptr_eq(one, &other)), "{what}");
    }
}

#[test]
fn a_commit_to_one_service_makes_no_other_service_anew() {
    let mut files = shop();
    let (before, mut memory) = (load(&files), Memory::default());
    let found: BTreeMap<_, _> =
        lookups(&before, &[], |_, _| false).into_iter().map(|lookup| (lookup.key, answer(HEAD))).collect();
    let old = after(&mut memory, &before, &[], &found);
    files.insert(
        "projects/shop/services/mailer.yaml",
        document(
            "Service",
            "mailer",
            "{type: worker, source: {repo: acme/api}, build: {from: api}, command: [./post]}",
        ),
    );
    let new = after(&mut memory, &config::load_after(&before, committed(&files)), &[], &found);
    let same = |name: &str| {
        let name = name.parse().expect("a name");
        Arc::ptr_eq(&old[0].services[&name], &new[0].services[&name])
    };
    assert!(same("api") && same("site"), "they are the very same");
    assert!(!same("mailer"), "this one is not");
}
