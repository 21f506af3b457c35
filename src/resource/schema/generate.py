#!/usr/bin/env python3
"""Writes table.txt: what every type of the served Kubernetes API looks like.

Reads two published packages, which it does not install itself:

  kubernetes-validate 1.37.0 (PyPI)       JSON schemas derived from Kubernetes' own OpenAPI, with x-kubernetes-* intact
  k8s-pb 0.9.0 (crates.io)                the protobuf messages with their tags

Both unpacked, e.g. by `pip download --no-deps` + `unzip`, and by `cargo fetch` of a package that depends on it:

  generate.py <unpacked wheel> <k8s-pb directory> > table.txt

One thing neither package says is which optional scalars are pointers in Kubernetes' Go types; it matters because
Go's protobuf writes the zero of every field that is not a pointer. The lists below say it; they were checked
against the published API types of all fields in the table. Deliberately absent: descriptions (they are
nine tenths of the input) and alpha or beta versions.
"""

import json
import pathlib
import re
import sys

VERSION = "v1.33.0"

# The kinds whose types, and all types they refer to, go into the table.
ROOTS = """
api.core.v1: Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod
  PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
api.apps.v1: ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet
api.authentication.v1: SelfSubjectReview TokenRequest TokenReview
api.authorization.v1: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
api.autoscaling.v1: HorizontalPodAutoscaler Scale
api.autoscaling.v2: HorizontalPodAutoscaler
api.batch.v1: CronJob Job
api.coordination.v1: Lease
api.discovery.v1: EndpointSlice
api.events.v1: Event
api.networking.v1: Ingress IngressClass NetworkPolicy
api.policy.v1: Eviction PodDisruptionBudget
api.rbac.v1: ClusterRole ClusterRoleBinding Role RoleBinding
api.scheduling.v1: PriorityClass
api.storage.v1: StorageClass
apimachinery.pkg.apis.meta.v1: DeleteOptions Status
"""

# Types that are values of their own, not objects with fields.
VALUES = {
    "apimachinery.pkg.api.resource.Quantity": "quantity",
    "apimachinery.pkg.apis.meta.v1.FieldsV1": "fields",
    "apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "apimachinery.pkg.apis.meta.v1.Time": "time",
    "apimachinery.pkg.runtime.RawExtension": "raw",
    "apimachinery.pkg.util.intstr.IntOrString": "intorstring",
}

# Optional booleans that are not pointers in Go (all others are), by field name or Type.field.
PLAIN_BOOLS = """authenticated chapAuthDiscovery chapAuthSession denied globalDefault hostIPC hostNetwork hostPID
incomplete paused publishNotReadyAddresses readOnly sslEnabled stdin stdinOnce tty unschedulable""".split()
POINTER_BOOLS = "AzureDiskVolumeSource.readOnly CSIVolumeSource.readOnly".split()

# Optional integers that are pointers in Go (all others are not).
POINTER_INTS = """activeDeadlineSeconds averageUtilization backoffLimit backoffLimitPerIndex capacity collisionCount
completions currentCPUUtilizationPercentage defaultMode deletionGracePeriodSeconds endPort expirationSeconds
failedJobsHistoryLimit fsGroup gracePeriodSeconds leaseDurationSeconds leaseTransitions lun maxFailedIndexes minDomains
minReplicas mode parallelism EndpointPort.port priority progressDeadlineSeconds ready revisionHistoryLimit runAsGroup
remainingItemCount runAsUser stabilizationWindowSeconds startingDeadlineSeconds succeededCount successfulJobsHistoryLimit
targetCPUUtilizationPercentage terminating terminatingReplicas terminationGracePeriodSeconds tolerationSeconds
ttlSecondsAfterFinished RollingUpdateStatefulSetStrategy.partition ClientIPConfig.timeoutSeconds
HorizontalPodAutoscalerStatus.observedGeneration DeploymentSpec.replicas ReplicaSetSpec.replicas
ReplicationControllerSpec.replicas StatefulSetSpec.replicas""".split()

