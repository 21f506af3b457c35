//! A recovery as people read it: the plan before, and the record that the new generation begins with.
//!
//! Pure. Where records are kept, `generation_record.rs` knows.

use rand::RngCore;
use serde_json::json;

use super::super::generation_record::Kind;
use super::super::messages::{RecoveryMember, RecoveryRecord};
use crate::raft::{Fate, Fated, PeerId, RecoveryPlan};
use crate::store::{Operation, View};

const RECOVERY: Kind = Kind("recovery");

/// What a plan comes to, told by the node that coordinates it.
pub(super) fn describe(plan: &RecoveryPlan, coordinator: &str) -> RecoveryRecord {
    let winner = plan.members[&plan.winner].place.name.clone();
    let mut members: Vec<_> = plan.members.iter().map(member).collect();
    members.sort_by(|a, b| (&a.name, &a.incarnation).cmp(&(&b.name, &b.incarnation)));
    let commits = plan.survivors().map(|(_, _, account)| account.commit);
    RecoveryRecord {
        generation: plan.generation,
        from_generation: plan.from.generation,
        time: String::new(),
        coordinator: coordinator.to_owned(),
        may_be_lost: may_be_lost(plan, &winner),
        winner,
        last_term: plan.position.term,
        last_index: plan.position.index,
        commit_index: commits.max().unwrap_or_default(),
        members,
    }
}

fn member((id, fated): (&PeerId, &Fated)) -> RecoveryMember {
    let (dead, last_term, last_index) = match &fated.fate {
        Fate::Dead(evidence) => (evidence.to_string(), 0, 0),
        Fate::Survives(account) => (String::new(), account.position.term, account.position.index),
    };
    RecoveryMember {
        name: fated.place.name.clone(),
        incarnation: id.to_string(),
        role: if fated.votes { "voter" } else { "standby" }.to_owned(),
        dead,
        last_term,
        last_index,
    }
}

/// A write is acknowledged once a majority of the voters has it. When a majority is dead, that majority may have had it
/// alone; so no recovery can promise that nothing is lost, only name the last entry that is certainly kept.
fn may_be_lost(plan: &RecoveryPlan, winner: &str) -> String {
    let voters = plan.members.values().filter(|member| member.votes);
    let dead = voters.clone().filter(|m| matches!(m.fate, Fate::Dead(_)));
    format!(
        "every write that was acknowledged after entry {} of term {}, where the log of {winner} ends: {} of {} voters \
         are dead, and may have acknowledged more without a survivor",
        plan.position.index,
        plan.position.term,
        dead.count(),
        voters.count(),
    )
}

/// The writes that the generation begins with.
pub(super) fn operations(record: &RecoveryRecord, entropy: &mut dyn RngCore) -> Vec<Operation> {
    let dead = record.members.iter().filter(|m| !m.dead.is_empty());
    let dead: Vec<_> = dead.map(|m| format!("{}: {}", m.name, m.dead)).collect();
    let data = json!({
        "time": record.time,
        "winner": record.winner,
        "dead": dead.join("\n"),
        "mayBeLost": record.may_be_lost,
    });
    RECOVERY.operations(record.generation, record, data, entropy)
}

/// The record of a generation's beginning, if it began with one and it is still there.
pub(in super::super) fn find(view: &View, generation: u64) -> Option<RecoveryRecord> {
    RECOVERY.find(view, generation)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::env::entropy::Entropy;
    use crate::raft::{Account, ClusterId, Configuration, Evidence, Place, Position};
    use crate::store::Store;

    fn plan() -> RecoveryPlan {
        let from = ClusterId {
            id: 1,
            generation: 2,
        };
        let position = Position {
            generation: 2,
            term: 5,
            index: 40,
        };
        let survivor = Fate::Survives(Account {
            cluster: from,
            promised: 2,
            frozen: false,
            hears_leader: false,
            term: 6,
            position,
            commit: 38,
            configuration: Configuration::default(),
        });
        let superseded = Fate::Dead(Evidence::Superseded { by: PeerId(22) });
        let operator = Fate::Dead(Evidence::Operator);
        let fated = |number: u64, fate| {
            let place = Place {
                name: format!("n{number}"),
                ..Place::default()
            };
            let votes = true;
            let contact = Bytes::new();
            let fated = Fated {
                place,
                contact,
                votes,
                fate,
            };
            (PeerId(number), fated)
        };
        RecoveryPlan {
            from,
            generation: 3,
            winner: PeerId(1),
            position,
            term: 6,
            members: BTreeMap::from([fated(1, survivor), fated(2, superseded), fated(3, operator)]),
        }
    }

    #[test]
    fn a_record_names_the_evidence_and_what_may_be_lost() {
        let record = describe(&plan(), "n1");
        let dead: Vec<_> = record.members.iter().map(|m| m.dead.as_str()).collect();
        let superseded = "superseded by incarnation 0000000000000016";
        assert_eq!(dead, ["", superseded, "the operator's word"]);
        let lost = &record.may_be_lost;
        assert!(
            lost.contains("after entry 40 of term 5") && lost.contains("2 of 3 voters"),
            "{lost}"
        );
        assert_eq!((record.last_index, record.commit_index), (40, 38));
    }

    #[test]
    fn a_record_is_found_again_as_it_was() {
        let mut record = describe(&plan(), "n1");
        record.time = "2026-11-21T00:00:00Z".to_owned();
        let mut store = Store::new();
        let operations = operations(&record, &mut Entropy::from_seed(1));
        store.begin_generation(3, &operations);
        assert_eq!(find(&store.view(), 3), Some(record));
        assert_eq!(find(&store.view(), 2), None);
    }
}
