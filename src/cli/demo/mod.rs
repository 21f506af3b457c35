//! `kagero demo`: a cluster, pods on it, the loss of its leader's machine, and how it heals.
//!
//! Every claim is checked from outside, through the API that any client has: what is printed was seen. Deliberately
//! without a switch to skip a check.

mod report;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

use self::report::{NodeLine, Report};
use self::trouble::{Trouble, newest_warning};
use super::cluster::{Cluster, Layout, POLL};
use super::dev::{self, READY_WITHIN};
use super::progress::Progress;
use super::status::{condition, items};
use super::{RuntimeChoice, edges, leftovers, signals};
use crate::env::entropy::Entropy;

pub(super) const EXAMPLES: &str = "Examples:
  kagero demo
  kagero demo --pods 100 --runtime docker
  kagero demo --pods 3 --runtime docker --image nginx

Nothing stays behind; what a SIGKILL leaves, the next demo or dev removes. Exit code 0 says that everything came true.";

/// Where the demo's Deployment lives.
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
/// What the cluster says of them.
const EVENTS: &str = "/api/v1/namespaces/default/events";
/// Its pods.
const PODS: &str = "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb";
/// How often pods are listed: a list of 100 costs the cluster more than a question for its leader.
const LIST_POLL: Duration = Duration::from_millis(100);

/// How often the cluster's warnings are asked for while nothing else tells why it waits.
const WARNINGS_POLL: Duration = Duration::from_secs(1);
/// Pods that get no further for so long are worth a warning: more than the failure detector's 15 s.
const NO_PROGRESS: Duration = Duration::from_secs(20);
/// The longest play, a day: so that no sum of times overflows.
const DEADLINE_SECONDS_MAX: u64 = 86_400;

/// What `kagero demo` takes.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// How many pods
    #[arg(long, env = "KAGERO_PODS", value_name = "N", default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
    pub pods: u16,
    /// How many nodes; with fewer than 3 no quorum would survive
    #[arg(long, env = "KAGERO_NODES", value_name = "N", default_value = "3", value_parser = nodes)]
    pub nodes: usize,
    /// What runs the pods
    #[arg(long, env = "KAGERO_RUNTIME", value_enum, default_value = "auto")]
    pub runtime: RuntimeChoice,
    /// Image for the pods, for Docker [default: one made of this program, a tiny web server]
    #[arg(long, env = "KAGERO_IMAGE", value_name = "IMAGE")]
    pub image: Option<String>,
    /// Seconds until the whole demo must have come true
    #[arg(
        long,
        env = "KAGERO_DEADLINE",
        value_name = "SECONDS",
        default_value = "300",
        value_parser = deadline
    )]
    pub deadline: u64,
    /// What the nodes log
    #[arg(
        long,
        env = "KAGERO_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

fn nodes(text: &str) -> Result<usize, String> {
    match dev::nodes(text)? {
        few @ (1 | 2) => Err(format!(
            "{few} nodes cannot lose one and keep a majority: expected 3 or more"
        )),
        enough => Ok(enough),
    }
}

fn deadline(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| *seconds >= 1);
    seconds
        .filter(|seconds| *seconds <= DEADLINE_SECONDS_MAX)
        .ok_or_else(|| format!("expected 1 to {DEADLINE_SECONDS_MAX} seconds"))
}

