//! The sim smoke: one seed of each scenario comes true (those of ten machines are in `pinned.rs`), and a seed gives the
//! same trace twice.

use sim::play::{command, parting, play};
use sim::scenarios::find;

const SEED: u64 = 1;

/// Runs a seed, which must hold; gives its trace.
fn held(name: &str, seed: u64) -> Vec<String> {
    let scenario = find(name).expect("a scenario of that name");
    let played = play(scenario, seed);
    if let Some(failure) = played.failure {
        let tail = played.lines[played.lines.len().saturating_sub(60)..].join("\n");
        panic!(
            "{name} {seed}: {failure}\n{tail}\n{}",
            command(scenario, seed)
        );
    }
    played.lines
}

fn assert_saw(lines: &[String], what: &str) {
    let saw = lines.iter().any(|line| line.contains(what));
    assert!(saw, "the trace has no {what:?}");
}

#[test]
fn the_leaders_machine_vanishes_and_all_pods_run_again() {
    let lines = held("leader_lost", SEED);
    assert_saw(&lines, "fault LoseMachine");
    assert_saw(&lines, "fault ReturnMachine");
    assert_saw(&lines, "settled");
}

#[test]
fn a_follower_vanishes_and_the_leader_goes_on() {
    held("follower_lost", SEED);
}

#[test]
fn processes_restart_and_adopt_their_containers() {
    held("process_restarts", SEED);
}

#[test]
fn a_roll_goes_on_while_a_machine_vanishes() {
    held("rolling_update", SEED);
}

#[test]
fn a_changed_config_map_reaches_its_pod() {
    held("config_map", SEED);
}

#[test]
fn the_clouds_word_replaces_a_voter_and_recovers_a_majority() {
    for seed in [SEED, SEED + 1] {
        held("cloud_tells", seed);
    }
}

#[test]
fn a_cluster_that_is_lost_whole_comes_back_from_its_snapshot() {
    for seed in [SEED, SEED + 1] {
        let lines = held("everything_lost", seed);
        assert_saw(&lines, "recovery point");
        assert_saw(&lines, "settled");
    }
}

#[test]
fn a_zone_and_two_voters_vanish() {
    held("minority_lost", SEED);
}

#[test]
fn an_operator_recovers_from_the_loss_of_a_majority() {
    for seed in [SEED, SEED + 1] {
        assert_saw(&held("majority_lost", seed), "settled");
    }
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_rejoins() {
    held("partition", SEED);
}

#[test]
fn a_leader_with_notice_is_replaced_before_its_machine_goes() {
    let lines = held("noticed_eviction", SEED);
    assert_saw(&lines, "handed over to");
    assert_saw(&lines, "replaced all pods in");
}

#[test]
fn a_storm_with_notices_is_survived() {
    let lines = held("noticed_storm", SEED);
    assert_saw(&lines, "is taken away as");
}

#[test]
fn unique_pods_run_once_whatever_happens() {
    let lines = held("unique_pods", SEED);
    assert_saw(&lines, "the user deletes db-");
    assert_saw(&lines, "settled");
}

#[test]
fn unique_pods_run_once_over_a_change_of_generations() {
    for seed in [SEED, SEED + 1] {
        assert_saw(&held("unique_over", seed), "settled");
    }
}

#[test]
fn a_minute_of_faults_is_survived() {
    let lines = held("spot_storm", SEED);
    assert_saw(&lines, "seen: the storm's end");
    assert_saw(&lines, "settled");
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let (first, second) = (held("leader_lost", SEED), held("leader_lost", SEED));
    assert_eq!(parting(&first, &second), None);
    assert_ne!(first, held("leader_lost", SEED + 1));
}
