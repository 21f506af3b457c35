//! OpenAPI v3 documents, one a group and version, made from the schema table when asked for.
//!
//! Enough for kubectl: `apply` and `create` look for a PATCH operation per kind with its group, version and kind and a
//! `fieldValidation` parameter; `explain` reads the schemas. Deliberately without descriptions (the table has none),
//! response bodies, subresources, and without a cache: a document is wanted once a client and is large.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::discovery::KUBERNETES_MINOR;
use super::schema::{self, Field, Leaf, Merge, Ownership, Presence, Shape, Type};

/// A kind that the API serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// API group, "" for core.
    pub group: &'a str,
    /// API version, e.g. `v1`.
    pub version: &'a str,
    /// Plural lower-case name, e.g. `deployments`.
    pub plural: &'a str,
    /// Kind, e.g. `Deployment`.
    pub kind: &'a str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Served<'_> {
    /// `api/v1` or `apis/apps/v1`.
    fn root_path(&self) -> String {
        if self.group.is_empty() {
            return format!("api/{}", self.version);
        }
        format!("apis/{}/{}", self.group, self.version)
    }

    fn collection_path(&self) -> String {
        let (root, plural) = (self.root_path(), self.plural);
        if self.namespaced {
            return format!("/{root}/namespaces/{{namespace}}/{plural}");
        }
        format!("/{root}/{plural}")
    }

    fn api_version(&self) -> String {
        if self.group.is_empty() {
            return self.version.to_owned();
        }
        format!("{}/{}", self.group, self.version)
    }

    fn ty(&self) -> Option<&'static Type> {
        schema::root(&self.api_version(), self.kind)
    }

    fn group_version_kind(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }

    /// The component's name of a kind without a type: the group backwards, as Kubernetes names custom resources.
    fn custom_name(&self) -> String {
        let group: Vec<&str> = self.group.rsplit('.').collect();
        format!("{}.{}.{}", group.join("."), self.version, self.kind)
    }
}

/// The body of `GET /openapi/v3`: where the documents are.
///
/// Their addresses carry a hash of what is served, so that clients may keep a document for as long as it is right.
pub fn index(served: &[Served<'_>]) -> Value {
    let paths: BTreeSet<String> = served.iter().map(Served::root_path).collect();
    let entry = |path: String| {
        let own = served.iter().filter(|kind| kind.root_path() == path);
        let hash = own.fold(hash(FNV_OFFSET, schema::text()), |so_far, kind| {
            hash(so_far, &format!("{kind:?}"))
        });
        let url = format!("/openapi/v3/{path}?hash={hash:016X}");
        (path, json!({ "serverRelativeURL": url }))
    };
    let paths: Map<String, Value> = paths.into_iter().map(entry).collect();
    json!({ "paths": paths })
}

/// The body of `GET /openapi/v3/api/V` or `/openapi/v3/apis/G/V`; `None` if nothing is served there.
pub fn document(served: &[Served<'_>], group: &str, version: &str) -> Option<Value> {
    let is_here = |kind: &&Served<'_>| kind.group == group && kind.version == version;
    let kinds: Vec<&Served<'_>> = served.iter().filter(is_here).collect();
    if kinds.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    for kind in &kinds {
        add_paths(&mut paths, kind);
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": format!("v1.{KUBERNETES_MINOR}.0")},
        "paths": paths,
        "components": {"schemas": schemas(&kinds)},
    }))
}

fn add_paths(paths: &mut Map<String, Value>, kind: &Served<'_>) {
    let write = &["dryRun", "fieldManager", "fieldValidation"][..];
    let collection = kind.collection_path();
    let place =
        |names: &[&str]| -> Vec<Value> { names.iter().map(|name| path_parameter(name)).collect() };
    let (around, item) = if kind.namespaced {
        (place(&["namespace"]), place(&["name", "namespace"]))
    } else {
        (place(&[]), place(&["name"]))
    };
    paths.insert(
        format!("{collection}/{{name}}"),
        json!({
            "parameters": item,
            "get": operation(kind, "get", &[]),
            "put": operation(kind, "put", write),
            "patch": operation(kind, "patch", &[write, &["force"]].concat()),
            "delete": operation(kind, "delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
        }),
    );
    let list = &[
        "continue",
        "fieldSelector",
        "labelSelector",
        "limit",
        "resourceVersion",
        "watch",
    ];
    paths.insert(
        collection,
        json!({
            "parameters": around,
            "get": operation(kind, "list", list),
            "post": operation(kind, "post", write),
        }),
    );
}

fn operation(kind: &Served<'_>, action: &str, query: &[&str]) -> Value {
    let parameters: Vec<Value> = query.iter().map(|name| query_parameter(name)).collect();
    let mut operation = json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind.group_version_kind(),
    });
    let content_types: &[&str] = match action {
        "post" | "put" => &["*/*"],
        "patch" => &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ],
        _ => return operation,
    };
    let body = |content_type: &&str| {
        (
            (*content_type).to_owned(),
            json!({"schema": {"type": "object"}}),
        )
    };
    let content: Map<String, Value> = content_types.iter().map(body).collect();
    operation["requestBody"] = json!({"content": content, "required": true});
    operation
}