impl DemoArgs {
    /// What no single option's parser can see.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.image.is_some() && self.runtime == RuntimeChoice::Process {
            return Err(
                "--image is for containers and --runtime process runs none: leave one of them out"
                    .into(),
            );
        }
        Ok(())
    }

    /// Plays it, prints what was seen, and leaves nothing.
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let mut stop = signals::Stop::listen()?;
        let until = Instant::now() + Duration::from_secs(self.deadline);
        let mut entropy = Entropy::from_system();
        let prepared = async {
            leftovers::collect().await;
            let runtime = edges::resolve(self.runtime).await;
            let container = match self.image {
                Some(_) if runtime == RuntimeChoice::Process => {
                    bail!(
                        "--image needs a Docker engine, and none answers: start one, or leave --image out"
                    )
                }
                Some(image) => json!({"name": "web", "image": image}),
                None => edges::demo_container(runtime).await?,
            };
            let layout = Layout {
                nodes: self.nodes,
                runtime,
                log: self.log,
            };
            let cluster = Cluster::start(layout, &mut entropy).await?;
            anyhow::Ok((cluster, container, runtime))
        };
        let stopped = |signal| anyhow!("{signal}: stopped");
        let late = |_| anyhow!("not done within --deadline {} seconds", self.deadline);
        let prepared = stop.or(timeout_at(until, prepared)).await;
        let (cluster, container, runtime) = prepared.map_err(stopped)?.map_err(late)??;
        let mut play = Play {
            cluster,
            entropy,
            progress: Progress::new(),
            pods: self.pods.into(),
            until,
        };
        let acts = timeout_at(until, play.acts(container, runtime));
        let played = match stop.or(acts).await {
            Ok(played) => played.map_err(late).and_then(|played| played),
            Err(signal) => Err(stopped(signal)),
        };
        play.progress.finish();
        let stopped = stop.clean_up(play.cluster.stop()).await;
        let stopped = stopped.context("cleaning up");
        let report = played?;
        super::print(report);
        stopped
    }
}

/// The play and what it needs.
struct Play {
    cluster: Cluster,
    entropy: Entropy,
    progress: Progress,
    pods: usize,
    until: Instant,
}

/// A pod, as far as the demo cares.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pod {
    uid: String,
    node: String,
    /// Running, ready and not on its way out.
    running: bool,
}

impl Pod {
    fn read(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let staying = pod["metadata"]["deletionTimestamp"].is_null();
        Self {
            uid: text(&pod["metadata"]["uid"]),
            node: text(&pod["spec"]["nodeName"]),
            running: staying && pod["status"]["phase"] == "Running" && condition(pod, "Ready"),
        }
    }
}

/// The newest warning of the cluster, asked for while nothing gets further.
struct Warning {
    newest: Option<String>,
    counted: usize,
    changed: Instant,
    asked: Instant,
}

impl Warning {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            newest: None,
            counted: 0,
            changed: now,
            asked: now,
        }
    }

    /// Whether to ask now, with so many pods that run.
    fn is_due(&mut self, counted: usize, now: Instant) -> bool {
        if counted != self.counted {
            (self.counted, self.changed, self.newest) = (counted, now, None);
        }
        let due = now.duration_since(self.changed) >= NO_PROGRESS
            && now.duration_since(self.asked) >= WARNINGS_POLL;
        if due {
            self.asked = now;
        }
        due
    }
}

impl Play {
    async fn acts(&mut self, container: Value, runtime: RuntimeChoice) -> anyhow::Result<Report> {
        let mut report = Report {
            runtime,
            pods: self.pods,
            ..Report::default()
        };
        let begun = Instant::now();
        self.progress.step("starting the cluster");
        let within = (begun + READY_WITHIN).min(self.last_look());
        let status = self.cluster.ready(within).await?;
        report.formed = begun.elapsed();
        self.said(
            &format!(
                "{} nodes, {} leads",
                self.cluster.nodes.len(),
                status.leader
            ),
            report.formed,
        );
        self.deploy(container, &mut report).await?;
        let (leader, term) = (status.leader, status.term);
        let lost = self
            .cluster
            .index(&leader)
            .context("the leader is none of the nodes")?;
        let before = self.list(lost).await?;
        let killed_at = self.lose_machine(lost, term, &mut report).await?;
        self.heal(lost, &before, killed_at, &mut report).await?;
        self.come_back(lost, &mut report).await?;
        report.machines = self.machines(lost).await?;
        Ok(report)
    }

    async fn deploy(&self, container: Value, report: &mut Report) -> anyhow::Result<()> {
        let begun = Instant::now();
        let deployment = deployment(self.pods, container);
        let created = self.cluster.client(0).post(DEPLOYMENTS, &deployment).await;
        created.context("creating the Deployment")?;
        let enough = |pods: &[Pod]| pods.iter().filter(|pod| pod.running).count();
        self.until_running(0, "pods running", enough).await?;
        report.deployed = begun.elapsed();
        self.said(&format!("{} pods running", self.pods), report.deployed);
        Ok(())
    }

