//! `kagero run`: one node, until SIGTERM.
//!
//! Reads what the operator says and what the machine has, builds the production edges and hands both to
//! [`crate::node::start`]. Deliberately without defaults that open a port to the network: there is no TLS yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use sd_notify::NotifyState;
use tokio::time::timeout;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::{RuntimeChoice, USAGE, edges, machine, manifests, signals};
use crate::actors::manifests::Manifest;
use crate::env::bucket::{self, Bucket};
use crate::env::objects::Objects;
use crate::node::{self, LastState, Node, Options};
use crate::resource::names;

pub(super) const EXAMPLES: &str = "Examples:
  One node that is a cluster of its own:
    kagero run --name n1 --init
  One of three; the cluster forms once all three answer and none is in a cluster:
    kagero run --name n1 --listen 10.0.0.1:7443 --api 10.0.0.1:6443 \\
      --seeds 10.0.0.1:7443,10.0.0.2:7443,10.0.0.3:7443 --insecure-listen
  A worker that never votes, configured by a file:
    kagero run --config /etc/kagero/config.yaml --voter never

SIGTERM, SIGINT and SIGHUP end it: a leader hands over first (within 1 s); containers go on, and the next
process adopts them.

Every option may also stand in the environment as KAGERO_<OPTION> (KAGERO_NODE_LABELS=zone=a)
or in the YAML file of --config under its own name (node-labels: {zone: a}).
A flag wins over the environment, and that over the file.";

/// What a container engine gets to finish what it is creating when the node stops. One creation takes below a second
/// where eight go on at once (Docker 20.10 on two shared cores); ten times that is a very busy machine.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// What a leader gets to hand over before its process ends: ten times what it takes, and no more than an election does.
pub(super) const HAND_OVER_PATIENCE: Duration = Duration::from_secs(1);

/// What a leader that could not hand over gets to keep the state: some seconds' work for a store of some MB, and half of
/// what systemd or a cloud that takes the machine leaves a process.
pub(super) const KEEP_PATIENCE: Duration = Duration::from_secs(5);

/// `--voter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum VoterChoice {
    /// The cluster decides
    Auto,
    /// This node never votes
    Never,
}

