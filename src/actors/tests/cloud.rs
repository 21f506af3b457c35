//! The cloud can be asked what became of machines: a recovery without an operator, and its patience.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use async_trait::async_trait;
use tokio::time::{Duration, sleep};

use crate::actors::testing::host::{Host, env, eventually, options};
use crate::actors::testing::network::Wires;
use crate::actors::testing::objects::Shelf;
use crate::env::cloud::{Cloud, CloudError, Fate, Notice};
use crate::node::Options;

/// Longer than what an unattended recovery waits for, several times.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cloud that knows of machines that are gone, or is out of order.
#[derive(Clone)]
struct Registry(Rc<RefCell<Result<BTreeSet<String>, CloudError>>>);

impl Default for Registry {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(Ok(gone(&[])))))
    }
}

#[async_trait(?Send)]
impl Cloud for Registry {
    async fn notice(&self) -> Result<Option<Notice>, CloudError> {
        Ok(None)
    }

    async fn fate(&self, machine_id: &str, _: &str) -> Result<Fate, CloudError> {
        let gone = self.0.borrow().clone()?;
        Ok(if gone.contains(machine_id) {
            Fate::Gone
        } else {
            Fate::There
        })
    }
}

/// A node with this cloud, told to recover unattended; with a store to claim in.
async fn node(wires: &Wires, cloud: &Registry, shelf: &Shelf, options: Options) -> Host {
    let mut env = env(wires, options.machine_id.bytes().map(u64::from).sum());
    env.cloud = Rc::new(cloud.clone());
    env.objects = Some(shelf.edge());
    Host::start_in(env, options).await
}

/// Three nodes that vote, told to recover unattended or not.
async fn three(wires: &Wires, cloud: &Registry, shelf: &Shelf, auto_recover: bool) -> Vec<Host> {
    let mut hosts = Vec::new();
    for number in 1..=3 {
        let mut options = options(number);
        options.auto_recover = auto_recover;
        hosts.push(node(wires, cloud, shelf, options).await);
    }
    let votes = |host: &Host| {
        let known = host.node.known.borrow();
        let voters = known
            .as_ref()
            .map(|known| known.standing.configuration.voters.len());
        voters == Some(3)
    };
    eventually("three voters", || hosts.iter().all(votes)).await;
    hosts
}

fn generation(host: &Host) -> u64 {
    let known = host.node.known.borrow();
    known
        .as_ref()
        .map_or(0, |known| known.standing.cluster.generation)
}

fn gone(numbers: &[u16]) -> BTreeSet<String> {
    let machines = numbers.iter();
    machines.map(|number| format!("machine-{number}")).collect()
}

#[actix::test]
async fn what_survives_goes_on_once_the_cloud_says_that_everybody_else_is_gone() {
    tokio::time::pause();
    let (wires, cloud, shelf) = (Wires::default(), Registry::default(), Shelf::default());
    let mut hosts = three(&wires, &cloud, &shelf, true).await;
    hosts.truncate(1);
    for word in [
        Ok(gone(&[])),
        Ok(gone(&[2])),
        Err(CloudError("busy".into())),
    ] {
        *cloud.0.borrow_mut() = word;
        sleep(PATIENCE).await;
        assert_eq!(generation(&hosts[0]), 0, "somebody may live");
    }
    *cloud.0.borrow_mut() = Ok(gone(&[2, 3]));
    eventually("a new generation", || generation(&hosts[0]) == 1).await;
    eventually("a leader", || hosts[0].leads()).await;
}

#[actix::test]
async fn nobody_recovers_while_a_node_that_may_hear_a_leader_is_silent() {
    tokio::time::pause();
    let (wires, cloud, shelf) = (Wires::default(), Registry::default(), Shelf::default());
    let mut hosts = three(&wires, &cloud, &shelf, true).await;
    let mut worker = options(4);
    worker.seeds = options(1).seeds;
    worker.may_vote = false;
    let worker = node(&wires, &cloud, &shelf, worker).await;
    let registered = || {
        let known = hosts[0].node.known.borrow();
        let view = known.as_ref().map(|known| known.view.clone());
        view.is_some_and(|view| view.get("nodes//n4").is_some())
    };
    eventually("it is registered", registered).await;
    drop(worker);
    hosts.truncate(1);
    *cloud.0.borrow_mut() = Ok(gone(&[2, 3]));
    sleep(PATIENCE).await;
    assert_eq!(
        generation(&hosts[0]),
        0,
        "its members may have let others in"
    );
    *cloud.0.borrow_mut() = Ok(gone(&[2, 3, 4]));
    eventually("a new generation", || generation(&hosts[0]) == 1).await;
}

#[actix::test]
async fn nobody_recovers_unasked() {
    tokio::time::pause();
    let (wires, cloud, shelf) = (Wires::default(), Registry::default(), Shelf::default());
    let mut hosts = three(&wires, &cloud, &shelf, false).await;
    *cloud.0.borrow_mut() = Ok(gone(&[2, 3]));
    hosts.truncate(1);
    sleep(PATIENCE).await;
    assert_eq!(generation(&hosts[0]), 0);
}

#[actix::test]
async fn a_voter_of_which_the_cloud_says_that_it_is_gone_is_replaced_before_its_silence_proves_it()
{
    tokio::time::pause();
    let (wires, cloud, shelf) = (Wires::default(), Registry::default(), Shelf::default());
    let mut hosts = three(&wires, &cloud, &shelf, false).await;
    let mut fourth = options(4);
    fourth.seeds = options(1).seeds;
    let fourth = node(&wires, &cloud, &shelf, fourth).await;
    let replica = |host: &Host| host.node.known.borrow().is_some();
    eventually("a standby", || replica(&fourth)).await;
    sleep(PATIENCE).await;
    let lost = usize::from(hosts[0].leads());
    let id = hosts[lost].node.id;
    *cloud.0.borrow_mut() = Ok(gone(&[u16::try_from(lost).unwrap() + 1]));
    drop(hosts.remove(lost));
    let since = tokio::time::Instant::now();
    let replaced = |host: &Host| {
        let known = host.node.known.borrow();
        let configuration = known
            .as_ref()
            .map(|known| known.standing.configuration.clone());
        configuration
            .is_some_and(|now| !now.is_voter(id) && now.voters.len() == 3 && !now.is_joint())
    };
    eventually("another in its place", || replaced(&fourth)).await;
    let took = since.elapsed();
    // It stays out, although its Node is ready for some seconds yet.
    let member = |host: &Host| {
        let known = host.node.known.borrow();
        known
            .as_ref()
            .is_some_and(|known| known.standing.configuration.is_member(id))
    };
    for _ in 0..90 {
        assert!(!member(&fourth), "added again");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(took < Duration::from_secs(9), "{took:?}");
}
