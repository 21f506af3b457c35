//! URL paths into places: which row of the registry, which object, which part of it.
//!
//! Paths are matched against the registry's rows on each request instead of being registered one by one with the
//! router, so that a row made at run time (a custom resource) is routed like any other.

use crate::resource::Status;
use crate::resource::registry::{self, Kind};

/// What a path below `/api/<version>` or `/apis/<group>/<version>` names.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The resource.
    pub(super) kind: &'static Kind,
    /// The namespace, `None` for cluster-scoped resources and for all namespaces.
    pub(super) namespace: Option<String>,
    /// The object, `None` for the collection.
    pub(super) name: Option<String>,
    /// `status`, `scale`, …
    pub(super) subresource: Option<String>,
}

/// What a path below `/api` or `/apis` names.
#[derive(Debug)]
pub(super) enum Route<'a> {
    /// `/apis/<group>`.
    Group(&'a str),
    /// `/api/v1`, `/apis/<group>/<version>`.
    Version(&'a str, &'a str),
    /// Everything below.
    Place(Place),
}

/// Splits a path at its slashes, without empty ends (a trailing slash is as good as none).
fn segments(path: &str) -> Vec<&str> {
    path.trim_matches('/').split('/').collect()
}

/// The route of a path that starts with `/api/` or `/apis/`.
pub(super) fn parse(path: &str) -> Result<Route<'_>, Status> {
    match segments(path)[..] {
        ["apis", group] => Ok(Route::Group(group)),
        ["api", version] => Ok(Route::Version("", version)),
        ["apis", group, version] => Ok(Route::Version(group, version)),
        ["api", version, ref rest @ ..] => place("", version, rest).map(Route::Place),
        ["apis", group, version, ref rest @ ..] => place(group, version, rest).map(Route::Place),
        _ => Err(Status::unknown_resource(path)),
    }
}

fn place(group: &str, version: &str, rest: &[&str]) -> Result<Place, Status> {
    let (namespace, rest) = match *rest {
        // `namespaces/<name>/status` is a part of the Namespace, any other third word a resource inside of it.
        ["namespaces", _, "status" | "finalize"] => (None, rest),
        ["namespaces", namespace, ref inner @ ..] if !inner.is_empty() => (Some(namespace), inner),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match *rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(name), None),
        [plural, name, subresource] => (plural, Some(name), Some(subresource)),
        [plural, ref deeper @ ..] => {
            let part = deeper[1..].join("/");
            return Err(Status::not_served(group, plural, Some(&part)));
        }
        [] => return Err(Status::unknown_resource(&format!("{group}/{version}"))),
    };
    let kind = registry::find(group, version, plural);
    let kind = kind.ok_or_else(|| Status::not_served(group, plural, subresource))?;
    let misplaced = match namespace {
        Some(_) => !kind.namespaced,
        None => kind.namespaced && name.is_some(),
    };
    let unknown_part = subresource.is_some_and(|part| kind.subresource(part).is_none());
    let empty = namespace == Some("") || name == Some("");
    if unknown_part {
        return Err(Status::not_served(group, plural, subresource));
    }
    if misplaced || empty {
        return Err(Status::unknown_resource(&format!("{plural} at this path")));
    }
    Ok(Place {
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place as `prefix namespace name part`, "-" for what it lacks.
    fn placed(path: &str) -> String {
        let Ok(Route::Place(place)) = parse(path) else {
            return "nowhere".to_owned();
        };
        let parts = [place.namespace, place.name, place.subresource];
        let parts = parts.map(|part| part.unwrap_or_else(|| "-".to_owned()));
        format!("{} {}", place.kind.prefix(), parts.join(" "))
    }

    #[test]
    fn objects_and_collections_are_found() {
        let cases = [
            ("/api/v1/pods", "pods - - -"),
            ("/api/v1/namespaces/a/pods", "pods a - -"),
            ("/api/v1/namespaces/a/pods/b/", "pods a b -"),
            ("/api/v1/namespaces/a/pods/b/log", "pods a b log"),
            (
                "/apis/apps/v1/namespaces/a/deployments/d/scale",
                "deployments.apps a d scale",
            ),
            ("/api/v1/namespaces", "namespaces - - -"),
            ("/api/v1/namespaces/a", "namespaces - a -"),
            ("/api/v1/namespaces/a/finalize", "namespaces - a finalize"),
            ("/api/v1/nodes/n/status", "nodes - n status"),
        ];
        for (path, expected) in cases {
            assert_eq!(placed(path), expected, "{path}");
        }
    }

    #[test]
    fn the_wrong_scope_kind_or_part_is_not_found() {
        let paths = [
            "/api/v1/pods/b",
            "/api/v1/namespaces/a/nodes",
            "/api/v1/namespaces/a/pods/b/nonsense",
            "/api/v1/namespaces/a/pods/b/log/c",
            "/api/v1/frogs",
            "/api/v2/pods",
            "/apis/apps/v1/pods",
            "/apis/apps/v1/namespaces//deployments",
        ];
        for path in paths {
            assert!(parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn groups_and_versions_are_told_from_resources() {
        assert!(matches!(parse("/apis/apps"), Ok(Route::Group("apps"))));
        assert!(matches!(parse("/api/v1/"), Ok(Route::Version("", "v1"))));
        assert!(matches!(
            parse("/apis/apps/v1"),
            Ok(Route::Version("apps", "v1"))
        ));
    }
}
