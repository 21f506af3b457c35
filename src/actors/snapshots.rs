//! Keeps the cluster's state in the archive: on the leader, every so often, and only what has changed.
//!
//! The state is taken in O(1), encoded piece by piece so that the node's one thread is never held for long, and sent by a
//! task; one at a time, so one encoded state is in memory at most. Deliberately without waiting for anybody: a cluster
//! serves as well without its archive, and only its age there tells (`/metrics`).

use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::sync::watch;
use tokio::time::Instant;

use super::archive::Header;
use super::claimant::{Claimant, NotOurs};
use super::messages::{Applied, BecameLeader, LostLeadership, SnapshotStatus, Submit};
use super::metrics::registered;
use super::raft_peer::archived::{TakeSnapshot, Taken};
use super::raft_peer::image::encode;
use crate::control::{EventSource, Level, event};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::resource::time;
use crate::store::Revision;

/// The first snapshot of a reign is taken after this time: what a leader has just formed, restored or taken over is
/// then kept soon, and a cluster that changes its leader again and again does not flood the store.
const FIRST_MS: u64 = 5_000;
/// After a failure it is tried again after this time, doubled each time.
const AGAIN_MS: u64 = 1_000;
/// … up to this.
const AGAIN_MS_MAX: u64 = 60_000;
/// A namespace that every cluster has: events about the whole cluster are about it.
const ABOUT: &str = "kube-system";

/// What a node keeps of its archive's figures.
#[derive(Clone)]
pub struct SnapshotMetrics {
    fresh: IntGauge,
    bytes: IntGauge,
    saved: IntCounter,
    failures: IntCounter,
    roster_failures: IntCounter,
    refused: IntGauge,
}

impl SnapshotMetrics {
    /// Registers the figures; fails if the registry has them already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help));
        let counter = |name: &str, help: &str| registered(registry, IntCounter::new(name, help));
        Ok(Self {
            fresh: gauge(
                "kagero_snapshot_fresh_timestamp_seconds",
                "When the archive was last known to hold everything, Unix time; 0 on who does not lead",
            )?,
            bytes: gauge(
                "kagero_snapshot_bytes",
                "Size of the newest snapshot that this node has saved",
            )?,
            saved: counter(
                "kagero_snapshots_saved_total",
                "Snapshots that this node has saved",
            )?,
            failures: counter(
                "kagero_snapshot_failures_total",
                "Snapshots that this node could not save",
            )?,
            roster_failures: counter(
                "kagero_roster_failures_total",
                "Rosters of the nodes that this node could not keep beside the snapshots",
            )?,
            refused: gauge(
                "kagero_snapshot_refused",
                "1 on a leader that keeps nothing because what is kept there is another cluster's",
            )?,
        })
    }

    /// A roster could not be kept.
    pub(super) fn roster_failed(&self) {
        self.roster_failures.inc();
    }
}

/// Neighbours of the actor.
pub struct Around {
    /// Where to, and on whose behalf.
    pub claimant: Claimant,
    /// Takes events.
    pub submit: Recipient<Submit>,
    /// Stamps snapshots.
    pub clock: Rc<dyn Clock>,
    /// Names events.
    pub entropy: Entropy,
    /// Counts.
    pub metrics: SnapshotMetrics,
    /// From one snapshot's beginning to the next one's.
    pub interval: Duration,
    /// Hears how it stands, while this node leads.
    pub told: watch::Sender<Option<SnapshotStatus>>,
}

/// Keep the state now: this process is about to end, and nobody takes over. Answered with whether the archive has
/// everything then; not, if this node does not lead. A save that is under way is not waited for.
#[derive(Message, Clone, Copy, Debug)]
#[rtype(result = "Result<bool, NotOurs>")]
pub struct SaveNow;

