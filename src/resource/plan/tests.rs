//! The write path against a real store: every test asks as a client would and reads what is stored.

mod create;
mod delete;
mod hostile;
mod patch;
mod retold;
mod subresources;
mod update;

use jiff::{SignedDuration, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{plan, plan_again, retell};
use crate::resource::codec;
use crate::resource::request::{
    Deletion, Options, PatchType, Plan, Reply, Request, ResourceName, Stamp, Status, Verb,
};
use crate::store::{Command, Outcome, ProposalId, Recalled, Store};

const NOW: &str = "2026-01-02T03:04:05.678Z";

/// A store with the namespace `default` at revision 1, and a client of it.
struct Cluster {
    store: Store,
    entropy: StdRng,
    now: Timestamp,
    commands: u64,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            store: Store::new(),
            entropy: StdRng::seed_from_u64(1),
            now: NOW.parse().unwrap(),
            commands: 0,
        };
        cluster.create("namespaces", json!({"metadata": {"name": "default"}}));
        cluster
    }

    fn plan(&mut self, request: &Request) -> Result<Plan, Status> {
        let mut stamp = Stamp {
            now: self.now,
            entropy: &mut self.entropy,
        };
        plan(&self.store.view(), request, &mut stamp)
    }

    fn send(&mut self, request: &Request) -> Result<Reply, Status> {
        let plan = self.plan(request)?;
        match self.commit(&plan) {
            Outcome::Committed { revision } => {
                let reply = plan.reply.finish(revision);
                if let [_] = &plan.transactions[..] {
                    let again = self.ask_again(request, self.commands);
                    assert_eq!(again.as_ref(), Some(&reply), "{request:?}");
                }
                Ok(reply)
            }
            Outcome::Conflict { key, .. } => panic!("nobody else writes {key}"),
        }
    }

    /// What the request of a command is answered by another leader, at another time.
    fn ask_again(&self, request: &Request, command: u64) -> Option<Reply> {
        let name = ProposalId {
            origin: 1,
            sequence: command,
        };
        let Recalled::Committed(past) = self.store.recall(name..=name, 0) else {
            panic!("it has committed");
        };
        let mut stamp = Stamp {
            now: self.now + SignedDuration::from_hours(1),
            entropy: &mut StdRng::seed_from_u64(command),
        };
        retell(&past, request, &mut stamp)
    }

    fn commit(&mut self, plan: &Plan) -> Outcome {
        let mut last = Outcome::Committed {
            revision: self.revision(),
        };
        for transaction in &plan.transactions {
            self.commands += 1;
            let command = Command {
                id: ProposalId {
                    origin: 1,
                    sequence: self.commands,
                },
                time_ms: self.now.as_millisecond(),
                transaction: transaction.clone(),
            };
            last = self.store.apply(&command).outcome;
        }
        last
    }

    fn create(&mut self, plural: &str, object: Value) -> Value {
        let reply = self.send(&post(plural, object)).unwrap();
        assert_eq!(reply.code, 201);
        body(&reply)
    }

    /// What is stored, as a client sees it.
    fn get(&self, plural: &str, name: &str) -> Option<Value> {
        let place = place(plural);
        let kind = crate::resource::registry::find(&place.group, &place.version, plural).unwrap();
        let view = self.store.view();
        let record = view.get(&kind.key(namespace(plural).as_deref(), name))?;
        Some(codec::decode(&record.value, record.mod_revision).unwrap())
    }

    fn revision(&self) -> u64 {
        self.store.view().revision()
    }
}

fn place(plural: &str) -> ResourceName {
    let group = match plural {
        "deployments" | "replicasets" => "apps",
        "leases" => "coordination.k8s.io",
        _ => "",
    };
    ResourceName::new(group, "v1", plural)
}

fn namespace(plural: &str) -> Option<String> {
    (!matches!(plural, "namespaces" | "nodes")).then(|| "default".to_owned())
}

/// A request; `path` is `name` or `name/subresource`.
fn request(plural: &str, path: Option<&str>, verb: Verb) -> Request {
    let mut parts = path
        .into_iter()
        .flat_map(|path| path.split('/'))
        .map(str::to_owned);
    Request {
        resource: place(plural),
        namespace: namespace(plural),
        name: parts.next(),
        subresource: parts.next(),
        verb,
        options: Options::default(),
        user: "test".to_owned(),
    }
}

fn post(plural: &str, object: Value) -> Request {
    request(plural, None, Verb::Create(object))
}

fn put(plural: &str, path: &str, object: Value) -> Request {
    request(plural, Some(path), Verb::Update(object))
}

fn merge(plural: &str, path: &str, change: Value) -> Request {
    request(plural, Some(path), Verb::Patch(PatchType::Merge, change))
}

fn delete(plural: &str, name: &str, options: Value) -> Request {
    let (deletion, _) = Deletion::from_options(&options);
    request(plural, Some(name), Verb::Delete(deletion))
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}})
}

fn deployment(name: &str) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i:1"}]},
            },
        },
    })
}
