//! Recovery from the loss of a majority: when it may begin, who survives, whose log wins (DESIGN.md, protocol c).
//!
//! Pure. The shell asks everybody it knows, [`plan_recovery`] judges the answers, and a person confirms the plan.
//! Deliberately unable to conclude that a silent peer is dead: that takes [`Evidence`].
//!
//! **The protocol.** Every survivor of generation g *promises* one winner of a later generation p: from then on its peer
//! of g takes no further part (it neither votes, nor appends, nor answers), and the survivor promises nothing at or below
//! p again. Once all survivors have promised, the winner, and nobody else, begins p as its only voter, with its whole
//! log as the founding state. The survivors are the members that are not proven dead. A peer that the newest
//! configuration leaves out (the leader that committed it, say) is one more if no surviving member's log reaches as far, and
//! there is one: it promises as they do.
//!
//! **Why no generation has two winners.** Let W begin p. Every member of its plan that was not proven dead had promised
//! (p, W), W itself among them. Let V ≠ W begin p too. If V is a member of the newest configuration that W's plan knew (what
//! was made without those members is the next paragraph's matter), then, since the dead begin nothing, it had promised
//! (p, W), and a peer promises one winner of a generation only. If it is one that this configuration leaves out, its own plan
//! had a survivor among the members, whose promise (p, V) denied W its own, or W was that survivor. Nor can an older attempt come late: a plan's generation is above everything
//! that its survivors have promised or belong to, so a winner of p that has not begun yet and takes part in a plan for
//! p + 1 never begins p, and one that has begun refuses the promise. That is why an attempt that was broken off needs
//! no taking up: the next one simply goes one generation higher, and may choose the better log.
//!
//! **Why generation g is over.** To commit anything in g, a leader needs a quorum of a configuration that the winner's
//! log has or that was made after it by peers which are proven dead. The former are frozen or dead. Against the latter
//! (the cluster went on without these survivors) stands only that everybody who can be reached is asked: whoever
//! hears a leader of this cluster ends the attempt.
//!
//! What this rests on is that the evidence is true. An operator who calls living peers dead can make a cluster that lives
//! on in both halves until they meet; then the lower generation is obeyed by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::node::Raft;
use super::types::{ClusterId, Configuration, Entry, Index, PeerId, Term};

/// How far a peer's log reaches. Ordered as the winner is chosen: later generations before all, then as elections
/// compare logs (dissertation 3.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The generation in which it was written.
    pub generation: u64,
    /// The last entry's term.
    pub term: Term,
    /// The last index; 0 for a peer that has no state at all.
    pub index: Index,
}

/// Which process is meant, in the operator's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its slot: the node's name.
    pub name: String,
    /// Its machine, over restarts of the process.
    pub machine: String,
    /// Where it listens.
    pub address: String,
}

/// A peer's own account of its part in consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The newest cluster and generation it belongs to.
    pub cluster: ClusterId,
    /// The highest generation it promised somebody; its own if it never did.
    pub promised: u64,
    /// It promised, and takes no part in its generation any more.
    pub frozen: bool,
    /// It follows a leader, or leads.
    pub hears_leader: bool,
    /// Its term.
    pub term: Term,
    /// How far its log reaches.
    pub position: Position,
    /// The highest index it knows to be committed.
    pub commit: Index,
    /// The newest configuration in its log.
    pub configuration: Configuration,
}

/// What a process answered when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Testimony {
    /// The incarnation that answered.
    pub id: PeerId,
    /// Which process it is.
    pub place: Place,
    /// How it is reached, as configurations have it. The newest may lack it: see [`RecoveryPlan::members`].
    #[serde(default)]
    pub contact: Bytes,
    /// It coordinates a recovery right now.
    pub recovers: bool,
    /// Its part in consensus, if it has one.
    pub account: Option<Account>,
}

/// Why a member is taken for dead: it will certainly never speak again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// Another incarnation of the same name answers on the same machine, at the same address.
    Superseded {
        /// That incarnation.
        by: PeerId,
    },
    /// The cloud says that the boot of its machine is over.
    Cloud,
    /// An operator says so.
    Operator,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded { by } => write!(f, "superseded by incarnation {by}"),
            Self::Cloud => write!(f, "the cloud's word"),
            Self::Operator => write!(f, "the operator's word"),
        }
    }
}

