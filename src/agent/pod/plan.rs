//! What a pod needs next, from what is wanted and what is.
//!
//! Called after every input; it starts only what is not yet in flight, so calling it again changes nothing.
//! Deliberately without preStop hooks: a container is told to end by SIGTERM alone.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;

use super::super::operation::Operation;
use super::super::render;
use super::super::types::{Assignment, ContainerState, GRACE_DEFAULT, PullPolicy};
use super::slot::{Slot, Waiting};
use super::{Ending, Flight, Moment, PodMachine};

/// How long `ErrImagePull` stays visible before it reads `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);

impl PodMachine {
    /// Starts what is due. `may_kill`: a leader's full set is known, so that an unwanted pod is really unwanted.
    pub(crate) fn plan(&mut self, may_kill: bool, moment: &mut Moment<'_>) {
        if self.is_flying(&Flight::RemovePod) || self.gone && !self.begins_anew(moment) {
            return;
        }
        if self.is_ours(moment) {
            self.trusted = true;
        } else {
            self.halt(moment);
        }
        if self.unsure {
            return;
        }
        let Some(assignment) = self.desired.take() else {
            if may_kill {
                self.remove_stale(moment);
                self.wind_down(None, moment);
            }
            return;
        };
        if self.resolved {
            self.settle(&assignment, moment.wall);
            self.remove_stale(moment);
            if assignment.pod.metadata.deletion_timestamp.is_some() || self.ending.is_some() {
                self.wind_down(Some(&assignment), moment);
            } else if !self.is_ours(moment) {
                self.wait_for_lease(&assignment);
            } else if self.engine.is_over(moment.now) {
                self.begin();
                self.run(&assignment, moment);
            }
        }
        self.desired = Some(assignment);
    }

    /// It was deleted, and is gone, and a leader wants it that knows nothing of that. Within a generation a deletion is
    /// never taken back, so this is a later one, which began with an earlier state; to that, the containers are lost.
    fn begins_anew(&mut self, moment: &Moment<'_>) -> bool {
        let deleted = self.is_deleted();
        let Some(assignment) = self.desired.take_if(|_| !deleted) else {
            return false;
        };
        *self = Self {
            touched: self.touched,
            leased_until: self.leased_until,
            ..Self::new(self.pod.clone(), moment.wall)
        };
        self.assign(assignment);
        self.resolve(moment.now, moment.wall);
        true
    }

    /// Decides whether the pod has ended for good.
    fn settle(&mut self, assignment: &Assignment, wall: Timestamp) {
        if self.ending.is_some() {
            return;
        }
        self.ending = self
            .deadline_exceeded(assignment, wall)
            .or_else(|| self.init_failed(assignment))
            .or_else(|| self.all_ended(assignment));
    }

    fn deadline_exceeded(&self, assignment: &Assignment, wall: Timestamp) -> Option<Ending> {
        let seconds = assignment.pod.spec.as_ref()?.active_deadline_seconds?;
        let deadline = self
            .started_at
            .saturating_add(SignedDuration::from_secs(seconds))
            .expect("saturates");
        (wall >= deadline).then(|| Ending {
            phase: "Failed",
            reason: Some("DeadlineExceeded".to_owned()),
            message: Some(
                "Pod was active on the node longer than the specified deadline".to_owned(),
            ),
        })
    }

    fn init_failed(&self, assignment: &Assignment) -> Option<Ending> {
        if self.mains_began_in(assignment) {
            return None;
        }
        let failed = |init: &Container| {
            let exit = self.slots.get(&init.name).and_then(|slot| slot.exit());
            exit.is_some_and(|e| e.code != 0 && !restarts(assignment, e.code, init, true))
        };
        let any = render::init_containers(assignment).any(failed);
        any.then_some(Ending {
            phase: "Failed",
            reason: None,
            message: None,
        })
    }

    fn all_ended(&self, assignment: &Assignment) -> Option<Ending> {
        let mut all_well = true;
        for container in render::main_containers(assignment) {
            let exit = self.slots.get(&container.name)?.exit()?;
            if restarts(assignment, exit.code, container, false) {
                return None;
            }
            all_well &= exit.code == 0;
        }
        Some(Ending {
            phase: if all_well { "Succeeded" } else { "Failed" },
            reason: None,
            message: None,
        })
    }

