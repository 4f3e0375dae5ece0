//! Rendering: the built-in templates, templates of one's own, and everything that a template cannot do.

mod golden;
mod laws;
mod policies;

use branchline::render::{Manifest, RenderError, TemplateFile, TemplateSet, render};
use serde_json::{Value, json};

/// The values of a service with everything in it.
fn api() -> Value {
    json!({
        "project": {"name": "shop"},
        "environment": {"name": "production"},
        "namespace": "shop-production",
        "name": "api",
        "image": "registry.example.com/shop@sha256:7d1a000000000000000000000000000000000000000000000000000000000000",
        "labels": {"team": "checkout"},
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "STRIPE_KEY", "secret": {"name": "branchline-secrets", "key": "stripe-key"}},
        ],
        "ingresses": [{"host": "api.shop.example.com", "path": "/", "tls": {"issuer": "letsencrypt"}}],
        "params": {"ingressClass": "alb"},
        "service": {
            "name": "api",
            "type": "web",
            "replicas": 3,
            "command": ["npm", "start"],
            "ports": [{"name": "http", "port": 3000}, {"name": "metrics", "port": 9100}],
            "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
            "autoscaling": {"minReplicas": 3, "maxReplicas": 10, "targetCPUUtilizationPercentage": 70},
            "disruption": {"minAvailable": 2},
            "healthCheck": {"path": "/health"},
            "volumes": [{"name": "uploads", "mountPath": "/app/uploads", "size": "5Gi"}],
        },
    })
}

fn made(template: &str, values: &Value) -> Vec<Manifest> {
    render(TemplateSet::builtin(), template, values)
        .unwrap_or_else(|problems| panic!("{template}: {}", lines(&problems)))
}

