//! What the author of a config repository reads when something is wrong, and what goes on all the same.

use std::path::Path;

use branchline::config::schema::{self, Kind};
use branchline::config::{self, File, Repository};

/// A repository that is sound, as (path, text).
const SOUND: [(&str, &str); 4] = [
    ("branchline.yaml", "apiVersion: branchline.dev/v1\nkind: Config\nmetadata: {name: acme}\nspec: {}\n"),
    (
        "projects/shop/project.yaml",
        "apiVersion: branchline.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {environments: [staging]}\n",
    ),
    (
        "projects/shop/services/api.yaml",
        "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: api}\nspec:\n  type: web\n  source: {repo: acme/shop}\n  command: [npm, start]\n",
    ),
    (
        "projects/shop/environments/staging/environment.yaml",
        "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: staging}\nspec: {shared: {DOMAIN: example.com}}\n",
    ),
];

fn load(files: &[(&str, &str)]) -> Repository {
    load_after(&Repository::default(), files)
}

fn load_after(before: &Repository, files: &[(&str, &str)]) -> Repository {
    config::load_after(before, files.iter().map(|(path, text)| file(path, text)))
}

/// A file with an id that is another for another content.
fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), id: text.to_owned(), bytes: Ok(text.as_bytes().into()) }
}

/// The sound repository, and what becomes of it once one file reads otherwise.
fn then(path: &str, text: &str) -> (Repository, Repository) {
    let before = load(&SOUND);
    assert_eq!(problems(&before), "");
    let mut files = SOUND.to_vec();
    files.retain(|(p, _)| *p != path);
    files.push((path, text));
    let after = load_after(&before, &files);
    assert!(after.is_usable());
    (before, after)
}

/// The sound repository with one file put in the place of another, or added.
fn with(path: &str, text: &str) -> Repository {
    let mut files = SOUND.to_vec();
    files.retain(|(p, _)| *p != path);
    files.push((path, text));
    load(&files)
}

fn service(spec: &str) -> Repository {
    let text =
        format!("apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {{name: api}}\nspec:\n{spec}");
    with("projects/shop/services/api.yaml", &text)
}

fn problems(repository: &Repository) -> String {
    repository.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn files_of(folder: &Path) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder of the sample") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below it").to_str().expect("UTF-8").to_owned();
                files.push(File {
                    path: name,
                    id: String::new(),
                    bytes: Ok(std::fs::read(&path).expect("a file").into()),
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

#[test]
fn the_sample_is_sound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let repository = config::load(files_of(&root.join("sample-repo/config")));
    assert_eq!(problems(&repository), "");
    let shop = &repository.projects[&"shop".parse().expect("a name")];
    assert_eq!(shop.services.len(), 4);
    assert_eq!(
        shop.ordered_environments().iter().map(|e| e.as_str()).collect::<Vec<_>>(),
        ["staging", "production"]
    );
}

#[test]
fn every_annotated_sample_satisfies_its_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/v1/samples");
    for kind in Kind::ALL {
        let schema = jsonschema::draft7::new(&schema::schema(kind)).expect("a schema");
        let path = folder.join(kind.file().replace(".json", ".yaml"));
        let text = std::fs::read_to_string(&path).expect("a sample of every kind");
        assert!(text.starts_with("# yaml-language-server: $schema="), "{}", path.display());
        for node in
            branchline::yaml::read("sample", &text, &branchline::yaml::Limits::config()).expect("YAML")
        {
            let errors: Vec<_> = schema.iter_errors(&node.to_json()).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        }
    }
}

#[test]
fn the_schemas_in_the_repository_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/v1");
    for (name, schema) in schema::files() {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(text == schema, "schema/v1/{name} differs: run `branchline schema --write schema/v1`");
    }
}

