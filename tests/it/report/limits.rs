//! GitHub's limits, and texts that want to be more than text.

use super::*;

const SUMMARY: usize = 65_535;

#[test]
fn a_thousand_services_fit_and_the_rest_is_counted() {
    let many = (0..1000).map(|n| service(&format!("service-{n:04}"), State::Live)).collect();
    let checks = Reporter::default().commit(&commit(many));
    assert_eq!(checks.len(), SERVICE_CHECKS + 1, "500 writes an hour are soon used up");
    assert_eq!(checks[0].title, "1000 services live");
    assert!(checks[0].summary.chars().count() <= SUMMARY);
    assert!(checks[0].summary.contains("… and 800 more services"));
}

#[test]
fn a_plan_of_a_megabyte_ends_in_a_link() {
    let mut big = plan();
    big.text = "+ create ConfigMap/shop-production/settings\n".repeat(30_000);
    let page = "https://branchline.example.com/plans/1";
    let outcome = PlanOutcome {
        head: HEAD.parse().unwrap(),
        base: BEFORE.parse().unwrap(),
        environments: vec![big.clone()],
        page: Some(page.to_owned()),
        planned: at(3),
    };
    let check = Reporter::default().plan(&outcome);
    assert!(check.summary.chars().count() <= SUMMARY);
    let rest = format!("```\n</details>\n\n… the rest is on [our page]({page}).");
    assert!(check.summary.ends_with(&rest), "{}", &check.summary[check.summary.len() - 200..]);

    let mut outcome = pull(vec![service("api", State::Live)]);
    outcome.plan = vec![big];
    outcome.page = Some(page.to_owned());
    let comment = Reporter::default().comment(&outcome);
    assert!(comment.body.chars().count() < 65_536);
    assert!(comment.body.contains("| `api` | ● Live"), "the table stays, the plan goes");
    assert!(comment.body.contains(&format!("it stands [on our page]({page})")));
}

#[test]
fn buttons_are_cut_to_what_github_shows() {
    let action = Action::new(&"é".repeat(30), &"d".repeat(50), &"i".repeat(30));
    assert_eq!(
        [&action.label, &action.description, &action.identifier].map(|text| text.chars().count()),
        [20, 40, 20]
    );
}

#[test]
fn no_secret_and_no_markup_of_others_gets_out() {
    let redactor = Redactor::new();
    redactor.add("hunter2*secret_");
    let reporter = Reporter::new(redactor);
    let mut api = failed();
    let cause = api.cause.as_mut().unwrap();
    cause.message = "login with hunter2*secret_ failed | @acme/owners <b>look</b>".to_owned();
    cause.log = vec!["PASSWORD=hunter2*secret_".to_owned(), "```".to_owned(), MARKER.to_owned()];
    cause.place = Some(place("a`|b.rs", 1, 1));
    let mut outcome = pull(vec![api.clone()]);
    outcome.branch = "x`|<!-- branchline -->@octocat".to_owned();
    let said: Vec<String> = reporter
        .commit(&commit(vec![api.clone()]))
        .into_iter()
        .map(|check| format!("{check:?}"))
        .chain([reporter.comment(&outcome).body, reporter.note(Some(&commit(vec![api])), None)])
        .collect();
    for text in &said {
        assert!(!text.contains("hunter2"), "{text}");
    }
    insta::assert_snapshot!(reporter.comment(&outcome).body.replace('\u{200b}', "{break}"), @r"
    <!-- branchline: the comment of this pull request -->
    The preview of ``x`|<!-- branchline -->@octocat`` at `3f2c1aa`.

    | Service | Status | Preview | Changes | Logs | Updated (UTC) |
    |---|---|---|---|---|---|
    | `api` | ✖ Failed at build | – | – | [Logs](https://branchline.example.com/d/api) | 2025-11-22 08:26 |

    #### api

    **Cause:** ``a`|b.rs:1:1``: login with \[redacted\] failed \| @{break}acme/owners &lt;b&gt;look&lt;/b&gt;.

    **What to do:** run \`rustc main.rs\` in apps/api.

    The last lines of the log:

    ````text
    PASSWORD=[redacted]
    ```
    <!-- branchline: the comment of this pull request -->
    ````

    <details><summary>2 services untouched</summary>

    `web`, `worker`

    </details>

    The preview goes at 2025-11-25 08:26 UTC unless somebody pushes.
    ");
}
