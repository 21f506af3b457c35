//! What a joiner that would found a cluster does with the archive, away from its actor: it loads what was kept, asks whom
//! that names, and claims.
//!
//! Loading may take minutes, so it comes first; then those are asked who may hold more, the seeds last; the claim is
//! the last step of all, so that one of which nothing comes is rare. Deliberately refuses rather than to begin
//! empty where the archive cannot be asked or read: nothing is lost by waiting.

use std::collections::BTreeMap;
use std::rc::Rc;

use actix::prelude::*;
use futures::future::join_all;
use rand::RngCore;

use super::super::archive::{
    Archive, ArchiveError, Claim, Found, MayNot, Name, Purpose, listed, record,
};
use super::super::caller::Caller;
use super::super::formation::{ask_who, founding_configuration};
use super::super::raft_peer::archived::Refound;
use super::super::wire::Identity;
use super::Introduction;
use super::living::survivor;
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::raft::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM, ClusterId};
use crate::resource::time;
use crate::store::Store;

/// What a cluster begins with.
#[derive(Debug)]
pub(super) enum Begin {
    /// The lineage's first generation: nothing was ever kept there.
    First(ClusterId),
    /// A later one, by this node alone; the other seeds join it.
    Later(Box<Refound>),
}

/// Why nothing was prepared.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unprepared {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("no cluster is formed: {0}")]
    MayNot(#[from] MayNot),
    #[error("no cluster is formed: none of its seeds may vote")]
    NoVoter,
    #[error(
        "no cluster is formed yet: what is kept has changed meanwhile, so it is looked at again"
    )]
    Changed,
    #[error(
        "no cluster is formed: {node} still holds the state of the one that was kept, perhaps a later one; let \
         `kagero recover` go on from there, or end that node's process if its state is to be given up"
    )]
    Lives { node: String },
    #[error(
        "no cluster is formed: {node} claimed generation {generation} at the same time; if it is gone for good, start \
         this node again"
    )]
    Lost { node: String, generation: u64 },
}

/// What was kept, and who was the last to claim, before anything is claimed.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The latest claim of all, void or not.
    latest: Option<Claim>,
    /// The newest snapshot's name, whether it could be read or not.
    newest: Option<Name>,
    found: Option<Found>,
}

impl Loaded {
    /// The latest generation of which anything is known.
    fn cluster(&self) -> Option<ClusterId> {
        let claimed = self.latest.as_ref().map(Claim::cluster);
        let kept = self.found.as_ref().map(|found| found.header.cluster());
        let known = [claimed, kept].into_iter().flatten();
        known.max_by_key(|cluster| cluster.generation)
    }
}

/// What is needed to ask the archive, and others.
pub(super) struct Preparation {
    pub(super) archive: Archive,
    pub(super) clock: Rc<dyn Clock>,
    pub(super) entropy: Entropy,
    pub(super) introduction: Introduction,
    pub(super) caller: Addr<Caller>,
}

impl Preparation {
    /// Looks whose the archive is, and loads the newest snapshot.
    pub(super) async fn load(&self) -> Result<Loaded, Unprepared> {
        if !self.introduction.contact.may_vote {
            return Err(Unprepared::NoVoter);
        }
        let lineage = self.archive.lineage().await?;
        let latest = match lineage.latest {
            Some(generation) => Some(self.archive.claim_of(generation).await?),
            None => None,
        };
        let standing = lineage.standing.last().filter(|_| !self.introduction.init);
        if let Some(generation) = standing {
            let claim = self.archive.claim_of(*generation).await?;
            let own = &self.introduction.contact.address;
            claim.may_be_followed(&self.introduction.seeds, own)?;
        }
        let newest = self.archive.newest_name().await?;
        let claimed = latest.as_ref().map(|claim| claim.cluster);
        let found = self.archive.newest_snapshot(claimed).await?;
        Ok(Loaded {
            latest,
            newest,
            found,
        })
    }

    /// Makes sure that what was loaded is still the newest that there is, and that nobody whom it, or the newest roster,
    /// names knows more; then asks the seeds once more, and gives who they are.
    pub(super) async fn survey(
        &self,
        loaded: &Loaded,
    ) -> Result<BTreeMap<String, Identity>, Unprepared> {
        let lineage = self.archive.lineage().await?;
        let latest = loaded.latest.as_ref().map(|claim| claim.generation);
        if lineage.latest != latest || self.archive.newest_name().await? != loaded.newest {
            return Err(Unprepared::Changed);
        }
        if let Some(cluster) = loaded.cluster() {
            let found = loaded.found.as_ref();
            let view = found.map(|found| found.store.view());
            let known = view.map(|view| listed(&view, std::iter::empty()));
            let mut nodes = known.unwrap_or_default();
            let roster = self.archive.newest_roster(cluster.id).await?;
            nodes.extend(roster.into_iter().flat_map(|roster| roster.nodes));
            let (caller, own) = (&self.caller, self.introduction.id);
            if let Some(node) = survivor(caller, own, cluster.id, nodes).await {
                return Err(Unprepared::Lives { node });
            }
        }
        let seeds = &self.introduction.seeds;
        let answers = seeds.iter().map(|seed| ask_who(&self.caller, seed));
        let answers = seeds.iter().cloned().zip(join_all(answers).await);
        Ok(answers
            .filter_map(|(seed, who)| Some((seed, who?)))
            .collect())
    }

