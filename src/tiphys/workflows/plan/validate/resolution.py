"""Where templates come from: by name in the same object, by reference in another, or inline in a step.

A `Base` is the object that names are looked up in. Templates of referred objects are taken as stored there, not as
already substituted by their caller; those of the workflow itself are taken as they stand (both as upstream).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from tiphys.api import decode
from tiphys.workflows.plan.validate.names import PLACEHOLDER
from tiphys.workflows.plan.validate.problem import Invalid, NotFound, Place

Template = dict[str, Any]
Scope = Literal["local", "namespaced", "cluster"]

TYPES = {
    "container": "Container",
    "containerSet": "ContainerSet",
    "steps": "Steps",
    "dag": "DAG",
    "script": "Script",
    "resource": "Resource",
    "data": "Data",
    "suspend": "Suspend",
    "http": "HTTP",
    "plugin": "Plugin",
}
"""The field that makes a template what it is, and the type's name; where several are there the first one counts."""

POD_TYPES = frozenset(("Container", "ContainerSet", "Script", "Resource", "Data"))
LEAF_TYPES = POD_TYPES | {"HTTP", "Plugin"}


class Lookup(Protocol):
    """The templates that a workflow may refer to; manifests as stored."""

    def workflow_template(self, name: str) -> Mapping[str, Any] | None:
        """The WorkflowTemplate of that name in the workflow's namespace, or None."""

    def cluster_workflow_template(self, name: str) -> Mapping[str, Any] | None:
        """The ClusterWorkflowTemplate of that name, or None."""


class NoTemplates:
    """A `Lookup` that knows none."""

    def workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return None

    def cluster_workflow_template(self, name: str) -> Mapping[str, Any] | None:
        return None


def type_of(template: Template) -> str:
    return next((name for key, name in TYPES.items() if template.get(key) is not None), "Unknown")


@dataclass
class Base:
    """An object with templates, in normal form; ``scope`` says whose names its own references are looked up among."""

    scope: Scope
    name: str
    spec: dict[str, Any]
    path: str = "spec"
    source: str = ""
    _met: dict[str, tuple[Template, Place] | None] = field(default_factory=dict)

    @cached_property
    def _positions(self) -> dict[str, int]:
        templates = self.spec.get("templates") or ()
        return {template.get("name", ""): index for index, template in reversed(list(enumerate(templates)))}

    def template(self, name: str) -> tuple[Template, Place] | None:
        """The first template of that name with the object's pod metadata in it; the same object every time."""
        if name not in self._met:
            self._met[name] = self._template(name)
        return self._met[name]

    def _template(self, name: str) -> tuple[Template, Place] | None:
        index = self._positions.get(name)
        if index is None:
            return None
        found = _with_metadata(self.spec["templates"][index], self.spec.get("podMetadata"))
        return found, Place(f"{self.path}.templates[{index}]", name, self.source)


def _with_metadata(template: Template, metadata: dict[str, Any] | None) -> Template:
    if not metadata:
        return template
    merged = dict(template["metadata"])
    for kind in ("annotations", "labels"):
        if metadata.get(kind):
            merged[kind] = {**metadata[kind], **(merged.get(kind) or {})}
    return {**template, "metadata": merged}


