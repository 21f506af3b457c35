//! What seeds ask each other before there is a cluster, and the configuration that they found one with.
//!
//! Deliberately without decisions: the joiner's.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::caller::{CallError, Caller, Place};
use super::wire::{Answer, Call, Contact, Identity};
use crate::raft::{ClusterId, Configuration, PeerId};

/// A seed that has not answered within this time counts as silent in this round.
const ANSWER_MS_MAX: u64 = 1_000;

/// Seeds that are all empty found a cluster only after so long: they may all have lost one that lives on at other nodes.
/// Its leader calls whoever comes back within 2 s (a dial of 1 s and a rest of 1 s, `node_link.rs`), and an election
/// takes another.
const FOUND_PATIENCE_MS: u64 = 3_000;

/// For how long a node has been about to found a cluster.
#[derive(Debug, Default)]
pub(super) struct Patience {
    since: Option<Instant>,
}

impl Patience {
    /// Whether a node that is, or is not, about to found one has to wait still.
    pub(super) fn lasts(&mut self, about_to: bool) -> bool {
        let since = self.since.take().unwrap_or_else(Instant::now);
        self.since = about_to.then_some(since);
        about_to && since.elapsed() < Duration::from_millis(FOUND_PATIENCE_MS)
    }
}

/// Asks one seed who it is; silence is an answer too.
pub(super) async fn ask_who(caller: &Addr<Caller>, address: &str) -> Option<Identity> {
    let deadline = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
    let place = Place {
        address: address.to_owned(),
        call: Call::Who,
        deadline,
    };
    match caller.send(place).await {
        Ok(Ok(Answer::Who(identity))) => Some(identity),
        Ok(Ok(other)) => {
            tracing::warn!(address, ?other, "a seed answered another question");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(address, %error, "a seed does not answer");
            None
        }
        Err(_) => None,
    }
}

/// What others said to a new cluster.
#[derive(Debug, Default)]
pub(super) struct Formed {
    /// They belong to it.
    pub(super) accepted: Vec<PeerId>,
    /// Somebody knows of a living one.
    pub(super) vetoed: bool,
}

/// Status code of a refusal to form a cluster because there is one.
pub(super) const VETO: u16 = 409;

/// Asks these to belong to a new cluster.
pub(super) async fn ask_to_form(
    caller: Addr<Caller>,
    others: BTreeMap<PeerId, String>,
    cluster: ClusterId,
    configuration: Configuration,
) -> Formed {
    let asked = others.into_iter().map(async |(id, address)| {
        let place = Place {
            address,
            call: Call::Form {
                cluster,
                configuration: configuration.clone(),
            },
            deadline: Instant::now() + Duration::from_millis(ANSWER_MS_MAX),
        };
        (id, caller.send(place).await)
    });
    let mut formed = Formed::default();
    for (id, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok(Ok(Answer::Formed)) => formed.accepted.push(id),
            Ok(Err(CallError::Refused(status))) => formed.vetoed |= status.code == VETO,
            _ => {}
        }
    }
    formed
}

/// All seeds; the first of those that may vote are the voters, in order of name, the rest learn.
pub(super) fn founding_configuration(
    seeds: BTreeMap<PeerId, Contact>,
    voters_wanted: usize,
) -> Configuration {
    let mut seeds: Vec<(PeerId, Contact)> = seeds.into_iter().collect();
    seeds.sort_by(|(a, one), (b, other)| (&one.name, a).cmp(&(&other.name, b)));
    let mut configuration = Configuration::default();
    for (id, contact) in seeds {
        configuration.contacts.insert(id, contact.encode());
        if contact.may_vote && configuration.voters.len() < voters_wanted {
            configuration.voters.insert(id);
        } else {
            configuration.learners.insert(id);
        }
    }
    configuration
}

/// Whether all seeds are among those who answered.
pub(super) fn have_answered(seeds: &[String], identities: &BTreeMap<String, Identity>) -> bool {
    silent(seeds, identities).next().is_none()
}

/// The seeds that did not answer.
pub(super) fn silent<'a>(
    seeds: &'a [String],
    identities: &BTreeMap<String, Identity>,
) -> impl Iterator<Item = &'a str> {
    let silent = seeds.iter().filter(|seed| !identities.contains_key(*seed));
    silent.map(String::as_str)
}

/// What is wrong where two seeds have one name: only one of them could be a node, and a cluster of both would take each
/// for the other's next process.
pub(super) fn shared_name(identities: &BTreeMap<String, Identity>) -> Option<String> {
    let mut named: BTreeMap<&str, &Identity> = BTreeMap::new();
    identities.values().find_map(|who| {
        let Contact { name, address, .. } = &who.contact;
        let first = *named.entry(name).or_insert(who);
        (first.id != who.id).then(|| {
            let other = &first.contact.address;
            format!("the processes at {other} and {address} have one node name, {name:?}: each needs its own --name")
        })
    })
}

/// Founders without whom nobody can be elected.
pub(super) fn majority(configuration: &Configuration) -> usize {
    configuration.voters.len() / 2 + 1
}