/// What became of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It answered.
    Survives(Account),
    /// It is proven dead.
    Dead(Evidence),
}

/// Somebody whose fate a recovery must know, as the plan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fated {
    /// Which process it is.
    pub place: Place,
    /// How it is reached; empty of the dead.
    pub contact: Bytes,
    /// Whether it votes, or merely follows.
    pub votes: bool,
    /// What became of it.
    pub fate: Fate,
}

/// What a recovery would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryPlan {
    /// The cluster, and the generation that ends.
    pub from: ClusterId,
    /// The generation that begins.
    pub generation: u64,
    /// Whose log wins.
    pub winner: PeerId,
    /// How far it reaches.
    pub position: Position,
    /// A term that no survivor has passed; the new generation's terms come after it.
    pub term: Term,
    /// Every member of the newest configuration; and the winner, if that is one that this configuration leaves out, whose
    /// last entries no surviving member has.
    pub members: BTreeMap<PeerId, Fated>,
}

impl RecoveryPlan {
    /// The survivors, in order.
    pub fn survivors(&self) -> impl Iterator<Item = (PeerId, &Fated, &Account)> {
        self.members
            .iter()
            .filter_map(|(id, member)| match &member.fate {
                Fate::Survives(account) => Some((*id, member, account)),
                Fate::Dead(_) => None,
            })
    }

    /// Names everything that a person agreed to; another plan has another token.
    pub fn token(&self) -> String {
        let Position { term, index, .. } = self.position;
        let mut token = format!("{}-{}-{term}-{index}", self.generation, self.winner);
        for (id, member) in &self.members {
            let fate = match member.fate {
                Fate::Survives(_) => '+',
                Fate::Dead(_) => '-',
            };
            token.push(fate);
            token.push_str(&id.to_string());
        }
        token
    }
}

/// Why there is no plan. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryRefused {
    /// The process asked has no replica to recover from.
    #[error("this node holds no replica of a cluster; ask a node that survived")]
    NoReplica,
    /// Somebody hears a leader.
    #[error(
        "nothing to recover: {name} hears a leader of generation {generation}. If that leader has just died, ask \
         again in some seconds"
    )]
    LeaderLives {
        /// Who hears it.
        name: String,
        /// Of which generation.
        generation: u64,
    },
    /// A quorum of the voters answers.
    #[error(
        "nothing to recover: {answering} of {voters} voters answer, which is a majority; they elect a leader by \
         themselves"
    )]
    MajorityLives {
        /// Voters that answer and are free to vote.
        answering: usize,
        /// Voters in all.
        voters: usize,
    },
    /// Another recovery is under way.
    #[error("{name} coordinates a recovery already; wait until it is done or has failed")]
    UnderWay {
        /// Who coordinates it.
        name: String,
    },
    /// A member that was called dead answers.
    #[error("{name} was said to be dead, but it answers: it survives, and takes part")]
    SaidDeadAnswers {
        /// Its name.
        name: String,
    },
    /// A name that no member has.
    #[error("no member is called {name}")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// Members neither answer nor are proven dead.
    #[error(
        "{} {} not proven dead: if gone for good, say so with --dead {}; if the machine can be \
         started again, start it: its new process is proof enough",
        .members.iter().map(|(name, role)| format!("{name} ({role})")).collect::<Vec<_>>().join(", "),
        if .members.len() == 1 { "does not answer and is" } else { "do not answer and are" },
        .members.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",")
    )]
    Silent {
        /// Their names, each with what it is.
        members: Vec<(String, &'static str)>,
    },
    /// The process asked was removed from the cluster before.
    #[error("{name} is no member of the newest configuration; ask one that is")]
    NotMember {
        /// Its name.
        name: String,
    },
    /// None of the survivors holds any state.
    #[error("no survivor holds any state; there is nothing to recover from")]
    NoState,
}

