"""What is added to new pods: account and token, tolerations, priority, what their runtime class says.

A pod of ours needs no account's token where nobody serves the API over the network: ``accounts`` is for clusters that
listen.
"""

from __future__ import annotations

from typing import Any, Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.problems import forbidden
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.equality import same
from tiphys.runtime.ids import Ids

TOKEN_SECONDS: Final = 3607
TOKEN_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"
_EVICTION_SECONDS: Final = 300
_UNREACHABLE: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_SYSTEM_PRIORITIES: Final = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_CLASSES: Final = "priorityclasses.scheduling.k8s.io"
_RUNTIME_CLASSES: Final = "runtimeclasses.node.k8s.io"
MIRROR: Final = "kubernetes.io/config.mirror"


def refuse(request: Attributes, why: str) -> Exception:
    """Forbidden, as the original's plugins word it."""
    return forbidden(request.info, request.name, why)


class PodSteps:
    """The steps that concern pods; each leaves everything else alone."""

    def __init__(self, store: Store, ids: Ids) -> None:
        self._store = store
        self._ids = ids

    def account(self, request: Attributes) -> None:
        """ServiceAccount: the account that is named (or the default one) must be there; its token is mounted."""
        if not _is_new_pod(request):
            return
        spec, meta = request.spec, _meta(request)
        if MIRROR in (meta.get("annotations") or {}):
            return
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        record = self._store.latest("serviceaccounts", f"{meta['namespace']}/{name}")
        if record is None:
            account = f'serviceaccount "{name}" not found'
            raise refuse(request, f"error looking up service account {meta['namespace']}/{name}: {account}")
        account_view = self._store.view(record)
        if not spec.get("imagePullSecrets") and account_view.get("imagePullSecrets"):
            spec["imagePullSecrets"] = account_view["imagePullSecrets"]
        mounts = spec.get("automountServiceAccountToken")
        if mounts is None:
            mounts = account_view.get("automountServiceAccountToken")
        if mounts is None or mounts:
            self._mount_token(spec)

    def tolerations(self, request: Attributes) -> None:
        """DefaultTolerationSeconds: five minutes on a node that is not ready or not reachable."""
        if not _is_pod(request) or request.operation not in ("CREATE", "UPDATE"):
            return
        held = list(((request.obj or {}).get("spec") or {}).get("tolerations") or ())
        missing = [key for key in _UNREACHABLE if not any(_tolerates(toleration, key) for toleration in held)]
        if missing:
            request.spec["tolerations"] = [*held, *map(_for_a_while, missing)]

    def priority(self, request: Attributes) -> None:
        """Priority: the number that the pod's class stands for."""
        if not _is_pod(request):
            return
        if request.operation == "UPDATE":
            self._keep_priority(request)
            return
        spec = request.spec
        value, policy = self._class_of(request, spec)
        asked = spec.get("priority")
        if asked is not None and asked != value:
            text = f"the integer value of priority ({asked}) must not be provided in pod spec; priority admission"
            raise refuse(request, f"{text} controller computed {value} from the given PriorityClass name")
        if spec.get("preemptionPolicy") not in (None, policy):
            text = (
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be provided in pod spec;"
            )
            why = f"{text} priority admission controller computed {policy} from the given PriorityClass name"
            raise refuse(request, why)
        spec["priority"], spec["preemptionPolicy"] = value, policy

    def runtime_class(self, request: Attributes) -> None:
        """RuntimeClass: its overhead, node selector and tolerations."""
        if not _is_new_pod(request):
            return
        spec = request.spec
        name, found = spec.get("runtimeClassName"), None
        if name:
            record = self._store.latest(_RUNTIME_CLASSES, str(name))
            if record is None:
                raise refuse(request, f'pod rejected: RuntimeClass "{name}" not found')
            found = self._store.view(record)
        overhead = ((found or {}).get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") and not same(spec["overhead"], overhead):
                raise refuse(request, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
            spec["overhead"] = overhead
        elif spec.get("overhead"):
            raise refuse(request, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
        self._schedule(request, spec, (found or {}).get("scheduling") or {})

    def _schedule(self, request: Attributes, spec: Object, scheduling: Object) -> None:
        selector = dict(spec.get("nodeSelector") or {})
        for key, value in (scheduling.get("nodeSelector") or {}).items():
            if selector.get(key, value) != value:
                text = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value};"
                raise refuse(request, f"{text} pod.spec.nodeSelector[{key}] = {selector[key]}")
            selector[key] = value
        if selector:
            spec["nodeSelector"] = selector
        more = [each for each in scheduling.get("tolerations") or () if each not in (spec.get("tolerations") or ())]
        if more:
            spec["tolerations"] = [*(spec.get("tolerations") or ()), *more]

    def _mount_token(self, spec: Object) -> None:
        """A projected volume with token, CA and namespace, mounted where nothing else is."""
        name = f"kube-api-access-{self._ids.suffix()}"
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_FOLDER}
        used = False
        for kind in ("initContainers", "containers"):
            containers = spec.get(kind)
            if not containers:
                continue
            mounted = [_with_mount(container, mount) for container in containers]
            used = used or mounted != containers
            spec[kind] = mounted
        if used:
            spec["volumes"] = [*(spec.get("volumes") or ()), _token_volume(name)]

    def _keep_priority(self, request: Attributes) -> None:
        """Who sends a pod back without them does not mean to take them away."""
        held = (request.old or {}).get("spec") or {}
        for key in ("priority", "preemptionPolicy"):
            if key in held and ((request.obj or {}).get("spec") or {}).get(key) is None:
                request.spec[key] = held[key]

    def _class_of(self, request: Attributes, spec: Object) -> tuple[int, str]:
        """The value and the preemption policy of the pod's priority class, of the default one where it names none."""
        name = spec.get("priorityClassName")
        classes = self._store.collection(_CLASSES).records
        if name in _SYSTEM_PRIORITIES and name not in classes:
            return _SYSTEM_PRIORITIES[str(name)], "PreemptLowerPriority"
        if name:
            record = classes.get(str(name))
            if record is None:
                raise refuse(request, f"no PriorityClass with name {name} was found")
            found = self._store.view(record)
        else:
            views = map(self._store.view, classes.values())
            defaults = [each for each in views if each.get("globalDefault")]
            if not defaults:
                return 0, "PreemptLowerPriority"
            found = min(defaults, key=lambda each: int(each.get("value") or 0))
            spec["priorityClassName"] = found["metadata"]["name"]
        return int(found.get("value") or 0), str(found.get("preemptionPolicy") or "PreemptLowerPriority")


def _is_pod(request: Attributes) -> bool:
    return request.info.collection == "pods" and not request.subresource


def _is_new_pod(request: Attributes) -> bool:
    return _is_pod(request) and request.operation == "CREATE"


def _meta(request: Attributes) -> Object:
    assert request.obj is not None, "there is an object"
    meta: Object = request.obj["metadata"]
    return meta


def _with_mount(container: Object, mount: Object) -> Object:
    mounts = container.get("volumeMounts") or []
    if any(held.get("mountPath") == TOKEN_FOLDER for held in mounts):
        return container
    return container | {"volumeMounts": [*mounts, mount]}


def _token_volume(name: str) -> dict[str, Any]:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


def _for_a_while(key: str) -> Object:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICTION_SECONDS}


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
