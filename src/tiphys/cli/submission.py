"""From files and options to submitted workflows: what ``run`` and ``submit`` share.

    read     files → manifests, split into workflows and what they need   (no cluster yet; raises for wrong use)
    submit   apply what they need, make the workflows, create them        (returns their keys)

What the options change about a workflow is decided by ``workflows/plan/submit.py``, as for the API server.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from tiphys.cli import kinds, loading, sources
from tiphys.cli.endings import Problems
from tiphys.cli.session import Session
from tiphys.client.client import Client
from tiphys.lang import goyaml
from tiphys.machinery.errors import AlreadyExists, BadRequest, Invalid, NotFound, SpecError
from tiphys.machinery.resources import (
    CLUSTER_WORKFLOW_TEMPLATES,
    CRON_WORKFLOWS,
    NAMESPACES,
    WORKFLOW_TEMPLATES,
    WORKFLOWS,
    ObjectKey,
    Resource,
    key_of,
)
from tiphys.runtime.clock import SystemClock
from tiphys.workflows.plan import submit as submitting

# what people write before the / of --from, in small letters and without dashes
ORIGINS: dict[str, Resource] = {
    **dict.fromkeys(("workflowtemplate", "workflowtemplates", "wftmpl", "template"), WORKFLOW_TEMPLATES),
    **dict.fromkeys(
        ("clusterworkflowtemplate", "clusterworkflowtemplates", "cwft", "cwftmpl", "clustertemplate"),
        CLUSTER_WORKFLOW_TEMPLATES,
    ),
    **dict.fromkeys(("cronworkflow", "cronworkflows", "cronwf", "cwf", "cron"), CRON_WORKFLOWS),
}
# what a server writes: a manifest that was read from one may be submitted again
_SERVERS_OWN = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")


@dataclass(frozen=True)
class Submission:
    """What is to be applied and what is to be run. ``origin`` is the KIND/NAME of ``--from``."""

    workflows: Sequence[loading.Manifest]
    others: Sequence[loading.Manifest]
    changes: submitting.SubmitOptions
    namespace: str | None = None
    origin: tuple[Resource, str] | None = None
    _definitions: list[Mapping[str, Any]] = field(default_factory=list)

    async def submit(self, session: Session) -> list[ObjectKey]:
        """Checks, applies, creates. Raises Problems (nothing is written where a workflow is not valid) and ApiError."""
        namespace = self.namespace or session.namespace
        made = [(m, self._made(m.obj, namespace)) for m in self.workflows]
        await self._check(session.client, made, namespace)
        await _ensure_namespace(session.client, namespace)
        for manifest in sorted(self.others, key=lambda m: kinds.apply_order(m.obj)):
            await self._apply(session.client, manifest, namespace)
        keys = [key_of(await _created(session.client, WORKFLOWS, manifest, workflow)) for manifest, workflow in made]
        if self.origin is not None:
            keys.append(await self._submit_origin(session, *self.origin, namespace))
        return keys

    def objects(self) -> list[tuple[Resource, dict[str, Any]]]:
        """What a submission to an empty cluster would create. Raises Problems and SpecError."""
        templates = loading.Templates(self.others)
        namespace = self.namespace or "default"
        found = []
        for manifest in sorted(self.others, key=lambda m: kinds.apply_order(m.obj)):
            resource = kinds.resource_of(manifest.obj)
            meta = {"namespace": namespace} if resource.namespaced else {}
            found.append((resource, {**manifest.obj, "metadata": {**meta, **manifest.obj["metadata"]}}))
        made = [(m, self._made(m.obj, namespace)) for m in self.workflows]
        _refuse(made, templates)
        return [*found, *((WORKFLOWS, workflow) for _, workflow in made), *self._from_files(namespace)]

    def _made(self, obj: Mapping[str, Any], namespace: str) -> dict[str, Any]:
        workflow = {key: value for key, value in obj.items() if key != "status"}
        meta = {key: value for key, value in obj["metadata"].items() if key not in _SERVERS_OWN}
        workflow["metadata"] = {"namespace": namespace} | meta
        if self.namespace is not None:
            workflow["metadata"]["namespace"] = namespace
        return submitting.apply_options(workflow, self.changes)

    async def _apply(self, client: Client, manifest: loading.Manifest, namespace: str) -> None:
        if manifest.kind == "CustomResourceDefinition":
            self._definitions.append(manifest.obj)
        resource = kinds.resource_of(manifest.obj, self._definitions)
        meta = {key: value for key, value in manifest.obj["metadata"].items() if key not in _SERVERS_OWN}
        if resource.namespaced:
            meta = {"namespace": namespace} | meta
        wanted = manifest.obj | {"metadata": meta}
        try:
            await _created(client, resource, manifest, wanted)
        except AlreadyExists:
            await client.patch(resource, key_of(wanted), wanted)

    async def _check(
        self, client: Client, made: Sequence[tuple[loading.Manifest, dict[str, Any]]], namespace: str
    ) -> None:
        if not made:
            return
        templates = loading.Templates(self.others)
        stored = [*await _all(client, WORKFLOW_TEMPLATES, namespace), *await _all(client, CLUSTER_WORKFLOW_TEMPLATES)]
        templates.add_stored(stored)
        _refuse(made, templates)

    def _from_files(self, namespace: str) -> list[tuple[Resource, dict[str, Any]]]:
        """The workflow of ``--from``, where its origin is among the files."""
        if self.origin is None:
            return []
        resource, name = self.origin
        found = next((m.obj for m in self.others if m.kind == resource.kind and m.name == name), None)
        if found is None:
            raise SpecError(f"--from {resource.kind}/{name}", "not in these files")
        workflow = submitting.from_object(found, SystemClock().now())
        workflow["metadata"]["namespace"] = namespace
        return [(WORKFLOWS, submitting.apply_options(workflow, self.changes))]

    async def _submit_origin(self, session: Session, resource: Resource, name: str, namespace: str) -> ObjectKey:
        found = await session.client.get(resource, ObjectKey(namespace if resource.namespaced else "", name))
        workflow = submitting.from_object(found, session.clock.now())
        workflow["metadata"]["namespace"] = namespace
        return key_of(await session.client.create(WORKFLOWS, submitting.apply_options(workflow, self.changes)))


def read(places: Sequence[str], given: Mapping[str, Any]) -> Submission:
    """From the arguments and options of a command. Raises Problems, SpecError and click.UsageError for wrong use."""
    origin = _origin(given["origin"]) if given["origin"] else None
    if not places and origin is None:
        raise click.UsageError("name a FILE, a folder, an address or - (or say --from KIND/NAME)")
    manifests = loading.load(sources.read(places))
    workflows = [m for m in manifests if m.kind == "Workflow"]
    others = [m for m in manifests if m.kind != "Workflow"]
    if not workflows and origin is None:
        raise Problems([nothing_to_run(others)])
    if given["name"] and len(workflows) + bool(origin) > 1:
        raise click.UsageError(f"--name fits one workflow, and there are {len(workflows) + bool(origin)}")
    return Submission(workflows, others, _changes(given), given["namespace"], origin)


def nothing_to_run(others: Sequence[loading.Manifest]) -> str:
    """What to do where no manifest is a Workflow."""
    for manifest in others:
        if manifest.kind in (*loading.TEMPLATE_KINDS, "CronWorkflow"):
            return (
                f"no Workflow to run; to run this {manifest.kind} say --from {manifest.kind.lower()}/{manifest.name}"
                f" ({manifest.place()})"
            )
    found = ", ".join(sorted({m.kind for m in others})) or "nothing"
    return f"no Workflow to run: the files hold {found}"


async def _created(
    client: Client, resource: Resource, manifest: loading.Manifest, obj: dict[str, Any]
) -> Mapping[str, Any]:
    """Creates ``obj``; what the API says against it is told with the manifest's place."""
    try:
        return await client.create(resource, obj)
    except (Invalid, BadRequest) as err:
        causes = err.details.get("causes") or [{}]
        raise Problems([str(manifest.fault(err.message, str(causes[0].get("field") or "")))]) from err
    except NotFound as err:
        raise Problems([str(manifest.fault(f"this cluster does not know the kind ({err})"))]) from err


