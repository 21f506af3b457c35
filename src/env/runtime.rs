//! Containers: what a node's agent asks of Docker, of plain processes, or of a simulation's fake.

/// Runs containers.
pub trait ContainerRuntime {
    /// `docker`, `process`, …
    fn name(&self) -> &'static str;
}
