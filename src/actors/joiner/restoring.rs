//! How a joiner founds a cluster where there is an archive: it loads what was kept, asks everybody again, claims the next
//! generation, and begins that with the newest snapshot.
//!
//! What makes it safe is the claim: one process alone can make it, so of two formations that know nothing of each other
//! (other seeds, a network that is cut) one wins. It begins in the moment in which the claim is known to be made, unless
//! a leader has called since it asked: then nothing will come of the claim, as everybody can see who asks this node once it
//! belongs to that leader's cluster (`archive/claim.rs`). A store may be so slow to answer that others see the claim some
//! tens of seconds before; until then this node says that it founds, and who would follow the claim waits. Deliberately
//! ignorant of what is asked of whom: `preparation.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::super::archive::Archive;
use super::super::raft_peer::archived::Refound;
use super::super::wire::Identity;
use super::preparation::{Begin, Loaded, Preparation, Unprepared};
use super::{Joiner, Next};
use crate::env::clock::Clock;
use crate::raft::ClusterId;

/// After a failure the archive is asked again after this time: more than a second, by which two claims of one process
/// are told apart (`preparation.rs`).
const AGAIN_MS: u64 = 2_000;
/// A state that was loaded and could not be used for so long, because a seed stopped to answer or another node lives, is
/// dropped, since it is as large as all that was kept; until then it is not loaded again.
const LOADED_MS_MAX: u64 = 60_000;

/// What a joiner needs of the archive.
pub struct Restoring {
    archive: Archive,
    peer: Recipient<Refound>,
    clock: Rc<dyn Clock>,
    /// What the cluster would begin with, since when. Not while it is being looked at, nor in a cluster.
    loaded: Option<(Loaded, Instant)>,
    /// A claim is under way. Others must know: once it is there, they may take it for one of which nothing came.
    claims: bool,
    /// Not before this time is the archive asked again.
    again: Option<Instant>,
    /// Why this process founds nothing any more.
    barred: bool,
    /// What was said last, so that it is not said every time.
    told: String,
}

/// What is there was loaded.
#[derive(Message)]
#[rtype(result = "()")]
struct WasLoaded(Result<Loaded, Unprepared>);

/// Everybody was asked.
#[derive(Message)]
#[rtype(result = "()")]
struct Surveyed {
    loaded: Loaded,
    since: Instant,
    seeds: Result<BTreeMap<String, Identity>, Unprepared>,
}

/// A generation was claimed, or not.
#[derive(Message)]
#[rtype(result = "()")]
struct Claimed {
    begin: Result<Begin, Unprepared>,
    seeds: BTreeMap<String, Identity>,
}

impl Restoring {
    /// Of an archive; `peer` begins the generation.
    pub fn new(archive: Archive, peer: Recipient<Refound>, clock: Rc<dyn Clock>) -> Self {
        Self {
            archive,
            peer,
            clock,
            loaded: None,
            claims: false,
            again: None,
            barred: false,
            told: String::new(),
        }
    }

    /// Whether this node may begin what it has claimed at any moment.
    pub(super) fn claims(&self) -> bool {
        self.claims
    }

    fn may_ask(&self) -> bool {
        !self.barred && self.again.is_none_or(|again| Instant::now() >= again)
    }

