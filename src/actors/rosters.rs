//! Keeps the roster in the archive: on the leader, as soon as its nodes change.
//!
//! A snapshot may be a minute old, and names only the nodes that there were then; the roster names those that came
//! later, so that they are asked before a cluster is formed of what is kept. It is written at once, and then once a second
//! at most, whatever has changed meanwhile. Deliberately without waiting for anybody: no node waits to be let in until it
//! is written.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::archive::{Listed, Roster, listed};
use super::claimant::{Claimant, NotOurs};
use super::messages::{Applied, BecameLeader, LostLeadership};
use super::raft_peer::archived::{TakeSnapshot, Taken};
use super::registration::registered;
use super::snapshots::SnapshotMetrics;
use crate::store::{Event, Record};

/// From one roster to the next at least: many nodes that come at once cost one or two writes. With the requests that go
/// with a write (whether the archive is this cluster's still, which rosters there are, the removal of the last one) it
/// takes five or six, so a cluster whose nodes came and went all the time would make six a second.
const PAUSE_MS: u64 = 1_000;
/// After a failure it is tried again after the pause, doubled each time, up to this.
const AGAIN_MS_MAX: u64 = 30_000;

/// The actor. Invariant: a timer is set only while it leads.
pub struct Rosters {
    claimant: Claimant,
    metrics: SnapshotMetrics,
    leads: bool,
    /// Something may have changed that is not on its way.
    changed: bool,
    busy: bool,
    timer: Option<SpawnHandle>,
    /// When the last one was begun.
    began: Option<Instant>,
    /// What the archive certainly has.
    kept: Option<BTreeMap<String, Listed>>,
    /// Failures without a success between.
    failed: u32,
}

/// Writing one ended: with what was written, if this node still led.
#[derive(Message)]
#[rtype(result = "()")]
struct RosterTried(Result<Option<BTreeMap<String, Listed>>, NotOurs>);

impl Rosters {
    /// An idle one.
    pub fn new(claimant: Claimant, metrics: SnapshotMetrics) -> Self {
        Self {
            claimant,
            metrics,
            leads: false,
            changed: false,
            busy: false,
            timer: None,
            began: None,
            kept: None,
            failed: 0,
        }
    }

    /// Writes as soon as it may.
    fn hasten(&mut self, ctx: &mut Context<Self>) {
        if !self.leads || !self.changed || self.busy || self.timer.is_some() {
            return;
        }
        let wait = self
            .began
            .map(|began| self.pause().saturating_sub(began.elapsed()));
        match wait.filter(|wait| !wait.is_zero()) {
            None => self.write(ctx),
            Some(wait) => {
                self.timer = Some(ctx.run_later(wait, |rosters, ctx| {
                    rosters.timer = None;
                    rosters.hasten(ctx);
                }));
            }
        }
    }

    fn pause(&self) -> Duration {
        let doubled = 1_u64.checked_shl(self.failed).unwrap_or(u64::MAX);
        let millis = PAUSE_MS.saturating_mul(doubled).min(AGAIN_MS_MAX);
        Duration::from_millis(millis)
    }

    fn write(&mut self, ctx: &mut Context<Self>) {
        self.busy = true;
        self.changed = false;
        self.began = Some(Instant::now());
        let (claimant, kept) = (self.claimant.clone(), self.kept.clone());
        let me = ctx.address();
        let writing = async move { me.do_send(RosterTried(write(&claimant, kept).await)) };
        ctx.spawn(writing.into_actor(self));
    }
}

/// Writes it, if it is not what is kept already.
async fn write(
    claimant: &Claimant,
    kept: Option<BTreeMap<String, Listed>>,
) -> Result<Option<BTreeMap<String, Listed>>, NotOurs> {
    // No answer means that the node is stopping.
    let Ok(Some(taken)) = claimant.peer.send(TakeSnapshot).await else {
        return Ok(None);
    };
    let Taken {
        cluster,
        index,
        term,
        snapshot,
        contacts,
    } = taken;
    let nodes = listed(snapshot.view(), contacts.iter());
    if kept.as_ref() == Some(&nodes) {
        return Ok(kept);
    }
    claimant.secure(cluster).await?;
    let roster = Roster {
        cluster: cluster.id,
        generation: cluster.generation,
        term,
        index,
        node: claimant.contact.name.clone(),
        nodes,
    };
    claimant.archive.save_roster(&roster).await?;
    Ok(Some(roster.nodes))
}

/// Whether a node came, went, or is another process now. What else is written of nodes is most of all writes.
fn changes_nodes(events: &[Event]) -> bool {
    let read = |record: &Option<Record>| {
        let node: Node = serde_json::from_slice(&record.as_ref()?.value).ok()?;
        let (id, contact) = registered(&node)?;
        Some((id, contact.address))
    };
    let mut nodes = events
        .iter()
        .filter(|event| event.key.starts_with("nodes/"));
    nodes.any(|event| read(&event.previous) != read(&event.current))
}

impl Actor for Rosters {
    type Context = Context<Self>;
}

impl Handler<BecameLeader> for Rosters {
    type Result = ();

    fn handle(&mut self, _: BecameLeader, ctx: &mut Self::Context) {
        self.leads = true;
        self.changed = true;
        self.kept = None;
        self.hasten(ctx);
    }
}

impl Handler<Applied> for Rosters {
    type Result = ();

    fn handle(&mut self, Applied { events, .. }: Applied, ctx: &mut Self::Context) {
        if changes_nodes(&events) {
            self.changed = true;
            self.hasten(ctx);
        }
    }
}

impl Handler<LostLeadership> for Rosters {
    type Result = ();

    fn handle(&mut self, _: LostLeadership, ctx: &mut Self::Context) {
        self.leads = false;
        self.failed = 0;
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
    }
}

impl Handler<RosterTried> for Rosters {
    type Result = ();

    fn handle(&mut self, RosterTried(result): RosterTried, ctx: &mut Self::Context) {
        self.busy = false;
        match result {
            Ok(kept) => {
                self.kept = kept;
                self.failed = 0;
            }
            Err(error) => {
                self.failed = self.failed.saturating_add(1);
                self.changed = true;
                self.metrics.roster_failed();
                // A store that fails is told of aloud where the state cannot be kept; this is tried as soon as that.
                tracing::warn!(%error, times = self.failed, "the nodes' roster could not be kept");
            }
        }
        self.hasten(ctx);
    }
}
