//! What the engine's refusals mean. It answers in status codes and, for the rest, in prose only.

use bollard::errors::Error;

use super::super::runtime::{PullError, SandboxError, StartError};

/// Whether it says that there is no such thing.
pub(super) fn is_missing(error: &Error) -> bool {
    code(error) == Some(404)
}

/// Whether it says that it is so already, or that it is under way.
pub(super) fn is_already(error: &Error) -> bool {
    matches!(code(error), Some(304 | 409))
}

fn code(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// The refusal of a runtime that was closed.
pub(super) fn closed() -> Error {
    let err = std::io::Error::other("this node is stopping and creates nothing any more");
    Error::IOError { err }
}

/// The engine's own words.
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        other => other.to_string(),
    }
}

/// A refused `create` or `start` of a container.
pub(super) fn of_start(error: &Error, sandbox_id: &str) -> StartError {
    let message = text(error);
    match code(error) {
        Some(404) if message.contains("No such image") => StartError::NoImage(message),
        _ if is_of_sandbox(&message, sandbox_id) => StartError::NoSandbox(message),
        _ if is_of_command(&message) => StartError::Command(message),
        Some(400) => StartError::Config(message),
        _ => StartError::Engine(message),
    }
}

/// The engine's words, under various codes, for a container to join that is not there or has ended.
fn is_of_sandbox(message: &str, sandbox_id: &str) -> bool {
    let words = ["No such container", "is not running", "non running"];
    message.contains(sandbox_id) && words.iter().any(|word| message.contains(word))
}

/// runc's words for a command that cannot be executed.
fn is_of_command(message: &str) -> bool {
    let words = [
        "executable file not found",
        "no such file or directory: unknown",
        "permission denied: unknown",
        "exec format error",
        "No command specified",
    ];
    words.iter().any(|word| message.contains(word))
}

/// A refused sandbox.
pub(super) fn of_sandbox(error: &Error) -> SandboxError {
    let message = text(error);
    if message.contains("port is already allocated") || message.contains("address already in use") {
        return SandboxError::PortInUse(message);
    }
    SandboxError::Engine(message)
}

/// A refused pull.
pub(super) fn of_pull(error: &Error) -> PullError {
    let message = text(error);
    if message.contains("invalid reference format") {
        return PullError::Name(message);
    }
    let words = ["not found", "denied", "manifest unknown", "does not exist"];
    if code(error) == Some(404) || words.iter().any(|word| message.contains(word)) {
        return PullError::NotFound(message);
    }
    PullError::Unavailable(message)
}