/// Judges the answers. `testimonies` are by the address that was asked, `places` are those of every member that any
/// of them names, `gone` those members of which the cloud says so, `dead` the names that the operator vouches for.
pub fn plan_recovery(
    own: PeerId,
    testimonies: &BTreeMap<String, Testimony>,
    places: &BTreeMap<PeerId, Place>,
    gone: &BTreeSet<PeerId>,
    dead: &BTreeSet<String>,
) -> Result<RecoveryPlan, RecoveryRefused> {
    let mut asker = testimonies.values().filter(|said| said.id == own);
    let asker = asker.find_map(|said| said.account.as_ref());
    let cluster = asker.ok_or(RecoveryRefused::NoReplica)?.cluster.id;
    let inquest = Inquest {
        own,
        testimonies,
        places,
        gone,
        dead,
        accounts: testimonies
            .values()
            .filter_map(|said| Some((said, said.account.as_ref()?)))
            .filter(|(_, account)| account.cluster.id == cluster)
            .collect(),
    };
    inquest.nobody_carries_on()?;
    inquest.plan()
}

struct Inquest<'a> {
    own: PeerId,
    testimonies: &'a BTreeMap<String, Testimony>,
    places: &'a BTreeMap<PeerId, Place>,
    gone: &'a BTreeSet<PeerId>,
    dead: &'a BTreeSet<String>,
    /// Those of this cluster.
    accounts: Vec<(&'a Testimony, &'a Account)>,
}

