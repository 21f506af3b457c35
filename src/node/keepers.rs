//! Those of the leader's own actors that keep its state where no machine is, and bring in what an operator keeps.
//!
//! A part of the composition root. Deliberately only starts them.

use actix::prelude::*;
use tokio::sync::watch;

use super::Options;
use crate::actors::archive::Archive;
use crate::actors::caller::Caller;
use crate::actors::claimant::Claimant;
use crate::actors::manifests::{self, Manifests};
use crate::actors::messages::{SnapshotStatus, Submit};
use crate::actors::raft_peer::{LeaderMember, RaftPeer};
use crate::actors::rosters::Rosters;
use crate::actors::snapshots::{self, SaveNow, SnapshotMetrics, Snapshots};
use crate::actors::wire::Contact;
use crate::env::Env;
use crate::raft::PeerId;

/// The archive as this node uses it, if there is one.
pub(super) fn claimant(
    env: &Env,
    options: &Options,
    (id, contact): (PeerId, &Contact),
    caller: &Addr<Caller>,
    peer: &Addr<RaftPeer>,
) -> Option<Claimant> {
    let objects = env.objects.clone()?;
    Some(Claimant {
        archive: Archive::new(objects),
        caller: caller.clone(),
        peer: peer.clone(),
        id,
        contact: contact.clone(),
        seeds: options.seeds.clone(),
        clock: env.clock.clone(),
    })
}

/// Starts the one of the leader's own actors that brings in what an operator keeps.
pub(super) fn manifests(
    env: &Env,
    options: &Options,
    submit: &Recipient<Submit>,
    peer: &Addr<RaftPeer>,
) -> LeaderMember {
    let manifests = Manifests::new(manifests::Around {
        manifests: options.manifests.clone(),
        peer: peer.clone(),
        submit: submit.clone(),
        clock: env.clock.clone(),
        entropy: env.entropy.clone(),
    });
    LeaderMember::of(&manifests.start())
}

/// Starts those that keep its state where no machine is, and gives the door to one of them.
pub(super) fn snapshots(
    env: &Env,
    options: &Options,
    submit: &Recipient<Submit>,
    claimant: Claimant,
    (metrics, told): (SnapshotMetrics, watch::Sender<Option<SnapshotStatus>>),
) -> (Recipient<SaveNow>, Vec<LeaderMember>) {
    let rosters = Rosters::new(claimant.clone(), metrics.clone()).start();
    let snapshots = Snapshots::new(snapshots::Around {
        claimant,
        submit: submit.clone(),
        clock: env.clock.clone(),
        entropy: env.entropy.clone(),
        metrics,
        interval: options.snapshot_interval,
        told,
    })
    .start();
    let members = vec![LeaderMember::of(&rosters), LeaderMember::of(&snapshots)];
    (snapshots.recipient(), members)
}
