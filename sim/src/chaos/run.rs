//! One run, as the first process of its own namespaces: makes the machines, lets the clients and the storm loose, judges.
//!
//! Deliberately without clean-up: what it made ends with it.

use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::task::LocalSet;

use super::field::Field;
use super::kills::kill_leaders;
use super::network::Network;
use super::schedule::{KINDS, draw};
use super::scout::{Scout, follow};
use super::settle::{Clients, settle, until_whole};
use super::storm::Storm;
use super::witness::Witnesses;
use super::{ChaosArgs, Ran, Scenario};
use crate::clients::{self, Ground};

/// Machines: three voters and two standbys.
const MACHINES: usize = 5;
/// What processes write is in memory, in a folder that only this run sees.
const FILES: &str = "/run/chaos";

/// Runs one seed. An error is the run's own; what the cluster did wrong is a failure.
pub(super) fn run(args: &ChaosArgs, kagero: &Path) -> Result<Ran> {
    ensure!(
        std::process::id() == 1,
        "--inside is for the process that `sim chaos` starts"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            ran = play(args, kagero) => ran,
            gone = starter_is_gone() => Err(gone),
        }
    })
}

/// Waits until whoever started this process is dead.
async fn starter_is_gone() -> anyhow::Error {
    let watched = async {
        let stdin = std::io::stdin().as_fd().try_clone_to_owned()?;
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(stdin)?;
        pipe.read_u8().await
    };
    match watched.await {
        Ok(_) => anyhow!("somebody spoke to a run, which listens to nobody"),
        Err(error) => anyhow!("whoever started this run is gone: {error}"),
    }
}

async fn play(args: &ChaosArgs, kagero: &Path) -> Result<Ran> {
    // Namespaces have names in here; nobody else is to see them.
    let mut mount = Command::new("mount");
    let mounted = mount
        .args(["-t", "tmpfs", "tmpfs", "/run"])
        .status()
        .await?;
    ensure!(mounted.success(), "cannot mount a folder in memory");
    std::fs::create_dir(FILES)?;
    let network = Network::lay(MACHINES).await?;
    let field = Field::new(args.seed, MACHINES, network, kagero, Path::new(FILES));
    let failure = chaos(args, &field).await.err();
    let failure = failure.map(|error| format!("{error:#}"));
    if failure.is_some() {
        field
            .keep_logs(&args.logs)
            .context("the failed run's logs cannot be kept")?;
    }
    let figures = field.meter().figures().clone();
    Ok(Ran {
        failure,
        means: network.means().to_owned(),
        coverage: field.coverage(),
        figures,
        took: field.elapsed(),
    })
}

async fn chaos(args: &ChaosArgs, field: &Field) -> Result<()> {
    let mut scout = Scout::default();
    for number in 1..=MACHINES {
        field.start(number)?;
    }
    until_whole(field, &mut scout).await.context("at first")?;
    field.note("the cluster is whole");
    let clients = Clients {
        witnesses: Witnesses::start(field).await?,
        writers: clients::start_writing(field),
        watchers: clients::watchers::start(field),
    };
    tokio::task::spawn_local(clients::probe::probe(field.clone()));
    for name in field.machines() {
        tokio::task::spawn_local(follow(field.clone(), name));
    }
    match args.scenario {
        Scenario::Storm => {
            let machines = u8::try_from(MACHINES).context("a handful of machines")?;
            let schedule = draw(args.seed, machines, args.seconds);
            Storm::new(field, &mut scout, schedule, args.seconds)
                .rage()
                .await?;
        }
        Scenario::LeaderKills => kill_leaders(field, &mut scout, args.times).await?,
    }
    field.note("all faults are over");
    settle(field, &mut scout, clients).await?;
    if args.scenario == Scenario::Storm {
        let wanted: Vec<String> = KINDS.iter().map(|kind| format!("fault: {kind}")).collect();
        let coverage = field.coverage();
        let missing = coverage.missing(wanted.iter().map(String::as_str));
        if !missing.is_empty() {
            bail!("never happened: {}", missing.join(", "));
        }
    }
    Ok(())
}
