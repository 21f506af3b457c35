//! The membership plan: which one change, if any, the leader should propose next.
//!
//! A pure function of what the leader's shell sees. It proposes nothing itself, and it never concludes that a silent
//! peer is dead for good: `proven_dead` is the shell's finding (superseded on its machine, deleted by the cloud, …).
//!
//! The rule for voters: of all sets of at most `wanted` voters, take the one with the most living voters beyond its
//! quorum; among equals one that is not smaller than today's, then an odd one, then the larger. Living voters come
//! first, dead ones are kept only to fill up. So a dead voter is swapped as soon as a caught-up learner is there;
//! without one, 3 of 3 stay 3 (2 would survive no more losses) and 5 with two dead become 3 (which survive one more);
//! and one voter grows to 3 at once, not by way of 2. While voters that live have to go, those who stay must be a quorum
//! of the next ones, so that two are swapped one after the other.
//!
//! The rule for silence: who was heard a moment ago may have died since, together with whoever has just fallen silent.
//! So a living voter goes only while all who take part were heard, and since then none of their processes was seen
//! gone. But a notice does not wait until a silent voter counts as dead: after a second it is the one who goes first,
//! and the one with the notice helps to vote it out. The other way round, with the silent one kept, the newcomer would
//! have to live for the change to be committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::quorum::majority;
use super::types::{Change, PeerId, Role, Status};

/// A process that is, or could become, a member, as the leader's shell knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// It will certainly never speak again.
    pub proven_dead: bool,
    /// Time since the shell heard from it. Used only where the core has no progress for it (not a member yet).
    pub silent: Duration,
    /// It allows itself to be made a voter.
    pub may_vote: bool,
    /// Its failure domain.
    pub zone: String,
    /// It has notice to leave.
    pub evicting: bool,
    /// Its slot: the node's name.
    pub name: String,
    /// How to reach it.
    pub contact: Bytes,
}

/// Bounds of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Healthy members beyond the wanted voters: the warm standbys (default 2).
    pub standbys_max: usize,
    /// A member silent for longer counts as dead (default 10 s).
    pub member_silent_max: Duration,
    /// A voter that lives is swapped only while all voters to be were heard within this time, a heartbeat and a half
    /// (default 75 ms: answers come a heartbeat apart, the half is for jitter): a set with one that has just died would
    /// be worse than today's.
    pub swap_silent_max: Duration,
    /// While a voter has notice to leave, a voter silent for longer counts as dead (default 1 s, twenty heartbeats): who
    /// was heard within `swap_silent_max` did not die together with it.
    pub notice_silent_max: Duration,
    /// A process silent for longer is not added (default 5 s: the leader asks every node every 2 s).
    pub candidate_silent_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            standbys_max: 2,
            member_silent_max: Duration::from_secs(10),
            swap_silent_max: Duration::from_millis(75),
            notice_silent_max: Duration::from_secs(1),
            candidate_silent_max: Duration::from_secs(5),
        }
    }
}

/// The change to propose now, if any: voters first, then dead learners, new ones, spare standbys. None unless `status`
/// is a leader's and no joint change is under way.
pub fn plan_membership(
    status: &Status,
    candidates: &BTreeMap<PeerId, Candidate>,
    wanted_voters: usize,
    limits: &Limits,
) -> Option<Change> {
    if status.role != Role::Leader || status.configuration.is_joint() {
        return None;
    }
    let plan = Plan {
        status,
        candidates,
        wanted: wanted_voters.max(1),
        limits,
    };
    plan.voters()
        .or_else(|| plan.dead_learners())
        .or_else(|| plan.new_learner())
        .or_else(|| plan.spare_standby())
}

struct Plan<'a> {
    status: &'a Status,
    candidates: &'a BTreeMap<PeerId, Candidate>,
    wanted: usize,
    limits: &'a Limits,
}

