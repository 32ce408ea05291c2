"""The four kinds that have templates: what is checked of the object as a whole, and the order of it all.

A WorkflowTemplate is validated as a workflow whose arguments are not known; a CronWorkflow as the workflow that it
would start. Validation stops at the first fault, as upstream, so that the same fault is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tiphys.api import decode
from tiphys.lang import cron as cron_language
from tiphys.lang import moments
from tiphys.lang.gotext import utf8
from tiphys.workflows.plan.validate.arguments import check_arguments
from tiphys.workflows.plan.validate.callers import Arguments, Given
from tiphys.workflows.plan.validate.names import CRON_NAME_MAX, OBJECT_NAME_MAX, check_field_names, holds_parameter
from tiphys.workflows.plan.validate.problem import Invalid, Place, Problem
from tiphys.workflows.plan.validate.resolution import Base, Lookup, NoTemplates, Resolver
from tiphys.workflows.plan.validate.steps import check_hooks
from tiphys.workflows.plan.validate.templates import Validation, check_pod_resources
from tiphys.workflows.plan.validate.variables import ANY_OUTPUT_ARTIFACT

POD_GC_STRATEGIES = ("", "OnPodCompletion", "OnPodSuccess", "OnWorkflowCompletion", "OnWorkflowSuccess")
SELECTOR_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
CONCURRENCY_POLICIES = ("", "Allow", "Forbid", "Replace")

_ALWAYS_THERE = ("name", "namespace", "mainEntrypoint", "serviceAccountName", "uid")


def validate(manifest: Mapping[str, Any], templates: Lookup | None = None, *, lint: bool = True) -> list[Problem]:
    """What is wrong with a Workflow, WorkflowTemplate, ClusterWorkflowTemplate or CronWorkflow; empty when nothing is.

    Other kinds are decoded only. ``lint`` is as for `validate_workflow`.
    """
    kind = manifest.get("kind", "")
    known = templates or NoTemplates()
    match kind:
        case "Workflow":
            return validate_workflow(manifest, known, lint=lint)
        case "WorkflowTemplate":
            return validate_workflow_template(manifest, known, lint=lint)
        case "ClusterWorkflowTemplate":
            return validate_cluster_workflow_template(manifest, known, lint=lint)
        case "CronWorkflow":
            return validate_cron_workflow(manifest, known)
        case _:
            _, problems = _decoded(kind if isinstance(kind, str) else "", manifest)
            return problems


def validate_workflow(
    workflow: Mapping[str, Any],
    templates: Lookup,
    *,
    lint: bool,
    defaults: Mapping[str, Any] | None = None,
    offline: bool = True,
    stored: dict[str, Any] | None = None,
) -> list[Problem]:
    """What is wrong with a Workflow manifest.

    ``lint`` allows parameters without a value; on submission they need one. ``defaults`` is the controller's
    workflowDefaults. ``offline`` words a missing template as lint does, False as the API server does. ``stored``
    takes up the templates of other objects that were met, by their keys in ``status.storedTemplates``.
    """
    value, problems = _decoded("Workflow", workflow)
    if problems:
        return problems
    options = _Options(lint=lint, defaults=defaults, offline=offline, stored=stored)
    return _problems(_check_workflow, value, "workflow", templates, options)


def validate_workflow_template(
    template: Mapping[str, Any], templates: Lookup, *, lint: bool, defaults: Mapping[str, Any] | None = None
) -> list[Problem]:
    """What is wrong with a WorkflowTemplate; see `validate_workflow`."""
    return _validate_template("WorkflowTemplate", "workflow template", template, templates, lint, defaults)


def validate_cluster_workflow_template(
    template: Mapping[str, Any], templates: Lookup, *, lint: bool, defaults: Mapping[str, Any] | None = None
) -> list[Problem]:
    """What is wrong with a ClusterWorkflowTemplate; see `validate_workflow`."""
    return _validate_template(
        "ClusterWorkflowTemplate", "cluster workflow template", template, templates, lint, defaults
    )


def validate_cron_workflow(
    cron: Mapping[str, Any], templates: Lookup, *, defaults: Mapping[str, Any] | None = None
) -> list[Problem]:
    """What is wrong with a CronWorkflow. There is no lint mode: the schedule starts it as it stands (as upstream)."""
    value, problems = _decoded("CronWorkflow", cron)
    if problems:
        return problems
    try:
        _check_schedule(value)
        workflow = _workflow_of_cron(value)
        try:
            _check_workflow(
                workflow, "workflow", templates, _Options(lint=False, defaults=defaults), "spec.workflowSpec"
            )
        except Invalid as err:
            raise err.within("cannot validate Workflow: ", "spec.workflowSpec") from None
    except Invalid as err:
        return [err.problem()]
    return []


@dataclass(frozen=True)
class _Options:
    lint: bool
    defaults: Mapping[str, Any] | None = None
    offline: bool = True
    stored: dict[str, Any] | None = None
    template_only: bool = False
    cluster_scoped: bool = False


def _validate_template(
    kind: str,
    words: str,
    manifest: Mapping[str, Any],
    templates: Lookup,
    lint: bool,
    defaults: Mapping[str, Any] | None,
) -> list[Problem]:
    value, problems = _decoded(kind, manifest)
    if problems:
        return problems
    options = _Options(lint, defaults, template_only=True, cluster_scoped=kind.startswith("Cluster"))
    return _problems(_check_workflow, value, words, templates, options)


def _decoded(kind: str, manifest: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    try:
        return decode.decode(kind, manifest).value, []
    except KeyError:
        return {}, []
    except decode.DecodeError as err:
        return {}, [Problem(str(err), err.path)]


def _problems(check: Any, *arguments: Any) -> list[Problem]:
    try:
        check(*arguments)
    except Invalid as err:
        return [err.problem()]
    except RecursionError:
        return [Problem("templates call each other too deeply")]
    return []


def _check_workflow(
    workflow: dict[str, Any], words: str, templates: Lookup, options: _Options, path: str = "spec"
) -> None:
    """Raises `Invalid` for the first fault of a workflow in normal form."""
    metadata, spec = workflow["metadata"], workflow["spec"]
    _check_object_name(words, metadata.get("name", ""), OBJECT_NAME_MAX)
    stored = options.stored if options.stored is not None else {}
    for key, template in (workflow.get("status", {}).get("storedTemplates") or {}).items():
        stored.setdefault(key, template)
    resolver = Resolver(templates, metadata.get("namespace", ""), options.offline, options.cluster_scoped, stored)
    run = Validation(resolver, options.template_only)
    base = Base("local", "" if options.template_only else metadata.get("name", ""), spec, path)
    reference = spec.get("workflowTemplateRef")
    referred = _referred(spec, resolver) if reference is not None else None
    arguments = _checked_arguments(spec, referred, options)
    _add_variables(run, metadata, spec, referred, arguments, options.defaults)
    entrypoint = spec.get("entrypoint", "") or (referred.spec.get("entrypoint", "") if referred else "")
    _check_entrypoint(run, entrypoint, base, reference, arguments, options)
    _check_exit(run, spec, referred, base, options)
    _check_settings(spec)
    _check_templates(run, base, referred)


def _check_object_name(words: str, name: str, limit: int) -> None:
    length = len(utf8(name))
    if length > limit:
        what = f'{words} name "{name}" must not be more than {limit} characters long (currently {length})'
        raise Invalid(what, "", Place("metadata.name"))


def _referred(spec: dict[str, Any], resolver: Resolver) -> Base:
    reference = spec["workflowTemplateRef"]
    if spec.get("templates"):
        what = "Templates is invalid field in spec if workflow referred WorkflowTemplate reference"
        raise Invalid(what, "", Place("spec.templates"))
    try:
        return resolver.base(reference.get("name", ""), cluster=bool(reference.get("clusterScope")))
    except Invalid as err:
        raise err.within("", "", Place("spec.workflowTemplateRef")) from None


def _checked_arguments(spec: dict[str, Any], referred: Base | None, options: _Options) -> dict[str, Any]:
    """The workflow's arguments together with those of the template it refers to; names and values checked."""
    own = spec.get("arguments") or {}
    arguments = dict(own)
    if referred is not None:
        others = referred.spec.get("arguments") or {}
        for kind in ("parameters", "artifacts"):
            arguments[kind] = _merged(own.get(kind) or (), others.get(kind) or ())
    try:
        check_field_names(template.get("name", "") for template in spec.get("templates") or ())
    except Invalid as err:
        raise err.within("spec.templates", "templates", Place("spec")) from None
    _check_executor_plugins(spec.get("executorPlugins") or ())
    try:
        check_arguments("spec.arguments.", arguments, allow_empty=options.lint or options.template_only)
    except Invalid as err:
        raise err.within("", "", Place("spec.arguments")) from None
    return arguments


