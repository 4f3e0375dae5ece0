//! What a person reads on GitHub, word for word.

use std::time::Duration;

use branchline::config::{Problem, Scope, Severity};
use branchline::report::{
    Action, Aside, Cause, Changes, CommitOutcome, Conclusion, ConfigOutcome, Ended, EnvironmentPlan, Left,
    MARKER, PlanOutcome, PullOutcome, Reporter, SERVICE_CHECKS, ServiceOutcome, State, Step, StepState, Why,
};
use branchline::secret::Redactor;
use branchline::yaml::Place;
use jiff::Timestamp;

mod limits;

const HEAD: &str = "3f2c1aa0000000000000000000000000000000aa";
const BEFORE: &str = "9b8a7c60000000000000000000000000000000bb";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_763_800_000 + second).unwrap()
}

fn place(file: &str, line: u32, column: u32) -> Place {
    Place { file: file.into(), line, column }
}

fn step(name: &str, state: StepState, millis: Option<u64>) -> Step {
    Step { name: name.to_owned(), state, took: millis.map(Duration::from_millis) }
}

pub(crate) fn service(name: &str, state: State) -> ServiceOutcome {
    ServiceOutcome {
        project: "shop".parse().unwrap(),
        environment: "staging".parse().unwrap(),
        service: name.parse().unwrap(),
        revision: HEAD.parse().unwrap(),
        state,
        steps: Vec::new(),
        url: Some(format!("http://{name}-shop-staging.localhost:8080")),
        page: Some(format!("https://branchline.example.com/d/{name}")),
        changes: None,
        cause: None,
        serving: None,
        started: Some(at(0)),
        updated: at(12),
    }
}

fn failed() -> ServiceOutcome {
    let mut api = service("api", State::Failed);
    api.steps = vec![
        step("git", StepState::Done, Some(210)),
        step("build", StepState::Failed, Some(75_000)),
        step("plan", StepState::Waiting, None),
    ];
    api.cause = Some(Cause {
        message: "the build command ended with exit status 1".to_owned(),
        place: Some(place("src/main.rs", 7, 13)),
        hint: Some("run `rustc main.rs` in apps/api".to_owned()),
        log: vec!["error[E0425]: cannot find value `tax`".to_owned(), "  --> src/main.rs:7:13".to_owned()],
    });
    api.serving = Some(BEFORE.parse().unwrap());
    api
}

pub(crate) fn commit(services: Vec<ServiceOutcome>) -> CommitOutcome {
    CommitOutcome {
        services,
        page: Some("https://branchline.example.com/commits/3f2c1aa".to_owned()),
        ..CommitOutcome::of(at(12))
    }
}

