//! On whose behalf the archive is used: whether this node's cluster may keep anything there, or go on from there.
//!
//! A leader claims its cluster's generation before it keeps anything of it, so that whoever is told of the archive later
//! knows whose it is. What claims mean is `archive/claim.rs`'; here their founders and seeds are asked. Deliberately
//! never claims for who forms or recovers: those begin a generation, and only they know when.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use futures::future::join_all;
use tokio::time::Instant;

use super::archive::{Archive, ArchiveError, Claim, MayNot, Purpose};
use super::caller::{self, Caller};
use super::raft_peer::RaftPeer;
use super::raft_peer::survivor::GiveAccount;
use super::wire::{Answer, Call, Contact};
use crate::env::clock::Clock;
use crate::raft::{ClusterId, PeerId, Place, RecoveryPlan, Testimony};
use crate::resource::{Status, time};

/// Who does not answer within this time is silent. Twice what dialling may take.
const ANSWER_MS_MAX: u64 = 2_000;

/// Why nothing may be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// The archive could not be asked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is another's.
    #[error("nothing is kept of this cluster: {0}")]
    MayNot(#[from] MayNot),
}

/// The archive, as a node of a cluster uses it. Cheap to clone.
#[derive(Clone)]
pub struct Claimant {
    /// The archive.
    pub archive: Archive,
    /// Asks others.
    pub caller: Addr<Caller>,
    /// Says what part this node has itself.
    pub peer: Addr<RaftPeer>,
    /// This incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
    /// Peer addresses that the operator gave.
    pub seeds: Vec<String>,
    /// Stamps claims.
    pub clock: Rc<dyn Clock>,
}

impl Claimant {
    /// Makes sure that the archive is this cluster's, and that its present generation is claimed.
    pub async fn secure(&self, cluster: ClusterId) -> Result<(), NotOurs> {
        let lineage = self.archive.lineage().await?;
        for generation in lineage.after(cluster.generation) {
            let claim = self.archive.claim_of(generation).await?;
            ours(&claim, cluster)?;
            if !self.never_begun(&claim).await? {
                // Another cluster has gone on from here. What this one would add is not of that one's history.
                return Err(claim.gone_on().into());
            }
            self.archive.make_void(&claim).await?;
            let (generation, node) = (claim.generation, &claim.node);
            tracing::warn!(generation, node, "a claim is void: nothing came of it");
        }
        let earlier = lineage.standing.iter().rev();
        let mut earlier = earlier.filter(|generation| **generation <= cluster.generation);
        if let Some(generation) = earlier.next() {
            ours(&self.archive.claim_of(*generation).await?, cluster)?;
            if *generation == cluster.generation {
                return Ok(());
            }
        }
        let holder = self.archive.claim(&self.keeping(cluster)).await?;
        Ok(ours(&holder, cluster)?)
    }

    /// Which generation a planned recovery may claim: the planned one, or a later one where earlier attempts came to nothing.
    /// Where another cluster is kept no claim is of this one, and nobody forms it of what is there.
    pub async fn next_recovery(&self, plan: &RecoveryPlan) -> Result<u64, Status> {
        let unasked =
            |error: ArchiveError| Status::unavailable(format!("nothing was begun: {error}"));
        let lineage = self.archive.lineage().await.map_err(unasked)?;
        let survivors = plan.survivors().map(|(id, ..)| id).collect();
        for generation in lineage.after(plan.from.generation) {
            let claim = self.archive.claim_of(generation).await.map_err(unasked)?;
            if claim.cluster != plan.from.id {
                return Ok(plan.generation);
            }
            let nothing = claim.is_broken_off(&survivors)
                || self.never_begun(&claim).await.map_err(unasked)?;
            if !nothing {
                return Err(Status::new(409, "Conflict", claim.gone_on().to_string()));
            }
        }
        let next = lineage.latest.map_or(0, |latest| latest + 1);
        Ok(plan.generation.max(next))
    }

    /// Claims the generation of a recovery, unless what is kept is another cluster's: nobody forms this one of that.
    pub async fn claim_recovery(&self, wanted: &Claim) -> Result<(), NotOurs> {
        if let Some(latest) = self.archive.lineage().await?.latest {
            let latest = self.archive.claim_of(latest).await?;
            if let Err(error) = ours(&latest, wanted.cluster()) {
                tracing::warn!(%error, "the recovery is claimed nowhere");
                return Ok(());
            }
        }
        let holder = self.archive.claim(wanted).await?;
        let won = holder.founder == wanted.founder && holder.purpose == wanted.purpose;
        if won || holder.cluster != wanted.cluster {
            return Ok(());
        }
        Err(holder.gone_on().into())
    }

    /// Whether certainly nothing came of a claim and nothing ever will. Asks its founder and its seeds.
    pub async fn never_begun(&self, claim: &Claim) -> Result<bool, ArchiveError> {
        // Asked first: what it begins with meanwhile would be missed else.
        let said = self.hear(claim).await;
        let left = self.archive.is_kept(claim.generation).await?;
        Ok(claim.never_begun(&said, left))
    }

    async fn hear(&self, claim: &Claim) -> BTreeMap<String, Testimony> {
        let own = &self.contact.address;
        let mut said = BTreeMap::new();
        let mut places = claim.places();
        // No answer means that the node is stopping.
        if places.remove(own)
            && let Ok(account) = self.peer.send(GiveAccount).await
        {
            let testimony = Testimony {
                id: self.id,
                place: Place {
                    name: self.contact.name.clone(),
                    machine: self.contact.machine_id.clone(),
                    address: own.clone(),
                },
                contact: self.contact.encode(),
                recovers: false,
                account,
            };
            said.insert(own.clone(), testimony);
        }
        let asked = places.into_iter().map(async |address| {
            let question = caller::Place {
                address: address.clone(),
                call: Call::Testify,
                deadline: Instant::now() + Duration::from_millis(ANSWER_MS_MAX),
            };
            match self.caller.send(question).await {
                Ok(Ok(Answer::Testified(said))) => Some((address, said)),
                _ => None,
            }
        });
        said.extend(join_all(asked).await.into_iter().flatten());
        said
    }

    fn keeping(&self, cluster: ClusterId) -> Claim {
        Claim {
            cluster: cluster.id,
            generation: cluster.generation,
            purpose: Purpose::Keeping,
            founder: self.id,
            node: self.contact.name.clone(),
            address: self.contact.address.clone(),
            machine: self.contact.machine_id.clone(),
            seeds: self.seeds.iter().cloned().collect(),
            time: time::text(self.clock.wall()),
        }
    }
}

fn ours(claim: &Claim, cluster: ClusterId) -> Result<(), MayNot> {
    if claim.cluster == cluster.id {
        return Ok(());
    }
    Err(claim.other_cluster())
}