    /// Kills the leader's process and its pods; returns the moment, once another leads.
    async fn lose_machine(
        &mut self,
        lost: usize,
        term: u64,
        report: &mut Report,
    ) -> anyhow::Result<Instant> {
        report.lost_node.clone_from(&self.cluster.nodes[lost].name);
        let killed_at = Instant::now();
        self.cluster.kill_process(lost).await?;
        self.progress
            .done(&format!("killed {} and its pods: it led", report.lost_node));
        self.progress.step("electing a leader");
        let (wiped, elected) =
            tokio::join!(self.cluster.wipe(lost), self.elected(lost, term, killed_at));
        wiped?;
        let (leader, took) = elected?;
        self.said(&format!("{leader} leads"), took);
        report.new_leader = leader;
        report.election = took;
        Ok(killed_at)
    }

    /// The leader of a later term as any survivor tells it, and how long that took.
    async fn elected(
        &self,
        lost: usize,
        term: u64,
        since: Instant,
    ) -> anyhow::Result<(String, Duration)> {
        let gone = &self.cluster.nodes[lost].name;
        loop {
            for index in (0..self.cluster.nodes.len()).filter(|index| *index != lost) {
                let Ok(status) = self.cluster.status(index).await else {
                    continue; // it knows no leader yet
                };
                if status.term > term && status.leader != *gone {
                    return Ok((status.leader, since.elapsed()));
                }
            }
            self.pause(POLL, "no new leader").await?;
        }
    }

    /// Waits until every lost pod has a running replacement on a machine that lives.
    async fn heal(
        &self,
        lost: usize,
        before: &[Pod],
        killed_at: Instant,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let gone = &self.cluster.nodes[lost].name;
        let witness = self.cluster.other_than(lost)?;
        let running = |pods: &[Pod]| {
            pods.iter()
                .filter(|pod| pod.running && pod.node != *gone)
                .count()
        };
        let after = self
            .until_running(witness, "pods running elsewhere", running)
            .await?;
        report.healed = killed_at.elapsed();
        report.pods_lost = before.iter().filter(|pod| pod.node == *gone).count();
        report.pods_replaced = replaced(before, &after, gone)?;
        self.said(
            &format!("{} pods replaced", report.pods_replaced),
            report.healed,
        );
        Ok(())
    }

    /// Starts the lost machine again and waits until the voters are complete.
    async fn come_back(&mut self, lost: usize, report: &mut Report) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.progress
            .step(&format!("{} comes back, empty", report.lost_node));
        self.cluster.start_machine(lost, &mut self.entropy)?;
        let status = self.cluster.ready(self.last_look()).await?;
        report.rejoined = begun.elapsed();
        report.voters = status.voters_wanted;
        self.said(
            &format!("{} of {0} voters again", report.voters),
            report.rejoined,
        );
        Ok(())
    }

    async fn machines(&self, witness: usize) -> anyhow::Result<Vec<NodeLine>> {
        let pods = self.list(witness).await?;
        let running = pods.iter().filter(|pod| pod.running).count();
        ensure!(
            running == self.pods,
            "{running} of {} pods run at the end",
            self.pods
        );
        let line = |node: &super::cluster::LocalNode| {
            let usage = node.usage();
            Ok(NodeLine {
                name: node.name.clone(),
                pods: pods.iter().filter(|pod| pod.node == node.name).count(),
                usage: usage.with_context(|| format!("{} does not run at the end", node.name))?,
            })
        };
        self.cluster.nodes.iter().map(line).collect()
    }

    /// Polls until as many pods count as are wanted; these pods.
    async fn until_running(
        &self,
        witness: usize,
        what: &str,
        count: impl Fn(&[Pod]) -> usize,
    ) -> anyhow::Result<Vec<Pod>> {
        let mut last_problem = "the API has not answered yet".to_owned();
        let mut broken = None;
        let mut trouble = Trouble::default();
        let mut warning = Warning::new();
        loop {
            match self.objects(witness, PODS).await {
                Ok(objects) => {
                    let pods: Vec<_> = objects.iter().map(Pod::read).collect();
                    let counted = count(&pods);
                    self.progress.count(what, counted, self.pods);
                    if counted == self.pods {
                        return Ok(pods);
                    }
                    let now = Instant::now();
                    let mut why = trouble.of_pods(&objects, now);
                    if warning.is_due(counted, now) && why.is_none() {
                        let events = self.objects(witness, EVENTS).await;
                        warning.newest = events.ok().and_then(|events| newest_warning(&events));
                    }
                    why = why.or_else(|| warning.newest.clone());
                    self.progress.waits_for(why.as_deref());
                    last_problem = format!("{counted} of {}", self.pods);
                    if let Some(why) = why {
                        last_problem = format!("{last_problem}; {why}");
                    }
                    if trouble.is_hopeless(now) {
                        bail!("no pod can run: {last_problem}");
                    }
                }
                Err(error) => broken = Some(format!("{error:#}")),
            }
            let problem = match broken.take() {
                Some(error) => format!("{error} (before: {last_problem})"),
                None => last_problem.clone(),
            };
            self.pause(LIST_POLL, &format!("{what}: {problem}")).await?;
        }
    }

    async fn list(&self, witness: usize) -> anyhow::Result<Vec<Pod>> {
        let pods = self.objects(witness, PODS).await?;
        Ok(pods.iter().map(Pod::read).collect())
    }

    async fn objects(&self, witness: usize, path: &str) -> anyhow::Result<Vec<Value>> {
        let list = self.cluster.client(witness).get(path).await?;
        Ok(items(&list).to_vec())
    }

    /// When to give up looking, so that what is missing can still be told.
    fn last_look(&self) -> Instant {
        self.until - LIST_POLL
    }

    /// Waits a little, or tells what did not come true in time.
    async fn pause(&self, time: Duration, missing: &str) -> anyhow::Result<()> {
        if Instant::now() + time >= self.last_look() {
            bail!("out of time: {missing}");
        }
        sleep(time).await;
        Ok(())
    }

    fn said(&self, what: &str, took: Duration) {
        self.progress
            .done(&format!("{what} ({:.2} s)", took.as_secs_f64()));
    }
}