/// What `kagero run` takes.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Args, Debug)]
pub struct RunArgs {
    /// YAML file of these options
    #[arg(long, env = "KAGERO_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The node's name, unique in the cluster [default: the host's name]
    #[arg(long, env = "KAGERO_NAME", value_parser = node_name)]
    pub name: Option<String>,
    /// Where other nodes reach this one
    #[arg(long, env = "KAGERO_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:7443", value_parser = super::address)]
    pub listen: String,
    /// Where the Kubernetes API is served
    #[arg(long, env = "KAGERO_API", value_name = "HOST:PORT", default_value = "127.0.0.1:6443", value_parser = super::address)]
    pub api: String,
    /// What other nodes dial instead of --listen, for a node behind a translated address
    #[arg(long, env = "KAGERO_ADVERTISE", value_name = "HOST:PORT", value_parser = dialled)]
    pub advertise: Option<String>,
    /// Peer addresses to find the cluster by
    #[arg(long, env = "KAGERO_SEEDS", value_name = "HOST:PORT,…", value_delimiter = ',', value_parser = dialled)]
    pub seeds: Vec<String>,
    /// Form a cluster at once if no seed is in one, without waiting for all of them; with --snapshots, from the newest
    #[arg(long, env = "KAGERO_INIT")]
    pub init: bool,
    /// How many nodes vote: 1, 3 or 5
    #[arg(long, env = "KAGERO_VOTERS", value_name = "N", default_value = "3", value_parser = voters)]
    pub voters: usize,
    /// Whether this node may be one of them
    #[arg(long, env = "KAGERO_VOTER", value_enum, default_value = "auto")]
    pub voter: VoterChoice,
    /// What runs containers; `process` gives pods the host, so it is never chosen unasked
    #[arg(long, env = "KAGERO_RUNTIME", value_enum, default_value = "auto")]
    pub runtime: RuntimeChoice,
    /// Labels of the Node object
    #[arg(long, env = "KAGERO_NODE_LABELS", value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    pub node_labels: Vec<(String, String)>,
    /// Most pods this node takes
    #[arg(long, env = "KAGERO_MAX_PODS", value_name = "N", default_value = "110")]
    pub max_pods: u64,
    /// CPU kept from pods, e.g. 500m or 1
    #[arg(long, env = "KAGERO_RESERVED_CPU", value_name = "QUANTITY", default_value = "0", value_parser = machine::cpu_millis)]
    pub reserved_cpu: u64,
    /// Memory kept from pods, e.g. 256Mi
    #[arg(long, env = "KAGERO_RESERVED_MEMORY", value_name = "QUANTITY", default_value = "0", value_parser = machine::memory_bytes)]
    pub reserved_memory: u64,
    /// Directory for what pods see as files; best on a tmpfs [default: /run/kagero/NAME]
    #[arg(long, env = "KAGERO_RUN_DIR", value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Directory for pods' emptyDir volumes that may be on disk [default: /var/lib/kagero/NAME]
    #[arg(long, env = "KAGERO_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where the cluster's state is kept, should every machine be lost: file:///FOLDER, s3://, az:// or gs://BUCKET/PATH
    #[arg(long, env = "KAGERO_SNAPSHOTS", value_name = "URL", value_parser = store_url)]
    pub snapshots: Option<String>,
    /// How often the state is kept there, if anything has changed: 1s to 24h
    #[arg(long, env = "KAGERO_SNAPSHOT_INTERVAL", value_name = "TIME", default_value = "60s", value_parser = interval)]
    pub snapshot_interval: Duration,
    /// Folder of YAML and JSON files, applied once when a cluster has formed
    #[arg(long, env = "KAGERO_MANIFESTS", value_name = "DIR")]
    pub manifests: Option<PathBuf>,
    /// After the loss of a majority go on from what survived, without `kagero recover`, once every missing member is proven
    /// dead by the cloud or by a new process in its place. The newest writes may be lost
    #[arg(long, env = "KAGERO_AUTO_RECOVER")]
    pub auto_recover: bool,
    /// Let --listen and --api be other than loopback although there is no TLS yet
    #[arg(long, env = "KAGERO_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// What to log to standard error: error, warn, info, debug, trace or module=level,…
    #[arg(
        long,
        env = "KAGERO_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
    /// Identifies the machine over restarts [default: /etc/machine-id]
    #[arg(long, env = "KAGERO_MACHINE_ID", hide = true)]
    pub machine_id: Option<String>,
    /// Identifies one boot of the machine [default: the kernel's]
    #[arg(long, env = "KAGERO_BOOT_ID", hide = true)]
    pub boot_id: Option<String>,
    /// Die with the process that started this one
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

/// What a cluster is formed with, beside its nodes.
struct Brought {
    objects: Option<Rc<dyn Objects>>,
    manifests: Vec<Manifest>,
}

impl RunArgs {
    /// Runs the node to its end.
    pub(super) fn execute(self) -> ExitCode {
        let brought = match self.check().and_then(|()| self.bring()) {
            Ok(brought) => brought,
            Err(problem) => {
                super::tell(format_args!("error: {problem}"));
                return USAGE.into();
            }
        };
        if self.die_with_parent {
            let kill = Some(rustix::process::Signal::KILL);
            // Without it a killed `kagero dev` would leave nodes behind; where the kernel refuses, it does.
            let _ = rustix::process::set_parent_process_death_signal(kill);
        }
        start_logging(&self.log);
        stop_on_panic();
        super::in_system(self.serve(brought))
    }

    /// The labels, later ones winning.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.node_labels.iter().cloned().collect()
    }

    /// What no single option's parser can see.
    fn check(&self) -> Result<(), String> {
        if self.seeds.is_empty() && !self.init {
            return Err(
                "--seeds is empty: name the cluster's peer addresses, or say --init to form one"
                    .into(),
            );
        }
        for (flag, address) in [("--listen", &self.listen), ("--api", &self.api)] {
            if !self.insecure_listen && !is_loopback(address) {
                return Err(format!(
                    "{flag} {address} is not loopback and there is no TLS yet: \
                     whoever reaches it owns the cluster. Say --insecure-listen if the network is trusted"
                ));
            }
        }
        let dialled = self.advertise.as_ref().unwrap_or(&self.listen);
        let is_shared = self.seeds.iter().any(|seed| *seed != self.listen);
        if is_shared && ip(dialled).is_some_and(|ip| ip.is_unspecified()) {
            return Err(format!(
                "nobody can dial {dialled}, which means every address of this machine: \
                 say by --advertise HOST:PORT where the other --seeds reach this node, or --listen at that address"
            ));
        }
        if self.auto_recover && self.snapshots.is_none() {
            return Err(
                "--auto-recover needs --snapshots: what is kept there says whom else to ask, and decides between two".into(),
            );
        }
        if self.init && self.voter == VoterChoice::Never {
            return Err("--init needs a node that may vote: leave out --voter never".into());
        }
        check_filter(&self.log)?;
        Ok(())
    }

