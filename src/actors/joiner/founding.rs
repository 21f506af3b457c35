//! How a joiner founds a cluster: of itself alone, or of all seeds, each of which must accept.
//!
//! When to found, `joiner.rs` decides.

use std::collections::{BTreeMap, BTreeSet};

use actix::prelude::*;
use rand::RngCore;
use tokio::time::Instant;

use super::super::formation::{
    Formed, ask_to_form, founding_configuration, have_answered, majority,
};
use super::super::wire::Identity;
use super::{Joiner, end};
use crate::raft::{ClusterId, Configuration, PeerId};

/// An attempt to found ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Founded {
    pub(super) cluster: ClusterId,
    pub(super) configuration: Configuration,
    /// Who belongs to it now, this node included.
    pub(super) accepted: BTreeSet<PeerId>,
    /// Somebody knows of a living cluster.
    pub(super) vetoed: bool,
}

impl Joiner {
    /// Begins a cluster, of these seeds or (`None`) of this node alone, with what the archive has, if there is one.
    pub(super) fn begin(
        &mut self,
        seeds: Option<&BTreeMap<String, Identity>>,
        ctx: &mut Context<Self>,
    ) {
        let may_vote = self.introduction.contact.may_vote;
        if seeds.is_none() && !may_vote {
            tracing::error!("--init needs a node that may vote");
            self.busy = false;
            return;
        }
        if let (Some(identities), Some(_)) = (seeds, &self.founding) {
            return self.found(identities, None, ctx);
        }
        if self.begin_of_archive(ctx) {
            return;
        }
        if let Some(identities) = seeds {
            return self.found(identities, None, ctx);
        }
        self.found_alone(None);
        self.busy = false;
    }

    /// Founds a cluster of this node alone.
    pub(super) fn found_alone(&mut self, cluster: Option<ClusterId>) {
        let alone = (self.introduction.id, self.introduction.contact.clone());
        let configuration = founding_configuration([alone].into_iter().collect(), 1);
        let cluster = cluster.unwrap_or_else(|| self.fresh_cluster());
        self.take_part(cluster, Some(configuration));
    }

    fn fresh_cluster(&mut self) -> ClusterId {
        let id = self.entropy.next_u64();
        ClusterId { id, generation: 0 }
    }

    /// Asks every other seed to belong to a new cluster of all of them.
    pub(super) fn found(
        &mut self,
        identities: &BTreeMap<String, Identity>,
        cluster: Option<ClusterId>,
        ctx: &mut Context<Self>,
    ) {
        let attempt = self.founding.clone();
        let (cluster, configuration) = attempt.unwrap_or_else(|| {
            let seeds = identities.values().map(|who| (who.id, who.contact.clone()));
            let wanted = self.introduction.voters_wanted;
            let configuration = founding_configuration(seeds.collect(), wanted);
            let cluster = cluster.unwrap_or_else(|| self.fresh_cluster());
            (cluster, configuration)
        });
        if configuration.voters.is_empty() {
            tracing::error!("none of the seeds may vote; a cluster needs a voter");
            self.busy = false;
            return;
        }
        self.founding = Some((cluster, configuration.clone()));
        let own = self.introduction.id;
        let asked = self.form(identities, cluster, &configuration);
        let me = ctx.address();
        let founding = async move {
            let mut accepted = BTreeSet::from([own]);
            let formed = asked.await;
            accepted.extend(formed.accepted);
            me.do_send(Founded {
                cluster,
                configuration,
                accepted,
                vetoed: formed.vetoed,
            });
        };
        ctx.spawn(founding.into_actor(self));
    }

    /// Asks these, except itself, to belong to a cluster; gives those who do.
    fn form(
        &self,
        identities: &BTreeMap<String, Identity>,
        cluster: ClusterId,
        configuration: &Configuration,
    ) -> impl Future<Output = Formed> + use<> {
        let own = self.introduction.id;
        let others = identities.iter().filter(|(_, who)| who.id != own);
        let others = others.map(|(address, who)| (who.id, address.clone()));
        let (caller, others) = (self.caller.clone(), others.collect());
        ask_to_form(caller, others, cluster, configuration.clone())
    }

    /// A founder may die before it has asked everyone. Whoever was asked asks the others, until a leader has spoken: the
    /// configuration is the founder's, and an incarnation founds with it at most once, so nothing else can come of it.
    pub(super) fn spread(
        &mut self,
        identities: &BTreeMap<String, Identity>,
        ctx: &mut Context<Self>,
    ) {
        let Some((cluster, configuration)) = self.founding.clone() else {
            return;
        };
        let missing = |(_, who): &(&String, &Identity)| {
            who.cluster.is_none() && configuration.contacts.contains_key(&who.id)
        };
        let missing = identities.iter().filter(missing);
        let missing = missing.map(|(address, who)| (address.clone(), who.clone()));
        let asked = self.form(&missing.collect(), cluster, &configuration);
        ctx.spawn(asked.into_actor(self).map(|_, _, _| ()));
        self.end_if_stillborn(identities, &configuration);
    }

    /// Ends this process if a majority of the founders was replaced before a leader spoke: without them nobody can ever be
    /// elected. It gives up its part, which promised nothing that outlives them.
    pub(super) fn end_if_stillborn(
        &self,
        identities: &BTreeMap<String, Identity>,
        configuration: &Configuration,
    ) {
        let all_answered = have_answered(&self.introduction.seeds, identities);
        let own = self.cluster();
        let free = |who: &&Identity| who.cluster.is_none() || who.cluster == own;
        let free = identities.values().filter(free).map(|who| who.id);
        let voters = configuration.voters.intersection(&free.collect()).count();
        if all_answered && voters < majority(configuration) {
            end(
                &self.ended,
                "the founders of its cluster died before it had a leader: it must be started again"
                    .to_owned(),
            );
        }
    }
}

impl Handler<Founded> for Joiner {
    type Result = ();

    fn handle(
        &mut self,
        Founded {
            cluster,
            configuration,
            accepted,
            vetoed,
        }: Founded,
        _: &mut Self::Context,
    ) {
        self.busy = false;
        if vetoed && self.cluster().is_none() {
            // Whoever has accepted meanwhile must not win this node over: it is as if it had been called itself.
            tracing::warn!("a seed knows of a living cluster: no new one is founded");
            self.founding = None;
            self.missed_by = Some((String::new(), Instant::now()));
            return;
        }
        // With fewer than a majority the cluster could never elect a leader; nobody else may found it either, so the
        // seeds are asked again, and those that accepted have a cluster to be joined once it lives.
        let voters = configuration.voters.intersection(&accepted).count();
        if self.cluster().is_none() && voters >= majority(&configuration) {
            tracing::info!(cluster = %format_args!("{:016x}", cluster.id), voters, "a new cluster is founded");
            self.take_part(cluster, Some(configuration));
        }
    }
}
