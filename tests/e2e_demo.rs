//! `kagero demo` from outside: what it prints, how it ends, and that nothing stays, however it ends.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use tokio::time::Instant;

use dev::{FORMED_WITHIN, KAGERO, SOON, exists, signal, until};

/// All of it: forming, deploying, the failure detector's 15 s, coming back.
const PLAYED_WITHIN_SECONDS: &str = "150";
/// What a signal's clean-up may take with a dozen pods.
const CLEANED_WITHIN: Duration = Duration::from_secs(30);

/// What an engine was creating is listed by then.
const APPEARED_WITHIN: Duration = Duration::from_secs(3);

/// The program with a place of its own for its directories, in memory, so that what it leaves is seen.
struct Stage(tempfile::TempDir);

impl Stage {
    fn new() -> Self {
        let runtime = std::env::var("XDG_RUNTIME_DIR").unwrap_or_else(|_| "/dev/shm".into());
        Self(tempfile::tempdir_in(runtime).unwrap())
    }

    fn demo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(KAGERO);
        command
            .arg("demo")
            .args(arguments)
            .env("XDG_RUNTIME_DIR", self.0.path());
        command
    }

    /// One with Docker and so many pods, when its nodes keep at least so many containers.
    fn demo_with_containers(&self, pods: &str, at_least: usize) -> Child {
        let demo = self
            .demo(&["--pods", pods, "--runtime", "docker"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("containers come", FORMED_WITHIN, || {
            let containers = self.containers();
            (containers >= at_least)
                .then_some(())
                .ok_or_else(|| format!("{containers} of {at_least}"))
        });
        demo
    }

    /// How many containers its nodes keep.
    fn containers(&self) -> usize {
        let place = self.0.path().to_str().unwrap().to_owned();
        let scopes = containers();
        scopes
            .lines()
            .filter(|scope| scope.contains(&place))
            .count()
    }

    /// Asserts that neither a directory nor a container of a node's is left.
    fn assert_empty(self) {
        let left: Vec<_> = fs::read_dir(self.0.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.containers(), 0);
    }
}

/// The scope of every container that any node of this engine's keeps.
fn containers() -> String {
    let format = "{{.Label \"kagero.dev/scope\"}}";
    let listed = Command::new("docker")
        .args(["ps", "--all", "--format", format])
        .output()
        .unwrap();
    assert!(
        listed.status.success(),
        "a Docker engine answers: tests/run starts one"
    );
    String::from_utf8(listed.stdout).unwrap()
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
    let stage = Stage::new();
    let output = stage
        .demo(&[
            "--pods",
            "12",
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
        "12 pods running after",
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
    println!("{report}");
    stage.assert_empty();
}

#[test]
fn it_comes_true_on_processes() {
    plays("process");
}

#[test]
fn it_comes_true_on_docker() {
    plays("docker");
}

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    let stage = Stage::new();
    let mut demo = stage
        .demo(&["--pods", "12", "--runtime", "process"])
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
    stage.assert_empty();
}

/// No registry has it, and none is asked long: port 1 of loopback is nobody's.
#[test]
fn an_image_that_cannot_be_had_is_told_and_ends_it_early() {
    const GIVEN_UP_WITHIN: Duration = Duration::from_secs(100);
    let stage = Stage::new();
    let begun = Instant::now();
    let image = ["--image", "127.0.0.1:1/none:1", "--runtime", "docker"];
    let output = stage
        .demo(&[&["--pods", "3"], &image[..]].concat())
        .output()
        .unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{progress}");
    for part in [
        "waiting: ",
        "ErrImagePull",
        "error: no pod can run: 0 of 3; ",
    ] {
        assert!(progress.contains(part), "{part} is missing in:\n{progress}");
    }
    assert!(begun.elapsed() < GIVEN_UP_WITHIN, "{:?}", begun.elapsed());
    stage.assert_empty();
}

/// A creation that is under way at the engine is not listed yet: each end comes while some are.
#[test]
fn however_far_it_is_with_docker_its_end_leaves_nothing() {
    for begun in [1, 4, 9, 16] {
        let stage = Stage::new();
        let mut demo = stage.demo_with_containers("12", begun);
        signal(demo.id(), Signal::INT);
        let status = until("it ends", CLEANED_WITHIN, || {
            demo.try_wait()
                .unwrap()
                .ok_or_else(|| "it still runs".to_owned())
        });
        assert_eq!(status.code(), Some(1), "after {begun} containers");
        // What was under way appears within moments, if it was not waited for.
        let settled = Instant::now() + APPEARED_WITHIN;
        until("what was under way came", SOON, || {
            assert_eq!(stage.containers(), 0, "after {begun} containers");
            (Instant::now() > settled)
                .then_some(())
                .ok_or_else(String::new)
        });
        stage.assert_empty();
    }
}

#[test]
fn what_a_killed_one_left_goes_at_the_next_start() {
    let stage = Stage::new();
    let mut killed = stage.demo_with_containers("6", 4);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_ne!(stage.containers(), 0, "nobody was left to remove them");
    let next = stage
        .demo(&["--pods", "1", "--runtime", "process", "--deadline", "20"])
        .output()
        .unwrap();
    let progress = String::from_utf8(next.stderr).unwrap();
    let told = "removed what a killed cluster left: ";
    assert_eq!(progress.matches(told).count(), 1, "{progress}");
    stage.assert_empty();
}

#[test]
fn what_does_not_come_true_in_time_is_a_failure_and_leaves_nothing() {
    let stage = Stage::new();
    let output = stage
        .demo(&["--pods", "3", "--runtime", "process", "--deadline", "2"])
        .output()
        .unwrap();
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{progress}");
    assert!(output.stdout.is_empty(), "no report of what was not seen");
    assert!(progress.contains("error: "), "{progress}");
    stage.assert_empty();
}