    /// What a cluster is formed with; that it is there and can be read is seen before anything starts.
    fn bring(&self) -> Result<Brought, String> {
        let snapshots = self.snapshots.as_deref();
        let bucket = snapshots.map(|url| Bucket::open(url).map_err(|error| (url, error)));
        let bucket = bucket.transpose();
        let bucket = bucket.map_err(|(url, error)| format!("--snapshots {url}: {error}"))?;
        let manifests = self.manifests.as_deref().map(manifests::read).transpose();
        Ok(Brought {
            objects: bucket.map(|bucket| Rc::new(bucket) as Rc<dyn Objects>),
            manifests: manifests
                .map_err(|error| format!("{error:#}"))?
                .unwrap_or_default(),
        })
    }

    async fn serve(self, brought: Brought) -> anyhow::Result<()> {
        let name = match self.name.clone() {
            Some(name) => name,
            None => node_name(&machine::host_name())
                .map_err(|error| anyhow::anyhow!("--name: {error}"))?,
        };
        let place = edges::Place {
            run_dir: directory(self.run_dir.as_ref(), "/run/kagero", &name).context("--run-dir")?,
            data_dir: directory(self.data_dir.as_ref(), "/var/lib/kagero", &name)
                .context("--data-dir")?,
        };
        if self.runtime != RuntimeChoice::Process {
            // The process runtime makes its own, which its pods' users must be able to pass.
            let run_dir = place.run_dir.display();
            let made = std::fs::create_dir_all(&place.run_dir);
            made.with_context(|| format!("--run-dir {run_dir}"))?;
        }
        let mut env = edges::env(self.runtime, &place).await?;
        let _held = place.hold()?;
        env.objects = brought.objects;
        let mut options = self.options(name)?;
        options.manifests = brought.manifests;
        info!(name = %options.name, runtime = env.runtime.name(), "starting");
        let mut stop = signals::Stop::listen()?;
        let runtime = Rc::clone(&env.runtime);
        let mut node = node::start(env, options).await?;
        info!(peer = %node.peer_address, api = %node.api_address, "listening");
        notify(&[NotifyState::Ready]);
        let mut ended = node.ended.clone();
        let ending = async {
            match ended.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone(),
                Err(_) => std::future::pending().await,
            }
        };
        let reason = stop.or(ending).await.unwrap_or_else(|signal| {
            info!(signal, "stopping; containers stay");
            None
        });
        notify(&[NotifyState::Stopping]);
        if !node.hand_over(HAND_OVER_PATIENCE).await {
            leave_behind(&node).await;
        }
        if timeout(CLOSE_PATIENCE, runtime.close()).await.is_err() {
            warn!("the container engine is still creating something; it may stay behind");
        }
        match reason {
            None => Ok(()),
            Some(reason) => Err(anyhow::anyhow!("{reason}")),
        }
    }

    fn options(&self, name: String) -> anyhow::Result<Options> {
        let capacity = machine::Capacity::read()?;
        let memory = capacity.memory_bytes;
        let left = |flag: &str, total: u64, reserved: u64| {
            let left = total.checked_sub(reserved).filter(|left| *left > 0);
            left.with_context(|| {
                format!("{flag}: reserves {reserved} of {total}, nothing is left for pods")
            })
        };
        Ok(Options {
            listen: self.listen.clone(),
            advertise: self.advertise.clone(),
            api: self.api.clone(),
            seeds: if self.seeds.is_empty() {
                vec![self.listen.clone()]
            } else {
                self.seeds.clone()
            },
            voters: self.voters,
            may_vote: self.voter == VoterChoice::Auto,
            init: self.init,
            labels: self.labels(),
            machine_id: self
                .machine_id
                .clone()
                .unwrap_or_else(|| machine::machine_id(&name)),
            boot_id: self.boot_id.clone().unwrap_or_else(machine::boot_id),
            cpu_millis: left("--reserved-cpu", capacity.cpu_millis, self.reserved_cpu)?,
            memory_bytes: left("--reserved-memory", memory, self.reserved_memory)?,
            pods_max: self.max_pods,
            auto_recover: self.auto_recover,
            snapshot_interval: self.snapshot_interval,
            manifests: Vec::new(),
            consensus: crate::raft::Config::default(),
            history: crate::store::HistoryBounds::default(),
            name,
        })
    }
}

