//! The program's face: exit codes, where output goes, which source of a setting wins.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

fn kagero(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kagero"));
    command.args(arguments).env_clear();
    command.envs(environment.iter().copied()).output().unwrap()
}

/// Exit code, standard output, standard error.
fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn help_shows_examples_and_hides_what_is_internal() {
    let (code, out, err) = said(kagero(&["--help"], &[]));
    assert_eq!((code, err.as_str()), (0, ""));
    for shown in [
        "run",
        "dev",
        "demo",
        "status",
        "evict",
        "recover",
        "completion",
        "Examples:",
    ] {
        assert!(out.contains(shown), "{shown} is missing in:\n{out}");
    }
    for hidden in ["pause", "web "] {
        assert!(!out.contains(hidden), "{hidden} is shown in:\n{out}");
    }
    for command in ["run", "dev", "demo", "status", "evict", "recover"] {
        let (code, out, _) = said(kagero(&[command, "--help"], &[]));
        assert!(code == 0 && out.contains("Examples:"), "{command}:\n{out}");
    }
}

#[test]
fn bad_usage_ends_with_2_and_names_flag_and_value() {
    let table: [(&[&str], &[&str]); 17] = [
        (
            &["run", "--init", "--auto-recover"],
            &["--auto-recover", "--snapshots"],
        ),
        (&["frobnicate"], &["frobnicate"]),
        (&["run", "--voters", "2", "--init"], &["--voters", "'2'"]),
        (
            &["run", "--init", "--api", "0.0.0.0:6443"],
            &["--api", "0.0.0.0:6443", "--insecure-listen"],
        ),
        (&["run", "--init", "--log", "a=b=c"], &["--log", "a=b=c"]),
        (
            &["run", "--init", "--log", "louder"],
            &["--log", "`louder`", "module=level"],
        ),
        (
            &["run", "--init", "--voter", "never"],
            &["--init", "--voter never"],
        ),
        (&["run"], &["--seeds", "--init"]),
        (&["demo", "--nodes", "2"], &["--nodes", "'2'"]),
        // Standard input is no terminal here.
        (&["recover", "--dead", "n2"], &["--yes", "--dry-run"]),
        (&["recover", "--yes", "--dry-run"], &["--yes", "--dry-run"]),
        (&["evict"], &["NODE"]),
        (&["evict", "n1", "--in", "soon"], &["--in", "'soon'", "30s"]),
        (&["evict", "n1", "--in", "48h"], &["--in", "a day"]),
        (&["demo", "--deadline", "0"], &["--deadline", "'0'", "1 to"]),
        (
            &["demo", "--image", "nginx", "--runtime", "process"],
            &["--image", "--runtime process"],
        ),
        (
            &["run", "--init", "--node-labels", "a=b=c,!=x"],
            &["--node-labels", "a=b=c"],
        ),
    ];
    for (arguments, parts) in table {
        let (code, out, err) = said(kagero(arguments, &[]));
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{part} is missing in: {err}");
        }
    }
}

#[test]
fn the_environment_is_heard_and_a_flag_wins() {
    let environment = [("KAGERO_API", "192.0.2.1:1")];
    let (code, _, err) = said(kagero(&["run", "--init"], &environment));
    assert_eq!(code, 2);
    assert!(err.contains("--api 192.0.2.1:1"), "{err}");
    let flags = ["run", "--init", "--api", "192.0.2.2:2"];
    let (_, _, err) = said(kagero(&flags, &environment));
    assert!(err.contains("--api 192.0.2.2:2"), "{err}");
}

#[test]
fn the_environment_wins_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kagero.yaml");
    std::fs::write(&file, "init: true\napi: 192.0.2.3:3\n").unwrap();
    let flags = ["run", "--config", file.to_str().unwrap()];
    let (_, _, err) = said(kagero(&flags, &[]));
    assert!(err.contains("--api 192.0.2.3:3"), "{err}");
    let (_, _, err) = said(kagero(&flags, &[("KAGERO_API", "192.0.2.4:4")]));
    assert!(err.contains("--api 192.0.2.4:4"), "{err}");
}

#[test]
fn a_status_of_nobody_ends_with_1_and_names_the_address() {
    // Port 1 of loopback: reserved, and nobody's on a machine that runs tests.
    let flags = ["status", "--server", "http://127.0.0.1:1"];
    let (code, out, err) = said(kagero(&flags, &[]));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.starts_with("error: asking 127.0.0.1:1: cannot connect"),
        "{err}"
    );
}

#[test]
fn a_server_that_is_none_is_bad_usage() {
    for bad in ["127.0.0.1:6443", "https://127.0.0.1:6443", "http://a:b"] {
        let (code, out, err) = said(kagero(&["status", "--server", bad], &[]));
        assert_eq!((code, out.as_str()), (2, ""), "{bad}: {err}");
        assert!(err.contains("--server") && err.contains(bad), "{err}");
    }
}

#[test]
fn a_flag_that_names_the_cluster_wins_over_the_environment() {
    type Environment<'a> = &'a [(&'a str, &'a str)];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config");
    let config = "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:2'}}]\n\
        contexts: [{name: c, context: {cluster: c}}]\ncurrent-context: c\n";
    std::fs::write(&file, config).unwrap();
    let file = file.to_str().unwrap();
    let server = "http://127.0.0.1:1";
    let asked = |flags: &[&str], environment: Environment<'_>| {
        let arguments = [&["status"], flags].concat();
        said(kagero(&arguments, environment)).2
    };
    let from_file = ("KAGERO_KUBECONFIG", file);
    let from_env = ("KAGERO_SERVER", server);
    let table: [(&[&str], Environment<'_>, &str); 5] = [
        (&["--server", server], &[from_file], "asking 127.0.0.1:1:"),
        (&["--kubeconfig", file], &[from_env], "asking 127.0.0.1:2:"),
        (&[], &[from_env, from_file], "asking 127.0.0.1:1:"),
        (&[], &[from_file], "asking 127.0.0.1:2:"),
        (
            &["--kubeconfig", file, "--server", server],
            &[],
            "say one of them",
        ),
    ];
    for (flags, environment, expected) in table {
        let err = asked(flags, environment);
        assert!(err.contains(expected), "{flags:?} {environment:?}: {err}");
    }
}

/// What collects the logs may end, as `head -1` does.
#[test]
fn a_node_whose_standard_error_closes_lives_and_ends_as_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let mut node = Command::new(env!("CARGO_BIN_EXE_kagero"))
        .args(["run", "--init", "--name", "n1", "--runtime", "process"])
        .args(["--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"])
        .args(["--run-dir", place, "--data-dir", place, "--log", "trace"])
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(node.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "it ended");
    }
    drop(log);
    // It says that it stops, among much else.
    let pid = Pid::from_raw(node.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = node.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for arguments in [&["completion", "bash"][..], &["version"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kagero"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(command.stdout.take());
        let (code, _, err) = said(command.wait_with_output().unwrap());
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn completions_and_version_go_to_standard_output() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = said(kagero(&["completion", shell], &[]));
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("kagero") && out.contains("demo"), "{shell}");
    }
    let (code, out, _) = said(kagero(&["version"], &[]));
    assert_eq!(
        (code, out),
        (0, format!("kagero {}\n", env!("CARGO_PKG_VERSION")))
    );
}