impl Inquest<'_> {
    /// Neither is there a leader, nor does anybody else recover.
    fn nobody_carries_on(&self) -> Result<(), RecoveryRefused> {
        for (said, account) in &self.accounts {
            let name = said.place.name.clone();
            if account.hears_leader {
                let generation = account.cluster.generation;
                return Err(RecoveryRefused::LeaderLives { name, generation });
            }
            if said.recovers {
                return Err(RecoveryRefused::UnderWay { name });
            }
        }
        Ok(())
    }

    fn plan(&self) -> Result<RecoveryPlan, RecoveryRefused> {
        // Its configuration is the newest that was committed, or a later one: the log that an election would choose
        // has every committed entry that any of these logs has.
        let newest = self.accounts.iter();
        let newest = newest.max_by_key(|(_, account)| account.position);
        let (said, newest) = newest.ok_or(RecoveryRefused::NoReplica)?;
        let configuration = &newest.configuration;
        if newest.position.index == 0 {
            return Err(RecoveryRefused::NoState);
        }
        self.majority_is_lost(configuration)?;
        self.dead_are_dead(configuration)?;
        let mut members = self.members(configuration)?;
        let survivors = members.values().filter_map(|member| match &member.fate {
            Fate::Survives(account) => Some(account.position),
            Fate::Dead(_) => None,
        });
        // Of several that were left out a member's one promise chooses one: without any, two could begin.
        if survivors
            .max()
            .is_some_and(|reached| reached < newest.position)
        {
            members.insert(said.id, survivor(said, newest, false));
        }
        let name = || self.name(self.own);
        if !members.contains_key(&self.own) {
            return Err(RecoveryRefused::NotMember { name: name() });
        }
        let survivors = members
            .iter()
            .filter_map(|(id, member)| match &member.fate {
                Fate::Survives(account) => Some((account.position, member.votes, *id)),
                Fate::Dead(_) => None,
            });
        let (position, _, winner) = survivors.max().ok_or(RecoveryRefused::NoState)?;
        if position.index == 0 {
            return Err(RecoveryRefused::NoState);
        }
        let accounts = || self.accounts.iter().map(|(_, account)| *account);
        let promised = accounts().map(|a| a.promised.max(a.cluster.generation));
        Ok(RecoveryPlan {
            from: ClusterId {
                id: newest.cluster.id,
                generation: newest.position.generation,
            },
            generation: promised.max().unwrap_or_default() + 1,
            winner,
            position,
            term: accounts().map(|a| a.term).max().unwrap_or_default(),
            members,
        })
    }

    fn account(&self, id: PeerId) -> Option<&Account> {
        let mut found = self.accounts.iter().filter(|(said, _)| said.id == id);
        found.next().map(|(_, account)| *account)
    }

    fn name(&self, id: PeerId) -> String {
        let place = self.places.get(&id);
        place.map_or_else(|| id.to_string(), |place| place.name.clone())
    }

    /// Fewer voters than a quorum answer and are free to vote.
    fn majority_is_lost(&self, configuration: &Configuration) -> Result<(), RecoveryRefused> {
        let answers = |id| self.account(id).is_some_and(|account| !account.frozen);
        if !configuration.is_quorum(answers) {
            return Ok(());
        }
        let voters = || configuration.voters.union(&configuration.outgoing);
        Err(RecoveryRefused::MajorityLives {
            answering: voters().filter(|id| answers(**id)).count(),
            voters: voters().count(),
        })
    }

    /// The operator vouches for members only, and for none that answers.
    fn dead_are_dead(&self, configuration: &Configuration) -> Result<(), RecoveryRefused> {
        for name in self.dead {
            let of_that_name = |id: &PeerId| self.name(*id) == *name;
            let members: Vec<PeerId> = configuration.members().filter(of_that_name).collect();
            let name = name.clone();
            if members.is_empty() {
                return Err(RecoveryRefused::UnknownName { name });
            }
            if members.iter().any(|id| self.account(*id).is_some()) {
                return Err(RecoveryRefused::SaidDeadAnswers { name });
            }
        }
        Ok(())
    }

    /// What became of every member; an error if that is not known of some.
    fn members(
        &self,
        configuration: &Configuration,
    ) -> Result<BTreeMap<PeerId, Fated>, RecoveryRefused> {
        let (mut members, mut silent) = (BTreeMap::new(), Vec::new());
        for id in configuration.members() {
            let votes = configuration.is_voter(id);
            if let Some((said, account)) = self.accounts.iter().find(|(said, _)| said.id == id) {
                members.insert(id, survivor(said, account, votes));
                continue;
            }
            match self.death(id).map(Fate::Dead) {
                Some(fate) => {
                    let place = self.places.get(&id).cloned();
                    let place = place.unwrap_or_else(|| Place {
                        name: self.name(id),
                        ..Place::default()
                    });
                    let member = Fated {
                        place,
                        contact: Bytes::new(),
                        votes,
                        fate,
                    };
                    members.insert(id, member);
                }
                None => silent.push((self.name(id), if votes { "voter" } else { "standby" })),
            }
        }
        silent.sort();
        silent.dedup();
        if silent.is_empty() {
            Ok(members)
        } else {
            Err(RecoveryRefused::Silent { members: silent })
        }
    }

    /// Why a member that does not answer counts as dead.
    fn death(&self, id: PeerId) -> Option<Evidence> {
        // Machines share an id where they were cloned, and names where somebody erred; who listens at the very address
        // of the member, with its name, on its machine, has taken its place.
        let successor = self.places.get(&id).and_then(|place| {
            let said = self.testimonies.get(&place.address)?;
            (said.id != id && said.place == *place).then_some(said)
        });
        if let Some(said) = successor {
            return Some(Evidence::Superseded { by: said.id });
        }
        if self.gone.contains(&id) {
            return Some(Evidence::Cloud);
        }
        // One whose place is not known goes by its incarnation.
        let vouched = self.dead.contains(&self.name(id));
        vouched.then_some(Evidence::Operator)
    }
}

fn survivor(said: &Testimony, account: &Account, votes: bool) -> Fated {
    Fated {
        place: said.place.clone(),
        contact: said.contact.clone(),
        votes,
        fate: Fate::Survives(account.clone()),
    }
}

impl Raft {
    /// The term and index that the log ends at.
    pub fn log_end(&self) -> (Term, Index) {
        (self.log.last_term(), self.log.last())
    }

    /// The entries that are not known to be committed: what a winner applies when its log wins whole.
    pub fn uncommitted(&self) -> Vec<Entry> {
        let tail = self.log.commit() + 1..=self.log.last();
        tail.filter_map(|index| self.log.get(index).cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests;
