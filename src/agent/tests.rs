//! Scripts against the whole agent, with an engine that obeys at once (`testscripts/`).
//!
//! Each line of output is an operation that the agent asked for or a status that it reported.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState as ApiState, ContainerStatus};
use serde_json::{Value, json};

use super::*;

/// Steps after one input before it counts as an endless loop.
const STEPS_MAX: usize = 1_000;

type Failed = Box<dyn Error>;

fn node() -> NodeInfo {
    NodeInfo {
        name: "n1".to_owned(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        cpu_millis: 2_000,
        memory_bytes: 1 << 30,
        pods_max: 110,
        runtime: "fake",
    }
}

/// An agent, an engine and a leader's memory.
struct World {
    agent: Agent,
    now: Duration,
    seat: Seat,
    objects: BTreeMap<String, Value>,
    maps: BTreeMap<String, Value>,
    engine: Inventory,
    failing: BTreeMap<String, Failure>,
    hanging: BTreeSet<u64>,
    hangs: Option<String>,
    /// Nobody else can ever have run what is assigned.
    fresh: bool,
    ids: u32,
    output: String,
}

impl World {
    fn new() -> Self {
        Self {
            agent: Agent::new(node()),
            now: Duration::ZERO,
            seat: Seat {
                generation: 0,
                term: 1,
            },
            objects: BTreeMap::new(),
            maps: BTreeMap::new(),
            engine: Inventory::default(),
            failing: BTreeMap::new(),
            hanging: BTreeSet::new(),
            hangs: None,
            fresh: false,
            ids: 0,
            output: String::new(),
        }
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_second(self.now.as_secs() as i64).unwrap()
    }

    fn assignment(&self, uid: &str) -> Assignment {
        let maps = self.maps.iter().map(|(name, data)| {
            let map = json!({"metadata": {"name": name}, "data": data});
            (name.clone(), serde_json::from_value(map).unwrap())
        });
        Assignment {
            pod: serde_json::from_value(self.objects[uid].clone()).unwrap(),
            config_maps: maps.collect(),
            secrets: BTreeMap::new(),
            fresh: self.fresh,
        }
    }

    fn feed(&mut self, input: Input) {
        let mut inputs = vec![input];
        let mut steps = 0;
        while let Some(input) = inputs.pop() {
            steps += 1;
            assert!(steps < STEPS_MAX, "the agent never comes to rest");
            let actions = self.agent.step(input, self.now, self.wall());
            for action in actions {
                if let Some(next) = self.perform(action) {
                    inputs.insert(0, next);
                }
            }
        }
    }

    fn listed(&self) -> Input {
        Input::Listed {
            performed: self.agent.performed(),
            inventory: self.engine.clone(),
        }
    }

    fn perform(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Relist => Some(self.listed()),
            Action::Report(report) => {
                let uid = report.pod.uid.clone();
                writeln!(self.output, "  {}", summary(&report)).unwrap();
                if let Some(object) = self.objects.get_mut(&uid) {
                    object["status"] = serde_json::to_value(&report.status).unwrap();
                }
                None
            }
            Action::Perform {
                ticket,
                uid,
                operation,
            } => {
                let hangs = self.hangs.as_deref() == Some(operation.name());
                let outcome = self.operate(&operation, &uid, hangs);
                if hangs {
                    self.hanging.insert(ticket);
                    return None;
                }
                Some(Input::Performed {
                    ticket,
                    uid,
                    outcome,
                })
            }
        }
    }

    fn operate(&mut self, operation: &Operation, uid: &str, hangs: bool) -> Outcome {
        let name = operation.name();
        let subject = match operation {
            Operation::EnsureImage { image, policy, .. } => format!("{image} {policy:?}"),
            Operation::StartContainer(spec) => format!("{}#{}", spec.name, spec.attempt),
            Operation::StartSandbox(spec) => format!("#{}", spec.attempt),
            Operation::StopContainer { id, grace } => format!("{id} {}s", grace.as_secs()),
            Operation::RemoveContainer { id } | Operation::RemoveSandbox { id } => id.clone(),
            Operation::WriteVolumes { volumes, .. } => format!("{}", volumes.len()),
            Operation::RemovePod { .. } => String::new(),
        };
        writeln!(self.output, "{uid} {name} {subject}").unwrap();
        let key = match operation {
            Operation::EnsureImage { image, .. } => image.clone(),
            Operation::StartContainer(spec) => spec.name.clone(),
            _ => name.to_owned(),
        };
        if let Some(failure) = self.failing.get(&key) {
            let message = format!("{key} fails");
            return Outcome::Failed {
                failure: *failure,
                message,
            };
        }
        if hangs {
            return Outcome::Done;
        }
        self.obey(operation)
    }

    fn obey(&mut self, operation: &Operation) -> Outcome {
        let wall = self.wall();
        match operation {
            Operation::EnsureImage { image, .. } => Outcome::ImageReady {
                image_id: format!("sha256:{image}"),
            },
            Operation::StartSandbox(spec) => {
                self.ids += 1;
                let id = format!("s{}", self.ids);
                let ips = vec!["172.17.0.2".parse().unwrap()];
                self.engine.sandboxes.push(SandboxRecord {
                    id: id.clone(),
                    pod: spec.pod.clone(),
                    attempt: spec.attempt,
                    running: true,
                    ips: ips.clone(),
                    created_at: wall,
                    grace_seconds: spec.grace_seconds,
                });
                Outcome::SandboxStarted { id, ips }
            }
            Operation::StartContainer(spec) => {
                self.ids += 1;
                let id = format!("c{}", self.ids);
                self.engine.containers.push(ContainerRecord {
                    id: id.clone(),
                    pod: spec.pod.clone(),
                    name: spec.name.clone(),
                    attempt: spec.attempt,
                    sandbox_id: spec.sandbox_id.clone(),
                    spec_hash: spec.spec_hash.clone(),
                    image: spec.image.clone(),
                    image_id: format!("sha256:{}", spec.image),
                    state: ContainerState::Running { started_at: wall },
                });
                Outcome::ContainerStarted {
                    id,
                    started_at: wall,
                }
            }
            Operation::StopContainer { id, .. } => {
                self.end(|c| c.id == *id, 143);
                Outcome::Done
            }
            Operation::RemoveContainer { id } => {
                self.engine.containers.retain(|c| c.id != *id);
                Outcome::Done
            }
            Operation::RemoveSandbox { id } => {
                self.engine.sandboxes.retain(|s| s.id != *id);
                Outcome::Done
            }
            Operation::WriteVolumes { .. } | Operation::RemovePod { .. } => Outcome::Done,
        }
    }

    fn end(&mut self, which: impl Fn(&ContainerRecord) -> bool, code: i32) {
        let finished_at = self.wall();
        for container in self.engine.containers.iter_mut().filter(|c| which(c)) {
            if let ContainerState::Running { started_at } = container.state {
                container.state = ContainerState::Exited(Exit {
                    code,
                    started_at: Some(started_at),
                    finished_at,
                    reason: None,
                    message: String::new(),
                });
            }
        }
    }

    fn desire(&mut self, full: bool, upsert: &[&str], remove: Vec<Uid>) {
        let desired = Desired {
            seat: self.seat,
            full,
            upsert: upsert.iter().map(|uid| self.assignment(uid)).collect(),
            remove,
            unreadable: Vec::new(),
        };
        if let Err(refusal) = self.agent.check(desired.seat, desired.full) {
            writeln!(self.output, "refused: {refusal}").unwrap();
        }
        self.feed(Input::Desired(desired));
    }
}