/// The actor. Invariant: while it leads, either a timer is set or a save is under way, never both.
pub struct Snapshots {
    around: Around,
    /// The term it leads.
    reign: Option<u64>,
    timer: Option<SpawnHandle>,
    busy: bool,
    /// What the archive certainly has of this generation.
    saved: Option<Revision>,
    /// Failures without a success between.
    failed: u32,
}

/// What came of a save.
enum Outcome {
    /// Saved, at this size.
    Saved { revision: Revision, bytes: usize },
    /// Nothing has changed since the last one.
    Unchanged,
    /// This node does not lead any more.
    NotLeader,
}

/// A save ended.
#[derive(Message)]
#[rtype(result = "()")]
struct SaveTried {
    began: Instant,
    /// On the wall clock.
    at: Timestamp,
    result: Result<Outcome, NotOurs>,
}

impl Snapshots {
    /// An idle one.
    pub fn new(around: Around) -> Self {
        Self {
            around,
            reign: None,
            timer: None,
            busy: false,
            saved: None,
            failed: 0,
        }
    }

    fn arm(&mut self, after: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.timer = Some(ctx.run_later(after, |snapshots, ctx| {
            snapshots.timer = None;
            snapshots.save(ctx);
        }));
    }

    fn save(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.reign.is_none() {
            return;
        }
        self.busy = true;
        let saving = self.saving();
        let me = ctx.address();
        let (began, at) = (Instant::now(), saving.at);
        let saving = async move {
            let result = saving.save().await;
            me.do_send(SaveTried { began, at, result });
        };
        ctx.spawn(saving.into_actor(self));
    }

    fn saving(&self) -> Saving {
        Saving {
            claimant: self.around.claimant.clone(),
            at: self.around.clock.wall(),
            saved: self.saved,
        }
    }

    /// Tells how it stands.
    fn tell(&self, change: impl FnOnce(&mut SnapshotStatus)) {
        let mut told = self.around.told.borrow().clone().unwrap_or_default();
        self.around
            .claimant
            .archive
            .url()
            .clone_into(&mut told.store);
        change(&mut told);
        self.around.told.send_replace(Some(told));
    }

    /// How long to wait after the so-manieth failure.
    fn pause(&self) -> Duration {
        let doubled = 1_u64.checked_shl(self.failed.saturating_sub(1));
        let millis = AGAIN_MS.saturating_mul(doubled.unwrap_or(u64::MAX));
        Duration::from_millis(millis.min(AGAIN_MS_MAX)).min(self.around.interval)
    }

    /// Says it where `kubectl get events -A` shows it; whoever misses it finds it in the log and the metrics.
    fn say(&mut self, level: Level, reason: &str, message: &str) {
        let meta = ObjectMeta {
            name: Some(ABOUT.to_owned()),
            ..ObjectMeta::default()
        };
        let source = EventSource {
            component: "kagero-snapshots",
            api_version: "v1",
            kind: "Namespace",
            meta: &meta,
        };
        let (now, entropy) = (self.around.clock.wall(), &mut self.around.entropy);
        let event = event(source, level, reason, message, now, entropy);
        self.around.submit.do_send(Submit(vec![event]));
    }

    fn on_failure(&mut self, error: &NotOurs) {
        self.around.metrics.failures.inc();
        let refused = matches!(error, NotOurs::MayNot(_));
        self.around.metrics.refused.set(i64::from(refused));
        self.tell(|told| told.problem = error.to_string());
        self.failed = self.failed.saturating_add(1);
        tracing::warn!(%error, times = self.failed, "the cluster's state could not be kept");
        if self.failed == 1 {
            self.say(Level::Warning, "SnapshotFailed", &error.to_string());
        }
    }