#[test]
fn a_live_service_says_where_it_answers_and_how_long_each_step_took() {
    let mut api = service("api", State::Live);
    api.changes = Some(Changes { add: 3, change: 1, destroy: 0 });
    api.steps = vec![
        step("git", StepState::Done, Some(210)),
        step("build", StepState::Done, Some(12_400)),
        step("hooks", StepState::Skipped, None),
        step("health", StepState::Done, Some(185_000)),
    ];
    let check = Reporter::default().service(&api).unwrap();
    assert_eq!(check.name, "branchline / shop/staging / api");
    assert_eq!(check.title, "Live on 3f2c1aa");
    assert_eq!(check.conclusion, Some(Conclusion::Success));
    insta::assert_snapshot!(check.summary, @r"
    `shop/staging/api` runs `3f2c1aa`.

    [http://api-shop-staging.localhost:8080](http://api-shop-staging.localhost:8080)

    Objects: 3 to add, 1 to change, none to destroy.

    | Step | | Took |
    |---|---|---|
    | git | ✓ done | 0.2 s |
    | build | ✓ done | 12 s |
    | hooks | – nothing to do |  |
    | health | ✓ done | 3 min 5 s |

    [Logs and details](https://branchline.example.com/d/api)
    ");
}

#[test]
fn a_failure_says_why_where_what_to_do_and_what_goes_on_running() {
    let check = Reporter::default().service(&failed()).unwrap();
    assert_eq!(check.title, "Failed at build: the build command ended with exit status 1");
    insta::assert_snapshot!(check.summary, @r"
    `shop/staging/api` at `3f2c1aa`: Failed at build.

    **Cause:** `src/main.rs:7:13`: the build command ended with exit status 1.

    **What to do:** run \`rustc main.rs\` in apps/api.

    The last lines of the log:

    ```text
    error[E0425]: cannot find value `tax`
      --> src/main.rs:7:13
    ```

    `9b8a7c6` goes on serving.

    | Step | | Took |
    |---|---|---|
    | git | ✓ done | 0.2 s |
    | build | ✖ failed | 1 min 15 s |
    | plan | waiting |  |

    [Logs and details](https://branchline.example.com/d/api)
    ");
    insta::assert_json_snapshot!(check.annotations, @r#"
    [
      {
        "path": "src/main.rs",
        "start_line": 7,
        "end_line": 7,
        "start_column": 13,
        "end_column": 13,
        "annotation_level": "failure",
        "message": "the build command ended with exit status 1\nhint: run `rustc main.rs` in apps/api"
      }
    ]
    "#);
}

#[test]
fn the_aggregate_sums_up_and_can_be_required() {
    let reporter = Reporter::default();
    let mut outcome = commit(vec![failed(), service("web", State::Live)]);
    outcome.left = vec![Left { service: "staging/worker".to_owned(), why: Why::NoInputChanged }];
    let checks = reporter.commit(&outcome);
    let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["branchline", "branchline / shop/staging / api", "branchline / shop/staging / web"]);
    assert_eq!(checks[0].title, "1 of 2 services failed: shop/staging/api failed at build");
    insta::assert_snapshot!(checks[0].summary, @r"
    | Service | Status | Address |
    |---|---|---|
    | [shop/staging/api](https://branchline.example.com/d/api) | ✖ Failed at build |  |
    | [shop/staging/web](https://branchline.example.com/d/web) | ● Live on `3f2c1aa` | [http://web-shop-staging.localhost:8080](http://web-shop-staging.localhost:8080) |

    **shop/staging/api** failed at build

    **Cause:** `src/main.rs:7:13`: the build command ended with exit status 1.

    **What to do:** run \`rustc main.rs\` in apps/api.

    The last lines of the log:

    ```text
    error[E0425]: cannot find value `tax`
      --> src/main.rs:7:13
    ```

    <details><summary>1 service untouched</summary>

    `staging/worker`

    </details>
    ");

    // while one moves, nothing is concluded, whatever the others did
    let moving = commit(vec![failed(), service("web", State::Building)]);
    assert_eq!(reporter.commit(&moving)[0].conclusion, None);
    // without the service there is still a word, and it lets the merge pass
    let nothing = reporter.commit(&commit(Vec::new())).remove(0);
    assert_eq!(
        (nothing.title.as_str(), nothing.conclusion),
        ("No affected services", Some(Conclusion::Success))
    );
    // what never got as far as a service is on the commit that caused it
    let mut unread = commit(Vec::new());
    unread.failure = Some(("Git", Cause::new("acme/api has no branch main")));
    let unread = reporter.commit(&unread).remove(0);
    assert_eq!(
        (unread.title.as_str(), unread.conclusion),
        ("acme/api has no branch main", Some(Conclusion::Failure))
    );
}

#[test]
fn a_head_from_another_repository_is_told_why_nothing_happens() {
    let mut outcome = commit(Vec::new());
    outcome.aside = Some(Aside::Fork("mallory/shop".to_owned()));
    let check = Reporter::default().commit(&outcome).remove(0);
    assert_eq!(
        check.conclusion,
        Some(Conclusion::Success),
        "a required check must not block the contribution"
    );
    insta::assert_snapshot!(format!("{}\n\n{}", check.title, check.summary), @r"
    No preview: the head is in mallory/shop

    The head of this pull request is in another repository, `mallory/shop`. Nothing of it is fetched, built or run: its code would run with the rights of this one.

    **What to do:** push the branch to this repository, where that is wanted; its preview follows.
    ");
}

#[test]
fn a_commit_of_the_config_names_every_mistake_at_its_line() {
    let problem = Problem::new(place("projects/shop/api.yaml", 4, 3), "unknown field `healthCheck_`")
        .hint("did you mean `healthCheck`?")
        .within(Scope::Service("shop".parse().unwrap(), "api".parse().unwrap()));
    let mut warning = Problem::new(place("projects/shop/web.yaml", 9, 1), "the base domain is shared");
    warning.severity = Severity::Warning;
    let outcome = ConfigOutcome {
        problems: vec![problem, warning],
        root: "deploy".to_owned(),
        synced: None,
        page: None,
        checked: at(1),
    };
    let check = Reporter::default().config(&outcome);
    assert_eq!((check.name.as_str(), check.title.as_str()), ("branchline / config", "1 problem, 1 warning"));
    insta::assert_snapshot!(check.summary, @r"
    - `deploy/projects/shop/api.yaml:4:3`: unknown field \`healthCheck\_\`
      **What to do:** did you mean \`healthCheck\`?
    - `deploy/projects/shop/web.yaml:9:1`: warning: the base domain is shared

    What these lines belong to stays as it runs now; nothing of it is changed or removed. The rest goes on.
    ");
    assert_eq!(check.annotations[0].path, "deploy/projects/shop/api.yaml");
}

fn plan() -> EnvironmentPlan {
    EnvironmentPlan {
        project: "shop".parse().unwrap(),
        environment: "production".parse().unwrap(),
        changes: Changes { add: 1, change: 0, destroy: 1 },
        destroys: vec!["Deployment/shop-production/old".to_owned()],
        text: "+ create Deployment/shop-production/new\n- delete Deployment/shop-production/old\n".to_owned(),
        held: None,
        failure: None,
    }
}

#[test]
fn a_plan_shows_what_goes_in_bold_above_its_fold() {
    let outcome = PlanOutcome {
        head: HEAD.parse().unwrap(),
        base: BEFORE.parse().unwrap(),
        environments: vec![plan()],
        page: None,
        planned: at(3),
    };
    let check = Reporter::default().plan(&outcome);
    assert_eq!(check.title, "Plan: 1 to add, 0 to change, 1 to destroy");
    insta::assert_snapshot!(check.summary, @r"
    Planned for `3f2c1aa` merged onto `9b8a7c6`, against what runs now.

    #### shop/production

    - **destroys Deployment/shop-production/old**

    <details><summary>Plan: 1 to add, 0 to change, 1 to destroy</summary>

    ```diff
    + create Deployment/shop-production/new
    - delete Deployment/shop-production/old
    ```

    </details>
    ");
}

fn pull(services: Vec<ServiceOutcome>) -> PullOutcome {
    PullOutcome {
        head: HEAD.parse().unwrap(),
        branch: "feature/tax".to_owned(),
        services,
        untouched: vec!["web".to_owned(), "worker".to_owned()],
        plan: Vec::new(),
        expires: Some(at(86_400 * 3)),
        ended: None,
        page: None,
    }
}

#[test]
fn a_pull_request_has_one_comment_that_is_a_table() {
    let mut api = service("api", State::Live);
    api.changes = Some(Changes { add: 3, change: 0, destroy: 1 });
    let comment = Reporter::default().comment(&pull(vec![api, service("jobs", State::Queued)]));
    assert!(comment.create);
    insta::assert_snapshot!(comment.body, @r"
    <!-- branchline: the comment of this pull request -->
    The preview of `feature/tax` at `3f2c1aa`.

    | Service | Status | Preview | Changes | Logs | Updated (UTC) |
    |---|---|---|---|---|---|
    | `api` | ● Live on `3f2c1aa` | [Open](http://api-shop-staging.localhost:8080) | +3 **−1** | [Logs](https://branchline.example.com/d/api) | 2025-11-22 08:26 |
    | `jobs` | ○ Queued | – | – | [Logs](https://branchline.example.com/d/jobs) | 2025-11-22 08:26 |

    <details><summary>2 services untouched</summary>

    `web`, `worker`

    </details>

    The preview goes at 2025-11-25 08:26 UTC unless somebody pushes.
    ");
}

#[test]
fn a_closed_pull_request_keeps_its_comment_and_gets_no_new_one() {
    let mut outcome = pull(Vec::new());
    outcome.ended = Some(Ended { at: at(600), because: "the pull request was merged".to_owned() });
    let comment = Reporter::default().comment(&outcome);
    assert!(!comment.create);
    insta::assert_snapshot!(comment.body, @r"
    <!-- branchline: the comment of this pull request -->
    The preview of `feature/tax` was removed at 2025-11-22 08:36 UTC: the pull request was merged.
    ");
}

#[test]
fn a_commit_without_a_forge_says_the_same_in_a_note() {
    let note = Reporter::default().note(Some(&commit(vec![failed(), service("web", State::Live)])), None);
    insta::assert_snapshot!(note, @r"
    branchline: 1 of 2 services failed: shop/staging/api failed at build
      https://branchline.example.com/commits/3f2c1aa
    branchline / shop/staging / api: Failed at build: the build command ended with exit status 1
      src/main.rs:7:13: the build command ended with exit status 1
        hint: run `rustc main.rs` in apps/api
      https://branchline.example.com/d/api
    branchline / shop/staging / web: Live on 3f2c1aa
      http://web-shop-staging.localhost:8080
      https://branchline.example.com/d/web
    ");
}

#[test]
fn with_a_token_a_status_says_the_same_in_a_sentence() {
    let statuses: Vec<String> = Reporter::default()
        .commit(&commit(vec![failed(), service("web", State::RollingOut)]))
        .iter()
        .map(|check| {
            let status = check.as_status();
            format!("{} {:?} {}", status.context, status.state, status.description)
        })
        .collect();
    insta::assert_snapshot!(statuses.join("\n"), @r"
    branchline Pending 1 of 2 services failed: shop/staging/api failed at build
    branchline / shop/staging / api Failure Failed at build: the build command ended with exit status 1
    branchline / shop/staging / web Pending Rolling out 3f2c1aa
    ");
}

#[test]
fn every_state_says_on_the_commit_what_the_one_table_says() {
    let table: Vec<String> = State::ALL
        .into_iter()
        .map(|state| {
            let check = match state.check() {
                Some((_, Some(conclusion))) => format!("{conclusion:?}"),
                Some((status, None)) => format!("{status:?}"),
                None => "stays".to_owned(),
            };
            assert_eq!(state.as_str().parse(), Ok(state));
            format!("{state}: {} {}, {check}", state.icon(), state.badge(Some("Build")))
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"), @r"
    queued: ○ Queued, Queued
    awaitingApproval: ⏸ Needs approval, ActionRequired
    building: ◔ Building, InProgress
    planning: ◔ Planning, InProgress
    releasing: ◔ Releasing, InProgress
    rollingOut: ◔ Rolling out, InProgress
    live: ● Live, Success
    failed: ✖ Failed at build, Failure
    timedOut: ✖ Failed at build, TimedOut
    crashed: ✖ Crashing, stays
    superseded: ◌ Superseded, Cancelled
    cancelled: ◌ Cancelled, Cancelled
    replaced: ◌ Replaced, stays
    removed: ◌ Removed, stays
    ");
}