#[test]
fn every_field_has_a_description_and_an_example() {
    fn visit(path: &str, value: &serde_json::Value, missing: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(|p| p.as_object()) {
            for (name, field) in properties {
                let described = field.get("description").is_some() && field.get("examples").is_some();
                if !described && name != "spec" {
                    missing.push(format!("{path}/{name}"));
                }
            }
        }
        match value {
            serde_json::Value::Object(map) => {
                map.iter().for_each(|(key, v)| visit(&format!("{path}/{key}"), v, missing))
            }
            serde_json::Value::Array(items) => items.iter().for_each(|v| visit(path, v, missing)),
            _ => {}
        }
    }
    let mut missing = Vec::new();
    for kind in Kind::ALL {
        visit(kind.as_str(), &schema::schema(kind), &mut missing);
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_mistake_of_a_file_is_named_with_its_place_and_the_way_out() {
    let repository = service(
        "  type: wep\n  source: {repo: acme/shop, brunch: main}\n  command: npm start\n  replicas: -1\n  ports: [{name: http, port: 70000}]\n  env: {log_level: info, PORT2: 3000}\n  healthcheck: {path: health}\n  terminationGracePeriod: soon\n",
    );
    insta::assert_snapshot!(problems(&repository));
}

#[test]
fn the_field_that_was_probably_meant_begins_as_what_was_typed() {
    let repository = service(
        "  typ: web\n  source: {repository: acme/shop}\n  command: [npm, start]\n  env: {}\n  replica: 2\n",
    );
    for meant in ["type", "repo", "replicas"] {
        assert!(
            problems(&repository).contains(&format!("did you mean {meant}?")),
            "{}",
            problems(&repository)
        );
    }
}

#[test]
fn a_broken_service_takes_down_only_itself() {
    let repository = with(
        "projects/shop/services/blog.yaml",
        "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: blog}\nspec: {type: web, comand: []}\n",
    );
    let (shop, staging) = ("shop".parse().expect("a name"), "staging".parse().expect("a name"));
    let errors =
        |service: &str| repository.errors_of(&shop, &staging, &service.parse().expect("a name")).count();
    assert_eq!((errors("api"), errors("blog")), (0, 1));
    assert!(repository.is_usable());
    assert!(repository.absence_is_proven(&shop), "we know which service the file is about");
}

#[test]
fn a_file_that_cannot_be_read_proves_no_absence() {
    let repository = with("projects/shop/services/api.yaml", "kind: [\n");
    assert!(repository.is_usable());
    assert!(!repository.absence_is_proven(&"shop".parse().expect("a name")));
}

#[test]
fn an_empty_repository_is_not_usable() {
    assert!(!load(&[]).is_usable());
}

#[test]
fn what_is_broken_stands_as_it_was_and_the_rest_goes_on() {
    for (path, text, place) in [
        ("branchline.yaml", "kind: [\n", "branchline.yaml:1:7"),
        (
            "branchline.yaml",
            "apiVersion: branchline.dev/v1\nkind: Config\nmetadata: {name: acme}\nspec: {defualts: {}}\n",
            "branchline.yaml:4:8",
        ),
        ("projects/shop/project.yaml", "\tkind: Project\n", "projects/shop/project.yaml:1:1"),
        (
            "projects/shop/project.yaml",
            "apiVersion: branchline.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {environments: staging}\n",
            "projects/shop/project.yaml:4:22",
        ),
        (
            "projects/shop/project.yaml",
            "apiVersion: branchline.dev/v1\nkind: Project\nmetadata: {name: chop}\nspec: {}\n",
            "projects/shop/project.yaml:3:18",
        ),
        (
            "projects/shop/environments/staging/environment.yaml",
            "a: 1\na: 2\n",
            "projects/shop/environments/staging/environment.yaml:2:1",
        ),
        (
            "projects/shop/environments/staging/environment.yaml",
            "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: staging}\nspec: {sharde: {}}\n",
            "projects/shop/environments/staging/environment.yaml:4:8",
        ),
    ] {
        let (before, after) = then(path, text);
        assert!(problems(&after).starts_with(place), "{path}: {}", problems(&after));
        assert_eq!(after.config, before.config, "{path}");
        assert_eq!(after.projects, before.projects, "{path}");
        let (shop, staging) = ("shop".parse().expect("a name"), "staging".parse().expect("a name"));
        let api = "api".parse().expect("a name");
        let stopped: Vec<_> = after.errors_of(&shop, &staging, &api).collect();
        assert!(stopped.is_empty(), "{path} stops no service: {stopped:?}");
        assert_eq!(after.standing.keys().collect::<Vec<_>>(), [path]);
    }
}

#[test]
fn a_broken_service_is_known_to_those_that_refer_to_it() {
    let web = "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: web}\nspec: {type: static, source: {repo: acme/web}, env: {API: '${{ services.api.url }}'}}\n";
    let mut files = SOUND.to_vec();
    files.push(("projects/shop/services/web.yaml", web));
    let before = load(&files);
    for (text, message) in [
        ("kind: Service\n\tspec: {}\n", "projects/shop/services/api.yaml:2:1"),
        (
            "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: api}\nspec: {type: wep}\n",
            "projects/shop/services/api.yaml:4:14",
        ),
    ] {
        files[2] = ("projects/shop/services/api.yaml", text);
        let after = load_after(&before, &files);
        assert!(problems(&after).starts_with(message), "{}", problems(&after));
        assert_eq!(after.problems.iter().filter(|p| p.place.file.contains("web")).count(), 0);
        assert_eq!(after.projects, before.projects);
    }
    files.remove(2);
    let gone = load_after(&before, &files);
    assert!(
        !gone.projects[&"shop".parse().expect("a name")]
            .services
            .contains_key(&"api".parse().expect("a name"))
    );
}

#[test]
fn an_emptied_repository_stands_whole() {
    let before = load(&SOUND);
    let after = load_after(&before, &[]);
    assert_eq!((&after.projects, after.is_usable()), (&before.projects, true));
    assert_eq!(after.standing.len(), SOUND.len());
    insta::assert_snapshot!(problems(&after), @r"
    branchline.yaml:1:1: the config repository is empty
      hint: nothing is removed because of it
    ");
}

#[test]
fn an_environment_that_contradicts_the_rest_is_not_looked_for_elsewhere() {
    let cluster =
        "apiVersion: branchline.dev/v1\nkind: Cluster\nmetadata: {name: prod}\nspec: {type: kubeconfig}\n";
    let staging = "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: staging}\nspec: {cluster: prod, shared: {DOMAIN: example.com}}\n";
    let mut files = SOUND.to_vec();
    files[3].1 = staging;
    files.push(("clusters/prod.yaml", cluster));
    let before = load(&files);
    assert_eq!(problems(&before), "");
    files.pop();
    let after = load_after(&before, &files);
    let document = &after.projects[&"shop".parse().expect("a name")].environments
        [&"staging".parse().expect("a name")]
        .document;
    assert_eq!(after.cluster_of(document), before.cluster_of(document));
    assert!(
        problems(&after).contains("environment.yaml:4:17: there is no cluster `prod`"),
        "{}",
        problems(&after)
    );
}

#[test]
fn a_link_or_a_file_beyond_all_measure_is_not_read() {
    let mut files: Vec<File> = SOUND.iter().map(|(path, text)| file(path, text)).collect();
    files.push(file("templates/web/10-deployment.yaml.hbs", "kind: x"));
    let (before, sound) = (config::load(files.clone()), files[4].clone());
    files[2] = File { id: "link".to_owned(), bytes: Err(config::LINK.to_owned()), ..files[2].clone() };
    files[4] = File { id: "large".to_owned(), bytes: Err(config::too_large(1 << 30)), ..sound.clone() };
    assert!(!config::load(files.clone()).is_usable(), "another template would be meant");
    let after = config::load_after(&before, files);
    assert_eq!(after.templates, [sound]);
    assert_eq!(after.projects, before.projects);
    insta::assert_snapshot!(problems(&after), @r"
    projects/shop/services/api.yaml:1:1: it is a symbolic link, and those are not followed
      hint: put the file itself there
    templates/web/10-deployment.yaml.hbs:1:1: the file has 1073741824 bytes, more than the 4194304 that are read
      hint: keep it elsewhere
    ");
}

#[test]
fn what_is_not_supported_yet_is_an_error_at_its_line() {
    let repository = service(
        "  type: web\n  source: {repo: acme/shop}\n  command: [npm, start]\n  volumes: [{name: a}]\n  hooks: {preDeploy: []}\n  autoDeploy: checksPass\n  strategy: {type: canary, autoRollback: true}\n  build: {dockerfile: Dockerfile}\n",
    );
    insta::assert_snapshot!(problems(&repository));
}

#[test]
fn references_name_what_exists_and_do_not_turn_in_a_circle() {
    let repository = service(
        "  type: web\n  source: {repo: acme/shop}\n  command: [npm, start]\n  env:\n    A: ${{ services.ap.url }}\n    B: ${{ services.api.uri }}\n    C: ${{ shared.NOTHING }}\n    D: ${{ env.E }}\n    E: ${{ env.D }}\n    F: ${{ git.branch }}\n    G: ${{ git.tag }}\n    H: $${{ fine }}\n    I: ${{ addons.db.url }}\n    J: ${{ git.sha\n  schedule: ${{ git.sha }}\n",
    );
    insta::assert_snapshot!(problems(&repository));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let repository = service(
        "  type: worker\n  build: {paths: [libs/**], context: ../x}\n  source: {path: services/api, branch: 'a b'}\n  schedule: 'every day'\n  domains: [{host: a.example.com}]\n  env: {PORT: '1', K: {secret: a, generate: {length: 9}}}\n  disruption: {}\n  autoscaling: {minReplicas: 5, maxReplicas: 2}\n",
    );
    insta::assert_snapshot!(problems(&repository));
}

#[test]
fn layers_add_up_with_the_origin_of_every_value() {
    let files = [
        (
            "branchline.yaml",
            "apiVersion: branchline.dev/v1\nkind: Config\nmetadata: {name: acme}\nspec: {defaults: {service: {replicas: 3, env: {A: config, B: config}}}}\n",
        ),
        (
            "projects/shop/project.yaml",
            "apiVersion: branchline.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {defaults: {service: {env: {B: {secret: b}}}}}\n",
        ),
        SOUND[2],
        (
            "projects/shop/environments/staging/environment.yaml",
            "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: staging}\nspec: {services: {api: {replicas: 1, env: {A: null}, strategy: {maxSurge: 1}}}}\n",
        ),
    ];
    let repository = load(&files);
    assert_eq!(problems(&repository), "");
    let shop = &repository.projects[&"shop".parse().expect("a name")];
    let sum = repository
        .effective(
            shop,
            Some(&"staging".parse().expect("a name")),
            &"api".parse().expect("a name"),
            None,
            None,
        )
        .expect("it adds up");
    insta::assert_snapshot!(branchline::config::explain(&sum.node));
}
