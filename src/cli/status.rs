//! `kagero status`: a cluster's members, nodes and pods, in tables or as JSON.
//!
//! Deliberately nothing that the API does not tell everybody.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, ValueEnum};
use comfy_table::{Table, presets};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use serde::Serialize;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::{edges, kubeconfig};
use crate::actors::messages::{ClusterStatus, RecoveryRecord, RestoreRecord, SnapshotStatus};
use crate::resource::nodes::eviction;

pub(super) const EXAMPLES: &str = "Examples:
  kagero status                                  of the current context's cluster
  kagero status --server http://10.0.0.1:6443    of the cluster behind this API
  kagero status -o json | jq .members";

/// Where a node describes its cluster.
pub const PATH: &str = "/kagero/v1/status";
/// The API's address when nothing names one: that of `kagero run`.
const SERVER_DEFAULT: &str = "127.0.0.1:6443";

/// What `kagero status` takes.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Any node's API, http://HOST:PORT [default: the kubeconfig's, else this machine's]
    #[arg(long, env = "KAGERO_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Kubeconfig whose current context is meant [default: kubectl's]
    #[arg(long, env = "KAGERO_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
}

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Everything that is shown.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    #[serde(flatten)]
    cluster: ClusterStatus,
    nodes: Vec<NodeLine>,
    /// Pods by phase.
    pods: BTreeMap<String, u64>,
}

/// A node and what runs on it.
#[derive(Debug, Serialize)]
struct NodeLine {
    name: String,
    ready: bool,
    /// Whether new pods may be placed there: it is not cordoned.
    schedulable: bool,
    /// When its machine may be taken away, if that is announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    eviction: Option<Timestamp>,
    pods: u64,
}

impl NodeLine {
    /// Whether new pods may come, in words.
    fn placing(&self) -> String {
        match (self.eviction, self.schedulable, self.ready) {
            (Some(deadline), ..) => format!("no: its machine ends at {deadline:.0}"),
            (None, false, _) => "no: cordoned".to_owned(),
            (None, true, false) => "no: not ready".to_owned(),
            (None, true, true) => "yes".to_owned(),
        }
    }
}

impl StatusArgs {
    /// Asks and prints.
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let client = Client::new(edges::network(), self.address()?);
        let asked = overview(&client).await;
        let overview = asked.map_err(|error| {
            let refused = error.downcast_ref::<ClientError>();
            if refused.and_then(ClientError::code) != Some(503) {
                return error;
            }
            anyhow::anyhow!(
                "{error}. If this lasts, a majority may be lost: `kagero recover --dry-run` says who is missing"
            )
        });
        let overview = overview.with_context(|| format!("asking {}", client.address()))?;
        match self.output {
            Output::Json => super::print(serde_json::to_string_pretty(&overview)? + "\n"),
            Output::Table => super::print(render(&overview)),
        }
        Ok(())
    }

    /// Says which of the two ways to name a cluster counts: a flag before the environment, a server before a file.
    /// Two flags contradict each other.
    pub(super) fn choose(&mut self, given: &ArgMatches) -> Result<(), clap::Error> {
        let flag = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        match (flag("server"), flag("kubeconfig")) {
            (true, true) => {
                let problem = "--server and --kubeconfig each name a cluster: say one of them";
                Err(super::Cli::command().error(ErrorKind::ArgumentConflict, problem))
            }
            (false, true) => {
                self.server = None;
                Ok(())
            }
            (_, false) => self.check_server(),
        }
    }

    /// A server that counts must be one, before anything else is looked at.
    fn check_server(&self) -> Result<(), clap::Error> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let wrong = |error| {
            let problem = format!("--server: {error:#}");
            super::Cli::command().error(ErrorKind::ValueValidation, problem)
        };
        kubeconfig::host_and_port(server).map(drop).map_err(wrong)
    }

    fn address(&self) -> anyhow::Result<String> {
        if let Some(server) = &self.server {
            return kubeconfig::host_and_port(server).context("--server");
        }
        if let Some(path) = &self.kubeconfig {
            return kubeconfig::server(path).context("--kubeconfig");
        }
        match kubeconfig::default_path().filter(|path| path.exists()) {
            Some(path) => kubeconfig::server(&path),
            None => Ok(SERVER_DEFAULT.to_owned()),
        }
    }
}

async fn overview(client: &Client) -> anyhow::Result<Overview> {
    let cluster = serde_json::from_value(client.get(PATH).await?).context("not a kagero API")?;
    let nodes = client.get("/api/v1/nodes").await?;
    let pods = client.get("/api/v1/pods").await?;
    Ok(summarise(cluster, items(&nodes), items(&pods)))
}

