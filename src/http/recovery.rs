//! `/kagero/v1/recovery`: what an operator does when a majority of the voters is gone.
//!
//! Deliberately the same for a look and for the deed: the one is a request without the token that the other needs.

use actix_web::{HttpResponse, web};

use super::context::{Context, ask};
use super::{answer, body};
use crate::actors::messages::Recover;
use crate::resource::Status;

/// POST of a [`Recover`]: answered with the plan, or with what was done.
pub(super) async fn recover(context: web::Data<Context>, payload: web::Payload) -> HttpResponse {
    match try_recover(&context, payload).await {
        Ok(response) => response,
        Err(status) => answer::failure(&status),
    }
}

async fn try_recover(context: &Context, payload: web::Payload) -> Result<HttpResponse, Status> {
    let body = body::read(payload).await?;
    let recover: Recover = serde_json::from_slice(&body)
        .map_err(|error| Status::bad_request(format!("not a request to recover: {error}")))?;
    let recovery = ask(&context.state.recovery, recover).await??;
    Ok(HttpResponse::Ok().json(recovery))
}
