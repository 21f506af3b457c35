//! Seeds that once failed, each with what it found. They stay, so that nothing is found twice.

use sim::faults::{Fault, Schedule};
use sim::play::{command, play_with};
use sim::scenarios::find;

/// Kinds of faults that are drawn beside the others, and were not yet when these seeds failed.
const YOUNGER: [Fault; 2] = [Fault::Split, Fault::Link];

/// Plays a seed with the schedule that it had then.
fn holds(name: &str, seed: u64) {
    holds_without(&YOUNGER, name, seed);
}

/// Plays a seed with all of its faults but those that were not drawn yet when it failed.
fn holds_without(younger: &[Fault], name: &str, seed: u64) {
    let scenario = find(name).expect("a scenario of that name");
    let drawn = scenario.plan(seed).schedule;
    let faults = drawn.faults().iter().copied();
    let then = Schedule::new(
        faults
            .filter(|planned| !younger.contains(&planned.fault))
            .collect(),
    );
    if let Some(failure) = play_with(scenario, seed, Some(&then), true).failure {
        let command = command(scenario, seed);
        panic!("{name} {seed}: {failure}\n{command} --schedule '{then}'");
    }
}

/// A worker took its own empty state for a replica and answered from it instead of passing clients on.
#[test]
fn a_worker_passes_clients_on_to_a_replica() {
    holds("ten_nodes", 1);
}

/// A voter that was replaced while it was cut off kept its replica for good: it served the past, or nobody.
#[test]
fn a_voter_that_was_replaced_goes_on_as_a_worker() {
    holds("voter_demoted", 1);
}

/// All seeds came back empty while their cluster lived on at other nodes, and founded another beside it.
#[test]
fn seeds_that_lost_a_cluster_found_none_beside_it() {
    holds("spot_storm", 25);
}

/// A leader that was replaced while it was paused woke up and refused writes by what it knew from before.
#[test]
fn a_leader_of_the_past_refuses_nothing_from_memory() {
    holds("spot_storm", 21);
}

/// The simulation's own watcher asked to go on from revision 0, which means "from anywhere".
#[test]
fn a_watcher_does_not_go_on_from_before_the_first_write() {
    holds("leader_lost", 9);
}

/// A collection's objects were deleted at one revision; a watcher that went on from between two never heard of the rest.
#[test]
fn each_object_of_a_deleted_collection_has_a_revision() {
    holds("spot_storm", 44);
    holds("spot_storm", 57);
}

/// Deleting a collection, planned again because of another write, deleted what it had deleted once and was made anew.
#[test]
fn a_collection_is_deleted_as_it_was_when_that_was_asked_for() {
    holds("spot_storm", 36);
}

/// The link to a node's earlier process wrote last that it was silent, and its next process was called so for good.
#[test]
fn a_node_that_answers_is_called_ready() {
    holds("noticed_storm", 60_021);
}

/// A process restarted on a machine whose end was announced: until it said so again, the pods' replacements were ended.
#[test]
fn an_announced_end_outlives_the_process_that_was_told() {
    holds("noticed_storm", 60_053);
}

/// Two standbys that had just died together were made voters in the stead of a dead one and of one that was leaving.
#[test]
fn those_who_stay_are_a_quorum_of_the_next_voters() {
    holds("noticed_storm", 80_072);
}

/// All seeds had become workers, and no worker found the API any more.
#[test]
fn a_worker_finds_the_api_by_who_leads() {
    holds("noticed_storm", 70_001);
}

/// A pod that was deleted, and gone, after the snapshot that a cluster was restored from was neither started nor given up.
#[test]
fn what_is_gone_starts_again_where_its_deletion_is_forgotten() {
    holds("unique_over", 4);
}

/// The scenario took it for granted that generation 1 begins; its claim was made, and its maker told that it was not.
#[test]
fn a_claim_of_which_its_maker_knows_nothing_is_passed_over() {
    holds("late_survivor", 800_039);
}

/// A standby was added while a voter was only silent; the voter came back, and nobody was sent away.
#[test]
fn a_standby_too_many_goes_once_a_silent_voter_is_back() {
    holds_without(&[], "spot_storm", 1_000_262);
}

/// A voter and a standby ended together; the standby was made a voter a tenth of a second later, in the stead of one that
/// lived, though the leader had seen both their connections end.
#[test]
fn whose_connection_ended_counts_for_no_swap() {
    holds_without(&[], "noticed_storm", 1_000_231);
}

/// Two voters that were replaced for their silence became standbys, for another ten seconds, since their Nodes were ready yet.
#[test]
fn who_is_left_out_for_silence_is_no_standby_the_next_moment() {
    holds_without(&[], "minority_lost", 1_100_060);
}

/// The simulation's tap learnt of a snapshot's floor later than a client did, and the process ended in between.
#[test]
fn a_floor_is_noted_though_its_replica_ends_at_once() {
    holds_without(&[], "spot_storm", 1_100_313);
}

/// The checker asked a paused leader of an earlier term what is wanted, after the one that had just handed over.
#[test]
fn a_leader_of_the_past_wants_nothing() {
    holds_without(&[], "noticed_storm", 1_200_222);
}

/// A machine was lost before its announced end and came back: a pod that had just replaced one of its was one too many.
#[test]
fn what_replaced_a_pod_of_a_machine_that_is_back_is_one_too_many() {
    holds_without(&[], "noticed_storm", 1_300_201);
}