    /// Claims the generation after all that there were; what it begins with.
    pub(super) async fn claim(
        mut self,
        loaded: Loaded,
        seeds: &BTreeMap<String, Identity>,
    ) -> Result<Begin, Unprepared> {
        let claim = self.next_claim(&loaded, seeds);
        let holder = self.archive.claim(&claim).await?;
        if holder.founder == claim.founder && holder != claim {
            // An earlier attempt's, given up, whose claim came to be there only now. Others may have seen it, and this
            // node idle, and gone on after it.
            return Err(Unprepared::Changed);
        }
        if holder.founder != claim.founder {
            return Err(Unprepared::Lost {
                node: holder.node,
                generation: holder.generation,
            });
        }
        tracing::info!(claim.generation, "claimed a generation");
        Ok(if loaded.cluster().is_none() {
            Begin::First(claim.cluster())
        } else {
            Begin::Later(Box::new(self.refound(&claim, loaded.found)))
        })
    }

    /// The generation after all that there were, of the same cluster.
    fn next_claim(&mut self, loaded: &Loaded, answered: &BTreeMap<String, Identity>) -> Claim {
        let (cluster, generation) = match loaded.cluster() {
            Some(latest) => (latest.id, latest.generation + 1),
            None => (self.entropy.next_u64(), 0),
        };
        let introduction = &self.introduction;
        let contact = &introduction.contact;
        let mut seeds: std::collections::BTreeSet<_> = introduction.seeds.iter().cloned().collect();
        // Whoever would follow must ask the founder, too; by its seed's name, if it is one.
        if !answered.values().any(|who| who.id == introduction.id) {
            seeds.insert(contact.address.clone());
        }
        Claim {
            cluster,
            generation,
            purpose: Purpose::Formation,
            founder: introduction.id,
            node: contact.name.clone(),
            address: contact.address.clone(),
            machine: contact.machine_id.clone(),
            seeds,
            time: time::text(self.clock.wall()),
        }
    }

    fn refound(&mut self, claim: &Claim, found: Option<Found>) -> Refound {
        let url = self.archive.url().to_owned();
        let record = record::describe(claim, found.as_ref(), &url, self.clock.wall());
        tracing::warn!(
            record.generation,
            record.source,
            record.age_seconds,
            record.may_be_lost,
            "begins with what was kept"
        );
        let operations = record::operations(&record, &mut self.entropy);
        let alone = (self.introduction.id, self.introduction.contact.clone());
        let begin = (BOOTSTRAP_INDEX, BOOTSTRAP_TERM, Store::new());
        let (index, term, store) = found.map_or(begin, |found| {
            (found.header.index, found.header.term, found.store)
        });
        Refound {
            cluster: claim.cluster(),
            configuration: founding_configuration([alone].into(), 1),
            store,
            index,
            term,
            record: operations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::testing::host::contact;
    use crate::actors::testing::network::Wires;
    use crate::actors::testing::objects::Shelf;
    use crate::env::clock::SystemClock;
    use crate::raft::PeerId;

    fn preparation(shelf: &Shelf) -> Preparation {
        let introduction = Introduction {
            id: PeerId(1),
            contact: contact(1),
            seeds: vec![contact(1).address],
            init: false,
            voters_wanted: 3,
        };
        Preparation {
            archive: Archive::new(shelf.edge()),
            clock: Rc::new(SystemClock::new()),
            entropy: Entropy::from_seed(1),
            introduction,
            caller: Caller::new(Wires::default().network()).start(),
        }
    }

    fn nothing() -> Loaded {
        Loaded {
            latest: None,
            newest: None,
            found: None,
        }
    }

    /// The store carried it out long after it had been given up.
    #[actix::test]
    async fn an_earlier_attempts_claim_is_not_begun() {
        let shelf = Shelf::default();
        let earlier = preparation(&shelf).next_claim(&nothing(), &BTreeMap::new());
        let time = "2026-11-22T00:00:00Z".to_owned();
        let archive = Archive::new(shelf.edge());
        archive.claim(&Claim { time, ..earlier }).await.unwrap();
        let again = preparation(&shelf);
        let claimed = again.claim(nothing(), &BTreeMap::new()).await;
        assert!(matches!(claimed, Err(Unprepared::Changed)), "{claimed:?}");
        let fresh = preparation(&Shelf::default());
        let claimed = fresh.claim(nothing(), &BTreeMap::new()).await;
        assert!(matches!(claimed, Ok(Begin::First(_))), "{claimed:?}");
    }
}