    fn on_success(&mut self, outcome: &Outcome, at: Timestamp) {
        self.around.metrics.fresh.set(at.as_second());
        self.around.metrics.refused.set(0);
        self.tell(|told| {
            told.problem.clear();
            told.time = time::text(at);
            if let Outcome::Saved { revision, .. } = outcome {
                told.revision = *revision;
            }
        });
        let metrics = &self.around.metrics;
        if let Outcome::Saved { revision, bytes } = outcome {
            metrics.saved.inc();
            metrics.bytes.set(*bytes as i64);
            self.saved = Some(*revision);
            tracing::debug!(revision, bytes, "kept the cluster's state");
        }
        if std::mem::take(&mut self.failed) > 0 {
            self.say(
                Level::Normal,
                "SnapshotSaved",
                "the cluster's state is kept again",
            );
        }
    }
}

/// One save, away from the actor.
struct Saving {
    claimant: Claimant,
    at: Timestamp,
    saved: Option<Revision>,
}

impl Saving {
    async fn save(self) -> Result<Outcome, NotOurs> {
        // No answer means that the node is stopping.
        let Ok(Some(taken)) = self.claimant.peer.send(TakeSnapshot).await else {
            return Ok(Outcome::NotLeader);
        };
        let Taken {
            cluster,
            index,
            term,
            snapshot,
            ..
        } = taken;
        let revision = snapshot.view().revision();
        if self.saved == Some(revision) {
            return Ok(Outcome::Unchanged);
        }
        self.claimant.secure(cluster).await?;
        let header = Header {
            cluster: cluster.id,
            generation: cluster.generation,
            term,
            index,
            revision,
            time_ms: self.at.as_millisecond(),
            node: self.claimant.contact.name.clone(),
        };
        let body = encode(snapshot).await;
        let bytes = body.len();
        self.claimant.archive.save(&header, body).await?;
        // What is kept too long costs money and harms nothing: this snapshot is saved.
        match self.claimant.archive.prune(cluster).await {
            Ok(removed) => tracing::trace!(removed, "older snapshots"),
            Err(error) => tracing::warn!(%error, "older snapshots could not be removed"),
        }
        Ok(Outcome::Saved { revision, bytes })
    }
}

impl Actor for Snapshots {
    type Context = Context<Self>;
}

impl Handler<BecameLeader> for Snapshots {
    type Result = ();

    fn handle(&mut self, BecameLeader { term, .. }: BecameLeader, ctx: &mut Self::Context) {
        self.reign = Some(term);
        self.saved = None;
        self.tell(|_| {});
        if !self.busy {
            let first = Duration::from_millis(FIRST_MS);
            self.arm(first.min(self.around.interval), ctx);
        }
    }
}

impl Handler<Applied> for Snapshots {
    type Result = ();

    /// What has changed is seen when it is looked at.
    fn handle(&mut self, _: Applied, _: &mut Self::Context) {}
}

impl Handler<LostLeadership> for Snapshots {
    type Result = ();

    fn handle(&mut self, _: LostLeadership, ctx: &mut Self::Context) {
        self.reign = None;
        self.failed = 0;
        self.around.metrics.fresh.set(0);
        self.around.metrics.refused.set(0);
        self.around.told.send_replace(None);
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
    }
}

impl Handler<SaveNow> for Snapshots {
    type Result = ResponseFuture<Result<bool, NotOurs>>;

    fn handle(&mut self, _: SaveNow, _: &mut Self::Context) -> Self::Result {
        let saving = self.saving();
        Box::pin(async move {
            let outcome = saving.save().await?;
            Ok(!matches!(outcome, Outcome::NotLeader))
        })
    }
}

impl Handler<SaveTried> for Snapshots {
    type Result = ();

    fn handle(&mut self, tried: SaveTried, ctx: &mut Self::Context) {
        self.busy = false;
        if self.reign.is_none() {
            return;
        }
        let SaveTried { began, at, result } = tried;
        let wait = match result {
            Err(error) => {
                self.on_failure(&error);
                self.pause()
            }
            Ok(Outcome::NotLeader) => self.around.interval,
            Ok(outcome) => {
                self.on_success(&outcome, at);
                self.around.interval.saturating_sub(began.elapsed())
            }
        };
        self.arm(wait, ctx);
    }
}
