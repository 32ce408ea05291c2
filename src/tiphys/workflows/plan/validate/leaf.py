"""Templates that do work themselves: container, container set, script, resource, data, HTTP, plugin."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tiphys.lang import goyaml
from tiphys.workflows.plan.validate.names import PLACEHOLDER, check_field_names, is_placeholder, is_reserved_container
from tiphys.workflows.plan.validate.problem import Invalid
from tiphys.workflows.plan.validate.resolution import Base

ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")

_EXPRESSION_START = re.compile(r"\{\{\s*+=(\s*+)")
_BLANKS = re.compile(r"\s*+")
_INTEGER = re.compile(r"[+-]?\d+")


def check_leaf(template: Mapping[str, Any], base: Base) -> None:
    """Raises `Invalid` for the first fault; paths are relative to the template. Variables are not looked at here."""
    at = f"templates.{template.get('name', '')}"
    if template.get("container") is not None:
        _check_mounts(at, template)
        _check_image(at, "container", template["container"], base)
    if template.get("containerSet") is not None:
        _check_container_set(at, template)
    for index, sidecar in enumerate(template.get("sidecars") or ()):
        if is_reserved_container(sidecar["name"]):
            what = f'{at}.sidecars: "{sidecar["name"]}" is a reserved Argo container name'
            raise Invalid(what, f"sidecars[{index}].name")
    if template.get("resource") is not None:
        _check_resource(at, template["resource"], template["inputs"].get("artifacts") or ())
    if template.get("script") is not None:
        _check_image(at, "script", template["script"], base)
    _check_limits(at, template)


def _check_mounts(at: str, template: Mapping[str, Any]) -> None:
    """No two mounts, and no mount and input artifact, at one path."""
    taken: dict[str, str] = {}
    for index, mount in enumerate(template["container"].get("volumeMounts") or ()):
        where, path = f"container.volumeMounts[{index}].mountPath", mount["mountPath"]
        if path in taken:
            raise Invalid(f"{at}.{where} '{path}' already mounted in {taken[path]}", where)
        taken[path] = f"container.volumeMounts.{mount['name']}"
    for index, artifact in enumerate(template["inputs"].get("artifacts") or ()):
        where, path = f"inputs.artifacts[{index}].path", artifact.get("path", "")
        if path in taken:
            raise Invalid(f"{at}.{where} '{path}' already mounted in {taken[path]}", where)
        taken[path] = f"inputs.artifacts.{artifact['name']}"


def _check_image(at: str, kind: str, container: Mapping[str, Any], base: Base) -> None:
    """An image is needed, here or in the defaults of the object; a ClusterWorkflowTemplate has none (as upstream)."""
    if container.get("image"):
        return
    defaults = (base.spec.get("templateDefaults") or {}).get(kind) or {}
    if base.scope == "cluster" or not defaults.get("image"):
        raise Invalid(f"{at}.{kind}.image may not be empty", f"{kind}.image")


def _check_container_set(at: str, template: Mapping[str, Any]) -> None:
    containers = template["containerSet"].get("containers") or []
    try:
        _check_containers(template["containerSet"], containers)
    except Invalid as err:
        raise err.within(f"{at}.containerSet.", "containerSet") from None
    names = [container["name"] for container in containers]
    outputs = template["outputs"]
    uses_files = template["inputs"].get("artifacts") or outputs.get("parameters") or outputs.get("artifacts")
    where = "containerSet.containers"
    if uses_files and "main" not in names:
        raise Invalid(f'{at}.{where} must have a container named "main" for input or output', where)
    for index, name in enumerate(names):
        if is_reserved_container(name):
            raise Invalid(f'{at}.{where}: "{name}" is a reserved Argo container name', f"{where}[{index}].name")


def _check_containers(container_set: Mapping[str, Any], containers: list[dict[str, Any]]) -> None:
    if not containers:
        raise Invalid("containers must have at least one container", "containers")
    try:
        check_field_names(container["name"] for container in containers)
    except Invalid as err:
        raise err.within("containers", "containers") from None
    taken: dict[str, str] = {}
    for index, mount in enumerate(container_set.get("volumeMounts") or ()):
        where, path = f"volumeMounts[{index}].mountPath", mount["mountPath"]
        if path in taken:
            raise Invalid(f"{where} '{path}' already mounted in {taken[path]}", where)
        taken[path] = f"volumeMounts.{mount['name']}"
    graph = {container["name"]: container.get("dependencies") or [] for container in containers}
    for index, (name, needed) in enumerate(graph.items()):
        missing = next((other for other in needed if other not in graph), None)
        if missing is not None:
            raise Invalid(f"containers.{name} dependency '{missing}' not defined", f"containers[{index}].dependencies")
    cycle = find_cycle(dict(sorted(graph.items())))
    if cycle:
        raise Invalid(f"containers dependency cycle detected: {cycle}", "containers")


def find_cycle(graph: Mapping[str, list[str]]) -> str | None:
    """The first cycle met, as ``a->b->a``, walking in the graph's order. A start is named only where it comes again."""
    done: set[str] = set()
    for start in graph:
        trail: list[str] = []
        open_nodes = [(start, iter(graph[start]))]
        while open_nodes:
            name, rest = open_nodes[-1]
            needed = next((n for n in rest if n in trail or n not in done), None)
            if needed is None:
                done.add(name)
                open_nodes.pop()
                if trail:
                    trail.pop()
            elif needed in trail:
                return f"{'->'.join(trail)}->{needed}"
            else:
                trail.append(needed)
                open_nodes.append((needed, iter(graph.get(needed, ()))))
    return None