    fn on_failure(&mut self, unprepared: &Unprepared, init: bool) {
        // Whoever was told to found alone does not look whether the other lives; so it must not go on.
        self.barred = init && matches!(unprepared, Unprepared::Lost { .. });
        self.again = Some(Instant::now() + Duration::from_millis(AGAIN_MS));
        let what = unprepared.to_string();
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

    /// Looks what the cluster that this node is about to found begins with, and has it begun once that is known. Returns
    /// false where there is no archive.
    pub(super) fn begin_of_archive(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(restoring) = &mut self.restoring else {
            return false;
        };
        let fresh = Duration::from_millis(LOADED_MS_MAX);
        if !restoring.may_ask() {
            self.busy = false;
            return true;
        }
        let loaded = restoring.loaded.take();
        match loaded.filter(|(_, since)| since.elapsed() < fresh) {
            Some((loaded, since)) => self.survey(loaded, since, ctx),
            None => self.load(ctx),
        }
        true
    }

    /// This node belongs to a cluster: it founds none any more.
    pub(super) fn drop_what_was_loaded(&mut self) {
        if let Some(restoring) = &mut self.restoring {
            restoring.loaded = None;
        }
    }

    fn load(&mut self, ctx: &mut Context<Self>) {
        let Some(preparation) = self.preparation() else {
            return;
        };
        let archive = preparation.archive.url();
        tracing::info!(archive, "looks for what was kept of the cluster");
        let me = ctx.address();
        let loading = async move { me.do_send(WasLoaded(preparation.load().await)) };
        ctx.spawn(loading.into_actor(self));
    }

    fn survey(&mut self, loaded: Loaded, since: Instant, ctx: &mut Context<Self>) {
        let Some(preparation) = self.preparation() else {
            return;
        };
        let me = ctx.address();
        let surveying = async move {
            let seeds = preparation.survey(&loaded).await;
            me.do_send(Surveyed {
                loaded,
                since,
                seeds,
            });
        };
        ctx.spawn(surveying.into_actor(self));
    }

    fn claim(
        &mut self,
        loaded: Loaded,
        seeds: BTreeMap<String, Identity>,
        ctx: &mut Context<Self>,
    ) {
        let Some(preparation) = self.preparation() else {
            return;
        };
        if let Some(restoring) = &mut self.restoring {
            restoring.claims = true;
        }
        let me = ctx.address();
        let claiming = async move {
            let begin = preparation.claim(loaded, &seeds).await;
            me.do_send(Claimed { begin, seeds });
        };
        ctx.spawn(claiming.into_actor(self));
    }

    fn preparation(&self) -> Option<Preparation> {
        let restoring = self.restoring.as_ref()?;
        Some(Preparation {
            archive: restoring.archive.clone(),
            clock: restoring.clock.clone(),
            entropy: self.entropy.clone(),
            introduction: self.introduction.clone(),
            caller: self.caller.clone(),
        })
    }

    /// Begins a later generation of a cluster by itself.
    fn refound(&mut self, refound: Refound) {
        let Some(restoring) = &self.restoring else {
            return;
        };
        self.cluster.send_replace(Some(refound.cluster));
        restoring.peer.do_send(refound);
    }

    /// Begins the first generation of a cluster, of these seeds, or alone if it was told to.
    fn found_first(
        &mut self,
        cluster: ClusterId,
        seeds: &BTreeMap<String, Identity>,
        ctx: &mut Context<Self>,
    ) {
        if self.introduction.init {
            return self.found_alone(Some(cluster));
        }
        self.busy = true;
        self.found(seeds, Some(cluster), ctx);
    }

    fn on_unprepared(&mut self, unprepared: &Unprepared) {
        let init = self.introduction.init;
        if let Some(restoring) = &mut self.restoring {
            restoring.on_failure(unprepared, init);
        }
    }
}

impl Handler<WasLoaded> for Joiner {
    type Result = ();

    fn handle(&mut self, WasLoaded(loaded): WasLoaded, _: &mut Self::Context) {
        self.busy = false;
        match (loaded, &mut self.restoring) {
            (Ok(loaded), Some(restoring)) if self.cluster.borrow().is_none() => {
                restoring.loaded = Some((loaded, Instant::now()));
            }
            (Ok(_), _) => {}
            (Err(unprepared), _) => self.on_unprepared(&unprepared),
        }
    }
}

impl Handler<Surveyed> for Joiner {
    type Result = ();

    fn handle(&mut self, surveyed: Surveyed, ctx: &mut Self::Context) {
        let Surveyed {
            loaded,
            since,
            seeds,
        } = surveyed;
        self.busy = false;
        if self.cluster().is_some() {
            return;
        }
        match seeds {
            Ok(seeds) => {
                if matches!(self.next(&seeds), Next::Found | Next::FoundAlone) {
                    self.busy = true;
                    return self.claim(loaded, seeds, ctx);
                }
            }
            Err(unprepared) => {
                self.on_unprepared(&unprepared);
                if matches!(unprepared, Unprepared::Changed) {
                    return;
                }
            }
        }
        if let Some(restoring) = &mut self.restoring {
            restoring.loaded = Some((loaded, since));
        }
    }
}

impl Handler<Claimed> for Joiner {
    type Result = ();

    fn handle(&mut self, Claimed { begin, seeds }: Claimed, ctx: &mut Self::Context) {
        self.busy = false;
        // It begins now, or never: an attempt of which it is not known what came is not taken up again.
        if let Some(restoring) = &mut self.restoring {
            restoring.claims = false;
        }
        let begin = match begin {
            Ok(begin) => begin,
            Err(unprepared) => return self.on_unprepared(&unprepared),
        };
        if self.cluster().is_some() || self.called_by().is_some() {
            tracing::warn!("nothing comes of the claim: there is a living cluster");
            return;
        }
        match begin {
            Begin::Later(refound) => self.refound(*refound),
            Begin::First(cluster) => self.found_first(cluster, &seeds, ctx),
        }
    }
}
