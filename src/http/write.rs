//! Writes: body and query into a `resource::Request`, its reply into a response.
//!
//! Whether the write is allowed, and what it comes to, is planned behind `Submit`; here nothing is looked up.

use actix_web::HttpResponse;
use bytes::Bytes;

use super::accept;
use super::answer;
use super::body;
use super::document::Document;
use super::resources::{Call, Verb};
use super::route::Place;
use crate::resource::{self, Options, Request, Status};

/// Answers a write.
pub(super) async fn write(call: Call, verb: Verb, body: Bytes) -> Result<HttpResponse, Status> {
    accept::form(call.accept())?;
    let mut options = call.query.write_options(call.user_agent())?;
    let media_type = body::media_type(&call.headers);
    let mut warnings = Vec::new();
    let mut checked = |document: Document, options: &Options| {
        warnings = duplicates(&call.place, &document, options)?;
        Ok::<_, Status>(document.value)
    };
    let verb = match verb {
        Verb::Create => {
            let object = checked(body::object(&media_type, &body)?, &options)?;
            resource::Verb::Create(object)
        }
        Verb::Update => {
            let object = checked(body::object(&media_type, &body)?, &options)?;
            resource::Verb::Update(object)
        }
        Verb::Patch => {
            let (how, document) = body::patch(&media_type, &body)?;
            resource::Verb::Patch(how, checked(document, &options)?)
        }
        Verb::Delete | Verb::DeleteCollection => {
            let (deletion, dry_run) = body::deletion(&media_type, &body, &call.query)?;
            options.dry_run |= dry_run;
            match verb {
                Verb::Delete => resource::Verb::Delete(deletion),
                _ => resource::Verb::DeleteCollection {
                    label_selector: call.query.text("labelSelector").to_owned(),
                    field_selector: call.query.text("fieldSelector").to_owned(),
                    deletion,
                },
            }
        }
        Verb::Get | Verb::List | Verb::Watch => unreachable!("reads are dispatched elsewhere"),
    };
    let Call {
        context,
        place,
        identity,
        ..
    } = call;
    let request = Request {
        resource: place.kind.resource_name(),
        namespace: place.namespace,
        name: place.name,
        subresource: place.subresource,
        verb,
        options,
        user: identity.user,
    };
    let reply = context.submit(request).await?;
    Ok(answer::reply(reply, warnings))
}

/// Keys given twice, by `fieldValidation`: refused, warned of, or nothing. Returns the warnings.
fn duplicates(
    place: &Place,
    document: &Document,
    options: &Options,
) -> Result<Vec<String>, Status> {
    let told: Vec<String> = document
        .duplicates
        .iter()
        .map(|path| format!("duplicate field {path:?}"))
        .collect();
    match options.field_validation.as_str() {
        "Ignore" => Ok(Vec::new()),
        "Strict" if !told.is_empty() => {
            let (kind, version) = (place.kind.kind, place.kind.version);
            Err(Status::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {kind}: strict decoding error: {}",
                told.join(", ")
            )))
        }
        _ => Ok(told),
    }
}
