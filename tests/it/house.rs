//! The rules of the house that a compiler does not hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms in their order, as `src/lib.rs` declares them.
fn rooms() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// Every source file and the room that it stands in.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let inside = path.strip_prefix(root().join("src")).expect("below src");
                let room = inside.iter().next().expect("a name").to_string_lossy().replace(".rs", "");
                found.push((path, room));
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).expect("below the root").display().to_string()
}

#[test]
fn every_room_uses_only_those_above_it() {
    let rooms = rooms();
    assert!(rooms.len() > 15, "the rooms were not found");
    let rank: BTreeMap<&str, usize> = rooms.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect();
    let mut wrong = Vec::new();
    for (path, room) in sources() {
        let Some(own) = rank.get(room.as_str()) else { continue };
        let text = fs::read_to_string(&path).expect("a source file");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for after in code.split("crate::").skip(1) {
                let used: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if rank.get(used.as_str()).is_some_and(|rank| rank > own) {
                    wrong.push(format!(
                        "{}:{}: `{room}` uses `{used}`, which stands below it",
                        shown(&path),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_with_one_room_stay_in_it() {
    let homes = [
        ("git2", vec!["source"]),
        ("notify", vec!["source"]),
        ("sqlx", vec!["store"]),
        ("kube", vec!["cluster", "embedded", "cli"]),
        ("octocrab", vec!["github"]),
        ("warp", vec!["server"]),
        ("clap", vec!["cli"]),
        ("handlebars", vec!["render"]),
        ("serde_saphyr", vec!["yaml"]),
        ("serde_yaml", vec!["yaml"]),
    ];
    let mut wrong = Vec::new();
    for (path, room) in sources() {
        let text = fs::read_to_string(&path).expect("a source file");
        for (name, rooms) in &homes {
            let used = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default().trim_start();
                code.starts_with(&format!("use {name}::"))
                    || code.contains(&format!(" {name}::"))
                    || code.contains(&format!("({name}::"))
            });
            if used && !rooms.contains(&room.as_str()) && room != "main" {
                wrong.push(format!("{} uses {name}, which is at home in {}", shown(&path), rooms.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_stands_in_one_file() {
    // the lint is denied in Cargo.toml, so a file with unsafe code has to say that it expects it
    let expects = |text: &str| {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        ["#[expect(unsafe_code", "#![expect(unsafe_code", "#[allow(unsafe_code", "#![allow(unsafe_code"]
            .iter()
            .any(|mark| text.contains(mark))
    };
    let files: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| fs::read_to_string(path).is_ok_and(|text| expects(&text)))
        .map(|(path, _)| shown(&path))
        .collect();
    assert_eq!(files, ["src/source/libgit2.rs"]);
}

#[test]
fn every_story_is_told() {
    let folder = root().join("tests/it");
    let main = fs::read_to_string(folder.join("main.rs")).expect("the binary of the stories");
    for entry in fs::read_dir(&folder).expect("the stories") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == "rs") && name != "main" {
            assert!(
                main.contains(&format!("mod {name};")),
                "tests/it/{name}.rs is in no binary: add it to main.rs"
            );
        }
    }
}

#[test]
fn the_readme_names_the_commands_that_work() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    assert!(readme.lines().any(|line| line == "cargo test"));
    assert!(readme.lines().any(|line| line == "cargo run --release -- demo"));
}
