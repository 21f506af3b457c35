//! Applies the operator's manifests once a cluster has formed: on the leader, once in the life of each formation.
//!
//! Each object is created, or merged into the one that is there (RFC 7386: what the manifest says wins, what it leaves out
//! stays), by the same door as every other write. Deliberately not a reconciler of Git: what is changed later stays
//! changed, and a recovered cluster, which lost nothing by design, is left as it is. A ConfigMap marks that it is done, so
//! that the next leader goes on where a lost one began.

use std::time::Duration;

use actix::prelude::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::messages::{Applied, BecameLeader, LostLeadership, Submit};
use super::raft_peer::{GetStatus, RaftPeer};
use super::recovery;
use crate::control::{EventSource, Level, event};
use crate::env::clock::Clock;
use crate::env::entropy::Entropy;
use crate::resource::registry::{self, Kind};
use crate::resource::{PatchType, Reply, Request, Status, Verb, Writer, time};
use crate::store::View;

const WRITER: Writer = Writer {
    user: "system:kagero:manifests",
};
/// Namespace of an object that names none, as kubectl has it.
const NAMESPACE_DEFAULT: &str = "default";
/// Where it is marked that they were applied.
const MARK_NAMESPACE: &str = "kube-system";
/// What it says if the leader then had none.
const NONE: &str = "the first leader of this generation was given no manifests";
/// What is missing or busy now may come: the namespaces that every cluster has are made at the same time.
const ATTEMPTS_MAX: usize = 20;
/// Between two attempts.
const AGAIN_MS: u64 = 500;

/// One object of a manifest.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its file and the document in it, for people: `web.yaml, document 2`.
    pub place: String,
    /// Its kind.
    kind: &'static Kind,
    namespace: String,
    name: String,
    object: Value,
}

/// Why a document is no manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoManifest {
    /// It says not what it is.
    #[error("expected an object with apiVersion, kind and metadata.name; {0} is missing")]
    Missing(&'static str),
    /// Its kind is not served.
    #[error("{kind} of {api_version} is not served")]
    NotServed {
        /// As it says.
        api_version: String,
        /// As it says.
        kind: String,
    },
}

impl Manifest {
    /// From a document.
    pub fn new(place: String, object: Value) -> Result<Self, NoManifest> {
        let text = |pointer: &str, what| {
            let text = object.pointer(pointer).and_then(Value::as_str);
            let text = text.filter(|text| !text.is_empty());
            text.map(str::to_owned).ok_or(NoManifest::Missing(what))
        };
        let api_version = text("/apiVersion", "apiVersion")?;
        let kind = text("/kind", "kind")?;
        let name = text("/metadata/name", "metadata.name")?;
        let mut served = registry::kinds().iter();
        let served = served.find(|row| row.kind == kind && row.api_version() == api_version);
        let kind = served.ok_or(NoManifest::NotServed { api_version, kind })?;
        let namespace = match text("/metadata/namespace", "") {
            _ if !kind.namespaced => String::new(),
            said => said.unwrap_or_else(|_| NAMESPACE_DEFAULT.to_owned()),
        };
        Ok(Self {
            place,
            kind,
            namespace,
            name,
            object,
        })
    }

    /// Whether others may need it to be there first.
    pub fn comes_first(&self) -> bool {
        self.kind.kind == "Namespace"
    }

    fn create(&self) -> Request {
        let (resource, object) = (self.kind.resource_name(), self.object.clone());
        WRITER.create(resource, &self.namespace, object)
    }

    fn merge(&self) -> Request {
        let verb = Verb::Patch(PatchType::Merge, self.object.clone());
        let resource = self.kind.resource_name();
        WRITER.request(resource, &self.namespace, Some(&self.name), verb)
    }
}

/// Neighbours of the actor.
#[derive(Clone)]
pub struct Around {
    /// In the order in which they are applied.
    pub manifests: Vec<Manifest>,
    /// Says which generation this is.
    pub peer: Addr<RaftPeer>,
    /// Takes the writes.
    pub submit: Recipient<Submit>,
    /// Stamps the mark.
    pub clock: std::rc::Rc<dyn Clock>,
    /// Names events.
    pub entropy: Entropy,
}

/// The actor. Invariant: a task runs only while this node leads.
pub struct Manifests {
    around: Around,
    task: Option<SpawnHandle>,
}

impl Manifests {
    /// An idle one. The manifests are applied in the order given, except that namespaces come first.
    pub fn new(mut around: Around) -> Self {
        around
            .manifests
            .sort_by_key(|manifest| !manifest.comes_first());
        Self { around, task: None }
    }
}

impl Actor for Manifests {
    type Context = Context<Self>;
}

impl Handler<BecameLeader> for Manifests {
    type Result = ();

