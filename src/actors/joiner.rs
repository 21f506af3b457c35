//! How a process finds its cluster: it asks the seeds, joins the cluster they know, or helps to found one.
//!
//! A new cluster is founded only when every seed answers, every one is empty and no leader calls for a while, or when the
//! operator says `--init`; the founder is the first seed in order of address. Seeds of which two have one name found
//! nothing: which of them has it wrongly, their operator knows, and until then each says so. Afterwards the joiner makes
//! sure that this incarnation stays registered: a node that hears no leader for a while introduces itself again.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::watch;
use tokio::time::Instant;

use super::caller::Caller;
use super::formation::{Patience, ask_who, have_answered, shared_name, silent};
use super::raft_peer::TakePart;
use super::wire::{Contact, Identity};
use crate::env::entropy::Entropy;
use crate::raft::{ClusterId, Configuration, PeerId};
use restoring::Restoring;

pub mod apis;
mod founding;
mod joining;
mod living;
mod preparation;
pub mod restoring;

/// `--init` waits so long for seeds that do not answer: one of them may know a cluster.
const INIT_PATIENCE_MS: u64 = 5_000;
/// With `--init`, seeds that found are waited for so long: a claim is made, or given up, in less (`archive.rs`), and one
/// that waits for a dead seed may wait for ever.
const INIT_YIELDS_MS: u64 = 60_000;
/// Between two rounds of asking the seeds.
const ROUND_MS: u64 = 250;
/// A leader that called for an earlier process of this node calls again every 2 s at most, and the next one as soon as it
/// is elected. After so long without a call, three times what a node's silence may last, its cluster is taken for dead.
const CALL_LASTS_MS: u64 = 30_000;
/// A node that has had no link from a leader for this long introduces itself again.
const UNLINKED_MS_MAX: u64 = 5_000;

/// The link from the leader at this peer address ("" if it does not say) opened, or closed.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Linked(pub Option<String>);

/// A leader of this generation speaks to this node, or it has begun here: belong to it, if it is a later one.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct Adopt(pub ClusterId);

/// A leader called for an earlier incarnation of this node: its cluster lives.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Missed {
    /// The leader's peer address, "" if it did not say.
    pub leader: String,
}

/// Belong to this new cluster (its founder asks).
#[derive(Message)]
#[rtype(result = "Result<(), FormRefused>")]
pub struct Form {
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its first configuration.
    pub configuration: Configuration,
}

/// Why a seed does not belong to a new cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormRefused {
    /// There is one already: nobody may found another.
    #[error("{0}")]
    Elsewhere(String),
    /// It was not asked rightly, or belongs to another attempt.
    #[error("{0}")]
    Otherwise(&'static str),
}

/// What part has this node in a cluster?
#[derive(Message)]
#[rtype(result = "Part")]
pub struct WhatPart;

/// A node's part in a cluster, all at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its cluster.
    pub cluster: Option<ClusterId>,
    /// It has none, and a leader has called for an earlier incarnation of it lately.
    pub called: bool,
    /// It has none, and is about to begin one.
    pub founds: bool,
}

/// What a node is told of itself at its start.
#[derive(Clone)]
pub struct Introduction {
    /// This incarnation.
    pub id: PeerId,
    /// How it is reached.
    pub contact: Contact,
    /// Peer addresses to ask.
    pub seeds: Vec<String>,
    /// Found a cluster alone if no seed is in one.
    pub init: bool,
    /// Voters wanted.
    pub voters_wanted: usize,
}

/// The actor. Invariant: `cluster`, once set, changes to its later generations only: this incarnation belongs to it for
/// ever.
pub struct Joiner {
    introduction: Introduction,
    caller: Addr<Caller>,
    peer: Recipient<TakePart>,
    entropy: Entropy,
    /// Tells whoever wants to know; the value is the invariant's.
    cluster: watch::Sender<Option<ClusterId>>,
    /// Admitted by a leader once.
    registered: bool,
    /// `None` while the leader's link is open.
    unlinked_since: Option<Instant>,
    /// The leader whose link was opened last.
    linked_by: Option<String>,
    busy: bool,
    /// The cluster that this node tries to found, kept over attempts since some seeds may have accepted already; or that
    /// it was founded into, kept until a leader has spoken.
    founding: Option<(ClusterId, Configuration)>,
    started: Instant,
    patience: Patience,
    /// The leader that called for an earlier incarnation of this node, and when it did last.
    missed_by: Option<(String, Instant)>,
    /// Attempts to join so far; each asks another seed.
    attempts: usize,
    /// Why this process must end, once it must.
    ended: watch::Sender<Option<String>>,
    /// What was last said of why this node is in no cluster.
    complaint: String,
    /// The archive, if there is one.
    restoring: Option<Restoring>,
}

