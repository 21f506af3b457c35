//! The replicated store beside etcd, each as three processes on loopback, under the same load, in turns.
//!
//! `cargo bench --bench store` (needs `etcd` in PATH: Debian's `etcd-server`, 3.4). It prints medians over the rounds.
//! Deliberately asserts nothing about speed: the figures are read by people, and a busy machine proves nothing.

#![allow(clippy::print_stdout, reason = "it prints its figures")]

mod api;
mod cluster;
mod etcd;
mod frames;
mod load;
mod member;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use api::Api;
use cluster::{Cluster, Kind};
use etcd::Etcd;
use frames::Frames;
use load::{Outcome, Shape, Store, Work, drive, fill};

/// The shipped program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pause between rounds, so that one store's last work is not charged to the next.
const REST: Duration = Duration::from_millis(500);

/// The replicated store beside etcd.
#[derive(Parser)]
struct Args {
    /// Seconds of one round of one measurement.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Rounds; the stores take turns within each.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1_024)]
    value_bytes: usize,
    /// Different keys, all of which exist before the first round.
    #[arg(long, default_value_t = 2_000)]
    keys: u64,
    /// Requests outstanding in the concurrent rounds.
    #[arg(long, default_value_t = 256)]
    outstanding: usize,
    /// Connections that carry them to the stores that take many requests on one.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Watches open in the last measurement.
    #[arg(long, default_value_t = 1_000)]
    watches: usize,
    /// Leave etcd out.
    #[arg(long)]
    alone: bool,
    /// (internal) Be this member.
    #[arg(long, hide = true, requires_all = ["door", "contacts"])]
    member: Option<u64>,
    /// (internal) Where the load connects.
    #[arg(long, hide = true)]
    door: Option<String>,
    /// (internal) Peer addresses of all members.
    #[arg(long, hide = true, value_delimiter = ',')]
    contacts: Vec<String>,
    /// (cargo bench passes this)
    #[arg(long, hide = true)]
    bench: bool,
}

/// A cluster under load, with its clients.
struct Subject {
    name: &'static str,
    cluster: Cluster,
    connections: Vec<Rc<dyn Store>>,
}

/// One measurement of one store over all rounds.
#[derive(Default)]
struct Figures {
    all: Outcome,
    rates: Vec<f64>,
    cpu_seconds: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    actix_rt::System::new().block_on(async {
        match (args.member, &args.door) {
            (Some(own), Some(door)) => member::serve(own, &args.contacts, door).await,
            _ => measure(&args).await,
        }
    })
}

async fn measure(args: &Args) -> Result<()> {
    let shape = Shape {
        keys: args.keys,
        value_bytes: args.value_bytes,
    };
    let mut subjects = vec![members(args).await?, nodes().await?];
    if !args.alone {
        subjects.push(etcd(args).await?);
    }
    for subject in &subjects {
        fill(subject.connections[0].as_ref(), shape).await?;
    }
    println!(
        "three processes each, loopback, {} keys of {} bytes, {} rounds of {} s, stores in turns",
        args.keys, args.value_bytes, args.rounds, args.seconds
    );
    for (work, outstanding) in [
        (Work::Put, 1),
        (Work::Put, args.outstanding),
        (Work::Get, 1),
        (Work::Get, args.outstanding),
    ] {
        println!("\n{work:?}, {outstanding} outstanding");
        let figures = in_turns(args, &subjects, work, shape, outstanding).await?;
        print_figures(&subjects, &figures);
    }
    watched(args, &subjects, shape).await?;
    for subject in &subjects {
        let bytes = subject.cluster.resident_bytes()?;
        println!(
            "{:<14} {:>6.0} MB resident, all three",
            subject.name,
            bytes as f64 / 1e6
        );
    }
    Ok(())
}

async fn members(args: &Args) -> Result<Subject> {
    let cluster = Cluster::members().await?;
    let door = cluster.leader(Kind::Members).await?;
    let mut connections: Vec<Rc<dyn Store>> = Vec::new();
    for _ in 0..args.connections {
        connections.push(Rc::new(Frames::connect(&door).await?));
    }
    Ok(Subject {
        name: "kagero store",
        cluster,
        connections,
    })
}

async fn nodes() -> Result<Subject> {
    let cluster = Cluster::nodes().await?;
    let door = cluster.leader(Kind::Nodes).await?;
    Ok(Subject {
        name: "kagero API",
        cluster,
        connections: vec![Rc::new(Api::new(&door))],
    })
}

async fn etcd(args: &Args) -> Result<Subject> {
    let cluster = Cluster::etcd().await?;
    let door = cluster.leader(Kind::Etcd).await?;
    let mut connections: Vec<Rc<dyn Store>> = Vec::new();
    for _ in 0..args.connections {
        connections.push(Rc::new(Etcd::connect(&door).await?));
    }
    Ok(Subject {
        name: "etcd",
        cluster,
        connections,
    })
}

async fn in_turns(
    args: &Args,
    subjects: &[Subject],
    work: Work,
    shape: Shape,
    outstanding: usize,
) -> Result<Vec<Figures>> {
    let mut figures: Vec<Figures> = subjects.iter().map(|_| Figures::default()).collect();
    for _ in 0..args.rounds {
        for (subject, figures) in subjects.iter().zip(&mut figures) {
            let before = subject.cluster.cpu_seconds()?;
            let lasting = Duration::from_secs(args.seconds);
            let outcome = drive(&subject.connections, work, shape, outstanding, lasting).await?;
            figures.cpu_seconds += subject.cluster.cpu_seconds()? - before;
            figures.rates.push(outcome.rate());
            figures.all.merge(outcome);
            tokio::time::sleep(REST).await;
        }
    }
    Ok(figures)
}

fn print_figures(subjects: &[Subject], figures: &[Figures]) {
    for (subject, figures) in subjects.iter().zip(figures) {
        let mut rates = figures.rates.clone();
        rates.sort_by(f64::total_cmp);
        let (all, name) = (&figures.all, subject.name);
        println!(
            "{name:<14} {:>8.0}/s ({:.0} to {:.0})  p50 {:>6} µs  p99 {:>6} µs  {:>6.1} µs of processor each",
            rates[rates.len() / 2],
            rates[0],
            rates[rates.len() - 1],
            all.percentile(0.50),
            all.percentile(0.99),
            figures.cpu_seconds * 1e6 / all.done as f64,
        );
    }
}

/// Writes while many watch: what the writers and the watchers see.
async fn watched(args: &Args, subjects: &[Subject], shape: Shape) -> Result<()> {
    println!(
        "\nPut, 16 outstanding, {} watches of every key",
        args.watches
    );
    for subject in subjects.iter().filter(|s| s.name != "kagero API") {
        let seen = Rc::new(Cell::new(0));
        let each = args.watches / subject.connections.len();
        for connection in &subject.connections {
            connection.watch(each, seen.clone()).await?;
        }
        let lasting = Duration::from_secs(args.seconds);
        let outcome = drive(&subject.connections, Work::Put, shape, 16, lasting).await?;
        // What is on its way still counts, for as long as it takes to come to rest.
        let mut last = 0;
        while last != seen.replace(seen.get()) {
            last = seen.get();
            tokio::time::sleep(REST).await;
        }
        let due = outcome.done * (each * subject.connections.len()) as u64;
        println!(
            "{:<14} {:>8.0}/s  p50 {:>6} µs  p99 {:>6} µs  {} of {due} changes seen",
            subject.name,
            outcome.rate(),
            outcome.percentile(0.50),
            outcome.percentile(0.99),
            seen.get(),
        );
    }
    Ok(())
}
