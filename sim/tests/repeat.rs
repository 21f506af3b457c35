//! A seed is the whole cause of a run: two processes give the same trace, byte for byte.

use std::process::Command;

/// Twenty seeds of a short scenario, each in two processes at once.
#[test]
fn two_processes_give_the_same_traces() {
    let output = Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(["repeat", "--scenario", "partition", "--seeds", "20"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().count(), 21, "{said}");
}
