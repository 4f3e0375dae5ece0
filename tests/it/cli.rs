//! The verbs that need no server, as a person types them.

use std::path::Path;

use assert_cmd::Command;

use crate::demo::world::Demo;
use crate::program::{program, until};

fn branchline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_branchline"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("BRANCHLINE_SERVER")
        .env("XDG_CONFIG_HOME", "/nowhere");
    command
}

fn broken() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let project = folder.path().join("projects/shop");
    std::fs::create_dir_all(project.join("services")).expect("folders");
    let project_yaml = "apiVersion: branchline.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {}\n";
    std::fs::write(project.join("project.yaml"), project_yaml).expect("written");
    let service = "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: api}\nspec:\n  type: web\n  healthcheck: {path: /}\n";
    std::fs::write(project.join("services/api.yaml"), service).expect("written");
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn the_sample_is_valid_and_says_so() {
    let output = branchline().args(["validate", "sample-repo/config"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(text(&output.stderr), @"Valid: 1 project, 4 services, 2 environments.");
    assert_eq!(text(&output.stdout), "");
}

#[test]
fn a_mistake_ends_with_2_and_names_its_place() {
    let folder = broken();
    let output = branchline().arg("validate").arg(folder.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stdout), @r"
    projects/shop/services/api.yaml:6:3: there is no field `healthcheck` here
      hint: did you mean healthCheck?
    ");
    let output =
        branchline().args(["validate", "-o", "github"]).arg(folder.path()).output().expect("it runs");
    insta::assert_snapshot!(text(&output.stdout), @"::error file=projects/shop/services/api.yaml,line=6,col=3::there is no field `healthcheck` here (hint: did you mean healthCheck?)");
    let output = branchline().args(["validate", "-o", "json"]).arg(folder.path()).output().expect("it runs");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((value["valid"].as_bool(), value["problems"][0]["line"].as_u64()), (Some(false), Some(6)));
}

#[test]
fn a_service_is_rendered_and_explained_as_it_lies_on_disk() {
    let output = branchline()
        .args(["render", "api", "sample-repo/config", "-e", "staging"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let manifests = text(&output.stdout);
    for kind in ["ServiceAccount", "Deployment", "Service", "Ingress"] {
        assert!(manifests.contains(&format!("kind: {kind}\n")), "{kind}:\n{manifests}");
    }
    let output = branchline()
        .args(["explain", "api", "sample-repo/config", "-e", "production"])
        .output()
        .expect("it runs");
    assert!(text(&output.stdout).contains("projects/shop/environments/production/environment.yaml:"));
}

#[test]
fn what_does_not_exist_ends_with_3_and_says_what_does() {
    let output = branchline().args(["explain", "apis", "sample-repo/config"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: there is no service `apis`
    hint: there is api, report, web, worker
    ");
    let output = branchline().args(["schema", "Pod"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn what_is_rendered_can_be_read_by_machines_and_listed_by_name() {
    let render = |format| {
        let arguments = ["render", "web", "sample-repo/config", "-e", "staging", "-o", format];
        text(&branchline().args(arguments).output().expect("it runs").stdout)
    };
    let objects: Vec<serde_json::Value> = serde_json::from_str(&render("json")).expect("JSON");
    let names: Vec<_> = objects.iter().map(|object| object["kind"].as_str().expect("a kind")).collect();
    assert!(names.contains(&"Deployment") && names.contains(&"Ingress"), "{names:?}");
    assert_eq!(render("name").lines().count(), objects.len());
    assert!(render("name").contains("Deployment/shop-staging/web"), "{}", render("name"));
    let arguments = ["explain", "web", "sample-repo/config", "-e", "staging", "-o", "json"];
    let output = branchline().args(arguments).output().expect("it runs");
    let merged: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(merged["type"], "static");
}

/// The sample as somebody changes it.
fn sample() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut copy = std::process::Command::new("cp");
    copy.args(["-r", "sample-repo/config/."]).arg(folder.path()).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(copy.status().expect("cp runs").success());
    folder
}

fn validated(folder: &Path) -> (String, Option<i32>) {
    let output = branchline().arg("validate").arg(folder).output().expect("it runs");
    (text(&output.stdout), output.status.code())
}

#[test]
fn templates_are_rendered_and_held_against_the_policy() {
    let folder = sample();
    std::fs::create_dir_all(folder.path().join("templates/static")).expect("a folder");
    let object = |kind: &str, namespace: &str, more: &str| {
        format!(
            "---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: extra, namespace: {namespace}}}\n{more}\n"
        )
    };
    let role = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: all}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n";
    let refused = object("ConfigMap", "kube-system", "data: {}") + role;
    let template = folder.path().join("templates/static/90-more.yaml.hbs");
    std::fs::write(&template, refused).expect("written");
    let (said, code) = validated(folder.path());
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(said);
    let missing =
        object("ConfigMap", "{{namespace}}", "data:\n  A: {{nmae}}\n  B: {{projct.name}}\n  C: {{nmae}}");
    std::fs::write(&template, missing).expect("written");
    let (said, code) = validated(folder.path());
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(said);
    let api = folder.path().join("projects/shop/services/api.yaml");
    let other = std::fs::read_to_string(&api).expect("the sample") + "  template: {name: webb}\n";
    std::fs::write(&api, other).expect("written");
    std::fs::remove_file(&template).expect("removed");
    insta::assert_snapshot!(validated(folder.path()).0);
    std::fs::write(&api, std::fs::read_to_string(&api).expect("it").replace("webb", "web")).expect("written");
    let root = folder.path().join("branchline.yaml");
    let whole = std::fs::read_to_string(&root).expect("the sample");
    let (without_limits, _) = whole.split_once("  defaults:").expect("the sample has defaults");
    let strict = without_limits.replace("policy: {", "policy: {requireResourceLimits: true, ");
    std::fs::write(root, strict).expect("written");
    let (said, code) = validated(folder.path());
    assert_eq!(code, Some(2));
    assert!(said.contains("services/api.yaml:7:"), "a built-in template is nobody's to mend: {said}");
}

#[test]
fn one_mistake_is_told_once_and_nothing_else_because_of_it() {
    let folder = sample();
    let services = folder.path().join("projects/shop/services");
    let of = |name: &str| std::fs::read_to_string(services.join(name)).expect("the sample");
    let refer = |name: &str, to: &str| {
        let text = of(name) + &format!("  env: {{OTHER: '${{{{ services.{to}.url }}}}'}}\n");
        std::fs::write(services.join(name), text).expect("written");
    };
    refer("web.yaml", "report");
    let report = of("report.yaml");
    refer("report.yaml", "web");
    let (said, code) = validated(folder.path());
    assert_eq!((code, said.matches("in a circle").count()), (Some(2), 1), "{said}");
    std::fs::write(services.join("report.yaml"), report).expect("written");
    std::fs::write(services.join("web.yaml"), of("web.yaml").replace("type:", "typ:")).expect("written");
    let pins = format!(
        "apiVersion: branchline.dev/v1\nkind: Releases\nmetadata: {{name: production}}\nspec:\n  web: {{revision: {0}}}\n  gone: {{revision: {0}}}\n",
        "a1".repeat(20)
    );
    std::fs::write(folder.path().join("projects/shop/environments/production/releases.yaml"), pins)
        .expect("written");
    let (said, code) = validated(folder.path());
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(said);
}

#[test]
fn a_folder_without_a_config_is_told_to_be_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = branchline().current_dir(folder.path()).arg("validate").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stdout), @r"
    branchline.yaml:1:1: there is no `branchline.yaml` in this folder, and no `projects/`
      hint: name the folder of the config repository, as in `branchline validate ../config`
    ");
}

#[test]
fn schemas_are_found_by_any_spelling_and_written_where_they_are_wanted() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = branchline().args(["schema", "service"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let new = folder.path().join("some/where");
    let output = branchline().args(["schema", "--write"]).arg(&new).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(new.join("service.json").is_file());
    let output = branchline().args(["schema", "--write", "/proc/schemas"]).output().expect("it runs");
    assert!(text(&output.stderr).contains("error: /proc/schemas cannot be written to\nhint: "), "{output:?}");
}

#[test]
fn wrong_words_end_with_2_before_anything_is_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let said = |arguments: &[&str]| {
        let output =
            program(&data).args(arguments).env("BRANCHLINE_DATA_DIR", &data).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(said(&["serve"]).contains("hint: give --config-repo URL"));
    assert!(said(&["serve", "--config-repo", "ssh://git@example.com/acme/config"]).contains("ssh"));
    assert!(said(&["serve", "--log-format", "x"]).contains("json or pretty"));
    assert!(said(&["serve", "--listen", "foo", "--config-repo", "acme/config"]).contains("127.0.0.1:7070"));
    assert!(!data.exists(), "nothing was made");
    assert!(said(&["demo", "--listen", "foo"]).contains("127.0.0.1:7070"));
    let server = ["--server", "http://127.0.0.1:9", "-p", "shop"];
    let since = [&["logs", "web", "-e", "staging", "--since", "nonsense"][..], &server].concat();
    assert!(said(&since).contains("it takes a length of time such as 30s, 10m or 2h"));
    let nope = [&["deploy", "web", "-e", "staging", "--ref", "nope"][..], &server].concat();
    assert!(said(&nope).contains("error: `nope` is no revision\nhint: give all 40 digits, or a name"));
}

#[test]
fn a_demo_takes_no_folder_that_somebody_else_uses() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("mine");
    std::fs::create_dir_all(mine.join("git/config.git")).expect("a folder");
    for file in ["thesis.txt", "git/config.git/HEAD"] {
        std::fs::write(mine.join(file), "years of work").expect("written");
    }
    for arguments in [&["demo", "--once"][..], &["demo", "--once", "--fresh"]] {
        let output = branchline().args(arguments).arg("--data-dir").arg(&mine).output().expect("it runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("mine/git is there, and no demo made it\nhint: "), "{said}");
    }
    assert_eq!(std::fs::read_dir(&mine).expect("it is there").count(), 2, "nothing came or went");
    let output = branchline().args(["demo", "--data-dir", "/proc/x"]).output().expect("it runs");
    assert!(text(&output.stderr).starts_with("error: the folder /proc/x cannot be made\n"), "{output:?}");
}

#[test]
fn a_broken_file_is_named_where_its_service_is_asked_for_and_is_no_matter_to_others() {
    let folder = sample();
    let api = folder.path().join("projects/shop/services/api.yaml");
    let broken = std::fs::read_to_string(&api).expect("the sample").replace("type: web", "typo: web");
    std::fs::write(&api, broken).expect("written");
    let of = |service: &str| {
        let arguments = ["render", service, folder.path().to_str().expect("UTF-8"), "-e", "staging"];
        branchline().args(arguments).output().expect("it runs")
    };
    let output = of("api");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    projects/shop/services/api.yaml:7:3: there is no field `typo` here
      hint: did you mean type?
    error: the file of `api` is broken
    ");
    assert_eq!(of("web").status.code(), Some(0), "{}", text(&of("web").stderr));
    let output = branchline().args(["validate", "-o", "name"]).arg(folder.path()).output().expect("it runs");
    assert!(text(&output.stdout).contains("projects/shop/services/api.yaml\n"), "{}", text(&output.stdout));
}

#[test]
fn a_server_that_is_not_there_ends_with_7_and_one_that_is_not_named_with_2() {
    let output = branchline().args(["status", "--server", "localhost:7070"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: `localhost:7070` is no address of a server
    hint: write it as http://127.0.0.1:7070
    ");
    let output = branchline().args(["status", "--server", "http://127.0.0.1:9"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: http://127.0.0.1:9 cannot be reached: Connection refused (os error 111)
    hint: is the server running?
    ");
    let plan = ["plan", "-e", "staging", "--server", "http://127.0.0.1:9"];
    let output = branchline().args(plan).output().expect("it runs");
    assert_eq!(output.status.code(), Some(7), "also where no project is named: {}", text(&output.stderr));
    let output = branchline().arg("status").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
    error: no server is named
    hint: run `branchline demo`, or give --server URL
    ");
}

#[test]
fn a_link_in_the_config_is_refused() {
    let folder = broken();
    let link = folder.path().join("projects/shop/services/link.yaml");
    std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
    let output = branchline().arg("validate").arg(folder.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(said.contains("services/link.yaml:1:1: it is a symbolic link"), "{said}");
}

/// What a verb beside a demo prints, what it complains of, and its code.
fn beside(demo: &Demo, arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = program(&demo.data).current_dir(&demo.data).args(arguments).output().expect("it runs");
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

/// Takes something out of the config repository, and waits until the server says so.
async fn without(demo: &Demo, removed: &str, is_told: &str) {
    demo.git("config", &["pull", "--quiet", "--ff-only"]);
    demo.git("config", &["rm", "-r", "--quiet", removed]);
    demo.git("config", &["commit", "--quiet", "--message", "gone"]);
    demo.git("config", &["push", "--quiet"]);
    until(is_told, async || beside(demo, &["status"]).0.contains(is_told)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_said_where_it_is_met_and_a_fresh_start_removes_nothing_of_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let demo = Demo::start(&folder.path().join("demo"));
    let (out, err, code) = beside(&demo, &["logs", "web", "-e", "staging", "--grep", "no such words"]);
    assert_eq!((&*out, code), ("", Some(0)), "{err}");
    assert_eq!(err, "No line of `web` contains `no such words`.\n");

    without(&demo, ".", "the config repository is empty").await;
    let (_, err, code) = beside(&demo, &["deploy", "-e", "staging", "--wait"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("the config repository is empty\nhint: nothing is removed because of it"), "{err}");
    let (_, err, code) = beside(&demo, &["promote", "--from", "staging", "--to", "production"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("error: the configuration cannot be read as it is now: "), "{err}");
    demo.revert("config");
    until("the trouble is over", async || demo.status()["trouble"].is_null()).await;

    without(&demo, "projects", "Held in staging").await;
    let (out, _, _) = beside(&demo, &["projects"]);
    assert!(out.lines().any(|line| line.starts_with("shop") && line.contains("held")), "{out}");
    let (out, err, code) = beside(&demo, &["plan", "-e", "staging"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("Held, since the project is no longer in the configuration"), "{out}");
    let mine = demo.data.join("work/mine.txt");
    std::fs::write(&mine, "keep this").expect("written");
    let data = demo.data.clone();
    demo.end();

    let arguments = ["demo", "--once", "--fresh", "--listen", "127.0.0.1:0", "--data-dir"];
    let output = program(&data).args(arguments).arg(&data).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_to_string(mine).expect("it is there"), "keep this");
}

#[test]
fn every_verb_has_its_line_in_the_documentation() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md"))
        .expect("docs/cli.md");
    let help = text(&branchline().arg("--help").output().expect("it runs").stdout);
    let verbs =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // a description that is too long for its line goes on deeper in
    let verbs = verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for verb in verbs.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help") {
        assert!(docs.contains(&format!("| `{verb}")), "docs/cli.md does not name `{verb}`");
    }
}