/// `pod Running ready [c:running#0]`
fn summary(report: &Report) -> String {
    let status = &report.status;
    let holds = |name: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions
            .clone()
            .any(|c| c.type_ == name && c.status == "True")
    };
    let mut line = format!(
        "{} {}",
        report.pod.name,
        status.phase.as_deref().unwrap_or("?")
    );
    for (condition, word) in [("Initialized", " initialized"), ("Ready", " ready")] {
        if holds(condition) {
            line += word;
        }
    }
    if let Some(reason) = &status.reason {
        write!(line, " {reason}").unwrap();
    }
    let init = status.init_container_statuses.iter().flatten();
    for container in init.chain(status.container_statuses.iter().flatten()) {
        write!(line, " {}", container_summary(container)).unwrap();
    }
    if report.gone {
        line += " gone";
    }
    line
}

fn container_summary(container: &ContainerStatus) -> String {
    let words = |state: &Option<ApiState>| match state.clone().unwrap_or_default() {
        ApiState {
            running: Some(_), ..
        } => "running".to_owned(),
        ApiState {
            terminated: Some(ended),
            ..
        } => format!("{}({})", ended.reason.unwrap_or_default(), ended.exit_code),
        ApiState {
            waiting: Some(waiting),
            ..
        } => waiting.reason.unwrap_or_default(),
        _ => String::new(),
    };
    let mut line = format!(
        "{}#{}:{}",
        container.name,
        container.restart_count,
        words(&container.state)
    );
    let last = words(&container.last_state);
    if !last.is_empty() {
        write!(line, "<{last}").unwrap();
    }
    line
}