def _merged(*sources: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By name; the first counts."""
    found: dict[str, dict[str, Any]] = {}
    for source in sources:
        for item in source:
            found.setdefault(item["name"], item)
    return list(found.values())


def _check_executor_plugins(plugins: Iterable[dict[str, Any]]) -> None:
    for index, plugin in enumerate(plugins):
        fault = _plugin_fault(plugin)
        if fault:
            raise Invalid(f"spec.executorPlugins: {fault}", "", Place(f"spec.executorPlugins[{index}]"))


def _plugin_fault(plugin: dict[str, Any]) -> str:
    container = plugin["spec"]["sidecar"]["container"]
    if not plugin.get("metadata", plugin).get("name"):
        return "executor plugin metadata name is mandatory"
    if not container.get("ports"):
        return "at least one port is mandatory"
    for kind in ("requests", "limits"):
        if container["resources"].get(kind) is None:
            return f"resources {kind} are mandatory"
    return "" if container.get("securityContext") is not None else "security context is mandatory"


def _add_variables(
    run: Validation,
    metadata: dict[str, Any],
    spec: dict[str, Any],
    referred: Base | None,
    arguments: dict[str, Any],
    defaults: Mapping[str, Any] | None,
) -> None:
    """What templates may use of the workflow."""
    run.add_globals(f"workflow.{name}" for name in _ALWAYS_THERE)
    parameters = arguments.get("parameters") or ()
    if parameters:
        run.add_globals(("workflow.parameters", "workflow.parameters.json"))
    for parameter in parameters:
        value = parameter.get("value")
        name = f"workflow.parameters.{parameter['name']}"
        run.globals[name] = run.placeholders.next() if value is None else value
    sources = [spec.get("workflowMetadata"), ((defaults or {}).get("spec") or {}).get("workflowMetadata")]
    sources.append(referred.spec.get("workflowMetadata") if referred else None)
    for kind, fields in (("annotations", ("annotations",)), ("labels", ("labels", "labelsFrom"))):
        keys = set(metadata.get(kind) or ())
        keys.update(key for source in sources if source for field in fields for key in source.get(field) or ())
        run.add_globals(f"workflow.{kind}.{key}" for key in sorted(keys))
        run.add_globals((f"workflow.{kind}", f"workflow.{kind}.json"))
    if spec.get("priority") is not None:
        run.globals["workflow.priority"] = str(spec["priority"])
    run.add_globals(("workflow.status",))


def _check_entrypoint(
    run: Validation,
    entrypoint: str,
    base: Base,
    reference: dict[str, Any] | None,
    arguments: dict[str, Any],
    options: _Options,
) -> None:
    if options.template_only and not base.spec.get("entrypoint"):
        return
    if not entrypoint:
        raise Invalid("spec.entrypoint is required", "", Place(f"{base.path}.entrypoint"))
    given: Arguments = run.anything() if options.template_only else Given(arguments)
    _call(run, entrypoint, base, reference, given, f"{base.path}.entrypoint")


def _call(
    run: Validation, name: str, base: Base, reference: dict[str, Any] | None, arguments: Arguments, path: str
) -> None:
    """Checks the template of that name, in the object that the workflow refers to if there is one."""
    holder: dict[str, Any] = {"template": name}
    if reference is not None:
        holder = {"templateRef": {**reference, "template": name}}
    try:
        run.call(holder, base, arguments, Place(path))
    except Invalid as err:
        raise Invalid(err.message, "" if err.place is None else err.path, err.place or Place(path)) from None


def _check_exit(run: Validation, spec: dict[str, Any], referred: Base | None, base: Base, options: _Options) -> None:
    name = spec.get("onExit", "") or (referred.spec.get("onExit", "") if referred else "")
    if not name:
        return
    run.add_globals(("workflow.failures",))
    outputs = (
        template["outputs"] for holder in (spec, referred.spec if referred else {}) for template in _templates(holder)
    )
    names = (artifact.get("globalName", "") for output in outputs for artifact in output.get("artifacts") or ())
    if any(map(holds_parameter, names)):
        run.globals[ANY_OUTPUT_ARTIFACT] = "true"
    given = Given(spec.get("arguments") or {})
    _call(run, name, base, spec.get("workflowTemplateRef"), given, f"{base.path}.onExit")


def _templates(spec: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    return spec.get("templates") or ()


def _check_settings(spec: dict[str, Any]) -> None:
    try:
        check_hooks(spec.get("hooks"), "hooks")
    except Invalid as err:
        raise err.within("", "", Place("spec")) from None
    gc = spec.get("podGC") or {}
    if gc.get("strategy", "") not in POD_GC_STRATEGIES:
        raise Invalid(f"podGC.strategy unknown strategy '{gc['strategy']}'", "", Place("spec.podGC.strategy"))
    for index, wanted in enumerate((gc.get("labelSelector") or {}).get("matchExpressions") or ()):
        if wanted["operator"] not in SELECTOR_OPERATORS:
            what = f'podGC.labelSelector invalid: "{wanted["operator"]}" is not a valid label selector operator'
            raise Invalid(what, "", Place(f"spec.podGC.labelSelector.matchExpressions[{index}]"))
    if spec.get("podResources") is not None:
        try:
            check_pod_resources("spec.podResources", spec["podResources"], "podResources")
        except Invalid as err:
            raise err.within("", "", Place("spec")) from None


def _check_templates(run: Validation, base: Base, referred: Base | None) -> None:
    """Also the templates that nothing calls."""
    holder = referred or base
    for index, template in enumerate(_templates(holder.spec)):
        name = template.get("name", "")
        wanted: dict[str, Any] = {"template": name}
        if referred is not None:
            wanted = {
                "templateRef": {"name": referred.name, "template": name, "clusterScope": referred.scope == "cluster"}
            }
        try:
            run.call(wanted, base, run.anything(), Place(f"{holder.path}.templates[{index}]", name, holder.source))
        except Invalid as err:
            raise err.within(f"templates.{name} ") from None


def _check_schedule(cron: dict[str, Any]) -> None:
    spec = cron["spec"]
    _check_object_name("cron workflow", cron["metadata"].get("name", ""), CRON_NAME_MAX)
    schedules = spec.get("schedules") or ()
    if not schedules:
        raise Invalid("cron workflow must have at least one schedule", "", Place("spec.schedules"))
    for index, schedule in enumerate(schedules):
        try:
            cron_language.parse(schedule)
        except cron_language.CronError as err:
            what = f"cron schedule {schedule} is malformed: {err}"
            raise Invalid(what, "", Place(f"spec.schedules[{index}]")) from None
    zone = spec.get("timezone", "")
    if zone:
        try:
            moments.load_location(zone)
        except LookupError as err:
            raise Invalid(f'invalid timezone "{zone}": {err}', "", Place("spec.timezone")) from None
    policy = spec.get("concurrencyPolicy", "")
    if policy not in CONCURRENCY_POLICIES:
        raise Invalid(f"'{policy}' is not a valid concurrencyPolicy", "", Place("spec.concurrencyPolicy"))
    if spec.get("startingDeadlineSeconds") is not None and spec["startingDeadlineSeconds"] < 0:
        raise Invalid("startingDeadlineSeconds must be positive", "", Place("spec.startingDeadlineSeconds"))


def _workflow_of_cron(cron: dict[str, Any]) -> dict[str, Any]:
    """The workflow that a schedule would start, as far as its variables go."""
    metadata, spec = cron["metadata"], cron["spec"]
    extra = spec.get("workflowMetadata") or {}
    instance = "workflows.argoproj.io/controller-instanceid"
    labels = {"workflows.argoproj.io/cron-workflow": metadata.get("name", ""), **(extra.get("labels") or {})}
    if instance in (metadata.get("labels") or {}):
        labels[instance] = metadata["labels"][instance]
    annotations = {"workflows.argoproj.io/scheduled-time": "", **(extra.get("annotations") or {})}
    return {
        "metadata": {"labels": labels, "annotations": annotations, "namespace": metadata.get("namespace", "")},
        "spec": spec["workflowSpec"],
    }