/// What a leader does that could not hand over.
async fn leave_behind(node: &Node) {
    if node.is_last_voter() {
        warn!("this node is its cluster's only voter: once it is gone nobody leads");
    } else {
        warn!(
            "this node still leads: once it is gone the other voters elect another, if a majority is there"
        );
    }
    match node.keep_state(KEEP_PATIENCE).await {
        LastState::Kept => info!("the cluster's state is kept among the snapshots"),
        LastState::NoArchive if node.is_last_voter() => {
            warn!("there are no --snapshots: what only this node holds is lost");
        }
        LastState::Lost(reason) => warn!(reason, "the cluster's last state could not be kept"),
        LastState::NoArchive | LastState::NotOurs => {}
    }
}

/// Whether it is one; a lone word is a level, since a module of that name alone would silence everything else.
fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map_err(|error| format!("--log {filter}: {error}"))?;
    for part in filter.split(',').filter(|part| !part.contains('=')) {
        part.trim().parse::<LevelFilter>().map_err(|_| {
            format!("--log {filter}: `{part}` is no level: expected error, warn, info, debug, trace or module=level")
        })?;
    }
    Ok(())
}

/// What was said, or the node's own below the usual place. Absolute, as a container engine wants it.
fn directory(said: Option<&PathBuf>, usual: &str, name: &str) -> std::io::Result<PathBuf> {
    let directory = said.cloned().unwrap_or_else(|| Path::new(usual).join(name));
    std::path::absolute(directory)
}

/// Tells systemd, where there is one that asked (`Type=notify`).
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

/// Logs go to standard error alone: a node writes nothing to disk. `RUST_LOG` serves whoever expects it.
fn start_logging(filter: &str) {
    let filter = match std::env::var("RUST_LOG") {
        Ok(said) if filter == "info" => said,
        _ => filter.to_owned(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        // It would say on standard error that standard error is closed, and panic of that.
        .log_internal_errors(false)
        .with_ansi(super::colourful())
        .init();
}

/// A broken invariant ends the process in every build; tokio alone would end the one task that found it.
fn stop_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("localhost:") || ip(address).is_some_and(|ip| ip.is_loopback())
}

/// The IP of `host:port`, unless the host is a name.
fn ip(address: &str) -> Option<IpAddr> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

fn voters(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("expected 1, 3 or 5: an even number adds a machine that may fail and no failure survived".into()),
    }
}