/// What to do after a round of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// Ask for admission at this address.
    Join(String),
    /// `--init`: found a cluster of this node alone.
    FoundAlone,
    /// Go on with the attempt to found, or begin one.
    Found,
    /// Begin another attempt to found: nobody who took part in the last one is left.
    FoundAnew,
    /// Give such an attempt up: another node is about to begin a cluster.
    Yield,
    /// Two of the seeds have this name, where a cluster was to be founded.
    Refuse(String),
    /// Ask again later.
    Wait,
}

/// A round of questions ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Asked {
    /// Who answered, by the seed address asked.
    identities: BTreeMap<String, Identity>,
}

impl Joiner {
    /// A joiner that begins to ask as soon as it is started.
    pub fn new(
        mut introduction: Introduction,
        caller: Addr<Caller>,
        peer: Recipient<TakePart>,
        entropy: Entropy,
    ) -> Self {
        introduction.seeds.sort();
        introduction.seeds.dedup();
        Self {
            introduction,
            caller,
            peer,
            entropy,
            cluster: watch::Sender::new(None),
            registered: false,
            unlinked_since: Some(Instant::now()),
            linked_by: None,
            busy: false,
            founding: None,
            started: Instant::now(),
            patience: Patience::default(),
            missed_by: None,
            attempts: 0,
            ended: watch::Sender::new(None),
            complaint: String::new(),
            restoring: None,
        }
    }

    /// Hears of the cluster once there is one.
    pub fn subscribe(&self) -> watch::Receiver<Option<ClusterId>> {
        self.cluster.subscribe()
    }

    /// Hears why this process must end, should it come to that: there are states that only the next incarnation is free
    /// of. It may end at any time, as every process of ours may.
    pub fn ends(&self) -> watch::Receiver<Option<String>> {
        self.ended.subscribe()
    }

    fn may_belong_to(&self, cluster: ClusterId) -> bool {
        let own = self.cluster();
        own.is_none_or(|own| own == cluster || own.precedes(cluster))
    }

    fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.borrow()
    }

    /// The leader that called for an earlier incarnation of this node, if its cluster may live still.
    fn called_by(&self) -> Option<&str> {
        let lasts = Duration::from_millis(CALL_LASTS_MS);
        let (leader, at) = self.missed_by.as_ref()?;
        (at.elapsed() < lasts).then_some(leader)
    }

    /// Whether a complaint is another than the last: a node may ask for days, four times a second.
    fn is_news(&mut self, complaint: &str) -> bool {
        let news = self.complaint != complaint;
        complaint.clone_into(&mut self.complaint);
        news
    }

    /// Other seeds that are about to found a cluster.
    fn other_founders<'a>(
        &self,
        identities: &'a BTreeMap<String, Identity>,
    ) -> impl Iterator<Item = &'a str> {
        let own = self.introduction.id;
        let others = identities.iter();
        let others = others.filter(move |(_, who)| who.founds && who.id != own);
        others.map(|(address, _)| address.as_str())
    }

    /// Says whom it waits for: without them nothing is founded.
    fn name_the_awaited(&mut self, identities: &BTreeMap<String, Identity>) {
        let founders: Vec<_> = self.other_founders(identities).collect();
        let silent: Vec<_> = silent(&self.introduction.seeds, identities).collect();
        let (founders, silent) = (founders.join(", "), silent.join(", "));
        if founders.len() + silent.len() > 0 && self.is_news(&format!("{founders}; {silent}")) {
            tracing::info!(silent, founders, "waits for other seeds");
        }
    }

    /// One look at whether there is something to do.
    fn round(&mut self, ctx: &mut Context<Self>) {
        let limit = Duration::from_millis(UNLINKED_MS_MAX);
        let forgotten = self
            .unlinked_since
            .is_some_and(|since| since.elapsed() >= limit);
        if self.busy || (self.registered && !forgotten) {
            return;
        }
        self.busy = true;
        let (caller, mut seeds, me) = (
            self.caller.clone(),
            self.introduction.seeds.clone(),
            ctx.address(),
        );
        let called_by = self.called_by().filter(|by| !by.is_empty());
        seeds.extend(called_by.map(str::to_owned));
        seeds.sort();
        seeds.dedup();
        let asking = async move {
            let questions = seeds.iter().map(|address| ask_who(&caller, address));
            let answers = futures::future::join_all(questions).await;
            let identities = seeds
                .iter()
                .cloned()
                .zip(answers)
                .filter_map(|(seed, who)| Some((seed, who?)));
            me.do_send(Asked {
                identities: identities.collect(),
            });
        };
        ctx.spawn(asking.into_actor(self));
    }

    /// What the seeds' answers mean for this node.
    fn next(&self, identities: &BTreeMap<String, Identity>) -> Next {
        let own = self.introduction.id;
        let cluster_of = |who: &Identity| who.cluster.map(|cluster| cluster.id);
        if let Some(cluster) = self.cluster() {
            // To its own leader, itself perhaps, and never into another cluster.
            let ours = |who: &Identity| who.id != own && cluster_of(who) == Some(cluster.id);
            let itself = || self.introduction.contact.address.clone();
            return Next::Join(self.guide(identities, ours).unwrap_or_else(itself));
        }
        let attempt = self.founding.as_ref().map(|(cluster, _)| cluster.id);
        let alien = |who: &Identity| cluster_of(who).is_some() && cluster_of(who) != attempt;
        if let Some(address) = self.guide(identities, alien) {
            return Next::Join(address);
        }
        // Whose leader calls any of these has a cluster that lives on at nodes which are no seeds.
        if self.called_by().is_some() || identities.values().any(|who| who.called) {
            return Next::Wait;
        }
        let all_answered = have_answered(&self.introduction.seeds, identities);
        let all_empty = identities.values().all(|who| who.cluster.is_none());
        // What another has claimed it may begin long after others have seen the claim: its store was slow to answer.
        let others = self.other_founders(identities).next().is_some();
        let patience = Duration::from_millis(INIT_YIELDS_MS);
        let yields = !self.introduction.init || self.started.elapsed() < patience;
        if others && yields && self.founding.is_none() {
            return Next::Wait;
        }
        if self.introduction.init {
            let waited = self.started.elapsed() >= Duration::from_millis(INIT_PATIENCE_MS);
            let decided = all_answered || waited;
            return if decided {
                Next::FoundAlone
            } else {
                Next::Wait
            };
        }
        // `identities` is in order of address, so every seed agrees on who founds. Who cannot vote cannot begin alone.
        let mut voters = identities.values().filter(|who| who.contact.may_vote);
        let first = voters.next().or(identities.values().next());
        let founds = first.is_some_and(|who| who.id == own);
        let replaced = |(_, attempt): &(ClusterId, Configuration)| {
            let mut living = identities.values().map(|who| who.id);
            !living.all(|id| attempt.contacts.contains_key(&id))
        };
        match (&self.founding, shared_name(identities)) {
            (Some(attempt), _) if !(all_answered && all_empty && replaced(attempt)) => Next::Found,
            (Some(_), _) if others => Next::Yield,
            (_, Some(refused)) => Next::Refuse(refused),
            (Some(_), None) => Next::FoundAnew,
            (None, None) if founds && all_answered && all_empty => Next::Found,
            (None, None) => Next::Wait,
        }
    }

    /// Whom of these to ask for admission: of the latest generation, those who know a leader before others, each in turn.
    fn guide(
        &self,
        identities: &BTreeMap<String, Identity>,
        wanted: impl Fn(&Identity) -> bool,
    ) -> Option<String> {
        let mut wanted: Vec<_> = identities.iter().filter(|(_, who)| wanted(who)).collect();
        let generation = |who: &Identity| who.cluster.map(|cluster| cluster.generation);
        let latest = wanted.iter().map(|(_, who)| generation(who)).max();
        wanted.retain(|(_, who)| Some(generation(who)) == latest);
        let knowing = wanted.iter().filter(|(_, who)| who.leader.is_some());
        let knowing: Vec<_> = knowing.copied().collect();
        let asked = if knowing.is_empty() { wanted } else { knowing };
        let turn = self.attempts.checked_rem(asked.len())?;
        Some(asked[turn].0.clone())
    }

    /// Gives up an attempt to found that nobody has accepted, because there is another cluster.
    fn yield_attempt(&mut self, identities: &BTreeMap<String, Identity>) {
        let accepted = |(cluster, _): &(ClusterId, Configuration)| {
            let mut seeds = identities.values();
            seeds.any(|who| who.cluster.is_some_and(|own| own.id == cluster.id))
        };
        if self.cluster().is_none() {
            self.founding = self.founding.take().filter(accepted);
        }
    }

    fn take_part(&mut self, cluster: ClusterId, founding: Option<Configuration>) {
        assert!(
            self.may_belong_to(cluster),
            "an incarnation belongs to one cluster for ever"
        );
        self.cluster.send_replace(Some(cluster));
        self.drop_what_was_loaded();
        self.tell_peer(TakePart { cluster, founding });
    }

    fn tell_peer(&self, part: TakePart) {
        let (taken, ended) = (self.peer.send(part), self.ended.clone());
        tokio::task::spawn_local(async move {
            // No answer means that the node is stopping.
            if taken.await == Ok(false) {
                let reason = "it promised a later generation than the one that lives";
                end(&ended, format!("{reason}: it must be started again"));
            }
        });
    }
}

