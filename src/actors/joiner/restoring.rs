//! How a joiner founds a cluster where there is an archive: it looks what was there before, claims the next generation,
//! and begins that with the newest snapshot.
//!
//! Whether all seeds are empty, `joiner.rs` has seen before, and sees again between the claim and the beginning. What
//! makes it safe is the claim: one process alone can make it, so of two formations that know nothing of each other (other
//! seeds, a network that is cut) one wins. Deliberately refuses rather than to begin empty where the archive cannot be
//! asked or read: nothing is lost by waiting.

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use rand::RngCore;
use tokio::time::Instant;

use super::super::archive::{Archive, ArchiveError, Claim, Found, MayNot, Purpose, record};
use super::super::caller::Caller;
use super::super::formation::founding_configuration;
use super::super::raft_peer::archived::Refound;
use super::Joiner;
use super::living::survivor;
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::raft::{BOOTSTRAP_INDEX, BOOTSTRAP_TERM, ClusterId};
use crate::resource::time;
use crate::store::Store;

/// After a failure the archive is asked again after this time.
const AGAIN_MS: u64 = 2_000;
/// A claim that could not be used for so long, because a seed stopped to answer, is given up: what is in the archive may
/// have changed.
const PREPARED_MS_MAX: u64 = 10_000;

/// What a joiner needs of the archive.
pub struct Restoring {
    archive: Archive,
    peer: Recipient<Refound>,
    clock: Rc<dyn Clock>,
    /// What the cluster begins with, since when.
    prepared: Option<(Begin, Instant)>,
    /// Not before this time is the archive asked again.
    again: Option<Instant>,
    /// Why this process founds nothing any more.
    barred: bool,
    /// What was said last, so that it is not said every time.
    told: String,
}

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
enum Unprepared {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("no cluster is formed: {0}")]
    MayNot(#[from] MayNot),
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

/// The archive was asked.
#[derive(Message)]
#[rtype(result = "()")]
struct Prepared(Result<Begin, Unprepared>);

impl Restoring {
    /// Of an archive; `peer` begins the generation.
    pub fn new(archive: Archive, peer: Recipient<Refound>, clock: Rc<dyn Clock>) -> Self {
        Self {
            archive,
            peer,
            clock,
            prepared: None,
            again: None,
            barred: false,
            told: String::new(),
        }
    }

    fn may_ask(&self) -> bool {
        !self.barred && self.again.is_none_or(|again| Instant::now() >= again)
    }

    fn tell(&mut self, what: String) {
        if self.told != what {
            tracing::error!("{what}");
            self.told = what;
        }
    }
}

impl Joiner {
    /// The same joiner with an archive.
    #[must_use]
    pub fn with_archive(mut self, restoring: Restoring) -> Self {
        self.restoring = Some(restoring);
        self
    }

    /// What the cluster that this node is about to found begins with. `None` where there is no archive; else it may have
    /// to be asked first, and the seeds once more after that.
    pub(super) fn begin_with(&mut self, ctx: &mut Context<Self>) -> Asking {
        let Some(restoring) = &mut self.restoring else {
            return Asking::NoArchive;
        };
        let fresh = Duration::from_millis(PREPARED_MS_MAX);
        match restoring.prepared.take() {
            Some((begin, since)) if since.elapsed() < fresh => Asking::Answered(begin),
            _ if !restoring.may_ask() => Asking::Later,
            _ => {
                self.prepare(ctx);
                Asking::UnderWay
            }
        }
    }

    fn prepare(&mut self, ctx: &mut Context<Self>) {
        let Some(restoring) = &self.restoring else {
            return;
        };
        tracing::info!(
            archive = restoring.archive.url(),
            "looks for what was kept of the cluster"
        );
        let preparation = Preparation {
            archive: restoring.archive.clone(),
            clock: restoring.clock.clone(),
            entropy: self.entropy.clone(),
            introduction: self.introduction.clone(),
            caller: self.caller.clone(),
        };
        let me = ctx.address();
        let preparing = async move { me.do_send(Prepared(preparation.prepare().await)) };
        ctx.spawn(preparing.into_actor(self));
    }

    /// Begins a later generation of a cluster by itself.
    pub(super) fn refound(&mut self, refound: Refound) {
        let Some(restoring) = &self.restoring else {
            return;
        };
        self.cluster.send_replace(Some(refound.cluster));
        restoring.peer.do_send(refound);
    }
}

/// What came of asking the archive.
pub(super) enum Asking {
    /// There is none.
    NoArchive,
    /// It will be told.
    UnderWay,
    /// Not now.
    Later,
    /// This.
    Answered(Begin),
}

impl Handler<Prepared> for Joiner {
    type Result = ();

    fn handle(&mut self, Prepared(prepared): Prepared, _: &mut Self::Context) {
        self.busy = false;
        let Some(restoring) = &mut self.restoring else {
            return;
        };
        match prepared {
            Ok(begin) => restoring.prepared = Some((begin, Instant::now())),
            Err(unprepared) => {
                // Whoever was told to found alone does not look whether the other lives; so it must not go on.
                restoring.barred =
                    self.introduction.init && matches!(unprepared, Unprepared::Lost { .. });
                restoring.again = Some(Instant::now() + Duration::from_millis(AGAIN_MS));
                restoring.tell(unprepared.to_string());
            }
        }
    }
}

/// What is needed to ask the archive, away from the actor.
struct Preparation {
    archive: Archive,
    clock: Rc<dyn Clock>,
    entropy: Entropy,
    introduction: super::Introduction,
    caller: Addr<Caller>,
}

impl Preparation {
    async fn prepare(mut self) -> Result<Begin, Unprepared> {
        let before = self.archive.newest_claim().await?;
        if let Some(claim) = before.as_ref().filter(|_| !self.introduction.init) {
            claim.may_be_followed(&self.introduction.seeds)?;
        }
        let found = self.archive.newest_snapshot().await?;
        if let Some(Found { header, store, .. }) = &found
            && let Some(node) = survivor(
                &self.caller,
                self.introduction.id,
                header.cluster,
                &store.view(),
            )
            .await
        {
            return Err(Unprepared::Lives { node });
        }
        let claim = self.next_claim(before.as_ref(), found.as_ref());
        let holder = self.archive.claim(&claim).await?;
        if holder.founder != claim.founder {
            return Err(Unprepared::Lost {
                node: holder.node,
                generation: holder.generation,
            });
        }
        tracing::info!(claim.generation, "claimed a generation");
        Ok(if before.is_none() && found.is_none() {
            Begin::First(claim.cluster())
        } else {
            Begin::Later(Box::new(self.refound(&claim, found)))
        })
    }

    /// The generation after all that there were, of the same cluster.
    fn next_claim(&mut self, before: Option<&Claim>, found: Option<&Found>) -> Claim {
        let claimed = before.map(Claim::cluster);
        let kept = found.map(|found| found.header.cluster());
        let latest = [claimed, kept].into_iter().flatten();
        let latest = latest.max_by_key(|cluster| cluster.generation);
        let (cluster, generation) = match latest {
            Some(latest) => (latest.id, latest.generation + 1),
            None => (self.entropy.next_u64(), 0),
        };
        let introduction = &self.introduction;
        Claim {
            cluster,
            generation,
            purpose: Purpose::Formation,
            founder: introduction.id,
            node: introduction.contact.name.clone(),
            seeds: introduction.seeds.iter().cloned().collect(),
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