    fn remove_stale(&mut self, moment: &mut Moment<'_>) {
        if !self.engine.is_over(moment.now) {
            return;
        }
        for id in self.stale_sandboxes.clone() {
            self.remove_sandbox(id, moment);
        }
        for id in self.stale_containers.clone() {
            self.remove_container(id, moment);
        }
    }

    pub(super) fn remove_sandbox(&mut self, id: String, moment: &mut Moment<'_>) {
        let flight = Flight::RemoveSandbox(id.clone());
        if !self.is_flying(&flight) {
            self.perform(flight, Operation::RemoveSandbox { id }, moment);
        }
    }

    fn remove_container(&mut self, id: String, moment: &mut Moment<'_>) {
        let flight = Flight::Remove(id.clone());
        if !self.is_flying(&flight) {
            self.perform(flight, Operation::RemoveContainer { id }, moment);
        }
    }

    pub(super) fn is_flying(&self, flight: &Flight) -> bool {
        self.flights.values().any(|other| other == flight)
    }

    /// Stops everything; a pod that is deleted or unwanted is then removed without a trace.
    fn wind_down(&mut self, assignment: Option<&Assignment>, moment: &mut Moment<'_>) {
        let grace = self.grace(assignment);
        let running: Vec<(String, String)> = self.running().collect();
        let sidecar = |name: &str| {
            assignment.is_some_and(|a| {
                render::init_containers(a).any(|c| c.name == name && render::is_sidecar(c))
            })
        };
        let (beside, proper): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|(name, _)| sidecar(name));
        let last = if proper.is_empty() { beside } else { proper };
        for (_, id) in &last {
            self.stop(id, grace, moment);
        }
        let starting = |flight: &Flight| matches!(flight, Flight::Start(_) | Flight::Sandbox(..));
        let busy = self.flights.values().any(starting);
        if !last.is_empty() || busy || !self.engine.is_over(moment.now) {
            return;
        }
        if let Some(sandbox) = &self.sandbox {
            self.remove_sandbox(sandbox.id.clone(), moment);
            return;
        }
        // What is unwanted is only forgotten here; of what is deleted the leader believes that it is gone everywhere.
        let deleted = assignment
            .is_none_or(|a| a.pod.metadata.deletion_timestamp.is_some() && self.is_ours(moment));
        if deleted {
            self.erase(moment);
        }
    }

    fn erase(&mut self, moment: &mut Moment<'_>) {
        let slots = self.slots.values();
        let instances = slots.flat_map(|slot| [slot.current.as_ref(), slot.last.as_ref()]);
        let ids: Vec<String> = instances
            .flatten()
            .map(|instance| instance.id.clone())
            .filter(|id| !id.is_empty() && !self.removed.contains(id))
            .collect();
        for id in &ids {
            self.remove_container(id.clone(), moment);
        }
        if ids.is_empty() && self.flights.is_empty() {
            let uid = self.pod.uid.clone();
            self.perform(Flight::RemovePod, Operation::RemovePod { uid }, moment);
        }
    }

    fn grace(&self, assignment: Option<&Assignment>) -> Duration {
        let Some(assignment) = assignment else {
            let sandbox = self.sandbox.as_ref();
            return sandbox.map_or(GRACE_DEFAULT, |s| Duration::from_secs(s.grace_seconds));
        };
        let spec = assignment.pod.spec.as_ref();
        let asked = assignment.pod.metadata.deletion_grace_period_seconds;
        let seconds = asked.or_else(|| spec?.termination_grace_period_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.map_or(GRACE_DEFAULT, Duration::from_secs)
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (String, String)> {
        self.slots.iter().filter_map(|(name, slot)| {
            let current = slot.current.as_ref().filter(|c| c.is_running())?;
            Some((name.clone(), current.id.clone()))
        })
    }

    /// Stops a container, or hurries a stop that would take longer.
    fn stop(&mut self, id: &str, grace: Duration, moment: &mut Moment<'_>) {
        let kill_at = moment.now + grace;
        let soon_enough = |flight: &Flight| matches!(flight, Flight::Stop(other, at) if other == id && *at <= kill_at);
        if self.flights.values().any(soon_enough) || !self.engine.is_over(moment.now) {
            return;
        }
        let operation = Operation::StopContainer {
            id: id.to_owned(),
            grace,
        };
        self.perform(Flight::Stop(id.to_owned(), kill_at), operation, moment);
    }

    /// Brings the pod up, one stage after the other; each returns until the stage before it holds.
    fn run(&mut self, assignment: &Assignment, moment: &mut Moment<'_>) {
        let has_volumes = self.ensure_volumes(assignment, moment);
        let has_sandbox = self.ensure_sandbox(assignment, moment);
        if !has_volumes || !has_sandbox {
            return;
        }
        let began = self.mains_began_in(assignment);
        for init in render::init_containers(assignment) {
            let sidecar = render::is_sidecar(init);
            if !sidecar && (began || self.ended_well(&init.name)) {
                continue;
            }
            self.ensure_container(assignment, init, true, moment);
            let runs = self.slots.get(&init.name).is_some_and(Slot::is_running);
            let may_go_on = began || (sidecar && runs);
            if !may_go_on {
                return;
            }
        }
        for container in render::main_containers(assignment) {
            self.ensure_container(assignment, container, false, moment);
        }
    }

    pub(super) fn mains_began_in(&self, assignment: &Assignment) -> bool {
        let Some(sandbox) = &self.sandbox else {
            return false;
        };
        render::main_containers(assignment).any(|container| {
            let slot = self.slots.get(&container.name);
            let current = slot.and_then(|slot| slot.current.as_ref());
            current.is_some_and(|c| c.sandbox_id == sandbox.id)
        })
    }

    /// Whether an init container ended with 0 in the present sandbox.
    pub(super) fn ended_well(&self, name: &str) -> bool {
        let slot = self.slots.get(name);
        let current = slot.and_then(|slot| slot.current.as_ref());
        let Some((current, sandbox)) = current.zip(self.sandbox.as_ref()) else {
            return false;
        };
        current.sandbox_id == sandbox.id && current.exit().is_some_and(|exit| exit.code == 0)
    }

    /// Whether the pod's volumes have been made once; renders them anew when what they come from may have changed.
    fn ensure_volumes(&mut self, assignment: &Assignment, moment: &mut Moment<'_>) -> bool {
        let writing = |flight: &Flight| matches!(flight, Flight::Volumes(_));
        if self.volumes_wanted && !self.flights.values().any(writing) {
            let context = self.context(assignment, moment.node);
            match render::volumes(&context) {
                Ok(volumes) => {
                    self.volumes_wanted = false;
                    self.trouble = None;
                    let print = render::fingerprint(&volumes);
                    if volumes.is_empty() {
                        self.volumes_print = Some(print);
                    } else if self.volumes_print != Some(print) {
                        let pod = self.pod.clone();
                        let operation = Operation::WriteVolumes { pod, volumes };
                        self.perform(Flight::Volumes(print), operation, moment);
                    }
                }
                Err(error) => self.trouble = Some(format!("MountVolume.SetUp failed: {error}")),
            }
        }
        self.volumes_print.is_some()
    }

    /// Whether a sandbox holds; replaces a dead one after its containers have ended.
    fn ensure_sandbox(&mut self, assignment: &Assignment, moment: &mut Moment<'_>) -> bool {
        let starting = |flight: &Flight| matches!(flight, Flight::Sandbox(..));
        if self.flights.values().any(starting) {
            return false;
        }
        let alive = self.sandbox.as_ref().filter(|sandbox| sandbox.running);
        let alive = alive.map(|sandbox| sandbox.id.clone());
        let stranded = self.slots.values().filter_map(|slot| {
            let current = slot.current.as_ref().filter(|c| c.is_running())?;
            (alive.as_ref() != Some(&current.sandbox_id)).then(|| current.id.clone())
        });
        let stranded: Vec<String> = stranded.collect();
        for id in &stranded {
            self.stop(id, self.grace(Some(assignment)), moment);
        }
        if !stranded.is_empty() {
            return false;
        }
        if alive.is_some() {
            return true;
        }
        if let Some(dead) = &self.sandbox {
            self.remove_sandbox(dead.id.clone(), moment);
            return false;
        }
        if self.volumes_print.is_none() {
            return false;
        }
        let attempt = self.sandbox_attempt;
        let context = self.context(assignment, moment.node);
        let spec = render::sandbox(&context, &self.pod, attempt);
        let flight = Flight::Sandbox(attempt, spec.grace_seconds);
        self.perform(flight, Operation::StartSandbox(spec), moment);
        false
    }

    /// Brings one container up, or says why it waits.
    fn ensure_container(
        &mut self,
        assignment: &Assignment,
        container: &Container,
        init: bool,
        moment: &mut Moment<'_>,
    ) {
        if self.starting().any(|name| name == container.name) {
            return;
        }
        let slot = self.slots.entry(container.name.clone()).or_default();
        let hash = render::spec_hash(container);
        if let Some(current) = &slot.current {
            let changed = current.spec_hash != hash;
            let sandbox = self.sandbox.as_ref().map(|sandbox| &sandbox.id);
            let elsewhere = sandbox != Some(&current.sandbox_id);
            match &current.state {
                ContainerState::Running { .. } if changed => {
                    let id = current.id.clone();
                    return self.stop(&id, self.grace(Some(assignment)), moment);
                }
                ContainerState::Running { .. } => return,
                ContainerState::Created => {
                    let id = current.id.clone();
                    return self.remove_container(id, moment);
                }
                ContainerState::Exited(exit) => {
                    // An init container runs once in each sandbox; a changed definition runs whatever the policy.
                    let anew = changed || (init && elsewhere);
                    if !anew && !restarts(assignment, exit.code, container, init) {
                        return;
                    }
                    if !anew && !slot.restart.is_over(moment.now) {
                        let message = format!(
                            "back-off {} restarting failed container={} pod={}_{}({})",
                            seconds(slot.restart.delay()),
                            container.name,
                            self.pod.name,
                            self.pod.namespace,
                            self.pod.uid
                        );
                        slot.waiting = Some(Waiting {
                            reason: "CrashLoopBackOff",
                            message,
                        });
                        return;
                    }
                }
            }
        }
        if self.ensure_image(container, moment) {
            self.start(assignment, container, moment);
        }
    }

    /// Whether the image for the next attempt is there.
    fn ensure_image(&mut self, container: &Container, moment: &mut Moment<'_>) -> bool {
        let slot = self.slots.entry(container.name.clone()).or_default();
        if slot.image_id.is_some() {
            return true;
        }
        let image = container.image.clone().unwrap_or_default();
        if !slot.pull.is_over(moment.now) {
            let shown = slot.pull.remaining(moment.now) + PULL_ERROR_SHOWN <= slot.pull.delay();
            if let Some(waiting) = &mut slot.waiting
                && waiting.reason == "ErrImagePull"
                && shown
            {
                waiting.reason = "ImagePullBackOff";
                waiting.message = format!("Back-off pulling image {image:?}: {}", waiting.message);
            }
            return false;
        }
        let flight = Flight::Image(container.name.clone());
        if !self.is_flying(&flight) {
            let operation = Operation::EnsureImage {
                container: container.name.clone(),
                policy: pull_policy(container),
                image,
            };
            self.perform(flight, operation, moment);
        }
        false
    }

    fn start(&mut self, assignment: &Assignment, container: &Container, moment: &mut Moment<'_>) {
        let sandbox = self
            .sandbox
            .as_ref()
            .expect("containers start in a sandbox");
        let attempt = self.slots[&container.name].next_attempt();
        let context = self.context(assignment, moment.node);
        let rendered = render::container(&context, &self.pod, &sandbox.id, container, attempt);
        match rendered {
            Ok(spec) => {
                let spec = Box::new(spec);
                let flight = Flight::Start(spec.clone());
                self.perform(flight, Operation::StartContainer(spec), moment);
            }
            Err(error) => {
                let slot = self.slots.entry(container.name.clone()).or_default();
                slot.waiting = Some(Waiting {
                    reason: "CreateContainerConfigError",
                    message: error.to_string(),
                });
            }
        }
    }
}

/// Whether a container that ended with `code` starts again.
pub(crate) fn restarts(
    assignment: &Assignment,
    code: i32,
    container: &Container,
    init: bool,
) -> bool {
    let spec = assignment.pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.restart_policy.as_deref());
    match policy.unwrap_or("Always") {
        _ if init && render::is_sidecar(container) => true,
        "Never" => false,
        "OnFailure" => code != 0,
        _ => !init || code != 0,
    }
}

/// The policy, or Kubernetes' default: always for `:latest` and for no tag at all.
fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ => {
            let image = container.image.as_deref().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or_default();
            let pinned = image.contains('@') || last.contains(':');
            if !pinned || last.ends_with(":latest") {
                PullPolicy::Always
            } else {
                PullPolicy::IfNotPresent
            }
        }
    }
}

/// `10s`, `1m20s`, as Go prints a duration.
fn seconds(duration: Duration) -> String {
    match (duration.as_secs() / 60, duration.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}
