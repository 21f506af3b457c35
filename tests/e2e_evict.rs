//! The end of the leader's machine is announced to real processes, and comes; and a leader's process is asked to end.

#![allow(clippy::unwrap_used, reason = "all of this is test code")]

#[path = "dev/mod.rs"]
mod dev;
#[path = "machines/mod.rs"]
mod machines;

use std::time::Duration;

use jiff::Timestamp;
use kagero::env::clock::{Clock, SystemClock};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use dev::{FORMED_WITHIN, SOON, ask, client, is_running, status_of, until};
use machines::{Machines, free_addresses};

/// The notice: what clouds give at least.
const NOTICE: Duration = Duration::from_secs(30);
/// Handing over takes less on a machine that is busy with a debug build; an election by timeout takes longer.
const HAND_OVER_MAX: Duration = Duration::from_millis(450);
/// Between two looks at who leads.
const LOOK: Duration = Duration::from_millis(2);

/// Four nodes, three of which vote, with three web servers that run; and who leads.
fn four() -> (Machines, String) {
    let listens: [String; 4] = free_addresses();
    let mut machines = Machines::new(&listens[..3]);
    for (name, listen) in ["n1", "n2", "n3", "n4"].into_iter().zip(&listens) {
        machines.start(name, listen, &[]);
    }
    let leader = until("three vote, one stands by", FORMED_WITHIN, || {
        let status = status_of(&machines.get("n1").line())?;
        let standby = status.members.iter().filter(|m| m.role == "learner");
        let whole = status.members.len() == 4 && standby.count() == 1;
        whole
            .then_some(status.leader)
            .ok_or_else(|| format!("{:?}", status.members))
    });
    machines.must("n1", &["apply", "-f", "deploy/manifests/web.yaml"]);
    until("pods run", SOON, || ready(&machines, "n1", ""));
    (machines, leader)
}

/// Three ready pods, none of them on this node.
fn ready(machines: &Machines, through: &str, not_on: &str) -> Result<(), String> {
    let pods = machines.list(through, &["pods"]);
    let elsewhere = |pod: &&Value| is_running(pod) && pod["spec"]["nodeName"] != not_on;
    let count = pods.iter().filter(elsewhere).count();
    let missing = || format!("{count} of {} run elsewhere than on {not_on:?}", pods.len());
    (count == 3).then_some(()).ok_or_else(missing)
}

/// A node other than this one.
fn other<'a>(machines: &'a Machines, than: &str) -> &'a str {
    let mut names = machines.all.iter().map(|machine| machine.name.as_str());
    names.find(|name| *name != than).unwrap()
}

/// A figure of a node's consensus; 0 as long as there was nothing to count.
async fn figure(api: &str, name: &str) -> u64 {
    let text = client(api).text("/metrics").await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

/// How often these nodes missed a leader so far.
fn missed(apis: &[String]) -> u64 {
    let event = r#"kagero_raft_events_total{event="pre_vote"}"#;
    let counts = apis.iter().map(|api| ask(figure(api, event)));
    counts.sum()
}

/// Waits until one of these leads, by its own word; when that was.
async fn leads(apis: &[String]) -> Timestamp {
    let deadline = Instant::now() + SOON;
    loop {
        for api in apis {
            if figure(api, "kagero_raft_is_leader").await == 1 {
                return SystemClock::new().wall();
            }
        }
        assert!(Instant::now() < deadline, "nobody else leads");
        sleep(LOOK).await;
    }
}

/// The APIs of all nodes but one.
fn others(machines: &Machines, than: &str) -> Vec<String> {
    let others = machines.all.iter().filter(|machine| machine.name != than);
    others.map(|machine| machine.api.clone()).collect()
}

#[test]
fn a_leader_with_notice_is_replaced_before_its_machine_goes() {
    let (mut machines, doomed) = four();
    let through = other(&machines, &doomed).to_owned();
    let api = machines.get(&through).api.clone();
    let (code, out, err) = machines.kagero(&["evict", "nobody", "--api", &api]);
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.contains(r#"no node "nobody""#), "{err}");

    let survivors = others(&machines, &doomed);
    let before = missed(&survivors);
    let began = Instant::now();
    let evict = ["evict", &doomed, "--in", "30s", "-o", "json", "--api", &api];
    let (seen, evicted) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| ask(leads(&survivors)));
        let (code, out, err) = machines.kagero(&evict);
        assert_eq!(code, 0, "{err}");
        let evicted: Value = serde_json::from_str(&out).unwrap();
        (watching.join().unwrap(), evicted)
    });
    let since: Timestamp = evicted["since"].as_str().unwrap().parse().unwrap();
    let took = Duration::try_from(seen.duration_since(since)).unwrap();
    println!("another leader {took:?} after the announcement");
    assert!(took < HAND_OVER_MAX, "the hand-over took {took:?}");

    until("pods run elsewhere", SOON, || {
        ready(&machines, &through, &doomed)
    });
    println!("pods run elsewhere {:?} after it", began.elapsed());
    until("three others vote", SOON, || {
        let status = status_of(&machines.get(&through).line())?;
        let votes = |role: &str| matches!(role, "leader" | "voter");
        let mut voters = status.members.iter().filter(|m| votes(&m.role));
        let doomed_votes = voters.clone().any(|member| member.name == doomed);
        let whole = voters.by_ref().count() == 3 && !doomed_votes;
        whole
            .then_some(())
            .ok_or_else(|| format!("{:?}", status.members))
    });
    println!("three others vote {:?} after it", began.elapsed());
    assert!(began.elapsed() < NOTICE, "the machine is gone by then");
    let node = machines.must(&through, &["get", "node", &doomed]);
    assert!(node.contains("SchedulingDisabled"), "{node}");

    machines.lose(&doomed, &machines.list(&through, &["pods"]));
    assert_eq!(missed(&survivors), before, "nobody missed the leader");
    ready(&machines, &through, &doomed).unwrap();
    machines.must(&through, &["delete", "deployment", "web"]);
    until("no pod is left", SOON, || {
        let left = machines.list(&through, &["pods"]);
        let here = left
            .iter()
            .filter(|pod| pod["spec"]["nodeName"] != doomed.as_str());
        let count = here.count();
        (count == 0)
            .then_some(())
            .ok_or_else(|| format!("{count} are left"))
    });
}

#[test]
fn a_leader_that_is_asked_to_end_hands_over_first() {
    let (mut machines, leader) = four();
    let survivors = others(&machines, &leader);
    let before = missed(&survivors);
    let asked = SystemClock::new().wall();
    let (code, seen) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| ask(leads(&survivors)));
        (machines.stop(&leader), watching.join().unwrap())
    });
    let took = Duration::try_from(seen.duration_since(asked)).unwrap();
    println!("another leader {took:?} after SIGTERM");
    assert_eq!(code, Some(0));
    assert!(took < HAND_OVER_MAX, "the hand-over took {took:?}");
    assert_eq!(missed(&survivors), before, "nobody missed the leader");
    let through = other(&machines, &leader);
    machines.must(through, &["delete", "deployment", "web"]);
}
