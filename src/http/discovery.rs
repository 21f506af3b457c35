//! What there is: the server's version, groups, versions and resources.

use actix_web::http::Method;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::accept::{self, Discovery};
use super::answer;
use super::context::Context;
use super::resources::header;
use crate::resource::Status;
use crate::resource::discovery::{self, KUBERNETES_MINOR};

/// `/version`. Clients compare it with their own; Google's kubectl picks a program by it.
pub(super) async fn version() -> HttpResponse {
    let git_version = format!(
        "v1.{KUBERNETES_MINOR}.0+kagero.{}",
        env!("CARGO_PKG_VERSION")
    );
    answer::value(&json!({
        "major": "1",
        "minor": KUBERNETES_MINOR.to_string(),
        "gitVersion": git_version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    }))
}

/// `/api`.
pub(super) async fn core(request: HttpRequest, context: web::Data<Context>) -> HttpResponse {
    let legacy = || {
        let mut versions = discovery::api_versions();
        versions["serverAddressByClientCIDRs"] =
            json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": context.state.server_address}]);
        versions
    };
    index(&request, true, legacy)
}

/// `/apis`.
pub(super) async fn groups(request: HttpRequest) -> HttpResponse {
    index(&request, false, discovery::api_group_list)
}

fn index(request: &HttpRequest, core: bool, legacy: impl FnOnce() -> Value) -> HttpResponse {
    match accept::discovery(header(request.headers(), ACCEPT)) {
        Ok(Discovery::Legacy) => answer::value(&legacy()),
        Ok(Discovery::Aggregated(version)) => {
            let mut list = discovery::aggregated(core);
            list["apiVersion"] = format!("apidiscovery.k8s.io/{version}").into();
            let content_type = format!(
                "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            );
            HttpResponse::Ok()
                .content_type(content_type)
                .body(list.to_string())
        }
        Err(status) => answer::failure(&status),
    }
}

/// `/apis/<group>`.
pub(super) fn group(method: &Method, group: &str) -> Result<HttpResponse, Status> {
    found(method, discovery::api_group(group), group)
}

/// `/api/v1`, `/apis/<group>/<version>`.
pub(super) fn resources(
    method: &Method,
    group: &str,
    version: &str,
) -> Result<HttpResponse, Status> {
    let list = discovery::api_resource_list(group, version);
    found(method, list, &format!("{group}/{version}"))
}

/// `what` is how people know it: `apps/v1`.
fn found(method: &Method, found: Option<Value>, what: &str) -> Result<HttpResponse, Status> {
    let what = what.trim_start_matches('/');
    let found = found.ok_or_else(|| Status::unknown_resource(what))?;
    if method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    Ok(answer::value(&found))
}