/// How many of the lost node's pods have a successor; an error if a pod of a living node was disturbed.
fn replaced(before: &[Pod], after: &[Pod], gone: &str) -> anyhow::Result<usize> {
    let now: BTreeMap<_, _> = after.iter().map(|pod| (&pod.uid, pod)).collect();
    let stayed = |pod: &&Pod| pod.node != gone;
    for pod in before.iter().filter(stayed) {
        let same = now
            .get(&pod.uid)
            .is_some_and(|now| now.running && now.node == pod.node);
        ensure!(
            same,
            "a pod of {} was disturbed by the loss of {gone}",
            pod.node
        );
    }
    let old: BTreeSet<_> = before.iter().map(|pod| &pod.uid).collect();
    let new = |pod: &&Pod| pod.running && !old.contains(&pod.uid);
    Ok(after.iter().filter(new).count())
}

fn deployment(pods: usize, container: Value) -> Value {
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, node: &str, running: bool) -> Pod {
        Pod {
            uid: uid.into(),
            node: node.into(),
            running,
        }
    }

    #[test]
    fn a_pod_runs_when_it_is_ready_and_stays() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let mut object = json!({
            "metadata": {"uid": "u"}, "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "conditions": ready},
        });
        assert_eq!(Pod::read(&object), pod("u", "n1", true));
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!Pod::read(&object).running);
        object["metadata"]["deletionTimestamp"] = Value::Null;
        object["status"]["conditions"][0]["status"] = json!("False");
        assert!(!Pod::read(&object).running);
    }

    #[test]
    fn replacements_are_counted_and_disturbance_is_seen() {
        let before = [pod("a", "n1", true), pod("b", "n2", true)];
        let healed = [
            pod("c", "n2", true),
            pod("b", "n2", true),
            pod("a", "n1", false),
        ];
        assert_eq!(replaced(&before, &healed, "n1").unwrap(), 1);
        let disturbed = [pod("c", "n2", true), pod("d", "n2", true)];
        let error = replaced(&before, &disturbed, "n1").unwrap_err().to_string();
        assert!(error.contains("a pod of n2 was disturbed"), "{error}");
    }

    #[test]
    fn too_few_nodes_are_refused() {
        assert!(nodes("2").unwrap_err().contains("majority"));
        assert!(nodes("101").is_err());
        assert_eq!(nodes("5"), Ok(5));
    }
}
