//! Runs `src/raft/testscripts/*`: commands to a tiny cluster, and below each what came of it.
//!
//! `UPDATE_GOLDENFILES=1 cargo nextest run raft::testing::scripts` writes what comes of them now; read the difference
//! before it is committed. Commands (peers by number):
//!
//! - `cluster 1 2 3 [log_entries_kept=N] [log_bytes_kept=N] [append=N] [chunk=N] [window=N]
//!   [uncommitted=N]`: founders,
//!   in place of the cluster before
//! - `join 4`, `crash 3`, `unreachable 1 3` (peer 1 sees 3's process gone), `campaign 2` (its election timeout ends)
//! - `propose 1 a b`, `read 1`, `transfer 1 2`, `change 1 add=4 | remove=4 | voters="1 2 4"`
//! - `deliver [from=1] [to=2] [turns=N]`: what is on the wires now, then what that sets off, until all is quiet
//! - `lose [from=1] [to=2]`, `double`, `reverse`: what is on the wires is lost, sent twice, or turned round
//! - `cut 1 2`, `mend`: nothing passes between two peers; everything does again
//! - `tick MS`: time passes in steps of 5 ms and peers act, but nothing is delivered
//! - `run MS`: the same, and everything is delivered at once; only events are shown
//! - `status [1]`, `log 1`, `machine 1`, `counters 1`, `forge 2 generation=1`:
//!   a message to peer 2 from another generation

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use goldenscript::{ArgumentConsumer, Command, Context, Runner};

use super::cluster::{CLUSTER, Cluster, contact};
use super::show;
use crate::raft::{Change, ClusterId, Config, Envelope, Input, Message, PeerId, Start, Tag};

type Outcome<T> = Result<T, Box<dyn Error>>;

struct Script {
    cluster: Cluster,
    next_tag: Tag,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Outcome<String> {
        let mut args = command.consume_args();
        let mut out = String::new();
        match command.name.as_str() {
            "cluster" => self.found(&mut args)?,
            "deliver" => self.deliver(&mut args, &mut out)?,
            "lose" => {
                let lost = self.take_wires(&mut args)?;
                writeln!(out, "lost {}", lost.len())?;
            }
            "double" => self.cluster.wires.extend(self.cluster.wires.clone()),
            "reverse" => self.cluster.wires.make_contiguous().reverse(),
            "cut" => {
                let (a, b) = (peer(&mut args)?, peer(&mut args)?);
                self.cluster.cut.extend([(a, b), (b, a)]);
            }
            "mend" => self.cluster.cut.clear(),
            "tick" => self.pass(number(&mut args)?, false),
            "run" => self.pass(number(&mut args)?, true),
            "status" => self.status(&mut args, &mut out)?,
            "log" => {
                let log = &self.node(peer(&mut args)?)?.raft.log;
                let kept = (log.base() + 1..=log.last()).filter_map(|index| log.get(index));
                writeln!(
                    out,
                    "after {} {}",
                    log.base(),
                    crate::raft::show::entries(kept)
                )?;
            }
            "counters" => {
                let counters = self.node(peer(&mut args)?)?.raft.counters();
                writeln!(out, "{counters:#?}")?;
            }
            "machine" => {
                let machine = &self.node(peer(&mut args)?)?.machine;
                let commands = machine.commands.join(&b' ');
                let commands = String::from_utf8_lossy(&commands).into_owned();
                writeln!(out, "{}: {commands}", machine.applied)?;
            }
            _ => self.ask(command, &mut args)?,
        }
        args.reject_next()?;
        self.tell(&mut out)?;
        Ok(out)
    }
}

impl Script {
    fn new() -> Self {
        Self {
            cluster: Cluster::new(Config::default(), 1),
            next_tag: 0,
        }
    }

    fn found(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        let mut config = Config::default();
        let bounds = [
            ("log_entries_kept", &mut config.log_entries_kept),
            ("log_bytes_kept", &mut config.log_bytes_kept),
            ("append", &mut config.append_bytes_max),
            ("chunk", &mut config.snapshot_chunk_bytes),
            ("window", &mut config.inflight_messages_max),
            ("uncommitted", &mut config.uncommitted_bytes_max),
        ];
        for (name, bound) in bounds {
            if let Some(value) = key(args, name)? {
                *bound = value;
            }
        }
        let mut founders = Vec::new();
        while let Some(founder) = args.next_pos() {
            founders.push(PeerId(founder.parse()?));
        }
        self.cluster = Cluster::new(config, 1);
        self.cluster.bootstrap(&founders);
        Ok(())
    }

    /// Commands that are one input to one peer.
    fn ask(&mut self, command: &Command, args: &mut ArgumentConsumer<'_>) -> Outcome<()> {
        let to = peer(args)?;
        let input = match command.name.as_str() {
            "join" => {
                self.cluster.start(to, Start::Join);
                return Ok(());
            }
            "crash" => {
                self.cluster.crash(to);
                return Ok(());
            }
            "campaign" => {
                let node = self.cluster.nodes.get_mut(&to).ok_or("no such peer")?;
                node.raft.deadline = self.cluster.now;
                node.raft.leader = None;
                Input::Tick
            }
            "unreachable" => Input::Unreachable(peer(args)?),
            "transfer" => Input::Transfer(peer(args)?),
            "propose" => {
                let payloads = std::iter::from_fn(|| args.next_pos());
                let payloads = payloads.map(|payload| Bytes::from(payload.to_owned()));
                Input::Propose(self.tag(), payloads.collect())
            }
            "read" => Input::Read(self.tag()),
            "change" => Input::Reconfigure(self.tag(), change(args)?),
            "forge" => Input::Message(forged(to, args)?),
            name => return Err(format!("no command {name}").into()),
        };
        self.cluster.step(to, input);
        Ok(())
    }