@dataclass
class Resolver:
    """Finds templates; one per validation. ``offline`` words a missing object as lint does, else as the API server."""

    lookup: Lookup
    namespace: str
    offline: bool
    cluster_scoped: bool = False
    stored: dict[str, Template] = field(default_factory=dict)
    """Templates by their key in a workflow's ``status.storedTemplates``; what is found is added."""
    _bases: dict[tuple[bool, str], Base] = field(default_factory=dict)

    def base(self, name: str, *, cluster: bool) -> Base:
        """The object that a reference names. Raises `Invalid` (`NotFound` where the API server was asked)."""
        known = self._bases.get((cluster, name))
        if known is None:
            known = self._bases[cluster, name] = self._load(name, cluster)
        return known

    def _load(self, name: str, cluster: bool) -> Base:
        kind = "ClusterWorkflowTemplate" if cluster else "WorkflowTemplate"
        if self.cluster_scoped and not cluster:
            raise Invalid(f'a ClusterWorkflowTemplate cannot refer to WorkflowTemplate "{name}": it has no namespace')
        get = self.lookup.cluster_workflow_template if cluster else self.lookup.workflow_template
        manifest = get(name)
        if manifest is None:
            raise self._missing(name, cluster)
        try:
            spec = decode.decode(kind, manifest).value["spec"]
        except decode.DecodeError as err:
            raise Invalid(str(err), "", Place(err.path, source=f"{kind}/{name}")) from None
        return Base("cluster" if cluster else "namespaced", name, spec, source=f"{kind}/{name}")

    def _missing(self, name: str, cluster: bool) -> Invalid:
        if not self.offline:
            return NotFound(f'{"cluster" if cluster else ""}workflowtemplates.argoproj.io "{name}" not found')
        if cluster:
            return Invalid(f'couldn\'t find cluster workflow template "{name}"')
        return Invalid(f'couldn\'t find workflow template "{name}" in namespace "{self.namespace}"')

    def resolve(self, holder: dict[str, Any], base: Base, at: Place) -> tuple[Base, Template, Place] | None:
        """The template that a step, task or hook means, and the base for what it refers to in turn.

        None where only the run can say which template it is. ``at`` is the place of the holder.
        """
        reference = holder.get("templateRef")
        try:
            template, place = self._find(holder, base, at)
            if reference is not None:
                base = self._base_of(reference)
        except NotFound:
            if reference is None:
                raise
            if PLACEHOLDER in reference.get("template", ""):
                return None
            wanted = f"{reference.get('name', '')}.{reference.get('template', '')}"
            raise Invalid(f"template reference {wanted} not found", "templateRef") from None
        if type_of(template) == "Unknown":
            raise Invalid(f"template '{template.get('name', '')}' type is unknown", "", place)
        return base, template, place

    def _find(self, holder: dict[str, Any], base: Base, at: Place) -> tuple[Template, Place]:
        """From the store, or else where the holder says; then into the store, with the inline templates inside."""
        key = _key(holder, base.scope, base.name)
        if key and key in self.stored:
            template = self.stored[key]
            return template, self._place(holder, template, base, at)
        reference = holder.get("templateRef")
        if holder.get("inline") is not None:
            template, place = holder["inline"], at.inside("inline", holder.get("name", ""))
        elif reference is not None:
            template, place = self._referred(reference)
        else:
            template, place = self._local(holder.get("template", ""), base)
        if key:
            self.stored.setdefault(key, template)
        scope, name = base.scope, base.name
        if reference is not None:
            scope, name = "cluster" if reference.get("clusterScope") else "namespaced", reference.get("name", "")
        self._store_inline(template, scope, name)
        return template, place

    def _place(self, holder: dict[str, Any], template: Template, base: Base, at: Place) -> Place:
        if holder.get("inline") is not None:
            return at.inside("inline", holder.get("name", ""))
        reference = holder.get("templateRef")
        found = (self._base_of(reference) if reference is not None else base).template(template.get("name", ""))
        return found[1] if found else at

    def _base_of(self, reference: dict[str, Any]) -> Base:
        return self.base(reference.get("name", ""), cluster=bool(reference.get("clusterScope")))

    def _local(self, name: str, base: Base) -> tuple[Template, Place]:
        if not name:
            raise Invalid("failed to get a template")
        found = base.template(name)
        if found is None:
            raise Invalid(f"template name '{name}' undefined", "template")
        return found

    def _referred(self, reference: dict[str, Any]) -> tuple[Template, Place]:
        base = self._base_of(reference)
        found = base.template(reference.get("template", ""))
        if found is None:
            raise NotFound(f"template {reference.get('template', '')} not found in workflow template {base.name}")
        return found

    def _store_inline(self, template: Template, scope: Scope, name: str) -> None:
        """Keeps the inline templates of a referred object as they stand there, before values are put into them."""
        if scope == "local":  # the workflow's own are not stored: `_key`
            return
        holders = [step for group in template.get("steps") or () for step in group or ()]
        holders += (template.get("dag") or {}).get("tasks") or ()
        for holder in holders:
            if holder.get("inline") is not None and (key := _key(holder, scope, name)):
                self.stored.setdefault(key, holder["inline"])


def _key(holder: dict[str, Any], scope: Scope, name: str) -> str:
    """The key under which a workflow stores the template that a holder means; empty for its own templates."""
    reference = holder.get("templateRef")
    if reference is not None:
        kind = "cluster" if reference.get("clusterScope") else "namespaced"
        return f"{kind}/{reference.get('name', '')}/{reference.get('template', '')}"
    if scope == "local":
        return ""
    if holder.get("inline") is not None:
        return f"{scope}/{name}/inline/{holder.get('name', '')}"
    return f"{scope}/{name}/{holder.get('template', '')}"
