"""Which template a step, task or hook means: local ones, those of (Cluster)WorkflowTemplates, and inline ones.

A template is resolved in the context of the object it was written in: the workflow, or the WorkflowTemplate that a
``templateRef`` led to, whose own templates may call each other by bare names. What comes from outside the workflow is
copied into ``status.storedTemplates`` when first used, and used from there afterwards, so that a later edit does not
change a running workflow:

    <scope>/<resource>/<template>            scope is namespaced or cluster
    <scope>/<resource>/inline/<step name>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.workflows.observe import Lookup, Object
from tiphys.workflows.plan import merging
from tiphys.workflows.plan.canonical import TEMPLATE, canonical
from tiphys.workflows.plan.problems import Problem

Template = dict[str, Any]
Holder = Mapping[str, Any]

TYPES = (
    ("container", "Container"),
    ("containerSet", "ContainerSet"),
    ("steps", "Steps"),
    ("dag", "DAG"),
    ("script", "Script"),
    ("resource", "Resource"),
    ("data", "Data"),
    ("suspend", "Suspend"),
    ("http", "HTTP"),
    ("plugin", "Plugin"),
)
POD_TYPES = frozenset(("Container", "ContainerSet", "Script", "Resource", "Data"))


def type_of(template: Template) -> str:
    """The template's type, "Unknown" when it says nothing; the first field that is there decides."""
    for field_name, kind in TYPES:
        if template.get(field_name) is not None:
            return kind
    return "Unknown"


def is_pod(template: Template) -> bool:
    return type_of(template) in POD_TYPES


def node_type(template: Template) -> str:
    """The type of the node that executes the template: of the upper one where the template itself has retries."""
    if template.get("retryStrategy") is not None:
        return "Retry"
    kind = type_of(template)
    return "Pod" if kind in POD_TYPES else kind


def is_daemon(template: Mapping[str, Any] | None) -> bool:
    return template is not None and bool(template.get("daemon"))


def main_containers(template: Mapping[str, Any] | None) -> list[str]:
    """The names of the containers whose exit decides the pod's."""
    if template and template.get("containerSet") is not None:
        return [c.get("name", "") for c in template["containerSet"].get("containers") or ()]
    return ["main"]


def has_outputs(outputs: Mapping[str, Any] | None) -> bool:
    return outputs is not None and any(
        outputs.get(key) is not None if key in ("result", "exitCode") else outputs.get(key)
        for key in ("result", "exitCode", "artifacts", "parameters")
    )


def annotation(template: Template, name: str) -> str:
    return str((template.get("annotations") or {}).get(name, ""))


@dataclass(frozen=True, eq=False)
class TemplateContext:
    """Where bare template names are looked up. ``scope`` is local, namespaced or cluster."""

    scope: str
    resource: str
    templates: Mapping[str, Template]
    pod_metadata: Mapping[str, Any] | None = None

    @property
    def scope_name(self) -> str:
        """What ``templateScope`` of a node says."""
        return f"{self.scope}/{self.resource}"