fn lines(problems: &[RenderError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A set with a template `own` of one file, next to the built-in ones.
fn own(source: &str) -> TemplateSet {
    with_files(&[("own/10-object.yaml.hbs", source)])
}

/// A set with a template `own` of these files; a description is added.
fn with_files(files: &[(&str, &str)]) -> TemplateSet {
    let description =
        "apiVersion: branchline.dev/v1\nkind: Template\nmetadata: {name: own}\nspec: {description: A test}\n";
    let files: Vec<TemplateFile> = files
        .iter()
        .chain([&("own/template.yaml", description)])
        .map(|(path, text)| TemplateFile {
            path: (*path).to_owned(),
            blob: format!("{path} {}", text.len()),
            bytes: text.as_bytes().into(),
        })
        .collect();
    TemplateSet::load(&files, None)
}

/// A `ConfigMap` with these lines of data.
fn config_map(data: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: own\n  namespace: {{{{namespace}}}}\ndata:\n{data}\n"
    )
}

fn refused(set: &TemplateSet, values: &Value) -> String {
    lines(&render(set, "own", values).expect_err("the template must be refused"))
}

/// What is wrong with a `ConfigMap` that has this line of data.
fn refused_line(line: &str) -> String {
    refused(&own(&config_map(line)), &api())
}

#[test]
fn built_in_templates_compile() {
    assert_eq!(lines(&TemplateSet::builtin().problems()), "");
    let names: Vec<_> = TemplateSet::builtin().iter().map(|template| template.name().to_owned()).collect();
    assert_eq!(names, ["cron", "job", "namespace", "private", "static", "web", "worker"]);
}

#[test]
fn a_misspelt_name_is_an_error_at_its_line_and_column() {
    insta::assert_snapshot!(refused_line("  a: {{service.nmae}}"), @"templates/own/10-object.yaml.hbs:7:6: `service.nmae` is missing; hint: did you mean `service.name`?");
    insta::assert_snapshot!(refused_line("{{#if service.autoscalin}}\n  a: \"1\"\n{{/if}}"), @"templates/own/10-object.yaml.hbs:7:1: `service.autoscalin` is missing; hint: did you mean `service.autoscaling`?");
    insta::assert_snapshot!(refused_line("{{#each servce.ports}}\n  a: \"1\"\n{{/each}}"), @"templates/own/10-object.yaml.hbs:7:1: `servce.ports` is missing; hint: did you mean `service`?");
    insta::assert_snapshot!(refused_line("  a: {{qoute image}}"), @"templates/own/10-object.yaml.hbs:7:6: there is no helper `qoute`; hint: did you mean `quote`?");
    insta::assert_snapshot!(refused_line("  {{> metdata}}"), @"templates/own/10-object.yaml.hbs:7:3: there is no partial `metdata`; hint: did you mean `metadata`?");
    insta::assert_snapshot!(refused_line("{{#iff image}}\n  a: \"1\"\n{{/iff}}"), @"templates/own/10-object.yaml.hbs:7:1: there is no helper `iff`; hint: did you mean `if`?");
    insta::assert_snapshot!(refused_line("  a: {{eq service.type service.typ}}"), @"templates/own/10-object.yaml.hbs:7:6: `service.typ` is missing; hint: did you mean `service.type`?");
    let none = render(TemplateSet::builtin(), "wbe", &api()).expect_err("no such template");
    insta::assert_snapshot!(lines(&none), @"templates/wbe:1:1: there is no template `wbe`; hint: did you mean `web`?");
}

#[test]
fn an_error_in_a_partial_names_the_partial() {
    let set = with_files(&[
        ("own/10-object.yaml.hbs", "{{> object}}\n"),
        ("partials/object.yaml.hbs", "kind: ConfigMap\nmetadata:\n  name: {{nam}}\n"),
    ]);
    insta::assert_snapshot!(refused(&set, &api()), @"templates/partials/object.yaml.hbs:3:9: `nam` is missing; hint: did you mean `name`?");
}

#[test]
fn a_value_must_stand_alone() {
    insta::assert_snapshot!(refused_line("  a: x-{{name}}"), @r#"templates/own/10-object.yaml.hbs:7:8: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}"#);
    insta::assert_snapshot!(refused_line("  a: {{name}}-x"), @r#"templates/own/10-object.yaml.hbs:7:6: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}"#);
    insta::assert_snapshot!(refused_line("  a: \"{{name}}\""), @r#"templates/own/10-object.yaml.hbs:7:7: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}"#);
    insta::assert_snapshot!(refused_line("  a: 'x {{name}}'"), @r#"templates/own/10-object.yaml.hbs:7:9: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}"#);
    insta::assert_snapshot!(refused_line("  a: {{name}}{{image}}"), @r#"
    templates/own/10-object.yaml.hbs:7:6: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}
    templates/own/10-object.yaml.hbs:7:14: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}
    "#);
    insta::assert_snapshot!(refused_line("  a: [x {{name}}]"), @r#"templates/own/10-object.yaml.hbs:7:9: the value does not stand alone: it is printed as a whole quoted scalar; hint: join its parts with a helper, as in {{concat repository ":" tag}}"#);
    insta::assert_snapshot!(refused_line("  a: {{{name}}}"), @"templates/own/10-object.yaml.hbs:7:6: `{{{…}}}` prints structures only: `{{{yaml value}}}` or `{{{json value}}}`; hint: {{value}} prints a scalar, quoted where that is needed");
    insta::assert_snapshot!(refused_line("  a: {{&name}}"), @"templates/own/10-object.yaml.hbs:7:6: `{{{…}}}` prints structures only: `{{{yaml value}}}` or `{{{json value}}}`; hint: {{value}} prints a scalar, quoted where that is needed");
    insta::assert_snapshot!(refused_line("  a: {{service}}"), @"templates/own/10-object.yaml.hbs:7:6: `service` is a map, where a text, a number or a boolean is needed; hint: print a structure with {{{yaml value}}} or {{{json value}}}");
    insta::assert_snapshot!(refused_line("  a: {{service.schedule}}"), @r#"templates/own/10-object.yaml.hbs:7:6: `service.schedule` is null, where a text, a number or a boolean is needed; hint: guard it with {{#if …}} or give {{default … "…"}}"#);
    insta::assert_snapshot!(refused_line("  a: {{{yaml service.ports}}}"), @"templates/own/10-object.yaml.hbs:7:6: `{{{yaml …}}}` takes a line of its own; hint: put it below its key, indented, or print it inline with {{{json value}}}");
    insta::assert_snapshot!(refused_line("  a:\n    {{{yaml labels indent=2}}}"), @"templates/own/10-object.yaml.hbs:8:5: indent=2, but the structure stands at column 4; hint: leave indent out: it is the column where the structure stands");
}

#[test]
fn what_is_no_handlebars_is_refused_in_words() {
    insta::assert_snapshot!(refused_line("{{#if image}}\n  a: b"), @"templates/own/10-object.yaml.hbs:7:1: this is no valid Handlebars: `{{#if}}` is never closed");
    insta::assert_snapshot!(refused_line("  a: b\n{{/if}}"), @"templates/own/10-object.yaml.hbs:8:1: this is no valid Handlebars: `{{/if}}` closes no block");
    insta::assert_snapshot!(refused_line("{{#if image}}\n{{/each}}"), @"templates/own/10-object.yaml.hbs:8:1: this is no valid Handlebars: `{{/each}}` closes `{{#if}}`");
    insta::assert_snapshot!(refused_line("  a: {{name"), @"templates/own/10-object.yaml.hbs:7:6: this is no valid Handlebars: the tag is never closed");
    insta::assert_snapshot!(refused_line("  a: {{}}"), @"templates/own/10-object.yaml.hbs:7:8: this is no valid Handlebars: the tag here is not understood");
    insta::assert_snapshot!(refused_line("{{else}}"), @"templates/own/10-object.yaml.hbs:7:1: this is no valid Handlebars: `{{else}}` stands in no block");
    insta::assert_snapshot!(refused_line("{{#*inline \"x\"}}{{/inline}}"), @r"
    templates/own/10-object.yaml.hbs:7:1: a decorator or an inline partial cannot be used in a template; hint: put the text into partials/ and include it with {{> name}}
    templates/own/10-object.yaml.hbs:7:17: this is no valid Handlebars: `{{/inline}}` closes no block
    ");
    insta::assert_snapshot!(refused_line("{{#> pod}}{{/pod}}"), @r"
    templates/own/10-object.yaml.hbs:7:1: a partial with a block cannot be used in a template; hint: include it with {{> name}} and pass values: {{> name key=value}}
    templates/own/10-object.yaml.hbs:7:11: this is no valid Handlebars: `{{/pod}}` closes no block
    ");
    insta::assert_snapshot!(refused_line("{{> (concat \"p\" \"od\")}}"), @"templates/own/10-object.yaml.hbs:7:1: a computed partial name cannot be used in a template; hint: name the partial: {{> name}}");
    insta::assert_snapshot!(refused_line("{{{{raw}}}} {{{{/raw}}}}"), @r"
    templates/own/10-object.yaml.hbs:7:1: a raw block cannot be used in a template
    templates/own/10-object.yaml.hbs:7:13: a raw block cannot be used in a template
    ");
    insta::assert_snapshot!(refused_line("  a: {{lookup service name}}"), @"templates/own/10-object.yaml.hbs:7:6: there is no helper `lookup`");
    insta::assert_snapshot!(refused_line("  a: {{> ../../secret}}"), @"templates/own/10-object.yaml.hbs:7:6: there is no partial `../../secret`; hint: partials stand in the template's own partials/ or in templates/partials/");
}

#[test]
fn text_that_is_no_object_is_mapped_back_to_its_line() {
    insta::assert_snapshot!(refused_line("{{#each service.ports}}\n  {{name}}: {{quote port}}\n{{/each}}\n  http: x"), @"templates/own/10-object.yaml.hbs:10:1: the rendered text is no valid YAML (rendered line 9): the key `http` stands here a second time");
    insta::assert_snapshot!(refused_line("  a: [1\n  b: 2"), @"templates/own/10-object.yaml.hbs:8:1: the rendered text is no valid YAML (rendered line 8): illegal placement of ':' indicator");
    insta::assert_snapshot!(refused(&own("apiVersion: v1\nkind: ConfigMap\n---\nkind: Service\n"), &api()), @r"
    templates/own/10-object.yaml.hbs:1:1: the rendered document is no Kubernetes object: `metadata.name` is missing or no text
    templates/own/10-object.yaml.hbs:4:1: the rendered document is no Kubernetes object: `apiVersion` is missing or no text
    ");
    insta::assert_snapshot!(refused(&own("just text\n"), &api()), @"templates/own/10-object.yaml.hbs:1:1: the rendered document is no Kubernetes object: the document is no map");
}

#[test]
fn all_problems_are_reported_at_once() {
    let set = with_files(&[("own/10-a.yaml.hbs", "a: {{nam}}\n"), ("own/20-b.yaml.hbs", "b: {{imag}}\n")]);
    insta::assert_snapshot!(refused(&set, &api()), @r"
    templates/own/10-a.yaml.hbs:1:4: `nam` is missing; hint: did you mean `name`?
    templates/own/20-b.yaml.hbs:1:4: `imag` is missing; hint: did you mean `image`?
    ");
}

#[test]
fn recursion_and_endless_output_end_in_an_error() {
    let set =
        with_files(&[("own/10-a.yaml.hbs", "{{> a}}\n"), ("own/partials/a.yaml.hbs", "x: 1\n{{> a}}\n")]);
    insta::assert_snapshot!(refused(&set, &api()), @"templates/own/partials/a.yaml.hbs:2:1: the partial `a` includes itself: a → a");
    let set = with_files(&[
        ("own/10-a.yaml.hbs", "{{> a}}\n"),
        ("own/partials/a.yaml.hbs", "{{> b}}\n"),
        ("own/partials/b.yaml.hbs", "{{#if name}}\n{{> a}}\n{{/if}}\n"),
    ]);
    insta::assert_snapshot!(refused(&set, &api()), @"templates/own/partials/b.yaml.hbs:2:1: the partial `a` includes itself: a → b → a");

    let mut values = api();
    values["params"] = json!({"list": vec![0; 300], "text": "x".repeat(900)});
    let loops = |depth: usize, body: &str| {
        format!("{}{body}\n{}", "{{#each @root.params.list}}\n".repeat(depth), "{{/each}}\n".repeat(depth))
    };
    insta::assert_snapshot!(refused(&own(&loops(6, "- {{@root.params.text}}")), &values), @"templates/own/10-object.yaml.hbs:7:3: the template makes too much: more than 4 MiB of text; hint: make less in one template, or give it smaller values");
    insta::assert_snapshot!(refused(&own(&loops(6, "")), &values), @"templates/own/10-object.yaml.hbs:8:1: the template makes too much: more than 200,000 steps; hint: make less in one template, or give it smaller values");
    insta::assert_snapshot!(refused(&own(&loops(20, "")), &values), @"templates/own/10-object.yaml.hbs:17:1: blocks and partials are nested 17 levels deep, more than 16");

    let doubled = (0..30).fold(String::new(), |inner, i| {
        let text = if i == 29 { "@root.params.text" } else { "this" };
        format!("{{{{#with (concat {text} {text})}}}}\n{inner}{{{{/with}}}}\n")
    });
    let set = own(&doubled);
    assert!(!refused(&set, &values).is_empty());

    let mut files = vec![("own/10-a.yaml.hbs".to_owned(), "{{> p0}}\n".to_owned())];
    for i in 0..30 {
        files.push((
            format!("own/partials/p{i}.yaml.hbs"),
            format!("{{{{> p{}}}}}\n{{{{> p{}}}}}\n", i + 1, i + 1),
        ));
    }
    files.push(("own/partials/p30.yaml.hbs".to_owned(), String::new()));
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    insta::assert_snapshot!(refused(&with_files(&files), &values), @"templates/own/partials/p30.yaml.hbs:1:1: the template makes too much: more than 200,000 steps; hint: make less in one template, or give it smaller values");

    let deep = "{{#if name}}".repeat(10_000);
    assert!(refused(&own(&deep), &values).contains("nested"));
    let chain = format!("{{{{#if name}}}}{}{{{{/if}}}}", "{{else if name}}".repeat(9_000));
    assert!(refused(&own(&chain), &values).contains("nested"));
    let brackets = format!("a: {{{{quote {}name{}}}}}", "(quote ".repeat(100), ")".repeat(100));
    assert!(refused(&own(&brackets), &values).contains("nested"));
    let large = "x".repeat(300 << 10);
    assert!(refused(&own(&large), &values).contains("256 KiB"));
}

#[test]
fn the_deepest_template_that_is_accepted_needs_a_small_stack_only() {
    let mut files = vec![("own/10-a.yaml.hbs".to_owned(), "{{> p0}}\n".to_owned())];
    for i in 0..22 {
        let body = format!("{{{{#if name}}}}\n{{{{> p{}}}}}\n{{{{/if}}}}\n", i + 1);
        files.push((format!("own/partials/p{i}.yaml.hbs"), body));
    }
    let blocks = format!("{}{}{}", "{{#if name}}\n".repeat(2), config_map("  a: b"), "{{/if}}\n".repeat(2));
    files.push(("own/partials/p22.yaml.hbs".to_owned(), blocks));
    let nested = format!("{}\n{}", "{{#if name}}\n".repeat(16), "{{/if}}\n".repeat(16));
    files.push(("own/20-b.yaml.hbs".to_owned(), nested));
    let run = move || {
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        render(&with_files(&files), "own", &api()).map(|made| made.len())
    };
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(run).expect("a thread");
    assert_eq!(small.join().expect("no overflow"), Ok(1));
}

#[test]
fn parameters_are_checked_and_filled_by_the_templates_schema() {
    let mut values = api();
    values["params"] = json!({"ingresClass": "alb", "metricsPath": 3});
    let problems = render(TemplateSet::builtin(), "web", &values).expect_err("wrong parameters");
    insta::assert_snapshot!(lines(&problems), @r#"
    builtin/web/template.yaml:1:1: the parameter `params.metricsPath` is not accepted: 3 is not of type "string"
    builtin/web/template.yaml:1:1: the parameter `params.ingresClass` is not accepted: there is no such parameter; did you mean `ingressClass`?
    "#);
    assert!(problems.iter().any(|problem| problem.value() == Some("params.metricsPath")));
}

#[test]
fn a_folder_without_a_description_lies_over_the_built_in_template() {
    let files = [TemplateFile {
        path: "web/partials/account.yaml.hbs".to_owned(),
        blob: "1".to_owned(),
        bytes: b"apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  {{> metadata}}\nimagePullSecrets:\n  - name: pull\n".as_slice().into(),
    }];
    let set = TemplateSet::load(&files, None);
    let account = &render(&set, "web", &api()).expect("renders")[0];
    assert_eq!(account.object()["imagePullSecrets"], json!([{"name": "pull"}]));
    assert_eq!(account.place(), "templates/web/partials/account.yaml.hbs:1");
    assert_eq!(set.get("web").expect("there").name(), "web");
    let worker = |set: &TemplateSet| set.get("worker").expect("there").id();
    assert_eq!(worker(&set), worker(TemplateSet::builtin()), "other templates stay as they are");
}

#[test]
fn our_labels_are_ours_to_set() {
    let labelled = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels:\n    branchline.dev/project: other\n";
    insta::assert_snapshot!(refused(&own(labelled), &api()), @"templates/own/10-object.yaml.hbs:6:1: `branchline.dev/project` is set by Branchline on every object; hint: leave it out of the template");
}
