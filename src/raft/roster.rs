//! The membership plan: which one change, if any, the leader should propose next.
//!
//! A pure function of what the leader's shell sees. It proposes nothing itself, and it never concludes that a silent
//! peer is dead for good: `proven_dead` is the shell's finding (superseded on its machine, deleted by the cloud, …).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::types::{Change, PeerId, Status};

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
    /// Healthy members beyond the wanted voters: the warm standbys.
    pub standbys_max: usize,
    /// A member silent for longer counts as dead.
    pub member_silent_max: Duration,
    /// A process silent for longer is not added.
    pub candidate_silent_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            standbys_max: 2,
            member_silent_max: Duration::from_secs(10),
            candidate_silent_max: Duration::from_secs(2),
        }
    }
}

/// The change to propose now, if any.
pub fn plan_membership(
    _status: &Status,
    _candidates: &BTreeMap<PeerId, Candidate>,
    _wanted_voters: usize,
    _limits: &Limits,
) -> Option<Change> {
    None
}
