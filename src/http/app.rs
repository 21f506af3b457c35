//! The application: its routes, and the middleware around them.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::{NormalizePath, TrailingSlash, from_fn};
use actix_web::{App, Error, FromRequest, Handler, HttpRequest, HttpResponse, Responder, web};

use super::context::Context;
use super::{State, answer, discovery, eviction, health, metrics, openapi, recovery, resources};
use crate::resource::Status;

/// The Kubernetes API over a node's actors.
pub fn app(
    state: State,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    application(web::Data::new(Context::new(state)))
}

/// The same over a context that the caller shares.
pub(super) fn application(
    context: web::Data<Context>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(context)
        .configure(routes)
        .default_service(web::to(nowhere))
        .wrap(from_fn(metrics::observe))
        .wrap(NormalizePath::new(TrailingSlash::Trim))
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(get("/version", discovery::version))
        .service(get("/healthz", health::live))
        .service(get("/livez", health::live))
        .service(get("/readyz", health::ready))
        .service(get("/metrics", health::metrics))
        .service(get("/kagero/v1/status", health::cluster))
        .service(
            web::resource("/kagero/v1/recovery")
                .route(web::post().to(recovery::recover))
                .default_service(web::to(not_allowed)),
        )
        .service(
            web::resource("/kagero/v1/evictions")
                .route(web::post().to(eviction::evict))
                .default_service(web::to(not_allowed)),
        )
        .service(get("/openapi/v2", openapi::v2))
        .service(get("/openapi/v3", openapi::index))
        .service(get("/openapi/v3/{path:.*}", openapi::document))
        .service(get("/api", discovery::core))
        .service(get("/apis", discovery::groups))
        .route("/api/{path:.*}", web::to(resources::handle))
        .route("/apis/{path:.*}", web::to(resources::handle));
}

/// A resource with GET alone; every other method is 405.
fn get<F, Args>(path: &str, handler: F) -> actix_web::Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler))
        .default_service(web::to(not_allowed))
}

async fn not_allowed() -> HttpResponse {
    answer::failure(&Status::method_not_allowed())
}

async fn nowhere(request: HttpRequest) -> HttpResponse {
    answer::failure(&Status::unknown_resource(request.path()))
}