# Optional strings that are pointers in Go, so that "" is another thing than absent.
POINTER_STRINGS = """appProtocol cachingMode AzureDiskVolumeSource.kind AzureDiskVolumeSource.fsType
CSIVolumeSource.fsType LocalVolumeSource.fsType ClusterTrustBundleProjection.name completionMode
PodFailurePolicyOnExitCodesRequirement.containerName currentVolumeAttributesClassName PortStatus.error
IngressPortStatus.error endpointsNamespace failedIndexes fsGroupChangePolicy gmsaCredentialSpec gmsaCredentialSpecName
GRPCAction.service HostPathVolumeSource.type holderIdentity Endpoint.hostname ingressClassName
IngressClassParametersReference.apiGroup IngressClassParametersReference.namespace
IngressClassParametersReference.scope initiatorName internalTrafficPolicy ipFamilyPolicy ipMode loadBalancerClass
localhostProfile managedBy mountPropagation discovery.v1.EndpointPort.name
discovery.v1.EndpointPort.protocol NetworkPolicyPort.protocol
nodeAffinityPolicy Endpoint.nodeName EndpointAddress.nodeName nodeTaintsPolicy podReplacementPolicy preemptionPolicy
preferredHolder procMount propagationPolicy PodDNSConfigOption.value reclaimPolicy recursiveReadOnly
resourceClaimName resourceClaimTemplateName Preconditions.resourceVersion Preconditions.uid Container.restartPolicy
EphemeralContainer.restartPolicy runAsUserName runtimeClassName seLinuxChangePolicy secretNamespace selectPolicy
signerName stopSignal storageClassName LeaseSpec.strategy succeededIndexes supplementalGroupsPolicy timeZone
trafficDistribution TypedLocalObjectReference.apiGroup TypedObjectReference.apiGroup TypedObjectReference.namespace
unhealthyPodEvictionPolicy volumeAttributesClassName volumeBindingMode volumeMode Endpoint.zone""".split()
# ... except where another type has a plain field of the same name.
PLAIN_STRINGS = "PersistentVolumeSpec.storageClassName".split()

# Optional objects and values that are embedded by value in Go: empty is the same as absent.
PLAIN_OBJECTS = """conditions daemonEndpoints deprecatedSource divisor kubeletEndpoint lastState loadBalancer metadata
nodeInfo data regarding resources source spec state status strategy targetPort template updateStrategy user userInfo
IngressServiceBackend.port""".split()
POINTER_OBJECTS = """ContainerStatus.resources ContainerStatus.user PodSpec.resources
ReplicationControllerSpec.template""".split()


def named(lists, type_name, field):
    """Whether a list has the field, by its name, by Type.field or by more of the type's name."""
    full = f"{type_name}.{field}"
    return any(full.endswith("." + entry) for entry in lists)


def load_definitions(wheel):
    """The schemas by name without the leading `io.k8s.`."""
    path = wheel / f"kubernetes_validate/kubernetes-json-schema/{VERSION}-local/_definitions.json"
    definitions = json.loads(path.read_text())["$defs"]
    return {name.removeprefix("io.k8s."): schema for name, schema in definitions.items()}


def load_messages(crate):
    """package.message in lower case → {field without underscores in lower case: (tag, type of message or None)}."""
    messages = {}
    for path in (crate / "src").rglob("mod.rs"):
        package = ".".join(path.parent.relative_to(crate / "src").parts)
        for struct in re.finditer(r"pub struct (\w+) \{\n(.*?)^\}", path.read_text(), re.S | re.M):
            fields = {}
            for attribute, name, rust in re.findall(r"#\[prost\((.*?)\)\]\s+pub ([\w#]+):\s*(.*?),\n", struct[2], re.S):
                tag = int(re.search(r'tag = "(\d+)"', attribute)[1])
                inner = re.search(r"([\w:]+)\s*,?\s*>+$", rust.strip())
                target = inner[1].rsplit("::", 1)[-1].lower() if inner and attribute.startswith("message") else None
                fields[name.removeprefix("r#").replace("_", "").lower()] = (tag, target)
            messages[f"{package}.{struct[1]}".lower()] = fields
    return messages


