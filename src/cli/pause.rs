//! `kagero pause`: holds a pod's namespaces and does nothing, in as little memory as possible.
//!
//! Deliberately before any runtime or allocator is set up: it is one process for each pod of a node.

use tokio::signal::unix::{SignalKind, signal};

/// Blocks until SIGTERM or SIGINT.
pub fn pause() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .expect("a runtime needs only an epoll descriptor");
    runtime.block_on(async {
        let handler = "a signal's handler can be installed in a fresh process";
        let mut terminate = signal(SignalKind::terminate()).expect(handler);
        let mut interrupt = signal(SignalKind::interrupt()).expect(handler);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
}
