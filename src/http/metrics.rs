//! Request metrics under Kubernetes' names, and the middleware that counts and logs each request.
//!
//! Streams (watch, log) are counted when their response starts; how long they last says nothing of the server, so
//! they stay out of the durations, as in Kubernetes.

use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::context::Context;

/// Upper bounds of the duration buckets, in seconds (Kubernetes' own, thinned out: each costs a line a label set).
const BUCKETS_SECONDS: &[f64] = &[
    0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
];

/// What a request is counted as; put into its extensions by whoever routed it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// `GET`, `LIST`, `WATCH`, `POST`, …
    pub(super) verb: &'static str,
    /// Plural name of the resource, "" for everything else. Never what the client made up: that would let it grow
    /// the number of series.
    pub(super) resource: &'static str,
}

/// The request metrics.
pub(super) struct Metrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    long_running: IntGaugeVec,
}

impl Metrics {
    /// Registers them. A second server on the same registry shares the first one's place and is not shown.
    pub(super) fn new(registry: &Registry) -> Self {
        let requests = IntCounterVec::new(
            Opts::new("apiserver_request_total", "API requests answered."),
            &["verb", "resource", "code"],
        );
        let durations = HistogramVec::new(
            HistogramOpts::new(
                "apiserver_request_duration_seconds",
                "Time from a request's head to its response's head.",
            )
            .buckets(BUCKETS_SECONDS.to_vec()),
            &["verb", "resource"],
        );
        let long_running = IntGaugeVec::new(
            Opts::new("apiserver_longrunning_requests", "Streams open now."),
            &["verb", "resource"],
        );
        Self {
            requests: registered(registry, requests),
            durations: registered(registry, durations),
            long_running: registered(registry, long_running),
        }
    }

    /// Counts a stream as open until the guard is dropped.
    pub(super) fn stream(&self, label: Label) -> StreamGuard {
        let gauge = self
            .long_running
            .with_label_values(&[label.verb, label.resource]);
        gauge.inc();
        StreamGuard(gauge)
    }

    fn count(&self, label: Label, code: u16, took: Duration) {
        self.requests
            .with_label_values(&[label.verb, label.resource, &code.to_string()])
            .inc();
        if !matches!(label.verb, "WATCH" | "CONNECT") {
            self.durations
                .with_label_values(&[label.verb, label.resource])
                .observe(took.as_secs_f64());
        }
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: prometheus::Result<C>,
) -> C {
    let collector = made.expect("names and labels are constants that Prometheus allows");
    if let Err(error) = registry.register(Box::new(collector.clone())) {
        tracing::warn!(%error, "a request metric is not shown");
    }
    collector
}

/// An open stream, counted.
pub(super) struct StreamGuard(prometheus::IntGauge);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts, times and logs each request.
pub(super) async fn observe<B: MessageBody>(
    context: web::Data<Context>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let started = context.now();
    let response = next.call(request).await?;
    let took = context.now().saturating_sub(started);
    let request = response.request();
    let label = request.extensions().get::<Label>().copied();
    let label = label.unwrap_or(Label {
        verb: method_verb(request.method().as_str()),
        resource: "",
    });
    let code = response.status().as_u16();
    context.metrics.count(label, code, took);
    tracing::debug!(
        method = %request.method(),
        uri = %request.uri(),
        code,
        took_us = took.as_micros(),
        peer = ?request.peer_addr(),
        "request"
    );
    Ok(response)
}

/// A method as a constant: clients may send any word as one.
pub(super) fn method_verb(method: &str) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
    known
        .into_iter()
        .find(|verb| *verb == method)
        .unwrap_or("OTHER")
}