def tags(messages, type_name, properties):
    """field → `tag`, or `outer/tag` for a field of an embedded message."""
    message = messages.get(type_name.lower())
    if message is None:
        return {}
    known = {name.lower(): name for name in properties}
    found = {}
    for name, (tag, target) in message.items():
        if name in known:
            found[known[name]] = str(tag)
        elif target:
            embedded = messages.get(f"{type_name.rsplit('.', 1)[0]}.{target}".lower(), {})
            for inner, (inner_tag, _) in embedded.items():
                if inner in known:
                    found[known[inner]] = f"{tag}/{inner_tag}"
    return found


def first_type(schema):
    kind = schema.get("type", "any")
    return kind if isinstance(kind, str) else kind[0]


def reference(schema):
    return schema["$ref"].rsplit("/", 1)[-1].removeprefix("io.k8s.")


def shape(schema):
    """The field's shape: `[]` list of, `{}` map of, then a value or a type."""
    if "$ref" in schema:
        name = reference(schema)
        return VALUES.get(name, name)
    kind = first_type(schema)
    if kind == "array":
        return "[]" + shape(schema["items"])
    if kind == "object":
        return "{}" + shape(schema.get("additionalProperties", {}))
    if kind == "string":
        return "bytes" if schema.get("format") == "byte" else "string"
    return {"boolean": "bool", "integer": schema.get("format", "int64"), "number": "number", "any": "any"}[kind]


def is_pointer(type_name, field, kind):
    if kind == "bool":
        return not named(PLAIN_BOOLS, type_name, field) or named(POINTER_BOOLS, type_name, field)
    if kind in ("int32", "int64"):
        return named(POINTER_INTS, type_name, field)
    if kind == "string":
        return named(POINTER_STRINGS, type_name, field) and not named(PLAIN_STRINGS, type_name, field)
    if kind in ("bytes", "time", "microtime", "any", "number") or kind[0] in "[{":
        return False
    return not named(PLAIN_OBJECTS, type_name, field) or named(POINTER_OBJECTS, type_name, field)


def flags(type_name, field, schema, kind, required):
    if field in required:
        yield "required"
    elif is_pointer(type_name, field, kind):
        yield "pointer"
    strategies = schema.get("x-kubernetes-patch-strategy", "").split(",")
    if "merge" in strategies:
        key = schema.get("x-kubernetes-patch-merge-key")
        yield f"merge={key}" if key else "merge"
    if "retainKeys" in strategies:
        yield "retainKeys"
    list_type = schema.get("x-kubernetes-list-type")
    if list_type == "map":
        yield "map=" + ",".join(schema["x-kubernetes-list-map-keys"])
    elif list_type or schema.get("x-kubernetes-map-type") == "atomic":
        yield list_type or "atomic"


def roots():
    for line in re.sub(r"\n\s+", " ", ROOTS.strip()).splitlines():
        package, kinds = line.split(":")
        yield from (f"{package}.{kind}" for kind in kinds.split())


def reachable(definitions):
    todo, seen = list(roots()), set()
    while todo:
        name = todo.pop()
        if name in seen or name in VALUES:
            continue
        seen.add(name)
        found = re.findall(r"#/\$defs/([\w.-]+)", json.dumps(definitions[name]))
        todo += (name.removeprefix("io.k8s.") for name in found)
    return sorted(seen)


def group_version_kinds(name, schema):
    for gvk in schema.get("x-kubernetes-group-version-kind", []):
        if not name.startswith("apimachinery.") or gvk["group"] == "":
            yield f"{gvk['group']}/{gvk['version']}/{gvk['kind']}"


def main():
    wheel, crate = map(pathlib.Path, sys.argv[1:])
    definitions, messages = load_definitions(wheel), load_messages(crate)
    print("# Written by generate.py: do not edit. A type with its group/version/kind, then its fields:")
    print("# name, shape, protobuf tag (`outer/tag` inside an embedded message, `-` for none), flags.")
    for name in reachable(definitions):
        schema = definitions[name]
        atomic = ["atomic"] if schema.get("x-kubernetes-map-type") == "atomic" else []
        print("\n" + " ".join([name, *group_version_kinds(name, schema), *atomic]))
        properties = schema.get("properties", {})
        numbers = tags(messages, name, properties)
        for field in sorted(properties):
            kind = shape(properties[field])
            words = flags(name, field, properties[field], kind, schema.get("required", []))
            print(" ".join(["", field, kind, numbers.get(field, "-"), *words]))


if __name__ == "__main__":
    main()