def _check_resource(at: str, resource: Mapping[str, Any], artifacts: Any) -> None:
    action = resource.get("action", "")
    if not is_placeholder(action) and action not in ACTIONS:
        raise Invalid(f"{at}.resource.action must be one of: {', '.join(ACTIONS)}", "resource.action")
    if action in ("delete", "get"):
        return
    manifest, source = resource.get("manifest", ""), resource.get("manifestFrom")
    if not manifest and source is None:
        what = f"either {at}.resource.manifest or {at}.resource.manifestFrom must be specified"
        raise Invalid(what, "resource")
    if manifest and source is not None:
        what = "shouldn't have both `manifest` and `manifestFrom` specified in `Manifest` for resource template"
        raise Invalid(what, "resource")
    wanted = ((source or {}).get("artifact") or {}).get("name")
    if wanted is not None and wanted not in [artifact["name"] for artifact in artifacts]:
        what = f"artifact {wanted} in `manifestFrom` refer to a non-exist artifact"
        raise Invalid(what, "resource.manifestFrom.artifact")
    if manifest and not is_placeholder(manifest) and not _is_yaml(manifest):
        raise Invalid(f"{at}.resource.manifest must be a valid yaml", "resource.manifest")


def _is_yaml(manifest: str) -> bool:
    """Whether the manifest is YAML once expressions, which need not be, stand for plain words."""
    try:
        goyaml.load(_with_placeholders(manifest))
    except goyaml.YamlError:
        return False
    return True


def _with_placeholders(text: str) -> str:
    """Upstream's replacement of the pattern ``{{ = .+? }}``, in linear time; an expression is on one line."""
    parts: list[str] = []
    position = closing = newline = 0
    start = _EXPRESSION_START.search(text)
    while start is not None:
        first = start.end()
        closing = _next(text, "}}", first + 1, closing)
        newline = _next(text, "\n", first, newline)
        end = -1
        if closing < len(text) and (newline > closing or _BLANKS.match(text, newline).end() >= closing):  # type: ignore[union-attr]
            end = closing + 2
        elif text.startswith("}}", first) and start[1].strip("\n"):
            end = first + 2
        if end >= 0:
            parts += (text[position : start.start()], f"{PLACEHOLDER}0")
            position = end
        start = _EXPRESSION_START.search(text, end if end >= 0 else start.start() + 1)
    return "".join(parts) + text[position:]


def _next(text: str, wanted: str, start: int, known: int) -> int:
    """Where the next one is, from ``start`` on; ``known`` is the answer to an earlier question."""
    if known >= start:
        return known
    found = text.find(wanted, start)
    return found if found >= 0 else len(text) + 1


def _check_limits(at: str, template: Mapping[str, Any]) -> None:
    deadline = template.get("activeDeadlineSeconds")
    if deadline is not None and not _is_deadline(deadline):
        what = f"{at}.activeDeadlineSeconds must be a positive integer > 0 or an argo variable"
        raise Invalid(what, "activeDeadlineSeconds")
    if template.get("parallelism") is not None:
        raise Invalid(f"{at}.parallelism is only valid for steps and dag templates", "parallelism")


def _is_deadline(value: int | str) -> bool:
    if isinstance(value, int):
        return value >= 0
    if _INTEGER.fullmatch(value):
        return int(value) >= 0
    return is_placeholder(value) or (value.startswith("{{") and value.endswith("}}"))
