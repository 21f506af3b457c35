//! Everything below `/api/` and `/apis/`: finds the place, names the verb, hands over.

use actix_web::http::header::{
    ACCEPT, CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use actix_web::http::{ConnectionType, Method};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bytes::Bytes;

use super::connection::Limit;
use super::context::Context;
use super::identity::Identity;
use super::metrics::Label;
use super::query::Query;
use super::route::{self, Place, Route};
use super::{answer, body, discovery, list, logs, read, watch, write};
use crate::resource::Status;

/// A routed request, without its body.
pub(super) struct Call {
    /// Shared state.
    pub(super) context: web::Data<Context>,
    /// What it is about.
    pub(super) place: Place,
    /// Its query.
    pub(super) query: Query,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Who asks.
    pub(super) identity: Identity,
    /// What it counts as.
    pub(super) label: Label,
    /// How long its client may keep the answer from being sent.
    pub(super) limit: Limit,
}

impl Call {
    /// A header's text, "" when absent or not ASCII.
    fn header(&self, name: actix_web::http::header::HeaderName) -> &str {
        header(&self.headers, name)
    }

    /// The `Accept` header.
    pub(super) fn accept(&self) -> &str {
        self.header(ACCEPT)
    }

    /// The `User-Agent` header.
    pub(super) fn user_agent(&self) -> &str {
        self.header(USER_AGENT)
    }
}

/// A header's text, "" when absent or not ASCII.
pub(super) fn header(headers: &HeaderMap, name: actix_web::http::header::HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Answers a request below `/api/` or `/apis/`.
pub(super) async fn handle(
    request: HttpRequest,
    payload: web::Payload,
    context: web::Data<Context>,
) -> HttpResponse {
    let answer = read_and_dispatch(&request, payload, context).await;
    answer.unwrap_or_else(|status| answer::failure(&status))
}

/// Reads the body before anything can fail: a connection whose request was not read to its end cannot be used again.
///
/// No protocol is switched to here: a request to upgrade is answered as if it had not asked, and its connection is
/// closed. What follows one that does not say how long its body is is no body, and it never ends.
async fn read_and_dispatch(
    request: &HttpRequest,
    payload: web::Payload,
    context: web::Data<Context>,
) -> Result<HttpResponse, Status> {
    if !request.head().upgrade() {
        let body = body::read(payload).await?;
        return dispatch(request, body, context).await;
    }
    let headers = request.headers();
    let is_websocket = header(headers, UPGRADE).eq_ignore_ascii_case("websocket");
    // What follows the request for a WebSocket is read as its frames, whatever length it claims.
    let ends = headers.contains_key(TRANSFER_ENCODING)
        || (headers.contains_key(CONTENT_LENGTH) && !is_websocket);
    let body = if ends {
        body::read(payload).await
    } else {
        Ok(Bytes::new())
    };
    let answer = match body {
        Ok(body) => dispatch(request, body, context).await,
        Err(status) => Err(status),
    };
    let mut answer = answer.unwrap_or_else(|status| answer::failure(&status));
    answer.head_mut().set_connection_type(ConnectionType::Close);
    Ok(answer)
}

async fn dispatch(
    request: &HttpRequest,
    body: Bytes,
    context: web::Data<Context>,
) -> Result<HttpResponse, Status> {
    let place = match route::parse(request.match_info().as_str())? {
        Route::Group(group) => return discovery::group(request.method(), group),
        Route::Version(group, version) => {
            return discovery::resources(request.method(), group, version);
        }
        Route::Place(place) => place,
    };
    let query = Query::parse(request.query_string())?;
    let verb = Verb::of(request.method(), &place, &query)?;
    let label = Label {
        verb: verb.label(request.method()),
        resource: place.kind.plural,
    };
    request.extensions_mut().insert(label);
    verb.check(&place)?;
    let call = Call {
        context,
        place,
        query,
        headers: request.headers().clone(),
        identity: Identity::of(request),
        label,
        limit: request.conn_data().cloned().unwrap_or_default(),
    };
    match verb {
        Verb::Get => match call.place.subresource.as_deref() {
            Some("log") => logs::logs(call).await,
            _ => read::get(&call).await,
        },
        Verb::List => list::list(&call).await,
        Verb::Watch => watch::watch(call).await,
        write => write::write(call, write, body).await,
    }
}

/// What a method asks for at a place, in Kubernetes' terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// One object.
    Get,
    /// A collection.
    List,
    /// A collection's changes.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
}

impl Verb {
    fn of(method: &Method, place: &Place, query: &Query) -> Result<Self, Status> {
        let named = place.name.is_some();
        match *method {
            Method::GET if named => Ok(Self::Get),
            Method::GET if query.flag("watch") => Ok(Self::Watch),
            Method::GET => Ok(Self::List),
            Method::POST if !named || place.subresource.is_some() => Ok(Self::Create),
            Method::PUT if named => Ok(Self::Update),
            Method::PATCH if named => Ok(Self::Patch),
            Method::DELETE if named => Ok(Self::Delete),
            Method::DELETE => Ok(Self::DeleteCollection),
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// As Kubernetes' metrics name it.
    fn label(self, method: &Method) -> &'static str {
        match self {
            Self::List => "LIST",
            Self::Watch => "WATCH",
            Self::DeleteCollection => "DELETECOLLECTION",
            _ => super::metrics::method_verb(method.as_str()),
        }
    }

    /// The registry's row says what may be done; objects of a namespaced kind are made and unmade in a namespace.
    fn check(self, place: &Place) -> Result<(), Status> {
        let verbs = match &place.subresource {
            None => place.kind.verbs,
            Some(name) => place
                .kind
                .subresource(name)
                .map_or(&[][..], |sub| sub.verbs),
        };
        let nowhere = place.kind.namespaced && place.namespace.is_none();
        let writes_nowhere = nowhere && matches!(self, Self::Create | Self::DeleteCollection);
        if writes_nowhere || !verbs.contains(&self.name()) {
            return Err(Status::method_not_allowed());
        }
        Ok(())
    }
}