/// Ends this process; its supervisor starts the next.
fn end(ended: &watch::Sender<Option<String>>, reason: String) {
    let news = |ended: &mut Option<String>| {
        let first = ended.is_none();
        ended.get_or_insert_with(|| reason.clone());
        first
    };
    if ended.send_if_modified(news) {
        tracing::error!(reason, "this process must end");
    }
}

impl Actor for Joiner {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(Duration::from_millis(ROUND_MS), Self::round);
        self.round(ctx);
    }
}

impl Handler<Asked> for Joiner {
    type Result = ();

    fn handle(&mut self, Asked { identities }: Asked, ctx: &mut Self::Context) {
        if self.cluster().is_some() {
            self.spread(&identities, ctx);
        }
        let next = self.next(&identities);
        let begins = next == Next::Found && self.founding.is_none();
        if self.patience.lasts(begins) {
            self.busy = false;
            return;
        }
        match next {
            Next::Join(address) => {
                self.yield_attempt(&identities);
                let to = identities.get(&address).and_then(|who| who.cluster);
                self.join(address, to, ctx);
            }
            Next::FoundAnew => {
                self.founding = None;
                self.begin(Some(&identities), ctx);
            }
            Next::Yield => {
                self.founding = None;
                self.busy = false;
            }
            Next::Found => self.begin(Some(&identities), ctx),
            Next::FoundAlone => self.begin(None, ctx),
            Next::Refuse(refused) => {
                self.busy = false;
                if self.is_news(&refused) {
                    tracing::error!(reason = refused, "no cluster is formed");
                }
            }
            Next::Wait => {
                self.busy = false;
                self.name_the_awaited(&identities);
            }
        }
    }
}

impl Handler<Form> for Joiner {
    type Result = Result<(), FormRefused>;

    fn handle(
        &mut self,
        Form {
            cluster,
            configuration,
        }: Form,
        _: &mut Self::Context,
    ) -> Self::Result {
        match self.cluster() {
            Some(own) if own == cluster => Ok(()),
            Some(own) => {
                let elsewhere = format!("this node belongs to cluster {:016x}", own.id);
                Err(FormRefused::Elsewhere(elsewhere))
            }
            None if !configuration.contacts.contains_key(&self.introduction.id) => {
                let other = "the configuration names another incarnation of this node";
                Err(FormRefused::Otherwise(other))
            }
            None if self
                .founding
                .as_ref()
                .is_some_and(|(own, _)| *own != cluster) =>
            {
                tracing::warn!("two seeds found a cluster each: do all have the same seeds?");
                let other = "this node is founding another cluster";
                Err(FormRefused::Otherwise(other))
            }
            None if self.called_by().is_some() => {
                let called = "a leader called for an earlier process of this node".to_owned();
                Err(FormRefused::Elsewhere(called))
            }
            None => {
                self.founding = Some((cluster, configuration.clone()));
                self.take_part(cluster, Some(configuration));
                Ok(())
            }
        }
    }
}

impl Handler<Adopt> for Joiner {
    type Result = ();

    fn handle(&mut self, Adopt(cluster): Adopt, _: &mut Self::Context) {
        match self.cluster() {
            Some(own) if own.precedes(cluster) => {
                self.founding = None;
                self.take_part(cluster, None);
            }
            // A recovery may have been broken off after this node had promised to take no further part.
            Some(own) if own == cluster => self.tell_peer(TakePart {
                cluster,
                founding: None,
            }),
            _ => {}
        }
    }
}

impl Handler<Linked> for Joiner {
    type Result = ();

    fn handle(&mut self, Linked(leader): Linked, _: &mut Self::Context) {
        self.founding = self.founding.take().filter(|_| leader.is_none());
        self.unlinked_since = leader.is_none().then(Instant::now);
        self.linked_by = leader.or(self.linked_by.take());
    }
}

impl Handler<Missed> for Joiner {
    type Result = ();

    fn handle(&mut self, Missed { leader }: Missed, _: &mut Self::Context) {
        if self.cluster().is_none() {
            tracing::info!(leader, "a leader looks for an earlier process of this node");
            self.missed_by = Some((leader, Instant::now()));
        }
    }
}

impl Handler<WhatPart> for Joiner {
    type Result = MessageResult<WhatPart>;

    fn handle(&mut self, _: WhatPart, _: &mut Self::Context) -> Self::Result {
        let cluster = self.cluster();
        let claims = self.restoring.as_ref().is_some_and(Restoring::claims);
        MessageResult(Part {
            cluster,
            called: cluster.is_none() && self.called_by().is_some(),
            founds: cluster.is_none() && (claims || self.founding.is_some()),
        })
    }
}

#[cfg(test)]
mod tests;
