//! Discovery: what the server serves, in the aggregated form of today's kubectl and in the older one that `drain`,
//! `can-i` and most libraries still ask for.
//!
//! Made from the registry alone. Deliberately without any address of the server: clients know how they reached it.

use serde_json::{Map, Value, json};

use super::registry::{Kind, Subresource, kinds};

/// The minor number of the Kubernetes release, 1.x, whose API this is.
pub const KUBERNETES_MINOR: u32 = 33;

/// `/api` (`core`) or `/apis` as `apidiscovery.k8s.io/v2 APIGroupDiscoveryList`.
pub fn aggregated(core: bool) -> Value {
    let item = |group: &&str| {
        let versions: Vec<Value> = versions(group)
            .iter()
            .map(|version| aggregated_version(group, version))
            .collect();
        let metadata = if group.is_empty() {
            json!({})
        } else {
            json!({"name": group})
        };
        json!({"metadata": metadata, "versions": versions})
    };
    let groups = groups();
    let items = groups.iter().filter(|group| group.is_empty() == core);
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items.map(item).collect::<Vec<_>>(),
    })
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let resources: Vec<Value> = of(group, version).map(aggregated_resource).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let sub = |sub: &Subresource| {
        json!({
            "subresource": sub.name,
            "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
            "verbs": sub.verbs,
        })
    };
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    put_names(&mut resource, kind);
    if !kind.subresources.is_empty() {
        resource["subresources"] = kind.subresources.iter().map(sub).collect();
    }
    resource
}

/// `/api` in the older form.
pub fn api_versions() -> Value {
    json!({
        "kind": "APIVersions",
        "versions": versions(""),
        "serverAddressByClientCIDRs": [],
    })
}

/// `/apis` in the older form.
pub fn api_group_list() -> Value {
    let groups: Vec<Value> = groups()
        .into_iter()
        .filter(|group| !group.is_empty())
        .map(group)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/<group>`.
pub fn api_group(name: &str) -> Option<Value> {
    let known = !name.is_empty() && groups().contains(&name);
    known.then(|| {
        let mut object = Map::new();
        object.insert("kind".into(), "APIGroup".into());
        object.insert("apiVersion".into(), "v1".into());
        object.extend(group(name).as_object().cloned().unwrap_or_default());
        object.into()
    })
}

fn group(name: &str) -> Value {
    let version =
        |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = versions(name).iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

/// `/api/v1`, `/apis/<group>/<version>`.
pub fn api_resource_list(group: &str, version: &str) -> Option<Value> {
    let resources: Vec<Value> = of(group, version).flat_map(resources).collect();
    if resources.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }))
}

/// A resource and then each of its subresources. Group and version are named only where they differ from the list's.
fn resources(kind: &'static Kind) -> impl Iterator<Item = Value> {
    let mut main = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": kind.verbs,
    });
    put_names(&mut main, kind);
    let sub = |sub: &Subresource| {
        let mut resource = json!({
            "name": format!("{}/{}", kind.plural, sub.name),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": sub.kind,
            "verbs": sub.verbs,
        });
        if (sub.group, sub.version) != (kind.group, kind.version) {
            resource["group"] = sub.group.into();
            resource["version"] = sub.version.into();
        }
        resource
    };
    std::iter::once(main).chain(kind.subresources.iter().map(sub))
}

fn put_names(resource: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

fn of(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    let is = move |kind: &&Kind| kind.group == group && kind.version == version;
    kinds().iter().filter(is)
}

/// The groups, in the registry's order.
fn groups() -> Vec<&'static str> {
    let mut groups = Vec::new();
    for kind in kinds() {
        if !groups.contains(&kind.group) {
            groups.push(kind.group);
        }
    }
    groups
}

/// A group's versions, in the registry's order: the first is preferred.
fn versions(group: &str) -> Vec<&'static str> {
    let mut versions = Vec::new();
    for kind in kinds().iter().filter(|kind| kind.group == group) {
        if !versions.contains(&kind.version) {
            versions.push(kind.version);
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by<'a>(list: &'a Value, field: &str, name: &str) -> &'a Value {
        let found = list
            .as_array()
            .unwrap()
            .iter()
            .find(|item| item[field] == name);
        found.unwrap_or_else(|| panic!("{name} is missing"))
    }

    #[test]
    fn aggregated_lists_core_and_groups_apart() {
        let core = aggregated(true);
        let items = core["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        let pods = by(&items[0]["versions"][0]["resources"], "resource", "pods");
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["categories"], json!(["all"]));
        assert_eq!(pods["singularResource"], "pod");
        assert_eq!(pods["scope"], "Namespaced");
        let eviction = by(&pods["subresources"], "subresource", "eviction");
        assert_eq!(
            eviction["responseKind"],
            json!({"group": "policy", "version": "v1", "kind": "Eviction"})
        );
        let groups = aggregated(false);
        let apps = &groups["items"][0];
        assert_eq!(apps["metadata"]["name"], "apps");
        let scale = by(&apps["versions"][0]["resources"], "resource", "deployments");
        let scale = by(&scale["subresources"], "subresource", "scale");
        assert_eq!(scale["responseKind"]["group"], "autoscaling");
        assert_eq!(scale["verbs"], json!(["get", "patch", "update"]));
    }

    #[test]
    fn the_older_form_says_the_same() {
        assert_eq!(api_versions()["versions"], json!(["v1"]));
        let groups = api_group_list();
        assert_eq!(
            by(&groups["groups"], "name", "apps")["preferredVersion"]["groupVersion"],
            "apps/v1"
        );
        assert_eq!(
            api_group("coordination.k8s.io").unwrap()["kind"],
            "APIGroup"
        );
        assert!(api_group("").is_none() && api_group("batch").is_none());
        let list = api_resource_list("apps", "v1").unwrap();
        assert_eq!(list["groupVersion"], "apps/v1");
        let scale = by(&list["resources"], "name", "deployments/scale");
        assert_eq!(
            (&scale["group"], &scale["version"]),
            (&json!("autoscaling"), &json!("v1"))
        );
        assert!(
            by(&list["resources"], "name", "deployments/status")
                .get("group")
                .is_none()
        );
        assert!(api_resource_list("apps", "v2").is_none());
    }

    #[test]
    fn both_forms_name_every_resource() {
        let mut both = [Vec::new(), Vec::new()];
        for core in [true, false] {
            for item in aggregated(core)["items"].as_array().unwrap() {
                for resource in item["versions"][0]["resources"].as_array().unwrap() {
                    both[0].push(resource["resource"].as_str().unwrap().to_owned());
                }
            }
        }
        for kind in kinds() {
            let list = api_resource_list(kind.group, kind.version).unwrap();
            by(&list["resources"], "name", kind.plural);
            both[1].push(kind.plural.to_owned());
        }
        both[0].sort();
        both[1].sort();
        assert_eq!(both[0], both[1]);
    }
}
