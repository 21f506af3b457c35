//! STYLE.md's rules that a machine can check, over every Rust file; each rule shows that it can fail.
//!
//! Deliberately words and braces only: what needs types is a lint (see `.clippy.toml`).

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use source::{Source, body_or_end, closing};

/// `file:line: rule`.
type Violations = Vec<String>;

/// The rooms from the top; a room imports only from lines before its own.
const ROOMS: [&[&str]; 9] = [
    &["raft"],
    &["store"],
    &["resource"],
    &["schedule", "control", "agent"],
    &["env"],
    &["actors"],
    &["http"],
    &["node"],
    &["cli"],
];
/// Beside the order: what DESIGN.md's table says that a room knows nothing of.
const STRANGERS: [(&str, &str); 2] = [("store", "raft"), ("resource", "raft")];
const PURE_ROOMS: [&str; 6] = ["raft", "store", "resource", "schedule", "control", "agent"];
/// What makes code impure: waiting, threads, clocks, chance, the outside world.
const IMPURE: [&str; 16] = [
    "async",
    ".await",
    "tokio",
    "actix",
    "actix_rt",
    "actix_web",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "rand::rng",
    "thread_rng",
    "from_os_rng",
    "std::thread",
    "std::fs",
    "std::env",
];
const FILE_LINES_MAX: usize = 600;
/// The exception that STYLE.md names.
const RAFT_NODE: (&str, usize) = ("src/raft/node.rs", 1_000);
const FUNCTION_LINES_MAX: usize = 70;
/// Split, so that this file keeps its own rule.
const UNFINISHED: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
];
const UNORDERED: [&str; 2] = [concat!("Hash", "Map"), concat!("Hash", "Set")];
const SIMULATOR: &str = concat!("tur", "moil");
/// What may stand at the top, beside names that begin with a dot.
const TOP_LEVEL: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "src",
    "sim",
    "tests",
    "deploy",
    "grafana",
];

fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?;
    Some(room.strip_suffix(".rs").unwrap_or(room))
}

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|line| line.contains(&room))
}

fn at(source: &Source, offset: usize, rule: &str) -> String {
    format!("{}:{}: {rule}", source.path, source.line(offset))
}

/// The first names after `crate::`, also in a group.
fn imported(code: &str, from: usize) -> Vec<&str> {
    let rest = &code[from..];
    let names = if rest.starts_with('{') {
        let group = &rest[1..closing(rest, 0).saturating_sub(1)];
        let mut depth = 0_i32;
        let level = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        };
        group.split(level).collect()
    } else {
        vec![rest]
    };
    let word = |name: &str| {
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        name.find(|c| !joins(c)).unwrap_or(name.len())
    };
    let trimmed = names.into_iter().map(str::trim_start);
    trimmed.map(|name| &name[..word(name)]).collect()
}

fn imports_follow_the_rooms(source: &Source) -> Violations {
    const ROOT: &str = "crate::";
    let Some(importer) = room(&source.path) else {
        return Violations::new();
    };
    let Some(own) = rank(importer) else {
        return Violations::new();
    };
    let mut violations = Violations::new();
    for offset in source.words(ROOT).filter(|offset| !source.in_test(*offset)) {
        for name in imported(&source.code, offset + ROOT.len()) {
            let below =
                rank(name).is_some_and(|other| other > own || (other == own && name != importer));
            if below || STRANGERS.contains(&(importer, name)) {
                let rule = format!(
                    "`{importer}` may not import `{name}`: see the order of rooms in src/lib.rs"
                );
                violations.push(at(source, offset, &rule));
            }
        }
    }
    violations
}

fn pure_rooms_are_pure(source: &Source) -> Violations {
    let pure = room(&source.path).is_some_and(|room| PURE_ROOMS.contains(&room));
    if !pure {
        return Violations::new();
    }
    let found = IMPURE
        .iter()
        .flat_map(|word| source.words(word).map(move |offset| (word, offset)));
    found
        .filter(|(_, offset)| !source.in_test(*offset))
        .map(|(word, offset)| {
            at(
                source,
                offset,
                &format!("`{word}` in a pure room: take it as an argument"),
            )
        })
        .collect()
}

fn files_open_with_their_purpose(source: &Source) -> Violations {
    let opens = source.text.starts_with("//! ");
    let rule =
        "the file does not open with `//!`: what it is, and what it deliberately does not do";
    if opens {
        Violations::new()
    } else {
        vec![at(source, 0, rule)]
    }
}

