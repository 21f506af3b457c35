//! `kagero demo` from outside: what it prints, how it ends, and that nothing stays, however it ends.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use dev::{FORMED_WITHIN, KAGERO, exists, signal, until};

/// All of it: forming, deploying, the failure detector's 15 s, coming back.
const PLAYED_WITHIN_SECONDS: &str = "150";
/// What a signal's clean-up may take with a dozen pods.
const CLEANED_WITHIN: Duration = Duration::from_secs(30);

/// Directories that demos and clusters keep while they run.
fn directories() -> BTreeSet<String> {
    let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/dev/shm".into());
    let entries = fs::read_dir(Path::new(&runtime)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("kagero-")).collect()
}

/// Processes whose parent is this one.
fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Plays the demo and checks its report; what Docker ran meanwhile is nobody's afterwards.
fn plays(runtime: &str) {
    let before = directories();
    let output = Command::new(KAGERO)
        .args([
            "demo",
            "--pods",
            "6",
            "--runtime",
            runtime,
            "--deadline",
            PLAYED_WITHIN_SECONDS,
        ])
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{progress}");
    for part in [
        "6 pods running after",
        "the leader, by SIGKILL",
        "led 0.",
        "3 of 3 voters",
    ] {
        assert!(report.contains(part), "{part} is missing in:\n{report}");
    }
    for node in ["n1", "n2", "n3"] {
        let line = report
            .lines()
            .find(|line| line.trim_start().starts_with(node));
        let line = line.unwrap_or_else(|| panic!("no line of {node} in:\n{report}"));
        assert!(
            line.ends_with(" 0 bytes"),
            "the control plane wrote to disk: {line}"
        );
    }
    assert!(
        !progress.contains('\r') && !progress.contains('\u{1b}'),
        "no terminal, no redrawing"
    );
    assert_eq!(directories(), before);
}

#[test]
fn it_comes_true_on_processes() {
    plays("process");
}

/// Every container that any node of this engine's keeps.
fn containers() -> String {
    let list = [
        "ps",
        "--all",
        "--quiet",
        "--filter",
        "label=kagero.dev/scope",
    ];
    let listed = Command::new("docker").args(list).output().unwrap();
    assert!(
        listed.status.success(),
        "a Docker engine answers: tests/run starts one"
    );
    String::from_utf8(listed.stdout).unwrap()
}

#[test]
fn it_comes_true_on_docker() {
    let before = containers();
    plays("docker");
    assert_eq!(containers(), before);
}

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    let before = directories();
    let mut demo = Command::new(KAGERO)
        .args(["demo", "--pods", "12", "--runtime", "process"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let nodes = until("nodes run", FORMED_WITHIN, || {
        let nodes = children(demo.id());
        if nodes.len() == 3 {
            Ok(nodes)
        } else {
            Err(format!("{} nodes", nodes.len()))
        }
    });
    signal(demo.id(), Signal::INT);
    let status = until("it ends", CLEANED_WITHIN, || {
        demo.try_wait()
            .unwrap()
            .ok_or_else(|| "it still runs".to_owned())
    });
    assert_eq!(status.code(), Some(1));
    for node in nodes {
        assert!(!exists(node), "a node still runs");
    }
    assert_eq!(directories(), before);
}

#[test]
fn what_does_not_come_true_in_time_is_a_failure_and_leaves_nothing() {
    let before = directories();
    let output = Command::new(KAGERO)
        .args([
            "demo",
            "--pods",
            "3",
            "--runtime",
            "process",
            "--deadline",
            "2",
        ])
        .output()
        .unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{progress}");
    assert!(output.stdout.is_empty(), "no report of what was not seen");
    assert!(progress.contains("error: "), "{progress}");
    assert_eq!(directories(), before);
}
