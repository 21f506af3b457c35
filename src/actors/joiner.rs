//! How a process finds its cluster: it asks the seeds, joins the cluster they know, or helps to found one.
//!
//! A new cluster is founded only when every seed answers and every one is empty, or when the operator says `--init`;
//! the founder is the first seed in order of address. Afterwards the joiner makes sure that this incarnation stays
//! registered: a node that hears no leader for a while introduces itself again.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use rand::RngCore;
use tokio::sync::watch;
use tokio::time::Instant;

use super::caller::{Caller, Place};
use super::raft_peer::{RaftPeer, TakePart};
use super::wire::{Answer, Call, Contact, Identity};
use crate::env::entropy::Entropy;
use crate::raft::{ClusterId, Configuration, PeerId};

/// Between two rounds of asking the seeds.
const ROUND_MS: u64 = 250;
/// A seed that has not answered within this time counts as silent in this round.
const ANSWER_MS_MAX: u64 = 1_000;
/// Admission writes a Node object through Raft, so it may take an election.
const ADMIT_MS_MAX: u64 = 5_000;
/// A node that has had no link from a leader for this long introduces itself again.
const UNLINKED_MS_MAX: u64 = 5_000;

/// The leader's link to this node opened or closed.
#[derive(Message, Clone, Copy)]
#[rtype(result = "()")]
pub struct Linked(pub bool);

/// Belong to this new cluster (its founder asks).
#[derive(Message)]
#[rtype(result = "Result<(), String>")]
pub struct Form {
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its first configuration.
    pub configuration: Configuration,
}

/// What is this node's cluster?
#[derive(Message)]
#[rtype(result = "Option<ClusterId>")]
pub struct WhichCluster;

/// Where is the API of a node that holds a replica? Asks the seeds.
#[derive(Message)]
#[rtype(result = "Vec<String>")]
pub struct FindApis;

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

/// The actor. Invariant: `cluster`, once set, never changes: this incarnation belongs to it for ever.
pub struct Joiner {
    introduction: Introduction,
    caller: Addr<Caller>,
    peer: Addr<RaftPeer>,
    entropy: Entropy,
    /// Tells whoever wants to know; the value is the invariant's.
    cluster: watch::Sender<Option<ClusterId>>,
    /// Admitted by a leader, and linked since or not for long.
    registered: bool,
    linked: bool,
    unlinked_since: Option<Instant>,
    busy: bool,
    /// The cluster this node tries to found; kept over attempts, since some seeds may have accepted already.
    founding: Option<(ClusterId, Configuration)>,
}

/// A round of questions ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Asked {
    /// Who answered, by the seed address asked.
    identities: BTreeMap<String, Identity>,
}

/// An attempt to join ended.
#[derive(Message)]
#[rtype(result = "()")]
struct JoinTried(Result<ClusterId, String>);

/// An attempt to found ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Founded {
    cluster: ClusterId,
    configuration: Configuration,
    accepted: usize,
}

impl Joiner {
    /// A joiner that begins to ask as soon as it is started.
    pub fn new(
        introduction: Introduction,
        caller: Addr<Caller>,
        peer: Addr<RaftPeer>,
        entropy: Entropy,
    ) -> Self {
        Self {
            introduction,
            caller,
            peer,
            entropy,
            cluster: watch::Sender::new(None),
            registered: false,
            linked: false,
            unlinked_since: None,
            busy: false,
            founding: None,
        }
    }

    /// Hears of the cluster once there is one.
    pub fn subscribe(&self) -> watch::Receiver<Option<ClusterId>> {
        self.cluster.subscribe()
    }

    fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.borrow()
    }

    /// One look at whether there is something to do.
    fn round(&mut self, ctx: &mut Context<Self>) {
        let limit = Duration::from_millis(UNLINKED_MS_MAX);
        let forgotten = !self.linked
            && self
                .unlinked_since
                .is_none_or(|since| since.elapsed() >= limit);
        if self.busy || (self.registered && !forgotten) {
            return;
        }
        self.busy = true;
        let (caller, seeds, me) = (
            self.caller.clone(),
            self.introduction.seeds.clone(),
            ctx.address(),
        );
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

    /// Asks for admission, through whoever leads.
    fn join(&mut self, address: String, ctx: &mut Context<Self>) {
        let (id, contact) = (self.introduction.id, self.introduction.contact.clone());
        let (caller, me) = (self.caller.clone(), ctx.address());
        let joining = async move {
            let deadline = Instant::now() + Duration::from_millis(ADMIT_MS_MAX);
            let call = Call::Join {
                id,
                contact,
                forward: true,
            };
            let result = match caller
                .send(Place {
                    address,
                    call,
                    deadline,
                })
                .await
            {
                Ok(Ok(Answer::Joined(cluster))) => Ok(cluster),
                Ok(Ok(other)) => Err(format!("unexpected answer {other:?}")),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => return,
            };
            me.do_send(JoinTried(result));
        };
        ctx.spawn(joining.into_actor(self));
    }

    /// Asks every other seed to belong to a new cluster of all of them.
    fn found(&mut self, identities: &BTreeMap<String, Identity>, ctx: &mut Context<Self>) {
        let fresh = || {
            let cluster = ClusterId {
                id: self.entropy.clone().next_u64(),
                generation: 0,
            };
            (
                cluster,
                founding_configuration(identities.values(), self.introduction.voters_wanted),
            )
        };
        let (cluster, configuration) = self.founding.get_or_insert_with(fresh).clone();
        let own = self.introduction.id;
        let others = identities
            .iter()
            .filter(|(_, identity)| identity.id != own)
            .map(|(address, _)| address.clone());
        let (others, caller, me) = (
            others.collect::<Vec<_>>(),
            self.caller.clone(),
            ctx.address(),
        );
        let founding = async move {
            let call = Call::Form {
                cluster,
                configuration: configuration.clone(),
            };
            let asked = others.into_iter().map(|address| {
                let deadline = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
                caller.send(Place {
                    address,
                    call: call.clone(),
                    deadline,
                })
            });
            let answers = futures::future::join_all(asked).await;
            let accepted = answers
                .iter()
                .filter(|answer| matches!(answer, Ok(Ok(Answer::Formed))))
                .count();
            me.do_send(Founded {
                cluster,
                configuration,
                accepted: accepted + 1,
            });
        };
        ctx.spawn(founding.into_actor(self));
    }

    fn take_part(&mut self, cluster: ClusterId, founding: Option<Configuration>) {
        assert!(
            self.cluster().is_none_or(|own| own == cluster),
            "an incarnation belongs to one cluster for ever"
        );
        self.cluster.send_replace(Some(cluster));
        self.peer.do_send(TakePart { cluster, founding });
    }
}

/// Asks one seed who it is; silence is an answer too.
pub(super) async fn ask_who(caller: &Addr<Caller>, address: &str) -> Option<Identity> {
    let deadline = Instant::now() + Duration::from_millis(ANSWER_MS_MAX);
    let place = Place {
        address: address.to_owned(),
        call: Call::Who,
        deadline,
    };
    match caller.send(place).await {
        Ok(Ok(Answer::Who(identity))) => Some(identity),
        Ok(Ok(other)) => {
            tracing::warn!(address, ?other, "a seed answered another question");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(address, %error, "a seed does not answer");
            None
        }
        Err(_) => None,
    }
}