fn object(uid: &str, spec: &str) -> Result<Value, Failed> {
    let spec: Value = serde_json::from_str(spec)?;
    Ok(json!({"metadata": {"name": uid, "namespace": "default", "uid": uid}, "spec": spec}))
}

/// A command's arguments, taken one by one.
struct Words<'a>(std::vec::IntoIter<&'a str>);

impl<'a> Words<'a> {
    fn word(&mut self) -> Result<&'a str, Failed> {
        self.0
            .next()
            .ok_or_else(|| Failed::from("argument missing"))
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T, Failed>
    where
        T::Err: Error + 'static,
    {
        Ok(self.word()?.parse()?)
    }
}

impl Runner for World {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Failed> {
        let mut args = command.consume_args();
        let words: Vec<&str> = std::iter::from_fn(|| args.next_pos()).collect();
        let mut words = Words(words.into_iter());
        let name = command.name.as_str();
        let known = self.leader_does(name, &mut words)?
            || self.engine_does(name, &mut words)?
            || self.agent_does(name, &mut words)?;
        if !known {
            return Err(format!("unknown command {name}").into());
        }
        Ok(std::mem::take(&mut self.output))
    }
}

impl World {
    /// What a leader stores and says.
    fn leader_does(&mut self, name: &str, words: &mut Words<'_>) -> Result<bool, Failed> {
        match name {
            // pod UID SPEC
            "pod" => {
                let uid = words.word()?;
                let object = object(uid, words.word()?)?;
                self.objects.insert(uid.to_owned(), object);
            }
            // unique UID: a StatefulSet manages it.
            "unique" => {
                let object = self.objects.get_mut(words.word()?).ok_or("no such pod")?;
                object["metadata"]["ownerReferences"] = json!([
                    {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "s", "controller": true}
                ]);
            }
            "fresh" => self.fresh = !self.fresh,
            // lease UNTIL [START]
            "lease" => {
                let until = Duration::from_secs(words.number()?);
                let (seat, start) = (self.seat, words.word().is_ok());
                self.feed(Input::Leased(Leased { seat, until, start }));
            }
            // map NAME DATA
            "map" => {
                let name = words.word()?.to_owned();
                self.maps.insert(name, serde_json::from_str(words.word()?)?);
            }
            // full [UID…], assign UID…
            "full" | "assign" => {
                let uids: Vec<&str> = words.0.by_ref().collect();
                self.desire(name == "full", &uids, Vec::new());
            }
            "remove" => {
                let uid = words.word()?.to_owned();
                self.desire(false, &[], vec![uid]);
            }
            // delete UID GRACE: the leader stamps the deletion and sends the pod.
            "delete" => {
                let uid = words.word()?;
                let grace: i64 = words.number()?;
                let meta = &mut self.objects.get_mut(uid).ok_or("no such pod")?["metadata"];
                meta["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
                meta["deletionGracePeriodSeconds"] = json!(grace);
                self.desire(false, &[uid], Vec::new());
            }
            // restore UID: the state is from before its deletion.
            "restore" => {
                let uid = words.word()?;
                let meta = &mut self.objects.get_mut(uid).ok_or("no such pod")?["metadata"];
                meta["deletionTimestamp"].take();
            }
            // seat GENERATION TERM
            "seat" => {
                self.seat = Seat {
                    generation: words.number()?,
                    term: words.number()?,
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What becomes of the engine and its containers.
    fn engine_does(&mut self, name: &str, words: &mut Words<'_>) -> Result<bool, Failed> {
        match name {
            "list" => {
                let listed = self.listed();
                self.feed(listed);
            }
            // exit UID CONTAINER CODE
            "exit" => {
                let (uid, name) = (words.word()?, words.word()?);
                let code = words.number()?;
                self.end(|c| c.pod.uid == uid && c.name == name, code);
                let listed = self.listed();
                self.feed(listed);
            }
            "kill-sandbox" => {
                let uid = words.word()?;
                let mut sandboxes = self.engine.sandboxes.iter_mut();
                let sandbox = sandboxes.find(|s| s.pod.uid == uid).ok_or("no sandbox")?;
                sandbox.running = false;
                let listed = self.listed();
                self.feed(listed);
            }
            "lose" => {
                let uid = words.word()?;
                self.engine.containers.retain(|c| c.pod.uid != uid);
                self.engine.sandboxes.retain(|s| s.pod.uid != uid);
            }
            // fail WHAT HOW: an image, a container or an operation fails from now on.
            "fail" => {
                let what = words.word()?.to_owned();
                let failure = match words.word()? {
                    "pull" => Failure::Pull,
                    "never" => Failure::NeverPull,
                    "start" => Failure::Start,
                    "other" => Failure::Other,
                    how => return Err(format!("unknown failure {how}").into()),
                };
                self.failing.insert(what, failure);
            }
            "mend" => self.failing.clear(),
            // hang OPERATION
            "hang" => self.hangs = Some(words.word()?.to_owned()),
            // stops UID: what hangs ends, all containers killed.
            "stops" => {
                self.hangs = None;
                self.end(|_| true, 137);
                let uid = words.word()?;
                for ticket in std::mem::take(&mut self.hanging) {
                    self.feed(Input::Performed {
                        ticket,
                        uid: uid.to_owned(),
                        outcome: Outcome::Done,
                    });
                }
            }
            "engine" => self.print_engine(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn print_engine(&mut self) {
        for c in &self.engine.containers {
            let exited = matches!(c.state, ContainerState::Exited(_));
            let alive = if exited { "exited" } else { "running" };
            writeln!(self.output, "{} {}#{} {alive}", c.id, c.name, c.attempt).unwrap();
        }
        for sandbox in &self.engine.sandboxes {
            writeln!(self.output, "{} sandbox#{}", sandbox.id, sandbox.attempt).unwrap();
        }
    }

    fn agent_does(&mut self, name: &str, words: &mut Words<'_>) -> Result<bool, Failed> {
        match name {
            // restart-agent [LOSES-LEASES]
            "restart-agent" => {
                let leases = self.agent.leases();
                self.agent = Agent::new(node());
                if words.word().is_err() {
                    self.agent.remember(leases);
                }
            }
            // wait SECONDS: one tick a second.
            "wait" => {
                for _ in 0..words.number::<u64>()? {
                    self.now += Duration::from_secs(1);
                    let before = self.output.len();
                    self.feed(Input::Tick);
                    if self.output.len() > before {
                        let at = format!("@{}s\n", self.now.as_secs());
                        self.output.insert_str(before, &at);
                    }
                }
            }
            // log-of UID CONTAINER
            "log-of" => {
                let (uid, name) = (words.word()?, words.word()?);
                let newest = self.agent.container_id(uid, name, false);
                let previous = self.agent.container_id(uid, name, true);
                writeln!(self.output, "{newest:?} {previous:?}")?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn script(name: &str) {
    let path = format!("src/agent/testscripts/{name}");
    goldenscript::run(&mut World::new(), path).expect("the script's output is as recorded");
}

#[test]
fn lifecycle() {
    script("lifecycle");
}

#[test]
fn restarts() {
    script("restarts");
}

#[test]
fn images() {
    script("images");
}

#[test]
fn init() {
    script("init");
}

#[test]
fn adoption() {
    script("adoption");
}

#[test]
fn fencing() {
    script("fencing");
}

#[test]
fn unique() {
    script("unique");
}

#[test]
fn deletion() {
    script("deletion");
}

#[test]
fn a_container_that_could_not_start_did_so_at_the_epoch_as_the_kubelet_says() {
    let mut world = World::new();
    world.now = Duration::from_secs(1_000_000);
    let spec = r#"{"restartPolicy":"Never","containers":[{"name":"bad","image":"i:1"}]}"#;
    world.objects.insert("p".into(), object("p", spec).unwrap());
    world.failing.insert("bad".into(), Failure::Start);
    world.feed(world.listed());
    world.desire(true, &["p"], Vec::new());
    let ended = "/status/containerStatuses/0/state/terminated";
    let first = world.objects["p"].pointer(ended).unwrap().clone();
    assert_eq!(first["reason"], "StartError");
    assert_eq!(first["startedAt"], "1970-01-01T00:00:00Z");
    assert_eq!(first["finishedAt"], "1970-01-12T13:46:40Z");
    // An agent that comes after it has the pod's status only.
    world.agent = Agent::new(node());
    world.feed(world.listed());
    world.desire(true, &["p"], Vec::new());
    assert_eq!(world.objects["p"].pointer(ended), Some(&first));
}