fn files_are_short(source: &Source) -> Violations {
    let (long, exceptional) = RAFT_NODE;
    let most = if source.path == long {
        exceptional
    } else {
        FILE_LINES_MAX
    };
    let lines = source.text.lines().count();
    let rule = format!("the file has {lines} lines, more than {most}");
    if lines > most {
        vec![at(source, 0, &rule)]
    } else {
        Violations::new()
    }
}

fn functions_are_short(source: &Source) -> Violations {
    let mut violations = Violations::new();
    for offset in source.words("fn") {
        let name = source.code[offset + 2..].trim_start();
        if !name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            continue; // a function pointer's type
        }
        let Some((open, b'{')) = body_or_end(&source.code, offset) else {
            continue; // a trait's, without a body
        };
        let lines = source.line(closing(&source.code, open) - 1) - source.line(offset) + 1;
        if lines > FUNCTION_LINES_MAX {
            let rule = format!("the function has {lines} lines, more than {FUNCTION_LINES_MAX}");
            violations.push(at(source, offset, &rule));
        }
    }
    violations
}

fn nothing_unwraps(source: &Source) -> Violations {
    let outside = |offset: &usize| !source.in_test(*offset);
    let found = source.words(".unwrap()").filter(outside);
    found
        .map(|offset| {
            at(
                source,
                offset,
                "`.unwrap()` outside tests: `expect` why it cannot fail",
            )
        })
        .collect()
}

fn nothing_is_unfinished(source: &Source) -> Violations {
    let found = UNFINISHED
        .iter()
        .flat_map(|word| source.text.match_indices(word));
    found
        .map(|(offset, word)| {
            at(
                source,
                offset,
                &format!("`{word}`: finish it, or say it in an issue"),
            )
        })
        .collect()
}

fn maps_are_ordered(source: &Source) -> Violations {
    let found = UNORDERED.iter().flat_map(|word| source.words(word));
    found
        .map(|offset| at(source, offset, "a map of random order: BTreeMap, BTreeSet"))
        .collect()
}

fn production_knows_no_simulator(source: &Source) -> Violations {
    if !source.path.starts_with("src/") {
        return Violations::new();
    }
    let found = source.text.match_indices(SIMULATOR);
    found
        .map(|(offset, word)| at(source, offset, &format!("production code names {word}")))
        .collect()
}

type Rule = fn(&Source) -> Violations;

const RULES: [Rule; 9] = [
    imports_follow_the_rooms,
    pure_rooms_are_pure,
    files_open_with_their_purpose,
    files_are_short,
    functions_are_short,
    nothing_unwraps,
    nothing_is_unfinished,
    maps_are_ordered,
    production_knows_no_simulator,
];

/// Every Rust file under a directory, in order.
fn rust_files(directory: &Path, files: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.display().to_string());
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for directory in ["src", "sim", "tests"] {
        rust_files(Path::new(directory), &mut files);
    }
    let texts: Vec<_> = files
        .iter()
        .map(|path| (path, fs::read_to_string(path).unwrap()))
        .collect();
    let read = |is_test: &dyn Fn(&str) -> bool| -> Vec<Source> {
        let source = |(path, text): &(&String, String)| Source::new(path, text, is_test(path));
        texts.iter().map(source).collect()
    };
    let modules: BTreeSet<_> = read(&|_| false)
        .iter()
        .flat_map(Source::test_modules)
        .collect();
    read(&|path| {
        let stem = path.strip_suffix(".rs").unwrap_or(path);
        let above = Path::new(stem).ancestors().filter_map(Path::to_str);
        stem.ends_with("_tests") || above.into_iter().any(|path| modules.contains(path))
    })
}

#[test]
fn every_file_keeps_the_rules() {
    let sources = sources();
    assert!(sources.len() > 20, "only {} files found", sources.len());
    let violations: Vec<_> = sources
        .iter()
        .flat_map(|source| RULES.iter().flat_map(|rule| rule(source)))
        .collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn misplaced(files: &str) -> BTreeSet<&str> {
    let top = files
        .lines()
        .map(|path| path.split('/').next().unwrap_or(path));
    top.filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(name))
        .collect()
}

