//! Rules of this repository that no compiler knows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file, its unit tests not counted.
const LINES_MAX: usize = 600;

/// A layer of `src`, and what its code must not name.
const LAYERS: [(&str, &[&str]); 10] = [
    (
        "binlog",
        &[
            "vicidial", "ledger", "engine", "source", "store", "state", "api", "cli",
        ],
    ),
    (
        "vicidial",
        &["ledger", "engine", "source", "store", "state", "api", "cli"],
    ),
    (
        "ledger",
        &["engine", "source", "store", "state", "api", "cli"],
    ),
    (
        "source",
        &["ledger", "engine", "store", "state", "api", "cli"],
    ),
    ("store", &["source", "engine", "state", "api", "cli"]),
    (
        "state",
        &["source", "ledger", "store", "engine", "api", "cli"],
    ),
    ("engine", &["api", "cli"]),
    ("api", &["binlog", "source", "cli"]),
    (
        "config",
        &["engine", "store", "state", "ledger", "api", "cli"],
    ),
    (
        "telemetry",
        &[
            "binlog", "source", "store", "state", "ledger", "engine", "api", "cli",
        ],
    ),
];

/// Layers that compute and do nothing else, and what is not for them.
const PURE: [&str; 3] = ["binlog", "vicidial", "ledger"];
const IMPURE: [&str; 8] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::time",
    "std::thread",
    "sqlx",
    "rusqlite",
    "tracing",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below a folder, by its path from the root.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(
                    path.strip_prefix(root())
                        .expect("below the root")
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

fn rust_files() -> Vec<PathBuf> {
    let mut all = files("src");
    all.extend(files("tests"));
    all.retain(|path| path.extension().is_some_and(|ext| ext == "rs"));
    all
}

fn text(path: &Path) -> String {
    fs::read_to_string(root().join(path)).expect("UTF-8 text")
}

/// The lines in front of the unit tests.
fn code(path: &Path) -> String {
    let text = text(path);
    let tests = text.find("\n#[cfg(test)]\nmod tests {");
    text[..tests.unwrap_or(text.len())].to_owned()
}

fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_says_first_why_it_exists() {
    let mut wrong = rust_files();
    wrong.retain(|path| !text(path).starts_with("//! "));
    assert_eq!(wrong, Vec::<PathBuf>::new());
}

#[test]
fn no_file_is_too_long() {
    let lengths = rust_files().into_iter().map(|path| {
        let lines = code(&path).lines().count();
        (path, lines)
    });
    let wrong: Vec<_> = lengths.filter(|(_, lines)| *lines > LINES_MAX).collect();
    assert_eq!(wrong, []);
}

/// Data flows one way, and so do the imports.
#[test]
fn imports_point_inward() {
    let mut wrong = Vec::new();
    for (layer, others) in LAYERS {
        for path in files(&format!("src/{layer}")) {
            let code = code(&path);
            let named = others.iter().filter(|other| {
                let names = [format!("crate::{other}::"), format!("crate::{other};")];
                let lines = code
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"));
                lines
                    .into_iter()
                    .any(|line| names.iter().any(|name| line.contains(name)))
            });
            wrong.extend(named.map(|other| format!("{} names {other}", path.display())));
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_command_line_is_known_to_main_alone() {
    let mut wrong = Vec::new();
    for path in files("src") {
        let is_cli = path.starts_with("src/cli") || path.ends_with("src/main.rs");
        if !is_cli && (code(&path).contains("crate::cli") || code(&path).contains("didtail::cli")) {
            wrong.push(path.display().to_string());
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_pure_layers_do_nothing_but_compute() {
    let mut wrong = Vec::new();
    for path in PURE.iter().flat_map(|layer| files(&format!("src/{layer}"))) {
        for line in code(&path).lines() {
            let is_code = !line.trim_start().starts_with("//");
            let named = IMPURE
                .iter()
                .find(|name| line.contains(&format!("{name}::")));
            let waits = line.contains("async fn") || line.contains(".await");
            if is_code && (named.is_some() || waits) {
                wrong.push(format!("{}: {line}", path.display()));
            }
        }
    }
    assert_none(&wrong);
}

/// A file that is no module of anything is never compiled.
#[test]
fn no_file_is_forgotten() {
    let all = rust_files();
    let manifest = text(Path::new("Cargo.toml"));
    let mut reached: BTreeSet<PathBuf> = all
        .iter()
        .filter(|path| manifest.contains(&format!("path = \"{}\"", path.display())))
        .cloned()
        .collect();
    let mut open: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(path) = open.pop() {
        for module in modules(&path) {
            if all.contains(&module) && reached.insert(module.clone()) {
                open.push(module);
            }
        }
    }
    let forgotten: Vec<_> = all.iter().filter(|path| !reached.contains(*path)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// The files that the `mod` lines of a file may mean.
fn modules(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().expect("in a folder");
    let name = path.file_stem().and_then(|stem| stem.to_str());
    let is_root = matches!(name, Some("mod" | "main" | "lib"))
        || text(Path::new("Cargo.toml")).contains(&format!("path = \"{}\"", path.display()));
    let below = if is_root {
        folder.to_owned()
    } else {
        folder.join(name.expect("a name"))
    };
    let mut found = Vec::new();
    let mut elsewhere = None;
    for line in text(path).lines() {
        if let Some(path) = line.strip_prefix("#[path = \"") {
            elsewhere = path.strip_suffix("\"]").map(str::to_owned);
        }
        let words = line.trim_start().split_once("mod ");
        let module = words.and_then(|(_, rest)| rest.strip_suffix(';'));
        let Some(module) = module else { continue };
        match elsewhere.take() {
            Some(path) => found.push(plain(&folder.join(path))),
            None => {
                found.push(below.join(format!("{module}.rs")));
                found.push(below.join(module).join("mod.rs"));
            }
        }
    }
    found
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path {
        if part == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

/// What only this machine has is no part of the repository.
#[test]
fn nothing_names_a_place_on_one_machine() {
    let places = [
        ["/", "work/"].concat(),
        ["/", "root/."].concat(),
        ["/Use", "rs/"].concat(),
    ];
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "packaging", "schema", ".ci"] {
        for path in files(folder) {
            let bytes = fs::read(root().join(&path)).expect("readable");
            let text = String::from_utf8_lossy(&bytes);
            let named = places.iter().find(|place| text.contains(place.as_str()));
            wrong.extend(named.map(|place| format!("{} names {place}", path.display())));
        }
    }
    assert_none(&wrong);
}

/// The suites that `tests/run` runs are those that there are.
#[test]
fn every_suite_is_run() {
    let run = text(Path::new("tests/run"));
    let line = run.lines().find_map(|line| line.strip_prefix("targets=("));
    let listed: BTreeSet<&str> = line
        .and_then(|list| list.strip_suffix(')'))
        .expect("one line of suites")
        .split(' ')
        .filter(|name| *name != "lib")
        .collect();
    let manifest = text(Path::new("Cargo.toml"));
    let tests = manifest.split("[[test]]\nname = \"").skip(1);
    let there: BTreeSet<&str> = tests.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(listed, there);
}
