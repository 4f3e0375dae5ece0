use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let home = [("HOME", "/nowhere/home")];
    home.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn read(variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    Settings::read(&Flags::default(), &environment(variables))
}

fn complaint(variables: &[(&str, &str)]) -> String {
    read(variables).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn without_any_variable_there_are_defaults() {
    let settings = read(&[]).unwrap();
    assert_eq!(settings.listen.to_string(), DEFAULT_LISTEN);
    assert_eq!(settings.data_dir, Path::new("/nowhere/home/.local/state/branchline"));
    assert_eq!(settings.store_path(), settings.data_dir.join("branchline.db"));
    assert!(settings.github.is_none() && settings.webhook_secrets.is_empty());
    assert!(!settings.trust_pull_requests);
}

#[test]
fn a_flag_wins_over_its_variable() {
    let flags = Flags {
        config_repo: Some("./config.git".to_owned()),
        listen: Some("127.0.0.1:9".to_owned()),
        git_hosts: vec!["git.example.com".to_owned()],
        ..Flags::default()
    };
    let variables = [
        ("BRANCHLINE_CONFIG_REPO", "https://github.com/acme/config"),
        ("BRANCHLINE_LISTEN", "127.0.0.1:8"),
        ("BRANCHLINE_GIT_HOST", "file, git.other.com"),
        ("BRANCHLINE_TRUST_PULL_REQUESTS", "true"),
        ("XDG_STATE_HOME", "/state"),
    ];
    let settings = Settings::read(&flags, &environment(&variables)).unwrap();
    assert_eq!(settings.config_repo.unwrap().url, "./config.git");
    assert_eq!(settings.listen.port(), 9);
    assert_eq!(settings.git_hosts, ["git.example.com", "file", "git.other.com"]);
    assert_eq!(settings.data_dir, Path::new("/state/branchline"));
    assert!(settings.trust_pull_requests);
}

#[test]
fn two_webhook_secrets_are_taken_during_a_rotation_and_no_third() {
    let settings = read(&[("BRANCHLINE_WEBHOOK_SECRET", "old-secret, new-secret")]).unwrap();
    let secrets: Vec<_> = settings.webhook_secrets.iter().map(|secret| secret.expose().as_str()).collect();
    assert_eq!(secrets, ["old-secret", "new-secret"]);
    let complaint = complaint(&[("BRANCHLINE_WEBHOOK_SECRET", "secret-a,secret-b,secret-c")]);
    assert!(complaint.contains("3 secrets") && !complaint.contains("secret-a"), "{complaint}");
}

#[test]
fn the_forge_is_met_with_a_token_or_as_an_app() {
    let settings =
        read(&[("BRANCHLINE_GITHUB_TOKEN", "ghp_x"), ("BRANCHLINE_GITHUB_URL", "http://127.0.0.1:1/")]);
    let github = settings.unwrap().github.unwrap();
    assert_eq!(github.url, "http://127.0.0.1:1");
    assert!(matches!(github.auth, GitHubAuth::Token(token) if token.expose() == "ghp_x"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    std::fs::write(&file, "--BEGIN\nthe-private-key\n--END\n").unwrap();
    let app =
        [("BRANCHLINE_GITHUB_APP_ID", "17"), ("BRANCHLINE_GITHUB_PRIVATE_KEY_FILE", file.to_str().unwrap())];
    let settings = read(&app).unwrap();
    let redactor = Redactor::new();
    settings.teach(&redactor);
    assert_eq!(redactor.redact("it is the-private-key"), "it is [redacted]");
    assert!(matches!(settings.github.unwrap().auth, GitHubAuth::App { id: 17, .. }));
}

#[test]
fn what_cannot_be_used_is_named_with_the_way_out() {
    insta::assert_snapshot!(complaint(&[("BRANCHLINE_LISTEN", "here")]), @r#"
    --listen (BRANCHLINE_LISTEN) is "here", which is not an address and a port
    hint: 127.0.0.1:7070, or 0.0.0.0:7070 for webhooks from outside
    "#);
    insta::assert_snapshot!(complaint(&[("BRANCHLINE_GITHUB_APP_ID", "17")]), @"
    BRANCHLINE_GITHUB_PRIVATE_KEY_FILE is not set
    hint: it names the PEM file of the App's private key
    ");
    let both = [("BRANCHLINE_GITHUB_APP_ID", "17"), ("BRANCHLINE_GITHUB_TOKEN", "ghp_x")];
    assert!(
        complaint(&both).starts_with("BRANCHLINE_GITHUB_TOKEN and BRANCHLINE_GITHUB_APP_ID are both set")
    );
    assert!(complaint(&[("BRANCHLINE_TRUST_PULL_REQUESTS", "maybe")]).contains("hint: true or false"));
    assert!(complaint(&[("BRANCHLINE_PUBLIC_URL", "example.com")]).contains("without a path"));
    let nobody = Settings::read(&Flags::default(), &Environment::default());
    assert!(matches!(nobody, Err(SettingsError::NoHome)));
}

#[test]
fn the_config_repository_reads_as_address_branch_and_folder() {
    let cases = [
        ("https://github.com/acme/config", "https://github.com/acme/config", None, ""),
        ("https://github.com/acme/config#main", "https://github.com/acme/config", Some("main"), ""),
        ("https://github.com/acme/config#main:a/b/", "https://github.com/acme/config", Some("main"), "a/b"),
        ("http://127.0.0.1:8080/config.git:a", "http://127.0.0.1:8080/config.git", None, "a"),
        ("http://127.0.0.1:8080/config.git", "http://127.0.0.1:8080/config.git", None, ""),
        ("acme/config:platform", "acme/config", None, "platform"),
        ("git@github.com:acme/config.git", "git@github.com:acme/config.git", None, ""),
        ("/srv/git/config.git#release/1", "/srv/git/config.git", Some("release/1"), ""),
    ];
    for (text, url, branch, path) in cases {
        let repo: ConfigRepo = text.parse().unwrap();
        assert_eq!(repo.url, url);
        assert_eq!(repo.branch.as_ref().map(AsRef::as_ref), branch, "{text}");
        assert_eq!(repo.path, path);
        assert_eq!(repo.to_string(), text.trim_end_matches('/'));
    }
    for text in ["", "#main", "x:../y", "x#a b"] {
        assert!(text.parse::<ConfigRepo>().is_err(), "{text}");
    }
}

#[test]
fn processes_get_to_know_toolchains_and_nothing_else_of_ours() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(".rustup")).unwrap();
    let home = folder.path().to_str().unwrap();
    let known =
        environment(&[("HOME", home), ("PATH", "/bin"), ("BRANCHLINE_GITHUB_TOKEN", "x"), ("GOROOT", "")])
            .toolchains();
    let rustup = format!("{home}/.rustup");
    let known: Vec<_> = known.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(known, [("PATH", "/bin"), ("RUSTUP_HOME", rustup.as_str())]);
}
