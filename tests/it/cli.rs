//! The verbs that need no server, as a person types them.

use std::path::Path;

use assert_cmd::Command;

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

#[test]
fn a_broken_file_is_named_where_its_service_is_asked_for_and_is_no_matter_to_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut copy = std::process::Command::new("cp");
    copy.args(["-r", "sample-repo/config/."]).arg(folder.path()).current_dir(env!("CARGO_MANIFEST_DIR"));
    assert!(copy.status().expect("cp runs").success());
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