/// All seeds; the first of those that may vote are the voters, in order of name, the rest learn.
fn founding_configuration<'a>(
    seeds: impl Iterator<Item = &'a Identity>,
    voters_wanted: usize,
) -> Configuration {
    let mut seeds: Vec<&Identity> = seeds.collect();
    seeds.sort_by(|a, b| (&a.contact.name, a.id).cmp(&(&b.contact.name, b.id)));
    let mut configuration = Configuration::default();
    for seed in seeds {
        configuration
            .contacts
            .insert(seed.id, seed.contact.encode());
        if seed.contact.may_vote && configuration.voters.len() < voters_wanted {
            configuration.voters.insert(seed.id);
        } else {
            configuration.learners.insert(seed.id);
        }
    }
    configuration
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
        let own = self.introduction.id;
        let own_attempt = self
            .founding
            .as_ref()
            .map(|(cluster, _)| *cluster)
            .filter(|_| self.cluster().is_none());
        let elsewhere =
            |who: &Identity| who.id != own && who.cluster.is_some() && who.cluster != own_attempt;
        let known = identities.iter().find(|(_, identity)| elsewhere(identity));
        let all_answered = identities.len() == self.introduction.seeds.len();
        let all_empty = identities
            .values()
            .all(|identity| identity.cluster.is_none());
        // `identities` is in order of address, so every seed agrees on who founds.
        let founds = identities
            .values()
            .next()
            .is_some_and(|first| first.id == own);
        if let Some((address, _)) = known {
            self.join(address.clone(), ctx);
        } else if self.cluster().is_some() {
            // The only one, or the others are silent: introduce itself to its own leader, itself perhaps.
            self.join(self.introduction.contact.address.clone(), ctx);
        } else if self.introduction.init {
            let alone = Identity {
                id: own,
                contact: self.introduction.contact.clone(),
                cluster: None,
                leader: None,
                apis: Vec::new(),
            };
            let configuration = founding_configuration([&alone].into_iter(), 1);
            let cluster = ClusterId {
                id: self.entropy.next_u64(),
                generation: 0,
            };
            self.take_part(cluster, Some(configuration));
            self.busy = false;
        } else if own_attempt.is_some()
            || (!identities.is_empty() && all_answered && all_empty && founds)
        {
            self.found(&identities, ctx);
        } else {
            self.busy = false;
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
        }: Founded,
        _: &mut Self::Context,
    ) {
        self.busy = false;
        // With fewer than a majority the cluster could never elect a leader; nobody else may found it either, so the
        // seeds are asked again, and those that accepted have a cluster to be joined once it lives.
        let majority = configuration.voters.len() / 2 + 1;
        if self.cluster().is_none() && accepted >= majority {
            tracing::info!(cluster = %format_args!("{:016x}", cluster.id), accepted, "a new cluster is founded");
            self.take_part(cluster, Some(configuration));
        }
    }
}

impl Handler<JoinTried> for Joiner {
    type Result = ();

    fn handle(&mut self, JoinTried(result): JoinTried, _: &mut Self::Context) {
        self.busy = false;
        match result {
            Ok(cluster) if self.cluster().is_none_or(|own| own == cluster) => {
                self.registered = true;
                self.unlinked_since = Some(Instant::now());
                if self.cluster().is_none() {
                    self.take_part(cluster, None);
                }
            }
            Ok(other) => {
                tracing::error!(?other, own = ?self.cluster(), "the seeds belong to another cluster");
            }
            Err(reason) => tracing::info!(reason, "not admitted yet"),
        }
    }
}

impl Handler<Form> for Joiner {
    type Result = Result<(), String>;

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
            Some(own) => Err(format!("this node belongs to cluster {:016x}", own.id)),
            None if !configuration.contacts.contains_key(&self.introduction.id) => {
                Err("the configuration names another incarnation of this node".to_owned())
            }
            None => {
                self.take_part(cluster, Some(configuration));
                Ok(())
            }
        }
    }
}

impl Handler<Linked> for Joiner {
    type Result = ();

    fn handle(&mut self, Linked(linked): Linked, _: &mut Self::Context) {
        self.linked = linked;
        if !linked {
            self.unlinked_since = Some(Instant::now());
        }
    }
}

impl Handler<FindApis> for Joiner {
    type Result = ResponseFuture<Vec<String>>;

    fn handle(&mut self, _: FindApis, _: &mut Self::Context) -> Self::Result {
        let (caller, seeds, own) = (
            self.caller.clone(),
            self.introduction.seeds.clone(),
            self.introduction.id,
        );
        Box::pin(async move {
            for seed in seeds {
                match ask_who(&caller, &seed).await {
                    Some(identity) if identity.id != own && !identity.apis.is_empty() => {
                        return identity.apis;
                    }
                    _ => {}
                }
            }
            Vec::new()
        })
    }
}

impl Handler<WhichCluster> for Joiner {
    type Result = MessageResult<WhichCluster>;

    fn handle(&mut self, _: WhichCluster, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.cluster())
    }
}
