//! Names, labels and keys: their rules, in the server's words.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// Problems of a DNS-1123 label, such as the name of a Namespace or a container.
pub(crate) fn dns_label(name: &str) -> Vec<String> {
    let mut problems = too_long(name, 63);
    if !is_label(name, |c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
        problems.push(format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
             and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '{LABEL}')"
        ));
    }
    problems
}

/// Problems of a DNS-1123 subdomain, such as the name of most objects.
pub(crate) fn dns_subdomain(name: &str) -> Vec<String> {
    let mut problems = too_long(name, 253);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !name.split('.').all(|part| is_label(part, plain)) {
        problems.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{LABEL}(\\.{LABEL})*')"
        ));
    }
    problems
}

/// Problems of a DNS-1035 label, such as the name of a Service.
pub(crate) fn dns_1035_label(name: &str) -> Vec<String> {
    let mut problems = too_long(name, 63);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !is_label(name, plain) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        problems.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

/// Problems of a name that only has to be one segment of a path: `Role`s and `RoleBinding`s.
pub(crate) fn path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| name.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// Problems of a label or annotation key: an optional DNS prefix and a name.
pub(crate) fn qualified_name(key: &str) -> Vec<String> {
    const RULE: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
        with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let parts: Vec<&str> = key.split('/').collect();
    let mut problems = Vec::new();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                problems.push("prefix part must be non-empty".to_owned());
            } else {
                problems.extend(
                    dns_subdomain(prefix).into_iter().map(|problem| format!("prefix part {problem}")),
                );
            }
            *name
        }
        _ => {
            let example = "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
            return vec![format!(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character {example} with an optional DNS subdomain prefix and '/' (e.g. \
                 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        problems.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        problems.push("name part must be no more than 63 characters".to_owned());
    }
    if !is_name(name) {
        problems.push(RULE.to_owned());
    }
    problems
}

/// Problems of a label's value.
pub(crate) fn label_value(value: &str) -> Vec<String> {
    let mut problems = too_long(value, 63);
    if !value.is_empty() && !is_name(value) {
        problems.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    problems
}

/// Problems of a key of a ConfigMap or a Secret.
pub(crate) fn config_key(key: &str) -> Vec<String> {
    let mut problems = too_long(key, 253);
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        problems.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    if key == "." || key == ".." {
        problems.push(format!("must not be '{key}'"));
    } else if key.starts_with("..") {
        problems.push("must not start with '..'".to_owned());
    }
    problems
}

/// Problems of a port's name.
pub(crate) fn port_name(name: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if name.len() > 15 {
        problems.push("must be no more than 15 characters".to_owned());
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        problems.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        problems.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        problems.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        problems.push("must not begin or end with a hyphen".to_owned());
    }
    problems
}

fn too_long(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit { vec![format!("must be no more than {limit} characters")] } else { Vec::new() }
}

fn is_label(text: &str, plain: impl Fn(char) -> bool) -> bool {
    !text.is_empty()
        && text.chars().all(|c| plain(c) || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_name(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().next_back())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// A name made from `generateName`: the prefix, cut to fit, and five letters that spell nothing.
pub(crate) fn generated(prefix: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut random = [0_u8; 5];
    fill(&mut random);
    let cut: String = prefix.chars().take(58).collect();
    let suffix = random.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    cut + &suffix.iter().collect::<String>()
}

/// A new object's UID.
pub(crate) fn uid() -> String {
    let mut random = [0_u8; 16];
    fill(&mut random);
    uuid::Builder::from_random_bytes(random).into_uuid().to_string()
}

fn fill(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the operating system has randomness");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_the_server_judges_them() {
        assert!(dns_label("web-1").is_empty());
        assert!(!dns_label("Web").is_empty());
        assert!(dns_subdomain("a.b-c").is_empty());
        assert!(!dns_subdomain("a..b").is_empty());
        assert!(!dns_1035_label("1s").is_empty());
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert!(!qualified_name("x/y/z").is_empty());
        assert!(label_value("").is_empty());
        assert!(!label_value("a b").is_empty());
        assert_eq!(port_name("toolongaportname"), ["must be no more than 15 characters"]);
    }

    #[test]
    fn generated_names_fit_into_a_label() {
        let name = generated(&"a".repeat(80));
        assert_eq!(name.len(), 63);
    }
}