impl Plan<'_> {
    fn voters(&self) -> Option<Change> {
        let choice = |notices| {
            let voters = self.first_step(self.best_voters(notices), notices);
            self.is_safe(&voters, notices).then_some(voters)
        };
        let voters = choice(true).or_else(|| choice(false))?;
        let differs = voters != self.status.configuration.voters;
        (differs && !voters.is_empty()).then_some(Change::SetVoters(voters))
    }

    /// These voters, but for newcomers in whose stead living voters of today stay at first, so that those who stay are a
    /// quorum by themselves: newcomers may have died together a moment ago.
    fn first_step(&self, mut voters: BTreeSet<PeerId>, notices: bool) -> BTreeSet<PeerId> {
        let today = &self.status.configuration.voters;
        let ranked = self.ranked(true);
        let leaves = |peer: &&PeerId| {
            today.contains(peer) && !voters.contains(peer) && self.counts_alive(**peer, notices)
        };
        let comes = |peer: &&PeerId| voters.contains(peer) && !today.contains(peer);
        let leaving = ranked.iter().filter(leaves);
        let last_coming = ranked.iter().rev().filter(comes);
        let staying = voters.intersection(today).count();
        let missing = majority(voters.len()).saturating_sub(staying);
        let exchanged: Vec<_> = leaving.zip(last_coming).take(missing).collect();
        for (stays, waits) in exchanged {
            voters.remove(waits);
            voters.insert(*stays);
        }
        voters
    }

    /// Whether only the dead have to go for these voters; or all of them that count as alive were heard a moment ago, and
    /// those of today among them are a quorum, of today's voters and of these: the change goes through even if the
    /// newcomers have died since.
    fn is_safe(&self, voters: &BTreeSet<PeerId>, notices: bool) -> bool {
        let today = &self.status.configuration.voters;
        let spared = today.difference(voters).all(|peer| !self.is_alive(*peer));
        let heard = |peer: &PeerId| self.is_heard(*peer);
        let clear = |peer: &PeerId| heard(peer) || !self.counts_alive(*peer, notices);
        let decided = |all: &BTreeSet<PeerId>| {
            let sure = all.intersection(today).filter(|peer| heard(peer));
            sure.count() >= majority(all.len())
        };
        spared || (voters.iter().all(clear) && decided(today) && decided(voters))
    }

    fn dead_learners(&self) -> Option<Change> {
        let learners = &self.status.configuration.learners;
        let dead: BTreeSet<PeerId> = learners
            .iter()
            .copied()
            .filter(|peer| !self.is_alive(*peer))
            .collect();
        (!dead.is_empty()).then_some(Change::RemoveLearners(dead))
    }

    /// One more learner, while the healthy members are fewer than the voters and standbys wanted.
    fn new_learner(&self) -> Option<Change> {
        let (peer, candidate) = self.next_learner().filter(|_| !self.has_standbys())?;
        Some(Change::AddLearner(peer, candidate.contact.clone()))
    }

    /// A standby of the zone that has most healthy members, if there is one too many (it was added while a member was only
    /// silent, or there were many seeds), or if it makes room for somebody in a zone that has at least two fewer: the zones
    /// of those who came first are not the only ones for good.
    fn spare_standby(&self) -> Option<Change> {
        // Only while nobody may have died and all stand by in earnest: one goes at a time.
        let mut members = self.status.configuration.members();
        if !members.all(|peer| self.is_heard(peer)) || !self.all_ready() {
            return None;
        }
        let learners = self.status.configuration.learners.iter().copied();
        let learners = learners.filter(|peer| self.may_vote(*peer));
        let crowd = |peer: &PeerId| self.healthy_in(self.zone(*peer));
        let spare = learners.max_by_key(crowd)?;
        let surplus = self.healthy().count() > self.healthy_wanted();
        let makes_room = || {
            let next = self.next_learner().filter(|_| self.has_standbys());
            next.is_some_and(|(_, next)| crowd(&spare) > self.healthy_in(&next.zone) + 1)
        };
        (surplus || makes_room()).then(|| Change::RemoveLearners([spare].into()))
    }

    /// Who would become a learner next: from the zone that has the fewest healthy members, then by name.
    fn next_learner(&self) -> Option<(PeerId, &Candidate)> {
        let fit = self.candidates.iter().filter(|(peer, candidate)| {
            !self.status.configuration.is_member(**peer)
                && candidate.may_vote
                && !candidate.proven_dead
                && !candidate.evicting
                && candidate.silent <= self.limits.candidate_silent_max
        });
        let (peer, candidate) = fit.min_by_key(|(peer, candidate)| {
            let crowd = self.healthy_in(&candidate.zone);
            (crowd, candidate.name.as_str(), **peer)
        })?;
        Some((*peer, candidate))
    }

    /// Of those who vote or could: a founder that may not vote is a learner too, and nobody's standby.
    fn healthy(&self) -> impl Iterator<Item = PeerId> {
        let voters = &self.status.configuration.voters;
        let members = self.status.configuration.members();
        let members = members.filter(|peer| voters.contains(peer) || self.may_vote(*peer));
        members.filter(|peer| self.is_healthy(*peer))
    }

    fn may_vote(&self, peer: PeerId) -> bool {
        self.candidates.get(&peer).is_some_and(|c| c.may_vote)
    }

    fn healthy_in(&self, zone: &str) -> usize {
        self.healthy()
            .filter(|peer| self.zone(*peer) == zone)
            .count()
    }

    fn has_standbys(&self) -> bool {
        self.healthy().count() >= self.healthy_wanted()
    }

    fn healthy_wanted(&self) -> usize {
        self.wanted + self.limits.standbys_max
    }

    /// The set of voters that the rule at the top of this file prefers; with or without regard to notices.
    fn best_voters(&self, notices: bool) -> BTreeSet<PeerId> {
        let ranked = self.ranked(notices);
        let living = ranked
            .iter()
            .filter(|peer| self.counts_alive(**peer, notices))
            .count();
        let today = self.status.configuration.voters.len();
        let best = (1..=self.wanted.min(ranked.len())).max_by_key(|size| {
            let beyond_quorum = living.min(*size) as isize - majority(*size) as isize;
            (
                beyond_quorum,
                *size >= today.min(self.wanted),
                size % 2,
                *size,
            )
        });
        ranked.into_iter().take(best.unwrap_or(0)).collect()
    }

    /// All who vote or could, best first: living before dead, then those not under notice, then of the zone that has the
    /// fewest so far, so that the loss of one takes as few as can be, then those who vote already (the leader before all),
    /// then by name.
    fn ranked(&self, notices: bool) -> Vec<PeerId> {
        let configuration = &self.status.configuration;
        let ready = configuration
            .learners
            .iter()
            .filter(|peer| self.is_ready(**peer));
        let mut pool: BTreeSet<PeerId> =
            configuration.voters.iter().chain(ready).copied().collect();
        let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
        let mut ranked = Vec::new();
        while let Some(next) = pool.iter().copied().min_by_key(|peer| {
            (
                !self.counts_alive(*peer, notices),
                notices && self.is_evicting(*peer),
                taken.get(self.zone(*peer)).copied(),
                *peer != self.status.id,
                !configuration.voters.contains(peer),
                self.candidates.get(peer).map(|c| c.name.as_str()),
                *peer,
            )
        }) {
            pool.remove(&next);
            *taken.entry(self.zone(next)).or_default() += 1;
            ranked.push(next);
        }
        ranked
    }

    /// A learner that could vote at once.
    fn is_ready(&self, peer: PeerId) -> bool {
        let caught_up = self.status.progress.get(&peer).is_some_and(|p| p.caught_up);
        let may_vote = self.may_vote(peer);
        caught_up && may_vote && self.is_healthy(peer) && !self.is_gone(peer)
    }

    /// Whether every learner that may vote could at once.
    fn all_ready(&self) -> bool {
        let learners = self.status.configuration.learners.iter();
        let mut willing = learners.filter(|peer| self.may_vote(**peer));
        willing.all(|peer| self.is_ready(*peer))
    }

    /// Whether it spoke a moment ago.
    fn is_heard(&self, peer: PeerId) -> bool {
        self.silent(peer) <= self.limits.swap_silent_max && !self.is_gone(peer)
    }

    /// Whether its process was seen gone: no proof of death, since a connection may break for less.
    fn is_gone(&self, peer: PeerId) -> bool {
        let progress = self.status.progress.get(&peer);
        progress.is_some_and(|progress| progress.gone)
    }

    fn is_healthy(&self, peer: PeerId) -> bool {
        self.is_alive(peer) && !self.is_evicting(peer)
    }

    /// A member's silence is what the core has seen; the shell's own word counts only as proof of death.
    fn is_alive(&self, peer: PeerId) -> bool {
        let proven_dead = self.candidates.get(&peer).is_some_and(|c| c.proven_dead);
        let silent = self.silent(peer);
        peer == self.status.id || (!proven_dead && silent < self.limits.member_silent_max)
    }

    /// The same for the choice of voters, in which a notice makes haste.
    fn counts_alive(&self, peer: PeerId, notices: bool) -> bool {
        let haste = notices && self.is_voter_leaving();
        let waited_out = haste && self.silent(peer) >= self.limits.notice_silent_max;
        self.is_alive(peer) && !waited_out
    }

    /// Whether one of today's voters lives and has notice.
    fn is_voter_leaving(&self) -> bool {
        let mut voters = self.status.configuration.voters.iter();
        voters.any(|peer| self.is_alive(*peer) && self.is_evicting(*peer))
    }

    /// For how long the core has not heard it; this peer itself is never silent, and who is no member always is.
    fn silent(&self, peer: PeerId) -> Duration {
        let progress = self.status.progress.get(&peer);
        let silent = progress.map_or(Duration::MAX, |progress| progress.silent);
        if peer == self.status.id {
            Duration::ZERO
        } else {
            silent
        }
    }

    fn is_evicting(&self, peer: PeerId) -> bool {
        self.candidates.get(&peer).is_some_and(|c| c.evicting)
    }

    fn zone(&self, peer: PeerId) -> &str {
        self.candidates.get(&peer).map_or("", |c| c.zone.as_str())
    }
}

#[cfg(test)]
mod tests;
