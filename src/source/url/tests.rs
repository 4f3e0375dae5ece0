//! Addresses: what is understood, and what is refused before anything is asked (catalogue G4).

use super::*;

fn base() -> RepositoryUrl {
    RepositoryUrl::of_operator("https://github.com/acme/config", &GitHosts::default()).expect("an address")
}

fn parse(text: &str) -> Result<RepositoryUrl, UrlError> {
    RepositoryUrl::parse(text, &base(), &GitHosts::default())
}

#[test]
fn spellings_of_one_repository_have_one_key() {
    for text in [
        "acme/Shop",
        "github.com/acme/shop",
        "https://github.com/acme/shop",
        "https://github.com/Acme/shop.git/",
        "../shop.git",
    ] {
        let url = parse(text).expect(text);
        assert_eq!(url.key(), "github.com/acme/shop", "{text}");
        assert!(url.git_address().eq_ignore_ascii_case("https://github.com/acme/shop.git"), "{text}");
        assert_eq!(url.github_slug().expect("a slug").as_str().to_ascii_lowercase(), "acme/shop");
        assert!(url.has_forge());
    }
    let group = parse("gitlab.com/group/sub/shop").expect("a subgroup");
    assert_eq!((group.key(), group.name()), ("gitlab.com/group/sub/shop", "shop"));
    assert_eq!(group.github_slug(), None);
}

#[test]
fn g4_hostile_addresses_are_refused() {
    for text in [
        "",
        "-oProxyCommand=x",
        "ext::sh -c x",
        "ext::sh",
        "fd::17",
        "file:///etc",
        "/etc/passwd",
        "git://github.com/a/b",
        "https:///github.com/a/b",
        "https://user:pass@github.com/a/b",
        "https://token@github.com/a/b",
        "http://github.com/a/b",
        "https://evil.example/a/b",
        "evil.example/a/b",
        "http://169.254.169.254/a/b",
        "https://169.254.169.254/a/b",
        "http://[::1]/a/b",
        "https://[::1]/a/b",
        "https://2130706433/a/b",
        "https://0x7f.1/a/b",
        "https://github.com/a/b\n",
        "https://github.com/a/b\r",
        "a/b c",
        "a\\b/c",
        "https://github.com/a/b?x=1",
        "https://github.com/a/b#x",
        "https://github.com/a/%2e%2e",
        "https://github.com/a",
        "https://github.com/a/b/c",
        "https://github.com:8443/a/b",
        "shop",
        "../../../shop",
        "../..",
        "a/-b",
        "a/..",
        "~/shop",
        "https://github.com/a//b",
        "https://github.com/../a/b/../..",
    ] {
        assert!(
            parse(text).is_err(),
            "{text:?} was taken as {:?}",
            parse(text).map(|url| url.key().to_owned())
        );
    }
}

#[test]
fn ssh_names_the_way_out() {
    for text in [
        "git@github.com:acme/shop.git",
        "ssh://git@github.com/acme/shop",
        "github.com:acme/shop",
        "ssh://-oProxyCommand=x/y",
        "git@-x:y/z",
    ] {
        let refused = parse(text).expect_err(text);
        assert_eq!(refused.rule, "ssh is not supported", "{text}");
    }
    let refused = parse("git@github.com:acme/shop.git").expect_err("ssh");
    insta::assert_snapshot!(refused, @"`github.com:acme/shop.git` is refused as a repository: ssh is not supported; hint: write https://HOST/OWNER/NAME and give a token");
}

#[test]
fn a_password_in_a_refused_address_is_not_repeated() {
    let refused = parse("https://user:hunter2@github.com/a/b").expect_err("a password");
    assert!(!refused.to_string().contains("hunter2"), "{refused}");
}

#[test]
fn the_operators_list_opens_hosts_plain_http_and_paths() {
    let hosts: GitHosts =
        "git.example.com, http://plain.example:8080,127.0.0.1,file".parse().expect("a list");
    let parse = |text: &str| RepositoryUrl::parse(text, &base(), &hosts);
    assert_eq!(parse("git.example.com/a/b").expect("named").key(), "git.example.com/a/b");
    assert!(parse("http://git.example.com/a/b").is_err(), "plain http must be named");
    assert_eq!(
        parse("http://plain.example:8080/a/b.git").expect("named").key(),
        "http://plain.example:8080/a/b"
    );
    assert!(parse("http://plain.example/a/b").is_err(), "another port");
    assert!(parse("http://127.0.0.1:4000/a.git").is_ok());
    assert!(parse("https://10.0.0.1/a/b").is_err());
    assert_eq!(parse("/srv/git/shop.git").expect("a path").name(), "shop");
    assert_eq!(
        parse("file:///srv/git/shop.git").expect("a path").local_path(),
        Some(Path::new("/srv/git/shop.git"))
    );
    assert!(parse("/srv/../etc").is_err());
}

#[test]
fn a_sibling_of_a_local_config_repository_needs_no_permission() {
    let hosts = GitHosts::default();
    let config = RepositoryUrl::of_operator("/srv/git/config.git", &hosts).expect("the operator's path");
    let sibling = RepositoryUrl::parse("../web.git", &config, &hosts).expect("a sibling");
    assert_eq!(sibling.local_path(), Some(Path::new("/srv/git/web.git")));
    assert!(!sibling.has_forge());
    for text in ["../../etc", "../..", "..", "../../git/../../etc", "/srv/git/web.git"] {
        assert!(RepositoryUrl::parse(text, &config, &hosts).is_err(), "{text}");
    }
}

#[test]
fn a_forge_may_name_another_place_to_clone_from() {
    let hosts: GitHosts = "127.0.0.1".parse().expect("a list");
    let shop =
        parse("acme/shop").expect("an address").cloned_from("http://127.0.0.1:99/acme/shop.git", &hosts);
    let shop = shop.expect("named by the operator");
    assert_eq!(
        (shop.key(), shop.git_address().as_str()),
        ("github.com/acme/shop", "http://127.0.0.1:99/acme/shop.git")
    );
    assert_eq!(shop.host().as_deref(), Some("127.0.0.1:99"));
}

proptest::proptest! {
    #[test]
    fn no_text_is_taken_for_an_unlisted_host(text in "\\PC{0,60}") {
        if let Ok(url) = parse(&text) {
            let host = url.host().unwrap_or_default();
            proptest::prop_assert!(host == "github.com" || host == "gitlab.com", "{} -> {}", text, url.key());
        }
    }
}
