//! `kagero dev`: a cluster of node processes on this machine, until Ctrl-C.
//!
//! A node's process that dies is started again, as systemd would: kill one with -9 and watch. Deliberately without
//! anything that stays: processes, pods, files and the kubeconfig's entries go when it ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, Layout, LocalNode, NODES_MAX, POLL};
use super::news::News;
use super::progress::Progress;
use super::{RuntimeChoice, edges, kubeconfig, leftovers, print, signals, tell};
use crate::env::entropy::Entropy;

pub(super) const EXAMPLES: &str = "Examples:
  kagero dev                                 three nodes; prints how to use them
  kagero dev --nodes 1 --runtime docker      one node on Docker
  kagero dev --kubeconfig ~/.kube/config     adds contexts to it, and takes them out at the end

Then, in another terminal:
  export KUBECONFIG=…                        as printed
  kubectl create deployment idle --image=busybox --replicas=3 -- sleep 1000
  kubectl --context kagero-dev-n2 get pods   through the second node's API";

/// Until when the cluster must have formed: process starts, one election, a debug build on a busy machine.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// A node's process starts again after so long, like systemd's unit in deploy/.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Starts of one node that lived shorter than [`LIVED_WELL`], before `dev` gives up.
const SHORT_LIVES_MAX: u32 = 5;
/// A life that counts as a good one.
const LIVED_WELL: Duration = Duration::from_secs(10);

/// How often the nodes are asked who leads.
const NEWS_POLL: Duration = Duration::from_secs(1);
/// Clusters whose contexts one kubeconfig may have; the next replaces the last.
const DEVS_MAX: usize = 10;

/// What `kagero dev` takes.
#[derive(Args, Debug)]
pub struct DevArgs {
    /// How many nodes
    #[arg(long, env = "KAGERO_NODES", value_name = "N", default_value = "3", value_parser = nodes)]
    pub nodes: usize,
    /// What runs containers
    #[arg(long, env = "KAGERO_RUNTIME", value_enum, default_value = "auto")]
    pub runtime: RuntimeChoice,
    /// Kubeconfig to add the cluster to [default: a file of its own, printed]
    #[arg(long, env = "KAGERO_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// What the nodes log, into files named as they start
    #[arg(
        long,
        env = "KAGERO_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

impl DevArgs {
    /// Runs the cluster until a signal.
    pub(super) async fn execute(self) -> anyhow::Result<()> {
        let mut stop = signals::Stop::listen()?;
        let prepared = async {
            leftovers::collect().await;
            let runtime = edges::resolve(self.runtime).await;
            edges::offer_web_image(runtime).await?;
            let layout = Layout {
                nodes: self.nodes,
                runtime,
                log: self.log,
            };
            Cluster::start(layout, &mut Entropy::from_system()).await
        };
        let mut cluster = match stop.or(prepared).await {
            Ok(started) => started?,
            Err(signal) => {
                tell(format_args!("{signal}: stopping"));
                return Ok(());
            }
        };
        let own = cluster.directory().join("kubeconfig");
        let kubeconfig = self.kubeconfig.unwrap_or(own);
        let mut added = None;
        let served = serve(&mut cluster, &kubeconfig, &mut added);
        let served = stop.or(served).await;
        let served = served.unwrap_or_else(|signal| {
            tell(format_args!("{signal}: stopping"));
            Ok(())
        });
        let forgotten = added.as_ref().map_or(Ok(()), kubeconfig::remove);
        let stopped = stop.clean_up(cluster.stop()).await;
        served.and(forgotten).and(stopped)
    }
}

/// Ends only by an error. `added` is what a kubeconfig must be rid of then.
async fn serve(
    cluster: &mut Cluster,
    kubeconfig: &Path,
    added: &mut Option<kubeconfig::Added>,
) -> anyhow::Result<()> {
    let progress = Progress::new();
    progress.step("starting");
    let ready = cluster.ready(Instant::now() + READY_WITHIN).await;
    progress.finish();
    let news = News::new(&ready?, Instant::now());
    let contexts = contexts(cluster, kubeconfig).await?;
    *added = Some(kubeconfig::add(kubeconfig, &contexts)?);
    announce(cluster, kubeconfig);
    watch_over(cluster, news).await
}

/// Contexts and the servers that they name: `kagero-dev` and `kagero-dev-n1` for the first node, `kagero-dev-n2` and so
/// on for the others; `kagero-dev2` and so on if the file has another cluster's that lives.
async fn contexts(cluster: &Cluster, kubeconfig: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut prefix = "kagero-dev".to_owned();
    for number in 2..=DEVS_MAX {
        match kubeconfig::server_of(kubeconfig, &prefix)? {
            Some(server) if edges::answers(&server).await => {
                prefix = format!("kagero-dev{number}");
            }
            _ => break,
        }
    }
    let first = cluster
        .nodes
        .first()
        .map(|node| (prefix.clone(), node.api.clone()));
    let name = |node: &LocalNode| (format!("{prefix}-{}", node.name), node.api.clone());
    Ok(first
        .into_iter()
        .chain(cluster.nodes.iter().map(name))
        .collect())
}

/// Standard output is for programs too: one line a node, `name key=value …`, then the kubeconfig.
fn announce(cluster: &Cluster, kubeconfig: &Path) {
    for index in 0..cluster.nodes.len() {
        announce_node(cluster, index);
    }
    print(format_args!("export KUBECONFIG={}\n", kubeconfig.display()));
    let directory = cluster.directory().display();
    tell(format_args!("logs are in {directory}; Ctrl-C ends it all"));
}

fn announce_node(cluster: &Cluster, index: usize) {
    let node = &cluster.nodes[index];
    let (name, api, peer) = (&node.name, &node.api, &node.listen);
    let pid = node.pid().unwrap_or_default();
    print(format_args!(
        "{name} pid={pid} api=http://{api} peer={peer}\n"
    ));
}

async fn watch_over(cluster: &mut Cluster, mut news: News) -> anyhow::Result<()> {
    let mut lives = vec![(Instant::now(), 0); cluster.nodes.len()];
    let addresses = cluster.nodes.iter();
    let addresses: Vec<_> = addresses
        .map(|node| (node.name.clone(), node.api.clone()))
        .collect();
    let mut looked = Instant::now();
    loop {
        sleep(POLL).await;
        let mut ended = Vec::new();
        for (index, (name, _)) in addresses.iter().enumerate() {
            if let Some(status) = cluster.nodes[index].ended() {
                tell(format_args!("{name} ended ({status}); starting it again"));
                news.on_end(name);
                ended.push(index);
            }
        }
        if !ended.is_empty() {
            sleep(RESTART_AFTER).await;
        }
        for index in ended {
            let (born, short_lives) = &mut lives[index];
            *short_lives = if born.elapsed() < LIVED_WELL {
                *short_lives + 1
            } else {
                0
            };
            if *short_lives >= SHORT_LIVES_MAX {
                let name = &addresses[index].0;
                bail!("{name} does not stay up:\n{}", cluster.log_tail(name));
            }
            cluster.start_process(index).context("starting it again")?;
            *born = Instant::now();
            announce_node(cluster, index);
        }
        if looked.elapsed() >= NEWS_POLL {
            let seen = cluster.statuses().await;
            looked = Instant::now();
            if let Some(line) = news.on_look(&addresses, &seen, looked) {
                tell(line);
            }
        }
    }
}

/// A number of nodes that this command can start.
pub(super) fn nodes(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok();
    number
        .filter(|number| (1..=NODES_MAX).contains(number))
        .ok_or_else(|| format!("expected 1 to {NODES_MAX}"))
}
