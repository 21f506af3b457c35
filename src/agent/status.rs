//! A pod machine's state as Kubernetes' `PodStatus`: phase, conditions, container statuses.
//!
//! Deliberately without probes: a container is ready when it runs. And without `qosClass`, which the pod has had since
//! it was created.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pod::{Instance, PodMachine, Slot, restarts};
use super::render::{self, NodeInfo};
use super::types::{Assignment, ContainerState, Exit};
use crate::resource::time::whole_second;

/// The status to tell the leader.
pub(super) fn status(
    machine: &PodMachine,
    assignment: &Assignment,
    node: &NodeInfo,
    wall: Timestamp,
) -> PodStatus {
    let context = machine.context(assignment, node);
    let view = View {
        machine,
        assignment,
        node,
    };
    let begun = machine.slots.values().any(|slot| slot.current.is_some());
    let pod_ips = if begun || machine.sandbox.is_some() {
        context.pod_ips()
    } else {
        Vec::new()
    };
    let host_ips = context.host_ips();
    let phase = view.phase();
    let before = machine.reported.as_ref().map(|(status, _)| status);
    let before = before.or(assignment.pod.status.as_ref());
    let ending = machine.ending.as_ref();
    let init: Vec<ContainerStatus> = render::init_containers(assignment)
        .map(|container| view.container(container, true))
        .collect();
    PodStatus {
        conditions: Some(view.conditions(phase, before, wall)),
        container_statuses: Some(
            render::main_containers(assignment)
                .map(|container| view.container(container, false))
                .collect(),
        ),
        host_ip: host_ips.first().cloned(),
        host_ips: Some(host_ips.into_iter().map(|ip| HostIP { ip }).collect()),
        init_container_statuses: (!init.is_empty()).then_some(init),
        message: ending.and_then(|e| e.message.clone()),
        reason: ending.and_then(|e| e.reason.clone()),
        phase: Some(phase.to_owned()),
        pod_ip: pod_ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty())
            .then(|| pod_ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(time(machine.started_at)),
        ..PodStatus::default()
    }
}

fn time(timestamp: Timestamp) -> Time {
    Time(whole_second(timestamp))
}

struct View<'a> {
    machine: &'a PodMachine,
    assignment: &'a Assignment,
    node: &'a NodeInfo,
}