fn query_parameter(name: &str) -> Value {
    let kind = match name {
        "force" | "watch" => "boolean",
        "gracePeriodSeconds" | "limit" => "integer",
        _ => "string",
    };
    json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

/// The kinds' schemas and all that they refer to.
fn schemas(kinds: &[&Served<'_>]) -> Map<String, Value> {
    let mut schemas = Map::new();
    let mut todo: Vec<&'static Type> = schema::root("v1", "DeleteOptions").into_iter().collect();
    for kind in kinds {
        match kind.ty() {
            Some(ty) => todo.push(ty),
            None => {
                schemas.insert(kind.custom_name(), custom_schema(kind));
            }
        }
    }
    while let Some(ty) = todo.pop() {
        let name = component(ty.name);
        if schemas.contains_key(&name) {
            continue;
        }
        schemas.insert(name, object_schema(ty));
        for leaf in ty.fields().iter().map(|field| field.shape.leaf()) {
            match leaf {
                Leaf::Object(id) => todo.push(id.get()),
                _ => {
                    if let Some((name, schema)) = named_value(leaf) {
                        schemas.insert(component(name), schema);
                    }
                }
            }
        }
    }
    schemas
}

fn component(name: &str) -> String {
    format!("io.k8s.{name}")
}

fn custom_schema(kind: &Served<'_>) -> Value {
    json!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-group-version-kind": [kind.group_version_kind()],
    })
}

fn object_schema(ty: &Type) -> Value {
    let properties: Map<String, Value> = ty
        .fields()
        .iter()
        .map(|field| (field.name.to_owned(), field_schema(field)))
        .collect();
    let is_required = |field: &&Field| field.presence == Presence::Required;
    let required: Vec<&str> = ty
        .fields()
        .iter()
        .filter(is_required)
        .map(|field| field.name)
        .collect();
    let kinds: Vec<Value> = schema::roots()
        .iter()
        .filter(|root| root.id.get().name == ty.name)
        .map(|root| json!({"group": root.group, "version": root.version, "kind": root.kind}))
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !kinds.is_empty() {
        schema["x-kubernetes-group-version-kind"] = json!(kinds);
    }
    if ty.atomic {
        schema["x-kubernetes-map-type"] = json!("atomic");
    }
    schema
}

fn field_schema(field: &Field) -> Value {
    let mut schema = shape_schema(field.shape);
    let strategy: Vec<&str> = [
        (field.merge != Merge::Replace).then_some("merge"),
        field.retain_keys.then_some("retainKeys"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !strategy.is_empty() {
        schema["x-kubernetes-patch-strategy"] = json!(strategy.join(","));
    }
    if let Some(key) = field.merge.key() {
        schema["x-kubernetes-patch-merge-key"] = json!(key);
    }
    match field.ownership {
        Ownership::Default => {}
        Ownership::Set => schema["x-kubernetes-list-type"] = json!("set"),
        Ownership::Map(keys) => {
            schema["x-kubernetes-list-type"] = json!("map");
            schema["x-kubernetes-list-map-keys"] = keys.split(',').collect();
        }
        Ownership::Atomic if matches!(field.shape, Shape::List(_)) => {
            schema["x-kubernetes-list-type"] = json!("atomic");
        }
        Ownership::Atomic => schema["x-kubernetes-map-type"] = json!("atomic"),
    }
    schema
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::One(leaf) => leaf_schema(leaf),
        Shape::List(_) => json!({"type": "array", "items": shape_schema(shape.element())}),
        Shape::Map(_) | Shape::MapOfLists(_) => {
            json!({"type": "object", "additionalProperties": shape_schema(shape.element())})
        }
    }
}

/// References stand in `allOf`, as in Kubernetes' documents: nothing may stand beside a `$ref`.
fn leaf_schema(leaf: Leaf) -> Value {
    let name = match leaf {
        Leaf::Object(id) => Some(id.get().name),
        _ => named_value(leaf).map(|(name, _)| name),
    };
    if let Some(name) = name {
        let reference = format!("#/components/schemas/{}", component(name));
        return json!({"allOf": [{ "$ref": reference }]});
    }
    match leaf {
        Leaf::Bool => json!({"type": "boolean"}),
        Leaf::Int32 => json!({"type": "integer", "format": "int32"}),
        Leaf::Int64 => json!({"type": "integer", "format": "int64"}),
        Leaf::Number => json!({"type": "number", "format": "double"}),
        Leaf::Bytes => json!({"type": "string", "format": "byte"}),
        _ => json!({"type": "string"}),
    }
}

/// Values that have a component of their own, and what it says.
fn named_value(leaf: Leaf) -> Option<(&'static str, Value)> {
    match leaf {
        Leaf::Quantity => Some((
            "apimachinery.pkg.api.resource.Quantity",
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        )),
        Leaf::IntOrString => Some((
            "apimachinery.pkg.util.intstr.IntOrString",
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        )),
        Leaf::Time => Some((
            "apimachinery.pkg.apis.meta.v1.Time",
            json!({"type": "string", "format": "date-time"}),
        )),
        Leaf::MicroTime => Some((
            "apimachinery.pkg.apis.meta.v1.MicroTime",
            json!({"type": "string", "format": "date-time"}),
        )),
        Leaf::Fields => Some((
            "apimachinery.pkg.apis.meta.v1.FieldsV1",
            json!({"type": "object"}),
        )),
        Leaf::Raw => Some((
            "apimachinery.pkg.runtime.RawExtension",
            json!({"type": "object"}),
        )),
        _ => None,
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// FNV-1a, continued: the same in every process, unlike the standard library's.
fn hash(so_far: u64, text: &str) -> u64 {
    text.bytes().fold(so_far, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

#[cfg(test)]
mod tests;
