//! What operators' tools ask: liveness, readiness, metrics, the cluster.

use actix_web::{HttpResponse, web};
use prometheus::TextEncoder;

use super::answer;
use super::context::{Context, ask};
use super::query::Query;
use crate::actors::messages::DescribeCluster;
use crate::resource::Status;

/// `/healthz`, `/livez`: the process answers.
pub(super) async fn live(request: actix_web::HttpRequest) -> HttpResponse {
    report(&request, &[("ping", Ok(()))])
}

/// `/readyz`: the node can serve.
pub(super) async fn ready(
    request: actix_web::HttpRequest,
    context: web::Data<Context>,
) -> HttpResponse {
    let node = (context.state.readiness)();
    report(&request, &[("ping", Ok(())), ("node", node)])
}

/// The outcome of the checks, one line each if one failed or `?verbose` is given, as Kubernetes prints them.
fn report(request: &actix_web::HttpRequest, checks: &[(&str, Result<(), String>)]) -> HttpResponse {
    let failed = checks.iter().any(|(_, outcome)| outcome.is_err());
    let verbose = Query::parse(request.query_string()).is_ok_and(|query| query.flag("verbose"));
    if !failed && !verbose {
        return answer::text("ok");
    }
    let line = |(name, outcome): &(&str, Result<(), String>)| match outcome {
        Ok(()) => format!("[+]{name} ok\n"),
        Err(why) => format!("[-]{name} failed: {why}\n"),
    };
    let lines: String = checks.iter().map(line).collect();
    let path = request.path().trim_matches('/');
    if failed {
        return HttpResponse::InternalServerError()
            .content_type("text/plain; charset=utf-8")
            .body(format!("{lines}{path} check failed\n"));
    }
    answer::text(format!("{lines}{path} check passed\n"))
}

/// `/metrics`: Prometheus' text format.
pub(super) async fn metrics(context: web::Data<Context>) -> HttpResponse {
    let families = context.state.registry.gather();
    match TextEncoder::new().encode_to_string(&families) {
        Ok(text) => HttpResponse::Ok()
            .content_type(prometheus::TEXT_FORMAT)
            .body(text),
        Err(error) => answer::failure(&Status::internal(error.to_string())),
    }
}

/// `/kagero/v1/status`: the cluster as its leader sees it.
pub(super) async fn cluster(context: web::Data<Context>) -> HttpResponse {
    let described = ask(&context.state.cluster, DescribeCluster).await;
    match described.and_then(|described| described) {
        Ok(status) => HttpResponse::Ok().json(status),
        Err(status) => answer::failure(&status),
    }
}
