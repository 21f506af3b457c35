//! What controllers ask of unique pods whose node cannot be asked.

use std::rc::Rc;

use k8s_openapi::api::core::v1::ConfigMap;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::*;
use crate::actors::controller_host::ControllerHost;
use crate::actors::lease::WAIT;
use crate::actors::metrics::ClusterMetrics;
use crate::actors::spoken::NodeSpoke;
use crate::actors::test_leader::Handle;
use crate::actors::testing::host::env;
use crate::actors::testing::network::Wires;
use crate::actors::testing::peer::silent_peer;
use crate::control::PodCleanup;
use crate::env::clock::SystemClock;
use crate::env::entropy::Entropy;
use crate::resource::cache::Cached;
use crate::resource::{Deletion, Options, ResourceName};

fn pod(name: &str, owners: &Value) -> Value {
    let meta = json!({"name": name, "namespace": "default", "ownerReferences": owners});
    let spec = json!({"nodeName": "gone", "containers": [{"name": "c", "image": "i:1"}]});
    json!({"metadata": meta, "spec": spec})
}

fn unique(name: &str) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": true});
    pod(name, &json!([owner]))
}

/// Hears that nodes speak.
struct Ear;

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<NodeSpoke> for Ear {
    type Result = ();

    fn handle(&mut self, _: NodeSpoke, _: &mut Self::Context) {}
}

/// The leader's links, and a host of the controller that removes pods whose node is gone, behind them.
async fn leading(leader: &Handle) -> Addr<NodeLinks> {
    let env = env(&Wires::default(), 1);
    let metrics = ClusterMetrics::new(&Registry::new()).unwrap();
    let submit = leader.0.clone().recipient();
    let links = NodeLinks::new(
        &env,
        submit,
        silent_peer(),
        Ear.start().recipient(),
        metrics,
    )
    .start();
    let (guarded, clock) = (links.clone().recipient(), Rc::new(SystemClock::new()));
    let cleanup = vec![Box::new(PodCleanup) as Box<dyn crate::control::Controller>];
    let host = ControllerHost::new(cleanup, guarded, clock, Entropy::from_seed(1)).start();
    leader.lead(&links).await;
    leader.lead(&host).await;
    links
}

#[actix::test]
async fn a_unique_pod_stays_until_its_node_has_been_silent_for_long_enough() {
    tokio::time::pause();
    let leader = Handle::start();
    leader
        .create("namespaces", json!({"metadata": {"name": "default"}}))
        .await;
    leader.create("pods", pod("web", &json!([]))).await;
    leader.create("pods", unique("db-0")).await;
    let start = Instant::now();
    leading(&leader).await;
    leader.wait_for("pods/", 1, |_| true).await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "others go at once"
    );
    sleep(WAIT.saturating_sub(start.elapsed())).await;
    let left = leader.objects("pods/").await;
    assert_eq!(left[0]["metadata"]["name"], "db-0");
    // What became of the first attempt is not known; it is made again.
    leader.refuse(vec![true]).await;
    leader.wait_for("pods/", 0, |_| true).await;
    assert!(start.elapsed() < WAIT + Duration::from_secs(5));
}

#[test]
fn only_what_asks_no_node_is_held_back() {
    let request = |prefix: &str, name: &str, grace: Option<i64>| Request {
        resource: ResourceName::new("", "v1", prefix),
        namespace: Some("default".to_owned()),
        name: Some(name.to_owned()),
        subresource: None,
        verb: Verb::Delete(Deletion {
            grace_period_seconds: grace,
            ..Deletion::default()
        }),
        options: Options::default(),
        user: "test".to_owned(),
    };
    let mut world = crate::control::world::World::new();
    for pod in [unique("db-0"), pod("web", &json!([]))] {
        world.create("pods", pod);
    }
    let found = |request: &Request| unasked(&world.cache, request).map(|(_, node)| node);
    let gone = Some("gone".to_owned());
    assert_eq!(found(&request("pods", "db-0", Some(0))), gone);
    assert_eq!(found(&request("pods", "db-0", Some(1))), None);
    assert_eq!(found(&request("pods", "db-0", None)), None);
    assert_eq!(found(&request("pods", "web", Some(0))), None);
    assert_eq!(found(&request(ConfigMap::PREFIX, "db-0", Some(0))), None);
}