impl View<'_> {
    fn slot(&self, container: &Container) -> Option<&Slot> {
        self.machine.slots.get(&container.name)
    }

    /// The kubelet's `getPhase`: what has never run makes a pod Pending, what runs or will run again Running.
    fn phase(&self) -> &'static str {
        if let Some(ending) = &self.machine.ending {
            return ending.phase;
        }
        if !self.is_initialized() {
            return "Pending";
        }
        let mut mains = render::main_containers(self.assignment);
        if mains.all(|c| self.slot(c).is_some_and(has_begun)) {
            "Running"
        } else {
            "Pending"
        }
    }

    fn is_initialized(&self) -> bool {
        let mut init = render::init_containers(self.assignment);
        init.all(|c| self.machine.is_initialized(self.assignment, c))
    }

    /// The kubelet's four conditions, and whatever others have set.
    fn conditions(
        &self,
        phase: &str,
        before: Option<&PodStatus>,
        wall: Timestamp,
    ) -> Vec<PodCondition> {
        let old = before.and_then(|status| status.conditions.as_deref());
        let old = old.unwrap_or_default();
        let ended = matches!(phase, "Succeeded" | "Failed");
        let completed = (phase == "Succeeded").then_some("PodCompleted");
        let unready = self.unready();
        let ready = unready.is_empty() && !ended;
        let gates = self.gates_hold(old);
        let containers = Verdict {
            holds: ready,
            reason: completed.or(Some("ContainersNotReady")),
            message: format!("containers with unready status: [{}]", unready.join(" ")),
        };
        let incomplete = self.incomplete();
        let initialized = Verdict {
            holds: incomplete.is_empty() || completed.is_some(),
            reason: completed.or(Some("ContainersNotInitialized")),
            message: format!(
                "containers with incomplete status: [{}]",
                incomplete.join(" ")
            ),
        };
        let pod = if ready && !gates {
            Verdict {
                holds: false,
                reason: Some("ReadinessGatesNotReady"),
                message: "a readiness gate does not hold".to_owned(),
            }
        } else {
            containers.clone()
        };
        let scheduled = Verdict {
            holds: true,
            reason: None,
            message: String::new(),
        };
        let own = [
            ("PodScheduled", scheduled),
            ("Initialized", initialized),
            ("ContainersReady", containers),
            ("Ready", pod),
        ];
        let is_own = |c: &&PodCondition| own.iter().all(|(name, _)| *name != c.type_);
        let others: Vec<PodCondition> = old.iter().filter(is_own).cloned().collect();
        let made = own.iter().map(|(name, verdict)| {
            let old = old.iter().find(|condition| condition.type_ == *name);
            verdict.condition(name, old, completed.is_some(), wall)
        });
        made.chain(others).collect()
    }

    fn unready(&self) -> Vec<String> {
        let sidecars = render::init_containers(self.assignment).filter(|c| render::is_sidecar(c));
        let all = sidecars.chain(render::main_containers(self.assignment));
        all.filter(|c| !self.slot(c).is_some_and(Slot::is_running))
            .map(|c| c.name.clone())
            .collect()
    }

    fn incomplete(&self) -> Vec<String> {
        render::init_containers(self.assignment)
            .filter(|c| !self.machine.is_initialized(self.assignment, c))
            .map(|c| c.name.clone())
            .collect()
    }

    fn gates_hold(&self, conditions: &[PodCondition]) -> bool {
        let spec = self.assignment.pod.spec.as_ref();
        let mut gates = spec
            .iter()
            .flat_map(|spec| spec.readiness_gates.iter().flatten());
        gates.all(|gate| {
            let named = |c: &&PodCondition| c.type_ == gate.condition_type;
            conditions
                .iter()
                .find(named)
                .is_some_and(|c| c.status == "True")
        })
    }

    fn container(&self, container: &Container, init: bool) -> ContainerStatus {
        let empty = Slot::default();
        let slot = self.slot(container).unwrap_or(&empty);
        let current = slot.current.as_ref();
        let running = slot.is_running();
        let again = slot
            .exit()
            .is_some_and(|exit| restarts(self.assignment, exit.code, container, init));
        let ends = self.machine.ending.is_some() || self.machine.is_deleted();
        let waits = slot.waiting.as_ref().filter(|_| again && !ends);
        let terminated = |instance: &Instance| {
            let exit = instance.exit()?;
            Some(ApiState {
                terminated: Some(self.terminated(instance, exit)),
                ..ApiState::default()
            })
        };
        let (state, last) = match current.map(|c| (c, &c.state)) {
            Some((_, ContainerState::Running { started_at })) => {
                let running = ContainerStateRunning {
                    started_at: Some(time(*started_at)),
                };
                let state = ApiState {
                    running: Some(running),
                    ..ApiState::default()
                };
                (state, slot.last.as_ref().and_then(terminated))
            }
            Some((instance, ContainerState::Exited(_))) if waits.is_none() => (
                terminated(instance).unwrap_or_default(),
                slot.last.as_ref().and_then(terminated),
            ),
            Some((instance, ContainerState::Exited(_))) => {
                (self.waiting(slot, init), terminated(instance))
            }
            Some((_, ContainerState::Created)) | None => (
                self.waiting(slot, init),
                slot.last.as_ref().and_then(terminated),
            ),
        };
        let well = slot.exit().is_some_and(|exit| exit.code == 0);
        let ready = if init && !render::is_sidecar(container) {
            well
        } else {
            running
        };
        ContainerStatus {
            container_id: current.and_then(|instance| self.container_id(instance)),
            image: container.image.clone().unwrap_or_default(),
            image_id: current.map(|c| c.image_id.clone()).unwrap_or_default(),
            last_state: Some(last.unwrap_or_default()),
            name: container.name.clone(),
            ready,
            restart_count: current.map_or(0, |c| i32::try_from(c.attempt).unwrap_or(i32::MAX)),
            started: Some(running),
            state: Some(state),
            ..ContainerStatus::default()
        }
    }

    fn container_id(&self, instance: &Instance) -> Option<String> {
        let id = &instance.id;
        (!id.is_empty()).then(|| format!("{}://{id}", self.node.runtime))
    }

    fn waiting(&self, slot: &Slot, init: bool) -> ApiState {
        let waiting = match &slot.waiting {
            Some(waiting) => ContainerStateWaiting {
                reason: Some(waiting.reason.to_owned()),
                message: Some(waiting.message.clone()),
            },
            None => ContainerStateWaiting {
                reason: Some(
                    if !init && !self.is_initialized() {
                        "PodInitializing"
                    } else {
                        "ContainerCreating"
                    }
                    .to_owned(),
                ),
                message: self.machine.trouble.clone(),
            },
        };
        ApiState {
            waiting: Some(waiting),
            ..ApiState::default()
        }
    }

    fn terminated(&self, instance: &Instance, exit: &Exit) -> ContainerStateTerminated {
        let by_code = if exit.code == 0 { "Completed" } else { "Error" };
        ContainerStateTerminated {
            container_id: self.container_id(instance),
            exit_code: exit.code,
            finished_at: Some(time(exit.finished_at)),
            message: (!exit.message.is_empty()).then(|| exit.message.clone()),
            reason: Some(exit.reason.clone().unwrap_or_else(|| by_code.to_owned())),
            signal: None,
            // The kubelet's word for a container that never ran; clients print year 1 for none at all.
            started_at: Some(time(exit.started_at.unwrap_or(Timestamp::UNIX_EPOCH))),
        }
    }
}

fn has_begun(slot: &Slot) -> bool {
    slot.is_running() || slot.exit().is_some()
}

/// Whether a condition holds, and why not.
#[derive(Clone)]
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: String,
}

impl Verdict {
    fn condition(
        &self,
        name: &str,
        old: Option<&PodCondition>,
        completed: bool,
        wall: Timestamp,
    ) -> PodCondition {
        let status = if self.holds { "True" } else { "False" };
        let unchanged = old.filter(|old| old.status == status);
        let since = unchanged.and_then(|old| old.last_transition_time.clone());
        let explained = !self.holds || (completed && self.reason == Some("PodCompleted"));
        PodCondition {
            last_transition_time: Some(since.unwrap_or_else(|| time(wall))),
            message: (!self.holds && !completed).then(|| self.message.clone()),
            reason: self.reason.filter(|_| explained).map(ToOwned::to_owned),
            status: status.to_owned(),
            type_: name.to_owned(),
            ..PodCondition::default()
        }
    }
}
