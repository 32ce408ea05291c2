"""What a container finds in its environment: env, envFrom, the downward API and ``$(VAR)``.

Follows the kubelet (pkg/kubelet/kubelet_pods.go makeEnvironmentVariables): envFrom first, in order, then env, where a
value may refer to what stands before it; later names win. A reference that cannot be resolved keeps the container in
``CreateContainerConfigError`` until it can.

    $(NAME)  the value of NAME; stays as written when there is no NAME      $$  one $      $x  stays
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.cluster.node import envfiles
from tiphys.cluster.node.runtime import ConfigError
from tiphys.machinery.errors import NotFound
from tiphys.machinery.resources import CONFIG_MAPS, SECRETS, ObjectKey, Resource

Object = Mapping[str, Any]
Fetch = Callable[[Resource, ObjectKey], Awaitable[Object]]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the downward API tells about where a pod runs. Resources are those of the whole node."""

    name: str
    host_ip: str = "127.0.0.1"
    cpu: str = "1"
    memory: str = "1Gi"


async def build(
    container: Object,
    pod: Object,
    base: Mapping[str, str],
    facts: NodeFacts,
    fetch: Fetch,
    volumes: Mapping[str, Path] | None = None,
) -> dict[str, str]:
    """The environment by name. ``base`` is what image and runtime give, ``volumes`` are the pod's, for fileKeyRef.

    Raises ``ConfigError``, ``ApiError``.
    """
    env = dict(base)
    own: dict[str, str] = {}
    namespace = pod["metadata"].get("namespace", "")
    for source in container.get("envFrom") or ():
        own.update(await _from_source(source, namespace, fetch))
    for entry in container.get("env") or ():
        value_from = entry.get("valueFrom")
        if value_from and "fileKeyRef" in value_from:
            value = envfiles.value_of(value_from["fileKeyRef"], volumes or {})
            if value is None:
                continue
        elif value_from:
            value = await _value_from(value_from, container, pod, facts, fetch)
            if value is None:
                continue
        else:
            value = expand(str(entry.get("value", "")), own)
        own[entry["name"]] = value
    env.update(own)
    return env


async def _from_source(source: Object, namespace: str, fetch: Fetch) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for field, kind in (("configMapRef", "configmap"), ("secretRef", "secret")):
        reference = source.get(field)
        if not reference:
            continue
        try:
            data = await data_of(kind, ObjectKey(namespace, reference.get("name", "")), fetch)
        except NotFound as err:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{kind} "{reference.get("name", "")}" not found') from err
        return {prefix + key: value.decode("utf-8", "replace") for key, value in data.items()}
    return {}


async def data_of(kind: str, key: ObjectKey, fetch: Fetch) -> dict[str, bytes]:
    """The entries of a ``configmap`` or ``secret`` as bytes, by key. Raises NotFound."""
    if kind == "secret":
        obj = await fetch(SECRETS, key)
        return {name: base64.b64decode(value) for name, value in sorted((obj.get("data") or {}).items())}
    obj = await fetch(CONFIG_MAPS, key)
    data = {name: str(value).encode() for name, value in (obj.get("data") or {}).items()}
    data.update((name, base64.b64decode(value)) for name, value in (obj.get("binaryData") or {}).items())
    return dict(sorted(data.items()))


async def _value_from(source: Object, container: Object, pod: Object, facts: NodeFacts, fetch: Fetch) -> str | None:
    """None: the reference is optional and leads nowhere."""
    if "fieldRef" in source:
        return pod_field(pod, source["fieldRef"].get("fieldPath", ""), facts)
    if "resourceFieldRef" in source:
        return resource_field(source["resourceFieldRef"], container, pod, facts)
    namespace = pod["metadata"].get("namespace", "")
    for field, kind, title in (("configMapKeyRef", "configmap", "ConfigMap"), ("secretKeyRef", "secret", "Secret")):
        reference = source.get(field)
        if reference is None:
            continue
        name, key = reference.get("name", ""), reference.get("key", "")
        try:
            data = await data_of(kind, ObjectKey(namespace, name), fetch)
        except NotFound as err:
            if reference.get("optional"):
                return None
            raise ConfigError(f'{kind} "{name}" not found') from err
        if key in data:
            return data[key].decode("utf-8", "replace")
        if reference.get("optional"):
            return None
        raise ConfigError(f"couldn't find key {key} in {title} {namespace}/{name}")
    return ""


def pod_field(pod: Object, path: str, facts: NodeFacts) -> str:
    """A field as the downward API gives it. Raises ``ConfigError`` for fields that it does not offer."""
    meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
    name, bracket, rest = path.partition("['")
    if bracket and rest.endswith("']") and name in ("metadata.labels", "metadata.annotations"):
        return str((meta.get(name.removeprefix("metadata.")) or {}).get(rest[:-2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(meta.get(path.removeprefix("metadata.")) or {})
    simple: dict[str, Callable[[], Any]] = {
        "metadata.name": lambda: meta["name"],
        "metadata.namespace": lambda: meta.get("namespace", ""),
        "metadata.uid": lambda: meta.get("uid", ""),
        "spec.nodeName": lambda: spec.get("nodeName") or facts.name,
        "spec.serviceAccountName": lambda: spec.get("serviceAccountName") or "default",
        "status.hostIP": lambda: facts.host_ip,
        "status.hostIPs": lambda: facts.host_ip,
        "status.podIP": lambda: status.get("podIP") or facts.host_ip,
        "status.podIPs": lambda: status.get("podIP") or facts.host_ip,
    }
    if path not in simple:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(simple[path]())


def format_map(values: Mapping[str, str]) -> str:
    """``key="value"`` lines, sorted, as in downward API files."""
    return "\n".join(f"{key}={_quote(value)}" for key, value in sorted(values.items()))


def _quote(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def resource_field(reference: Object, container: Object, pod: Object, facts: NodeFacts) -> str:
    """``requests.cpu`` and its like in units of ``divisor``, rounded up; limits default to the node's."""
    from tiphys.cluster.node.amounts import ceiling_units

    name = reference.get("containerName")
    if name:
        spec = pod.get("spec") or {}
        every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
        container = next((c for c in every if c.get("name") == name), container)
    which, _, resource = str(reference.get("resource", "")).partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(which) or {}).get(resource)
    if amount is None and which == "limits":
        amount = {"cpu": facts.cpu, "memory": facts.memory}.get(resource)
    return str(ceiling_units(str(amount or "0"), str(reference.get("divisor") or "1")))


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replaces ``$(NAME)`` (kubernetes third_party/forked/golang/expansion)."""
    if "$" not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char != "$" or at + 1 == len(text):
            out.append(char)
            at += 1
            continue
        following = text[at + 1]
        end = text.find(")", at + 2) if following == "(" else -1
        if following == "$":
            out.append("$")
            at += 2
        elif end >= 0:
            name = text[at + 2 : end]
            out.append(values.get(name, f"$({name})"))
            at = end + 1
        elif following == "(":
            out.append("$(")
            at += 2
        else:
            out.append("$" + following)
            at += 2
    return "".join(out)
