//! The agent's operations against a runtime: which call, how long it may take, what its failure means to a pod.

use std::rc::Rc;
use std::time::Duration;

use crate::agent::{Failure, Operation, Outcome, PullPolicy};
use crate::env::runtime::{ContainerRuntime, ListError, PullError, StartError};

/// The longest a start or a removal may take; a busy engine needs seconds, never minutes.
const DEADLINE: Duration = Duration::from_secs(120);
/// The longest a pull may take: large images over slow lines.
const PULL_DEADLINE: Duration = Duration::from_secs(15 * 60);
/// What a stop may take beyond its grace.
const STOP_SLACK: Duration = Duration::from_secs(30);

/// Whether an operation mostly waits (for a grace, for a registry), so that others need not wait behind it.
pub(super) fn is_slow(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::StopContainer { .. } | Operation::EnsureImage { .. }
    )
}

/// Does it, within its deadline.
pub(super) async fn operate(runtime: Rc<dyn ContainerRuntime>, operation: Operation) -> Outcome {
    let deadline = match &operation {
        Operation::StopContainer { grace, .. } => *grace + STOP_SLACK,
        Operation::EnsureImage { .. } => PULL_DEADLINE,
        _ => DEADLINE,
    };
    let name = operation.name();
    let done = tokio::time::timeout(deadline, attempt(&*runtime, operation)).await;
    done.unwrap_or_else(|_| {
        let seconds = deadline.as_secs();
        failed(
            Failure::Other,
            &format!("{name} was not done in {seconds} s"),
        )
    })
}

fn failed(failure: Failure, message: &dyn std::fmt::Display) -> Outcome {
    let message = message.to_string();
    Outcome::Failed { failure, message }
}

fn done<E: std::fmt::Display>(result: Result<(), E>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(error) => failed(Failure::Other, &error),
    }
}

async fn attempt(runtime: &dyn ContainerRuntime, operation: Operation) -> Outcome {
    match operation {
        Operation::WriteVolumes { pod, volumes } => {
            done(runtime.write_volumes(&pod, &volumes).await)
        }
        Operation::StartSandbox(spec) => match runtime.start_sandbox(&spec).await {
            Ok(sandbox) => Outcome::SandboxStarted {
                id: sandbox.id,
                ips: sandbox.ips,
            },
            Err(error) => failed(Failure::Other, &error),
        },
        Operation::RemoveSandbox { id } => done(runtime.remove_sandbox(&id).await),
        Operation::EnsureImage { image, policy, .. } => ensure_image(runtime, &image, policy).await,
        Operation::StartContainer(spec) => match runtime.start_container(&spec).await {
            Ok(container) => Outcome::ContainerStarted {
                id: container.id,
                started_at: container.started_at,
            },
            Err(error) => failed(failure_of_start(&error), &error),
        },
        Operation::StopContainer { id, grace } => done(runtime.stop_container(&id, grace).await),
        Operation::RemoveContainer { id } => done(runtime.remove_container(&id).await),
        Operation::RemovePod { uid } => done(runtime.remove_pod(&uid).await),
    }
}

fn failure_of_start(error: &StartError) -> Failure {
    match error {
        StartError::Config(_) => Failure::Config,
        StartError::Command(_) => Failure::Start,
        StartError::NoImage(_) | StartError::NoSandbox(_) | StartError::Engine(_) => Failure::Other,
    }
}

async fn ensure_image(runtime: &dyn ContainerRuntime, image: &str, policy: PullPolicy) -> Outcome {
    if policy != PullPolicy::Always {
        match runtime.find_image(image).await {
            Ok(Some(image_id)) => return Outcome::ImageReady { image_id },
            Ok(None) => {}
            Err(ListError::Unavailable(reason)) => return failed(Failure::Pull, &reason),
        }
    }
    if policy == PullPolicy::Never {
        let message = format!("Container image {image:?} is not present with pull policy of Never");
        return failed(Failure::NeverPull, &message);
    }
    match runtime.pull_image(image).await {
        Ok(image_id) => Outcome::ImageReady { image_id },
        Err(error @ PullError::Name(_)) => failed(Failure::ImageName, &error),
        Err(error @ (PullError::NotFound(_) | PullError::Unavailable(_))) => {
            failed(Failure::Pull, &error)
        }
    }
}