/// A DNS-1123 label: what Kubernetes takes as a node's name and hosts take as theirs.
fn node_name(text: &str) -> Result<String, String> {
    const CHARS_MAX: usize = 63;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = !text.is_empty()
        && text.len() <= CHARS_MAX
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    good.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` is no DNS label: up to {CHARS_MAX} of a-z, 0-9 and -, not at its ends")
    })
}

/// A label of a Node, by the rules that the API would refuse it by.
fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    if let Some(complaint) = names::qualified(key) {
        return Err(format!("key `{key}`: {complaint}"));
    }
    if let Some(complaint) = names::label_value(value) {
        return Err(format!("value `{value}` of `{key}`: {complaint}"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// A URL that names an object store.
fn store_url(text: &str) -> Result<String, String> {
    bucket::parse(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

/// A time between two snapshots.
fn interval(text: &str) -> Result<Duration, String> {
    const DAY_SECONDS: u64 = 24 * 3_600;
    let wrong = || format!("`{text}` is no time from 1s to 24h: a number with s, m or h");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let all = number.saturating_mul(seconds);
    let good = (1..=DAY_SECONDS).contains(&all);
    good.then(|| Duration::from_secs(all)).ok_or_else(wrong)
}

/// An address that others dial: unlike one to listen at, it has a port.
fn dialled(text: &str) -> Result<String, String> {
    let address = super::address(text)?;
    if address.ends_with(":0") {
        return Err("nobody can dial port 0".into());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parsed(flags: &str) -> Result<RunArgs, clap::Error> {
        let words = ["kagero", "run"]
            .into_iter()
            .chain(flags.split_whitespace());
        match Cli::try_parse_from(words)?.command {
            Command::Run(run) => Ok(*run),
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn a_refusal_names_the_flag_and_the_value() {
        for (flags, value) in [
            ("--voters 2", "'2'"),
            ("--name N_1", "'N_1'"),
            ("--listen 7443", "'7443'"),
            ("--seeds a:1,b", "'b'"),
            ("--node-labels zone", "'zone'"),
            ("--node-labels a=b=c", "'a=b=c'"),
            ("--node-labels a=b,!=x", "'!=x'"),
            ("--node-labels /zone=x", "'/zone=x'"),
            ("--node-labels a=-", "'a=-'"),
            ("--advertise n1:0", "'n1:0'"),
            ("--seeds a:1,b:0", "'b:0'"),
            ("--listen n_1/x:1", "'n_1/x:1'"),
            ("--reserved-memory lots", "'lots'"),
            ("--runtime podman", "'podman'"),
            ("--snapshots /var/k", "'/var/k'"),
            ("--snapshots http://b/p", "'http://b/p'"),
            ("--snapshot-interval 0s", "'0s'"),
            ("--snapshot-interval 25h", "'25h'"),
            ("--snapshot-interval 10", "'10'"),
            ("--snapshot-interval ss", "'ss'"),
        ] {
            let error = parsed(flags).unwrap_err().to_string();
            let flag = flags.split(' ').next().unwrap();
            assert!(error.contains(flag) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_node_needs_seeds_or_init() {
        assert!(parsed("").unwrap().check().unwrap_err().contains("--seeds"));
        assert_eq!(parsed("--init").unwrap().check(), Ok(()));
        assert_eq!(parsed("--seeds a:1").unwrap().check(), Ok(()));
    }

    #[test]
    fn only_loopback_is_listened_at_unless_told() {
        for open in ["--api 0.0.0.0:6443", "--listen [::]:7443", "--api n1:1"] {
            let flags = format!("--init {open}");
            let problem = parsed(&flags).unwrap().check().unwrap_err();
            assert!(problem.contains(open), "{problem}");
            let told = format!("{flags} --insecure-listen");
            assert_eq!(parsed(&told).unwrap().check(), Ok(()));
        }
        let shut = "--init --api localhost:1 --listen [::1]:0";
        assert_eq!(parsed(shut).unwrap().check(), Ok(()));
    }

    #[test]
    fn others_are_told_an_address_that_they_can_dial() {
        let check = |flags: &str| {
            let flags = format!("--insecure-listen --seeds a:7443,b:7443 {flags}");
            parsed(&flags).unwrap().check()
        };
        for nowhere in [
            "--listen 0.0.0.0:7443",
            "--listen [::]:7443",
            "--listen 10.0.0.1:7443 --advertise 0.0.0.0:7443",
        ] {
            let problem = check(nowhere).unwrap_err();
            for flag in ["--advertise", "--listen"] {
                assert!(problem.contains(flag), "{problem}");
            }
        }
        assert_eq!(check("--listen 0.0.0.0:7443 --advertise a:7443"), Ok(()));
        assert_eq!(check("--listen 10.0.0.1:7443"), Ok(()));
        let alone = parsed("--insecure-listen --listen 0.0.0.0:1 --seeds 0.0.0.0:1 --init");
        assert_eq!(alone.unwrap().check(), Ok(()));
    }

    #[test]
    fn options_take_what_was_said() {
        let run =
            parsed("--init --voter never --node-labels zone=a,disk= --max-pods 7 --machine-id m");
        let options = run.unwrap().options("n1".into()).unwrap();
        assert_eq!(options.name, "n1");
        assert!(!options.may_vote && options.init);
        assert_eq!(options.seeds, ["127.0.0.1:7443"]);
        assert_eq!(options.labels["zone"], "a");
        assert_eq!(options.labels["disk"], "");
        assert_eq!((options.pods_max, options.machine_id.as_str()), (7, "m"));
        assert!(options.cpu_millis > 0 && options.memory_bytes > 0);
    }

    #[test]
    fn what_a_cluster_forms_with_must_be_there_at_the_start() {
        let missing = parsed("--init --snapshots file:///nowhere/k").unwrap();
        let problem = missing.bring().err().unwrap();
        assert_eq!(
            problem,
            "--snapshots file:///nowhere/k: no such folder: /nowhere/k"
        );
        let missing = parsed("--init --manifests /nowhere").unwrap();
        let problem = missing.bring().err().unwrap();
        assert!(problem.contains("--manifests /nowhere"), "{problem}");
        let run = parsed("--init --manifests deploy/manifests --snapshot-interval 5m").unwrap();
        assert!(!run.bring().unwrap().manifests.is_empty());
        let options = run.options("n1".into()).unwrap();
        assert_eq!(options.snapshot_interval, Duration::from_secs(300));
    }

    #[test]
    fn reserving_everything_is_refused() {
        let run = parsed("--init --reserved-cpu 100000").unwrap();
        let error = run.options("n1".into()).unwrap_err().to_string();
        assert!(error.contains("--reserved-cpu"), "{error}");
    }
}
