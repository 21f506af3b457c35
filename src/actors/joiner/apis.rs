//! Where the API is served: what a node without a replica needs to know of its cluster.
//!
//! The leader knows all replicas and is asked first of whom this node knows: by its own link, then by what the seeds
//! say. Seeds alone would not do: each may be a worker by now, or gone for good. Deliberately asked anew each time.

use std::collections::BTreeSet;

use actix::prelude::*;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::super::formation::ask_who;
use super::Joiner;

/// Where is the API served? Answered with the first list that somebody gives, this node's own API left out.
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub struct FindApis;

impl Handler<FindApis> for Joiner {
    type Result = ResponseFuture<Vec<String>>;

    fn handle(&mut self, _: FindApis, _: &mut Self::Context) -> Self::Result {
        let (caller, own_api) = (self.caller.clone(), self.introduction.contact.api.clone());
        let own = self.introduction.id;
        let linked_by = self.linked_by.iter().filter(|leader| !leader.is_empty());
        let known: BTreeSet<String> = linked_by.chain(&self.introduction.seeds).cloned().collect();
        Box::pin(async move {
            let ask = |address: String| {
                let caller = caller.clone();
                async move { ask_who(&caller, &address).await }
            };
            let mut answers: FuturesUnordered<_> = known.iter().cloned().map(ask).collect();
            let mut asked = known;
            while let Some(answer) = answers.next().await {
                let Some(mut identity) = answer else { continue };
                // An address that is this node's too leads back to it: by default every machine has the same.
                identity.apis.retain(|api| *api != own_api);
                if identity.id != own && !identity.apis.is_empty() {
                    return identity.apis;
                }
                if let Some(leader) = identity.leader
                    && asked.insert(leader.clone())
                {
                    answers.push(ask(leader));
                }
            }
            Vec::new()
        })
    }
}