#[test]
fn the_top_level_is_tidy() {
    let listed = Command::new("git").args(["ls-files"]).output().unwrap();
    assert!(
        listed.status.success(),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let files = String::from_utf8(listed.stdout).unwrap();
    assert!(files.lines().any(|path| path == "Cargo.toml"));
    let misplaced = misplaced(&files);
    assert!(misplaced.is_empty(), "not at the top level: {misplaced:?}");
    assert_eq!(
        self::misplaced("notes.md\nsrc/a.rs\n.ci/run\n"),
        BTreeSet::from(["notes.md"])
    );
}

#[test]
fn the_package_does_not_depend_on_the_simulator() {
    let names = |manifest: &str| manifest.contains(SIMULATOR);
    assert!(!names(&fs::read_to_string("Cargo.toml").unwrap()));
    assert!(
        names(&fs::read_to_string("sim/Cargo.toml").unwrap()),
        "the rule looks for the wrong name"
    );
}

/// The rule refuses `bad` and accepts `good` at this path.
fn tells_apart(rule: Rule, path: &str, bad: &str, good: &str) {
    let said = rule(&Source::new(path, bad, false));
    assert_eq!(said.len(), 1, "one violation expected in {bad:?}: {said:?}");
    assert!(said[0].starts_with(path), "{said:?}");
    assert_eq!(
        rule(&Source::new(path, good, false)),
        Violations::new(),
        "{good:?}"
    );
}

#[test]
fn imports_against_the_order_are_found() {
    let tell = |path, bad, good| tells_apart(imports_follow_the_rooms, path, bad, good);
    tell(
        "src/raft/log.rs",
        "use crate::store::View;",
        "use crate::raft::Term;",
    );
    tell(
        "src/store/view.rs",
        "use crate::raft::Term;",
        "use crate::store::Key;",
    );
    tell(
        "src/agent/pod.rs",
        "use crate::control::Plan;",
        "use crate::resource::Request;",
    );
    tell(
        "src/http/app.rs",
        "use crate::{store::{View, Key}, cli::Client};",
        "use crate::{store::{View, cli}, env::Env};",
    );
    tell(
        "src/node.rs",
        "crate::cli::main();",
        "// crate::cli\ncrate::http::app();",
    );
    tell(
        "src/raft/log.rs",
        "use crate::env::Env;",
        "#[cfg(test)]\nmod tests { use crate::env::Env; }",
    );
}

#[test]
fn impurity_is_found() {
    let tell = |bad, good| tells_apart(pure_rooms_are_pure, "src/control/plan.rs", bad, good);
    tell("async fn f() {}", "fn asynchronous() {}");
    tell("let now = Timestamp::now();", "fn f(now: Timestamp) {}");
    tell("use tokio::time;", "//! knows no tokio\n");
    tell("let x = rand::rng();", "let x = \"rand::rng\";");
    let actors = Source::new("src/actors/a.rs", "async fn f() { g().await }", false);
    assert!(pure_rooms_are_pure(&actors).is_empty(), "actors may wait");
}

#[test]
fn missing_purpose_and_excess_are_found() {
    let path = "src/raft/node.rs";
    tells_apart(
        files_open_with_their_purpose,
        path,
        "use a;\n//! late\n",
        "//! What.\n",
    );
    tells_apart(
        files_are_short,
        path,
        &"\n".repeat(1_001),
        &"\n".repeat(1_000),
    );
    tells_apart(
        files_are_short,
        "sim/src/lib.rs",
        &"\n".repeat(601),
        &"\n".repeat(600),
    );
    let function = |lines: usize| {
        format!(
            "fn f(a: [u8; 2]) {{{}}}\ntrait T {{ fn g(); }}",
            "\n".repeat(lines)
        )
    };
    tells_apart(functions_are_short, path, &function(70), &function(69));
}

#[test]
fn loose_ends_are_found() {
    let path = "src/env/tcp.rs";
    let tested = "#[test]\n#[cfg(test)]\nfn t() { x.unwrap(); }";
    tells_apart(nothing_unwraps, path, "fn f() { x.unwrap(); }", tested);
    let word = UNFINISHED[0];
    tells_apart(
        nothing_is_unfinished,
        path,
        &format!("// {word} later"),
        "// done",
    );
    let panics = format!("fn f() {{ {}() }}", UNFINISHED[4]);
    tells_apart(nothing_is_unfinished, path, &panics, "fn f() {}");
    let random = format!("use std::collections::{};", UNORDERED[0]);
    tells_apart(
        maps_are_ordered,
        path,
        &random,
        "use std::collections::BTreeMap;",
    );
    let named = format!("use {SIMULATOR}::net;");
    tells_apart(production_knows_no_simulator, path, &named, "use std::net;");
}