    fn handle(&mut self, BecameLeader { view, .. }: BecameLeader, ctx: &mut Self::Context) {
        // A node that was told of none marks that, too: who has some and leads later must not apply them so late.
        let applying = self.around.clone().apply_all(view);
        self.task = Some(ctx.spawn(applying.into_actor(self)));
    }
}

impl Handler<Applied> for Manifests {
    type Result = ();

    fn handle(&mut self, _: Applied, _: &mut Self::Context) {}
}

impl Handler<LostLeadership> for Manifests {
    type Result = ();

    fn handle(&mut self, _: LostLeadership, ctx: &mut Self::Context) {
        if let Some(task) = self.task.take() {
            ctx.cancel_future(task);
        }
    }
}

impl Around {
    async fn apply_all(mut self, view: View) {
        // No answer means that the node is stopping.
        let Ok(Some((cluster, _))) = self.peer.send(GetStatus).await else {
            return;
        };
        let generation = cluster.generation;
        let mark = mark_name(generation);
        let recovered = recovery::record::find(&view, generation).is_some();
        if recovered {
            return;
        }
        if let Some(marked) = view.get(&mark_key(&mark)) {
            let by_nobody = String::from_utf8_lossy(&marked.value).contains(NONE);
            if by_nobody && !self.manifests.is_empty() {
                tracing::warn!(
                    "--manifests are not applied: this generation began under a leader that has none"
                );
            }
            return;
        }
        let mut refused = 0;
        for manifest in self.manifests.clone() {
            match self.apply(&manifest).await {
                Ok(()) => tracing::info!(place = manifest.place, "applied a manifest"),
                Err(status) => {
                    refused += 1;
                    self.complain(&manifest, &status);
                }
            }
        }
        let applied = self.manifests.len() - refused;
        tracing::info!(applied, refused, "the manifests are applied");
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": mark, "namespace": MARK_NAMESPACE },
            "data": if self.manifests.is_empty() { json!({ "said": NONE }) } else { json!({
                "time": time::text(self.clock.wall()),
                "applied": applied.to_string(),
                "refused": refused.to_string(),
            }) },
        });
        let mark = Manifest::new(String::new(), object).expect("a ConfigMap is served");
        if let Err(status) = self.apply(&mark).await {
            tracing::warn!(%status, "that the manifests are applied could not be written down");
        }
    }

    /// Creates an object, or merges it into the one that is there; again while it may yet succeed.
    async fn apply(&self, manifest: &Manifest) -> Result<(), Status> {
        let mut refused = None;
        for _ in 0..ATTEMPTS_MAX {
            let status = match self.submit(manifest.create()).await {
                Err(status) if status.reason == "AlreadyExists" => {
                    self.submit(manifest.merge()).await
                }
                created => created,
            };
            match status {
                Ok(reply) => {
                    for warning in reply.warnings {
                        tracing::warn!(place = manifest.place, warning, "a manifest");
                    }
                    return Ok(());
                }
                Err(status) if may_yet_succeed(&status) => refused = Some(status),
                Err(status) => return Err(status),
            }
            tokio::time::sleep(Duration::from_millis(AGAIN_MS)).await;
        }
        Err(refused.expect("it was tried"))
    }

    async fn submit(&self, request: Request) -> Result<Reply, Status> {
        let replies = self.submit.send(Submit(vec![request])).await;
        let reply = replies.ok().and_then(|replies| replies.into_iter().next());
        reply.unwrap_or_else(|| Err(super::refusals::stopping()))
    }

    fn complain(&mut self, manifest: &Manifest, status: &Status) {
        tracing::error!(place = manifest.place, %status, "a manifest is refused");
        let namespace = (!manifest.namespace.is_empty()).then(|| manifest.namespace.clone());
        let meta = ObjectMeta {
            name: Some(manifest.name.clone()),
            namespace,
            ..ObjectMeta::default()
        };
        let api_version = manifest.kind.api_version();
        let source = EventSource {
            component: "kagero-manifests",
            api_version: &api_version,
            kind: manifest.kind.kind,
            meta: &meta,
        };
        let message = format!("{}: {}", manifest.place, status.message);
        let (level, now) = (Level::Warning, self.clock.wall());
        let event = event(
            source,
            level,
            "ManifestRefused",
            &message,
            now,
            &mut self.entropy,
        );
        self.submit.do_send(Submit(vec![event]));
    }
}

/// A namespace that is missing may be made yet, and a cluster that is busy or leaderless may be well again.
fn may_yet_succeed(status: &Status) -> bool {
    matches!(status.code, 404 | 409 | 429 | 500 | 503 | 504)
}

fn mark_name(generation: u64) -> String {
    format!("kagero-manifests-{generation}")
}

fn mark_key(name: &str) -> String {
    let config_maps = registry::find("", "v1", "configmaps").expect("it is in the registry");
    config_maps.key(Some(MARK_NAMESPACE), name)
}