def _refuse(made: Sequence[tuple[loading.Manifest, dict[str, Any]]], templates: loading.Templates) -> None:
    """Raises Problems when one of the workflows, as it is to be created, is not valid."""
    problems = [
        str(fault)
        for manifest, workflow in made
        for fault in loading.faults(manifest.with_object(workflow), templates, lint=False)
    ]
    if problems:
        raise Problems(problems)


def _origin(text: str) -> tuple[Resource, str]:
    kind, slash, name = text.partition("/")
    resource = ORIGINS.get(kind.lower().replace("-", ""))
    if not slash or not name or resource is None:
        raise click.UsageError(
            f"--from {text}: say KIND/NAME with KIND one of workflowtemplate, clusterworkflowtemplate, cronworkflow"
        )
    return resource, name


def _changes(given: Mapping[str, Any]) -> submitting.SubmitOptions:
    parameters = dict(read_parameters(given["parameter_file"])) if given["parameter_file"] else {}
    parameters |= dict(given["parameters"])
    return submitting.SubmitOptions(
        name=given["name"] or "",
        generate_name=given["generate_name"] or "",
        entrypoint=given["entrypoint"] or "",
        service_account=given["serviceaccount"] or "",
        labels=_labels(given["labels"] or ""),
        parameters=parameters,
        priority=given["priority"],
    )


def read_parameters(place: str) -> dict[str, str]:
    """A file of parameters, ``name: value``; a value that is no string counts as its JSON text."""
    import orjson

    source = next(iter(sources.read([place])))
    try:
        value = goyaml.load(source.text)
    except goyaml.YamlError as err:
        raise SpecError(f"{source.name}:{err.line or 1}", f"not valid YAML: {err.message}") from err
    if not isinstance(value, dict):
        raise SpecError(source.name, "must hold a mapping of parameters, name: value")
    return {name: text if isinstance(text, str) else orjson.dumps(text).decode() for name, text in value.items()}


def _labels(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    wrong = next((name + equals + value for name, equals, value in pairs if not equals or not name), None)
    if wrong is not None:
        raise click.UsageError(f"--labels: {wrong!r} is not NAME=VALUE")
    return {name: value for name, _, value in pairs}


async def _ensure_namespace(client: Client, name: str) -> None:
    """Makes the namespace where it is missing (and we may): files name namespaces that a new cluster has not."""
    try:
        await client.get(NAMESPACES, ObjectKey("", name))
    except NotFound:
        with contextlib.suppress(AlreadyExists):
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})


async def _all(client: Client, resource: Resource, namespace: str | None = None) -> list[Mapping[str, Any]]:
    try:
        return list((await client.list(resource, namespace))["items"])
    except NotFound:  # a cluster without this kind
        return []