/// A list's items.
pub(super) fn items(list: &Value) -> &[Value] {
    list["items"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn summarise(cluster: ClusterStatus, nodes: &[Value], pods: &[Value]) -> Overview {
    let on = |name: &str| {
        pods.iter()
            .filter(|pod| pod["spec"]["nodeName"] == name)
            .count() as u64
    };
    let line = |node: &Value| {
        let name = node["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let typed: Option<Node> = serde_json::from_value(node.clone()).ok();
        NodeLine {
            ready: condition(node, "Ready"),
            schedulable: node["spec"]["unschedulable"] != true,
            eviction: typed.and_then(|node| Some(eviction(&node)?.deadline)),
            pods: on(&name),
            name,
        }
    };
    let mut phases = BTreeMap::new();
    for pod in pods {
        let phase = pod["status"]["phase"].as_str().unwrap_or("Unknown");
        *phases.entry(phase.to_owned()).or_default() += 1;
    }
    Overview {
        cluster,
        nodes: nodes.iter().map(line).collect(),
        pods: phases,
    }
}

/// Whether an object's condition is true.
pub(super) fn condition(object: &Value, name: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let holds = |condition: &Value| condition["type"] == name && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(holds))
}

fn render(overview: &Overview) -> String {
    let cluster = &overview.cluster;
    let mut text = format!(
        "cluster {}  generation {}  term {}  leader {}  revision {}  keys {}\n\n",
        cluster.cluster_id,
        cluster.generation,
        cluster.term,
        cluster.leader,
        cluster.revision,
        cluster.keys
    );
    if let Some(recovery) = &cluster.recovery {
        text.truncate(text.len() - 1);
        text.push_str(&recovered(recovery));
    }
    if let Some(restore) = &cluster.restore {
        text.truncate(text.len() - 1);
        text.push_str(&restored(restore));
    }
    if let Some(snapshots) = &cluster.snapshots {
        text.truncate(text.len() - 1);
        text.push_str(&kept(snapshots));
    }
    let mut members = table(&[
        "MEMBER",
        "ROLE",
        "INCARNATION",
        "PEER",
        "API",
        "INDEX",
        "LAG",
        "SILENT",
    ]);
    for member in &cluster.members {
        members.add_row([
            &member.name,
            &member.role,
            &member.incarnation,
            &member.address,
            &member.api,
            &member.matched.to_string(),
            &member.lag.to_string(),
            &format!("{} ms", member.silent_ms),
        ]);
    }
    let mut nodes = table(&["NODE", "READY", "PODS", "PLACING"]);
    for node in &overview.nodes {
        let ready = if node.ready { "yes" } else { "no" };
        let (pods, placing) = (node.pods.to_string(), node.placing());
        nodes.add_row([node.name.as_str(), ready, &pods, &placing]);
    }
    let phases = overview
        .pods
        .iter()
        .map(|(phase, count)| format!("{count} {phase}"));
    let phases: Vec<_> = phases.collect();
    let pods = if phases.is_empty() {
        "none".to_owned()
    } else {
        phases.join(", ")
    };
    for table in [members, nodes] {
        text.push_str(&table.trim_fmt());
        text.push_str("\n\n");
    }
    text + &format!("pods: {pods}\n")
}

/// The line that stays after a lost majority.
fn recovered(recovery: &RecoveryRecord) -> String {
    format!(
        "recovered {} from generation {} with the log of {}; may be lost: {}\n\n",
        recovery.time, recovery.from_generation, recovery.winner, recovery.may_be_lost
    )
}

/// The line on what is kept of the state.
fn kept(snapshots: &SnapshotStatus) -> String {
    let SnapshotStatus {
        store,
        time,
        revision,
        problem,
    } = snapshots;
    let mut text = if time.is_empty() {
        format!("snapshots in {store}: none yet by this leader")
    } else {
        format!("snapshots in {store}: all kept at {time}, revision {revision}")
    };
    if !problem.is_empty() {
        text.extend(["; NOT KEPT SINCE: ", problem]);
    }
    text + "\n\n"
}

/// The line that stays after everything was lost.
fn restored(restore: &RestoreRecord) -> String {
    let RestoreRecord {
        time,
        source,
        age_seconds,
        from_generation,
        may_be_lost,
        ..
    } = restore;
    let mut text = if source.is_empty() {
        format!("formed anew {time}; lost: {may_be_lost}\n")
    } else {
        format!(
            "restored {time} from generation {from_generation}, {age_seconds} s old: {source}; may be lost: {may_be_lost}\n"
        )
    };
    for skipped in &restore.skipped {
        text.extend(["not usable: ", skipped, "\n"]);
    }
    text + "\n"
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(head.iter().copied());
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::actors::messages::MemberStatus;
    use crate::resource::nodes::{EVICTION, Eviction, INCARNATION};

    fn example() -> Overview {
        let member = MemberStatus {
            name: "n1".into(),
            incarnation: "00000000000000aa".into(),
            address: "127.0.0.1:7443".into(),
            api: "127.0.0.1:6443".into(),
            role: "leader".into(),
            matched: 42,
            lag: 0,
            silent_ms: 0,
        };
        let cluster = ClusterStatus {
            cluster_id: "00000000000000bb".into(),
            generation: 1,
            term: 7,
            leader: "n1".into(),
            voters_wanted: 3,
            revision: 40,
            keys: 12,
            recovery: None,
            restore: None,
            snapshots: None,
            members: vec![member],
        };
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let announced = Eviction {
            incarnation: "0a".into(),
            since: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            deadline: "2026-01-01T00:00:30.5Z".parse().unwrap(),
        };
        let announced = json!({INCARNATION: "0a", EVICTION: announced.encode()});
        let nodes = [
            json!({"metadata": {"name": "n1"}, "status": {"conditions": ready}}),
            json!({"metadata": {"name": "n2"}}),
            json!({"metadata": {"name": "n3"}, "spec": {"unschedulable": true}}),
            json!({"metadata": {"name": "n4", "annotations": announced}, "spec": {"unschedulable": true}}),
        ];
        let pods = [
            json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
            json!({"spec": {"nodeName": "n1"}, "status": {"phase": "Running"}}),
            json!({"spec": {}, "status": {"phase": "Pending"}}),
        ];
        summarise(cluster, &nodes, &pods)
    }

    #[test]
    fn the_table_tells_roles_nodes_and_phases() {
        let text = render(&example());
        let lines: Vec<Vec<_>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(text.starts_with("cluster 00000000000000bb  generation 1  term 7  leader n1"));
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with(&["n1", "leader", "00000000000000aa"])),
            "{text}"
        );
        assert!(lines.contains(&vec!["n1", "yes", "2", "yes"]), "{text}");
        let silent = vec!["n2", "no", "0", "no:", "not", "ready"];
        assert!(lines.contains(&silent), "{text}");
        assert!(text.contains("no: cordoned\n"), "{text}");
        let end = "no: its machine ends at 2026-01-01T00:00:30Z\n";
        assert!(text.contains(end), "{text}");
        assert!(text.ends_with("pods: 1 Pending, 2 Running\n"), "{text}");
    }

    #[test]
    fn a_recovery_stays_visible() {
        let mut overview = example();
        overview.cluster.recovery = Some(RecoveryRecord {
            generation: 1,
            from_generation: 0,
            time: "2026-11-21T00:00:00Z".into(),
            coordinator: "n2".into(),
            winner: "n1".into(),
            last_term: 3,
            last_index: 40,
            commit_index: 38,
            may_be_lost: "the end".into(),
            members: Vec::new(),
        });
        let text = render(&overview);
        let line = "recovered 2026-11-21T00:00:00Z from generation 0 with the log of n1; may be lost: the end";
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
        let value = serde_json::to_value(&overview).unwrap();
        assert_eq!(value["recovery"]["winner"], "n1");
    }

    #[test]
    fn a_restore_stays_visible_with_its_age() {
        let mut overview = example();
        overview.cluster.restore = Some(Box::new(RestoreRecord {
            generation: 1,
            time: "2026-11-21T00:00:00Z".into(),
            founder: "n1".into(),
            source: "file:///k/snapshots/x".into(),
            snapshot_time: "2026-11-20T23:59:18Z".into(),
            age_seconds: 42,
            from_generation: 0,
            last_term: 3,
            last_index: 40,
            revision: 30,
            skipped: vec!["snapshots/y: damaged".into()],
            may_be_lost: "the end".into(),
        }));
        let text = render(&overview);
        let line = "restored 2026-11-21T00:00:00Z from generation 0, 42 s old: file:///k/snapshots/x; may be lost: the end";
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
        assert_eq!(
            text.lines().nth(2),
            Some("not usable: snapshots/y: damaged")
        );
        let value = serde_json::to_value(&overview).unwrap();
        assert_eq!(value["restore"]["ageSeconds"], 42);
    }

    #[test]
    fn json_has_everything_flat() {
        let value = serde_json::to_value(example()).unwrap();
        assert_eq!(value["clusterId"], "00000000000000bb");
        assert_eq!(value["members"][0]["silentMs"], 0);
        assert_eq!(
            value["nodes"][1],
            json!({"name": "n2", "ready": false, "schedulable": true, "pods": 0})
        );
        assert_eq!(value["nodes"][3]["eviction"], "2026-01-01T00:00:30.5Z");
        assert_eq!(value["pods"]["Running"], 2);
    }

    #[test]
    fn a_cluster_without_pods_says_none() {
        let overview = summarise(example().cluster, &[], &[]);
        assert!(render(&overview).ends_with("pods: none\n"));
    }
}