@dataclass
class Templates:
    """The templates one workflow can use. ``stored`` is its ``status.storedTemplates``; ``grew`` says it changed."""

    local: TemplateContext
    lookup: Lookup
    stored: dict[str, Template]
    defaults: Mapping[str, Any] | None = None
    grew: bool = False
    _contexts: dict[tuple[str, str], TemplateContext] = field(default_factory=dict)
    _with_defaults: dict[int, tuple[Template, Template]] = field(default_factory=dict)
    _resolved: dict[tuple[int, str, int], tuple[Any, ...]] = field(default_factory=dict)

    def resolve(self, context: TemplateContext, holder: Holder) -> tuple[TemplateContext, Template]:
        """The template that ``holder`` uses and the context in which its own calls are resolved. Raises `Problem`.

        The same holder in the same context gives the same (shared, not to be changed) template again.
        """
        inline = holder.get("inline")
        if inline is None and not holder.get("templateRef"):
            key = (id(context), holder.get("template") or "", 0)
        else:
            key = (id(context), _reference(holder), id(inline))
        known = self._resolved.get(key)
        if known is not None:
            return known[0], known[1]
        template = self._find(context, holder)
        inner = self._inner(context, holder)
        if type_of(template) == "Unknown":
            raise Problem(f"template '{template.get('name', '')}' type is unknown")
        # the holder and context are kept so that their ids stay taken
        self._resolved[key] = (inner, template, holder, context)
        return inner, template

    def with_defaults(self, template: Template) -> Template:
        """The template over ``templateDefaults``, of which only those for its own type count."""
        if not self.defaults:
            return template
        known = self._with_defaults.get(id(template))
        if known is None or known[0] is not template:
            kind = type_of(template)
            wanted = {k: v for k, v in self.defaults.items() if all(k != f or kind == t for f, t in TYPES)}
            made = canonical(merging.merge(wanted, template, TEMPLATE), TEMPLATE)
            known = self._with_defaults[id(template)] = (template, made)
        return known[1]

    def context(self, scope: str, resource: str) -> TemplateContext:
        """The context that ``templateScope`` of a node names. Raises `Problem` where the object is gone."""
        return self.local if scope not in ("namespaced", "cluster") else self._context(scope, resource)

    def context_of(self, scope_name: str) -> TemplateContext:
        """As `context`, from the text in a node: ``local/wf``, ``namespaced/name``; a bare name is namespaced."""
        if not scope_name:
            return self.local
        scope, slash, resource = scope_name.partition("/")
        return self.context(scope, resource) if slash else self.context("namespaced", scope)

    def _find(self, context: TemplateContext, holder: Holder) -> Template:
        place = storage_key(context.scope, context.resource, holder)
        if place and place in self.stored:
            return self.stored[place]
        template = self._fetch(context, holder)
        if place:
            self.stored[place] = template
            self.grew = True
        ref = holder.get("templateRef")
        scope, resource = (_scope(ref), ref.get("name", "")) if ref else (context.scope, context.resource)
        for caller in inline_callers(template):
            inline_place = storage_key(scope, resource, caller)
            if inline_place and inline_place not in self.stored:
                self.stored[inline_place] = caller["inline"]
                self.grew = True
        return template

    def _fetch(self, context: TemplateContext, holder: Holder) -> Template:
        if holder.get("inline") is not None:
            return dict(holder["inline"])
        if ref := holder.get("templateRef"):
            found = self._context(_scope(ref), ref.get("name", ""), missing_as="workflow template {} not found")
            template = found.templates.get(ref.get("template", ""))
            if template is None:
                raise Problem(
                    f"template {ref.get('template', '')} not found in workflow template {ref.get('name', '')}"
                )
            return with_pod_metadata(template, found.pod_metadata)
        if name := holder.get("template"):
            template = context.templates.get(name)
            if template is None:
                raise Problem(f"template {name} not found")
            return with_pod_metadata(template, context.pod_metadata)
        raise Problem("failed to get a template")

    def _inner(self, context: TemplateContext, holder: Holder) -> TemplateContext:
        ref = holder.get("templateRef")
        return self._context(_scope(ref), ref.get("name", "")) if ref else context

    def _context(self, scope: str, resource: str, missing_as: str = "") -> TemplateContext:
        known = self._contexts.get((scope, resource))
        if known is not None:
            return known
        cluster = scope == "cluster"
        obj = self.lookup.cluster_workflow_template(resource) if cluster else self.lookup.workflow_template(resource)
        if obj is None:
            plural = "clusterworkflowtemplates" if cluster else "workflowtemplates"
            raise Problem((missing_as or plural + '.argoproj.io "{}" not found').format(resource))
        spec = obj.get("spec") or {}
        own = [canonical(template, TEMPLATE) for template in spec.get("templates") or ()]
        made = self._contexts[scope, resource] = context_from(scope, resource, {**spec, "templates": own})
        return made


def context_from(scope: str, resource: str, spec: Object) -> TemplateContext:
    """The context of an object's (canonical) templates; the first of two with one name counts."""
    found: dict[str, Template] = {}
    for template in spec.get("templates") or ():
        found.setdefault(template.get("name", ""), template)
    return TemplateContext(scope, resource, found, spec.get("podMetadata"))


def with_pod_metadata(template: Template, metadata: Mapping[str, Any] | None) -> Template:
    """The template with the labels and annotations that its object gives to all pods; its own win."""
    if not metadata or not (metadata.get("labels") or metadata.get("annotations")):
        return template
    own = template.get("metadata") or {}
    merged = {
        kind: dict(sorted({**(metadata.get(kind) or {}), **(own.get(kind) or {})}.items()))
        for kind in ("annotations", "labels")
        if metadata.get(kind) or own.get(kind)
    }
    return {**template, "metadata": merged}


def storage_key(scope: str, resource: str, holder: Holder) -> str:
    """The key in ``status.storedTemplates``, "" for what belongs to the workflow itself."""
    if ref := holder.get("templateRef"):
        return f"{_scope(ref)}/{ref.get('name', '')}/{ref.get('template', '')}"
    if scope == "local":
        return ""
    if holder.get("inline") is not None:
        return f"{scope}/{resource}/inline/{holder.get('name', '')}"
    return f"{scope}/{resource}/{holder.get('template', '')}"


def inline_callers(template: Template) -> Iterator[Holder]:
    """The steps and tasks of a template that carry their template with them."""
    for group in template.get("steps") or ():
        yield from (step for step in group if step.get("inline") is not None)
    yield from (task for task in (template.get("dag") or {}).get("tasks") or () if task.get("inline") is not None)


def _scope(ref: Mapping[str, Any]) -> str:
    return "cluster" if ref.get("clusterScope") else "namespaced"


def _reference(holder: Holder) -> str:
    if ref := holder.get("templateRef"):
        return f"{_scope(ref)}/{ref.get('name', '')}/{ref.get('template', '')}"
    return f"{holder.get('name', '')}#" if holder.get("inline") is not None else holder.get("template") or ""
