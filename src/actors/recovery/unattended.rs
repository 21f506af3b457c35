//! Recovery without an operator, for whoever has asked for it (`--auto-recover`): the same plan, carried out by the node
//! whose log wins, once every missing member is proven dead.
//!
//! Nobody vouches for it, so more must be certain than that the members which this node knows are dead: they may have let
//! others in before they died, without a survivor that was cut off. Hence every node that the survivor's state or the
//! archive's roster names must answer, and hear no leader, or be proven dead too; and the archive's claim decides between
//! two that recover. What is left: nodes that registered after a survivor was cut off, and of which nobody could write a
//! roster.
//!
//! Deliberately patient and dull: what is not proven is asked again later, and of the survivors only the winner acts, so
//! that they do not take promises from each other.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::{Instant, timeout};

use super::{ARCHIVE_MS_MAX, Around, Inquiry, Recover, Recoverer, conflict, slow};
use crate::actors::archive::Listed;
use crate::actors::cloud_word;
use crate::actors::raft_peer::survivor::GiveAccount;
use crate::actors::refusals::stopping;
use crate::actors::registration::{nodes, registered};
use crate::raft::RecoveryRefused;
use crate::resource::Status;

/// How often it is looked whether a leader is heard.
const LOOK_MS: u64 = 2_000;
/// Without a leader for so long, a majority may be gone: many elections would have been won meanwhile.
const LEADERLESS_MS: u64 = 10_000;

/// What has been seen so far.
#[derive(Default)]
pub(super) struct Unattended {
    /// Since when no leader is heard, if this node holds a replica.
    since: Option<Instant>,
    /// An attempt is under way.
    tries: bool,
    /// Why the last attempt did nothing.
    refused: String,
}

/// Whether this node has a replica and hears no leader.
#[derive(Message)]
#[rtype(result = "()")]
struct Looked {
    leaderless: bool,
}

/// An attempt has ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Tried(Result<(), String>);

impl Recoverer {
    /// Looks from now on.
    pub(super) fn attend(&self, ctx: &mut Context<Self>) {
        let peer = self.around.peer.clone();
        ctx.run_interval(Duration::from_millis(LOOK_MS), move |_, ctx| {
            let (peer, me) = (peer.clone(), ctx.address());
            actix::spawn(async move {
                // No answer means that the node is stopping.
                if let Ok(account) = peer.send(GiveAccount).await {
                    let leaderless = account.is_some_and(|account| !account.hears_leader);
                    me.do_send(Looked { leaderless });
                }
            });
        });
    }
}

impl Handler<Looked> for Recoverer {
    type Result = ();

    fn handle(&mut self, Looked { leaderless }: Looked, ctx: &mut Self::Context) {
        if !leaderless {
            self.unattended.since = None;
            return;
        }
        let since = *self.unattended.since.get_or_insert_with(Instant::now);
        let waits = since.elapsed() < Duration::from_millis(LEADERLESS_MS);
        if waits || std::mem::replace(&mut self.unattended.tries, true) {
            return;
        }
        let (own, me) = (self.around.contact.name.clone(), ctx.address());
        actix::spawn(async move {
            let tried = recover_if_proven(&me, &own).await;
            me.do_send(Tried(tried));
        });
    }
}

impl Handler<Tried> for Recoverer {
    type Result = ();

    fn handle(&mut self, Tried(result): Tried, _: &mut Self::Context) {
        self.unattended.tries = false;
        let refused = result.err().unwrap_or_default();
        // Said once, not at every attempt.
        if !refused.is_empty() && refused != self.unattended.refused {
            tracing::warn!(
                reason = refused,
                "no leader is heard, and nothing is recovered yet"
            );
        }
        self.unattended.refused = refused;
    }
}

impl Around {
    /// Every node that this one's state or the archive's newest roster names, by incarnation.
    pub(super) async fn everybody(&self) -> Result<BTreeMap<String, Listed>, Status> {
        let no_archive = || conflict("nobody recovers unattended without --snapshots");
        let claimant = self.claimant.as_ref().ok_or_else(no_archive)?;
        let known = self.known.borrow().clone();
        let no_replica = || conflict(RecoveryRefused::NoReplica.to_string());
        let known = known.ok_or_else(no_replica)?;
        let asked = claimant.archive.newest_roster(known.standing.cluster.id);
        let roster = timeout(Duration::from_millis(ARCHIVE_MS_MAX), asked).await;
        let roster = roster.map_err(slow)?;
        let roster = roster.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut everybody: BTreeMap<_, _> =
            roster.into_iter().flat_map(|roster| roster.nodes).collect();
        let registered = nodes(&known.view).filter_map(|node| registered(&node));
        everybody.extend(registered.map(|(id, contact)| (id.to_string(), contact.into())));
        Ok(everybody)
    }

    /// Fails if one of these, who do not answer, is not proven dead: by another process in its place, or by the cloud.
    pub(super) async fn must_be_gone(
        &self,
        mut silent: BTreeMap<String, Listed>,
        heard: &Inquiry,
    ) -> Result<(), Status> {
        silent.retain(|_, node| {
            let said = heard.testimonies.get(&node.address);
            !said.is_some_and(|said| {
                said.place.name == node.name && said.place.machine == node.machine_id
            })
        });
        let gone = cloud_word::gone(&*self.cloud, silent.clone()).await;
        match silent.iter().find(|(id, _)| !gone.contains(*id)) {
            None => Ok(()),
            Some((_, node)) => Err(conflict(format!(
                "the node {} does not answer and is not proven dead; it may know of a later leader",
                node.name
            ))),
        }
    }
}

/// What an operator would do, who vouches for nobody and agrees to every plan in which this node wins.
async fn recover_if_proven(recoverer: &Addr<Recoverer>, own: &str) -> Result<(), String> {
    let recover = async |confirm| {
        let asked = Recover {
            confirm,
            unattended: true,
            ..Recover::default()
        };
        let done = recoverer.send(asked).await.map_err(|_| stopping());
        done.flatten().map_err(|status| status.message)
    };
    let plan = recover(None).await?;
    if plan.record.winner != own {
        return Err(format!("it is for {} to go on", plan.record.winner));
    }
    recover(Some(plan.confirm)).await.map(|_| ())
}
