//! Reads of one object, or of its `status` or `scale`.

use actix_web::HttpResponse;

use super::accept::{self, Form};
use super::answer;
use super::query::Query;
use super::render::{self, Renderer};
use super::resources::Call;
use super::route::Place;
use crate::actors::messages::Consistency;
use crate::resource::{Status, scale_of};
use crate::store::{Record, Revision, View};

/// Answers `GET` of one object.
pub(super) async fn get(call: &Call) -> Result<HttpResponse, Status> {
    let form = accept::form(call.accept())?;
    let view = call.context.view(consistency(&call.query)?).await?;
    let record = find(&view, &call.place)?;
    if call.place.subresource.as_deref() == Some("scale") {
        let object = render::decode(&record.value, record.mod_revision);
        return Ok(answer::value(&scale_of(call.place.kind, &object)));
    }
    let renderer = Renderer::new(call.place.kind, form, &call.query)?;
    let mut out = Vec::with_capacity(record.value.len() + 64);
    let columns = form == Form::Table;
    renderer.alone(
        &mut out,
        &record.value,
        record.mod_revision,
        call.context.wall(),
        columns,
    );
    out.push(b'\n');
    Ok(answer::json(out))
}

/// How fresh a read must be: unset is the newest, a number at least that revision.
pub(super) fn consistency(query: &Query) -> Result<Consistency, Status> {
    Ok(match revision(query)? {
        None => Consistency::Linearizable,
        Some(revision) => Consistency::AtLeast(revision),
    })
}

/// The query's `resourceVersion`; unset and empty are `None`.
pub(super) fn revision(query: &Query) -> Result<Option<Revision>, Status> {
    query.number("resourceVersion")
}

/// The record of a named object.
pub(super) fn find<'a>(view: &'a View, place: &Place) -> Result<&'a Record, Status> {
    let name = place.name.as_deref().unwrap_or_default();
    let key = place.kind.key(place.namespace.as_deref(), name);
    view.get(&key)
        .ok_or_else(|| Status::not_found(place.kind, name))
}