    fn deliver(&mut self, args: &mut ArgumentConsumer<'_>, out: &mut String) -> Outcome<()> {
        let turns = key(args, "turns")?.unwrap_or(usize::MAX);
        let only = Only::parse(args)?;
        for _ in 0..turns {
            let due = self.take(&only);
            if due.is_empty() {
                break;
            }
            for envelope in due {
                writeln!(out, "{}", crate::raft::show::envelope(&envelope))?;
                self.cluster.deliver(envelope);
                self.tell(out)?;
            }
        }
        Ok(())
    }

    fn pass(&mut self, millis: u64, deliver: bool) {
        for _ in 0..millis / 5 {
            self.cluster.now += Duration::from_millis(5);
            self.cluster.tick();
            while deliver && let Some(envelope) = self.cluster.wires.pop_front() {
                self.cluster.deliver(envelope);
            }
        }
    }

    fn status(&mut self, args: &mut ArgumentConsumer<'_>, out: &mut String) -> Outcome<()> {
        let only = args.next_pos().map(str::parse).transpose()?;
        for (peer, node) in &self.cluster.nodes {
            if only.is_none_or(|only: u64| only == peer.0) {
                writeln!(out, "{}", show::status(&node.raft, &self.cluster))?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, out: &mut String) -> Outcome<()> {
        for (peer, event) in self.cluster.events.drain(..) {
            writeln!(out, "n{}: {}", peer.0, show::event(&event))?;
        }
        Ok(())
    }

    fn take_wires(&mut self, args: &mut ArgumentConsumer<'_>) -> Outcome<VecDeque<Envelope>> {
        let only = Only::parse(args)?;
        Ok(self.take(&only))
    }

    fn take(&mut self, only: &Only) -> VecDeque<Envelope> {
        let wires = std::mem::take(&mut self.cluster.wires);
        let (taken, left) = wires.into_iter().partition(|wire| only.matches(wire));
        self.cluster.wires = left;
        taken
    }

    fn node(&self, peer: PeerId) -> Outcome<&super::cluster::Node> {
        Ok(self.cluster.nodes.get(&peer).ok_or("no such peer")?)
    }

    fn tag(&mut self) -> Tag {
        self.next_tag += 1;
        self.next_tag
    }
}

/// Which messages a command is about.
struct Only {
    from: Option<u64>,
    to: Option<u64>,
}

impl Only {
    fn parse(args: &mut ArgumentConsumer<'_>) -> Outcome<Self> {
        Ok(Self {
            from: key(args, "from")?,
            to: key(args, "to")?,
        })
    }

    fn matches(&self, envelope: &Envelope) -> bool {
        self.from.is_none_or(|from| envelope.from.0 == from)
            && self.to.is_none_or(|to| envelope.to.0 == to)
    }
}

fn number(args: &mut ArgumentConsumer<'_>) -> Outcome<u64> {
    Ok(args.next_pos().ok_or("a number is missing")?.parse()?)
}

fn key<T>(args: &mut ArgumentConsumer<'_>, name: &str) -> Outcome<Option<T>>
where
    T: FromStr<Err: Error + 'static>,
{
    Ok(args.take_key(name).map(str::parse).transpose()?)
}

fn peer(args: &mut ArgumentConsumer<'_>) -> Outcome<PeerId> {
    number(args).map(PeerId)
}

fn change(args: &mut ArgumentConsumer<'_>) -> Outcome<Change> {
    if let Some(added) = key(args, "add")? {
        return Ok(Change::AddLearner(PeerId(added), contact(PeerId(added))));
    }
    if let Some(removed) = key(args, "remove")? {
        return Ok(Change::RemoveLearners([PeerId(removed)].into()));
    }
    let voters: String = key(args, "voters")?.ok_or("change what?")?;
    let voters = voters.split(' ').filter(|voter| !voter.is_empty());
    let voters: Result<_, _> = voters.map(|voter| voter.parse().map(PeerId)).collect();
    Ok(Change::SetVoters(voters?))
}

fn forged(to: PeerId, args: &mut ArgumentConsumer<'_>) -> Outcome<Envelope> {
    let cluster = ClusterId {
        id: key(args, "cluster")?.unwrap_or(CLUSTER.id),
        generation: key(args, "generation")?.unwrap_or(0),
    };
    let (from, term) = (PeerId(99), 99);
    let to = key(args, "to")?.map_or(to, PeerId);
    let message = Message::VoteReply { granted: true };
    Ok(Envelope {
        cluster,
        from,
        to,
        term,
        message,
    })
}

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let path = concat!("src/raft/testscripts/", stringify!($name));
            goldenscript::run(&mut Script::new(), path).expect("the script runs as written");
        }
    )*};
}

scripts! {
    election
    election_pre_vote
    election_leader_gone
    election_check_quorum
    election_split
    identity
    replication
    replication_conflict
    replication_window
    replication_overload
    replication_own_term
    replication_gone
    read
    read_busy
    snapshot
    snapshot_resume
    membership
    membership_joint
    membership_leader_leaves
    membership_unfinished
    transfer
}
