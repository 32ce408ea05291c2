"""Resource templates: an object is read, made, changed or deleted, its state waited for, fields of it reported.

    action ──► object ──► conditions hold? ── watched, never polled ──► output parameters ──► Ended
      │ noted in ``memory``: a restarted agent does not act twice           (jsonPath, jqFilter)

Runs inside the node's agent in place of the pod's main container (docs/decisions). Failures are the original's texts
with exit code 64. Source: argoexec resource (workflow/executor/resource.go), kubectl v0.35.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tiphys.client.client import Client
from tiphys.lang import goyaml, jq
from tiphys.lang.jsonpath import JsonPathError, kubectl_output
from tiphys.machinery import resource_conditions
from tiphys.machinery.errors import ApiError, Expired, NotFound
from tiphys.machinery.podlife import Ended
from tiphys.machinery.resource_conditions import ConditionError, Conditions
from tiphys.machinery.resources import ObjectKey, Resource
from tiphys.runtime.clock import Clock
from tiphys.workflows.executor.errors import ExecutorError
from tiphys.workflows.executor.kubectl.errors import KubectlError, refused, yaml_text
from tiphys.workflows.executor.kubectl.names import ResourceNames
from tiphys.workflows.executor.kubectl.verbs import Command, Kubectl, Printed, is_transient
from tiphys.workflows.executor.template import Manifest, any_string

Object = Mapping[str, Any]
ACTIONS = ("get", "create", "apply", "delete", "replace", "patch")
FAILED = 64
# How often, and after how many seconds, an action that failed for a passing reason is tried again (as client-go does).
TRIES = 4
FIRST_PAUSE_SECONDS, PAUSE_FACTOR = 0.01, 5.0
# Between two looks at an object whose watch broke off.
WATCH_PAUSE_SECONDS = 1.0


@dataclass(frozen=True)
class Found:
    """The object that the template is about from then on."""

    resource: Resource
    key: ObjectKey

    def __str__(self) -> str:
        kind, group = self.resource.kind.lower(), self.resource.group
        return f"{kind}.{group}/{self.key.name}" if group else f"{kind}/{self.key.name}"


@dataclass(frozen=True)
class ResourceExecutor:
    client: Client
    names: ResourceNames
    clock: Clock

    async def run(
        self,
        template: Object,
        namespace: str,
        manifest: Callable[[], Manifest],
        memory: Path,
        say: Callable[[str], None],
    ) -> Ended:
        """Carries the template out. ``memory`` is a file that outlives the agent."""
        try:
            found = await self._act_once(template, namespace, manifest, memory)
            if template["resource"].get("action") == "delete":
                say("deleted")
                return Ended()
            if found is not None:
                say(str(found))
                await self._wait(found, template["resource"])
            return Ended(outputs=await self._outputs(found, template))
        except (ExecutorError, ConditionError, KubectlError) as err:
            return Ended(FAILED, str(err))

    async def _act_once(
        self, template: Object, namespace: str, manifest: Callable[[], Manifest], memory: Path
    ) -> Found | None:
        done, found = _recall(memory)
        if not done:
            found = await self._act(template, namespace, manifest)
            _note(memory, found)
        return found

    async def _act(self, template: Object, namespace: str, manifest: Callable[[], Manifest]) -> Found | None:
        command = command_of(template, manifest)
        try:
            printed = await self._try(Kubectl(self.client, self.names, namespace), command)
        except KubectlError as err:
            raise ExecutorError(f"no more retries {err}") from err
        return the_object(printed) if command.verb != "delete" else None

    async def _try(self, kubectl: Kubectl, command: Command) -> Printed:
        pause = FIRST_PAUSE_SECONDS
        for _ in range(TRIES - 1):
            try:
                return await kubectl.run(command)
            except ApiError as err:
                if not is_transient(err):
                    raise refused(err) from err
            await self._pause(pause)
            pause *= PAUSE_FACTOR
        try:
            return await kubectl.run(command)
        except ApiError as err:
            raise refused(err) from err

    async def _pause(self, seconds: float) -> None:
        await self.clock.sleep_until(self.clock.monotonic() + seconds)

    # Conditions.

    async def _wait(self, found: Found, resource: Object) -> None:
        """Until the conditions say success. Raises `ExecutorError` when they say failure, or the object is deleted."""
        success, failure = resource.get("successCondition") or "", resource.get("failureCondition") or ""
        if not (success or failure):
            return
        conditions = resource_conditions.parse(success, failure)
        while True:
            try:
                current = await self.client.get(found.resource, found.key)
                if _holds(conditions, current) or await self._watch(found, current, conditions):
                    return
            except NotFound as err:
                raise _deleted(err.message) from err
            except Expired:
                continue
            except ApiError as err:
                if not is_transient(err):
                    raise ExecutorError(err.message) from err
            await self._pause(WATCH_PAUSE_SECONDS)

    async def _watch(self, found: Found, current: Object, conditions: Conditions) -> bool:
        """True once they hold; False when the watch ended before."""
        query = {"fieldSelector": f"metadata.name={found.key.name}"}
        version = current["metadata"].get("resourceVersion")
        if version:
            query["resourceVersion"] = version
        async with self.client.watch(found.resource, found.key.namespace or None, **query) as events:
            async for event in events:
                if event.type == "DELETED":
                    raise _deleted(f'{found.resource.key} "{found.key.name}" not found')
                if event.type != "BOOKMARK" and _holds(conditions, event.object):
                    return True
        return False

    # Outputs.

    async def _outputs(self, found: Found | None, template: Object) -> Object | None:
        declared = (template.get("outputs") or {}).get("parameters") or ()
        if not declared:
            return None
        text = b""
        if found is not None and any(_reads(parameter) for parameter in declared):
            try:
                text = _json(await self.client.get(found.resource, found.key))
            except ApiError as err:
                raise refused(err) from err
        return {"parameters": [{**p, **_value(p, text, there=found is not None)} for p in declared]}


def command_of(template: Object, manifest: Callable[[], Manifest]) -> Command:
    """The template as a command. Raises `ExecutorError`."""
    resource = template["resource"]
    action, flags = str(resource.get("action") or ""), tuple(resource.get("flags") or ())
    conditioned = resource.get("successCondition") or resource.get("failureCondition")
    if action == "delete" and (conditioned or (template.get("outputs") or {}).get("parameters")):
        raise ExecutorError("successCondition, failureCondition and outputs are not supported for delete action")
    text, source = manifest().text, manifest().path
    if not text and not flags:
        raise ExecutorError("Must provide at least one of flags or manifest.")
    if action not in ACTIONS:
        raise ExecutorError(f'no more retries unknown command "{action}" for "kubectl"')
    if action == "delete":
        flags = ("--ignore-not-found", *flags)
    if action != "patch":
        return Command(action, flags, text, source)
    strategy = str(resource.get("mergeStrategy") or "strategic")
    return Command(action, flags, text, source, strategy, names_objects=_names_objects(strategy, flags, text))


def _names_objects(strategy: str, flags: tuple[str, ...], text: str) -> bool:
    """Whether a patch says itself what it is for: it does not where it has no kind and flags say it."""
    if strategy == "json":
        return False
    try:
        patch = goyaml.load(text)
    except goyaml.YamlError as err:
        raise ExecutorError(yaml_text(err)) from err
    if patch is not None and not isinstance(patch, Mapping):
        raise ExecutorError(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{_go_kind(patch)} into Go value of type map[string]interface {{}}"
        )
    return bool(text) and not (flags and (patch or {}).get("kind") is None)


def _go_kind(value: Any) -> str:
    kinds: tuple[tuple[type, str], ...] = ((list, "array"), (str, "string"), (bool, "bool"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "number")


def the_object(printed: Printed) -> Found | None:
    """The one object that kubectl printed; None for nothing. Raises `ExecutorError` for several."""
    if not printed.objects and not printed.as_list:
        return None
    if len(printed.objects) > 1 and not printed.as_list:
        raise ExecutorError("invalid character '{' after top-level value")
    resource, obj = printed.objects[0] if not printed.as_list else (None, {})
    meta = obj.get("metadata") or {}
    if resource is None or not meta.get("name"):
        raise ExecutorError("Kind and name are both required but at least one of them is missing from the manifest")
    return Found(resource, ObjectKey(meta.get("namespace") or "", meta["name"]))


def _holds(conditions: Conditions, obj: Object) -> bool:
    outcome = resource_conditions.evaluate(conditions, _json(obj).decode())
    if outcome.result == "failure":
        raise ExecutorError(outcome.message)
    return outcome.result == "success"


def _deleted(reason: str) -> ExecutorError:
    return ExecutorError(
        f"The resource has been deleted while its status was still being checked. Will not be retried: {reason}"
    )


def _reads(parameter: Object) -> bool:
    source = parameter.get("valueFrom") or {}
    return bool(source.get("jsonPath") or source.get("jqFilter"))


def _value(parameter: Object, text: bytes, *, there: bool) -> dict[str, str]:
    source = parameter.get("valueFrom")
    if source is None:
        return {}
    if not there:
        return {"value": any_string(source.get("default"))}
    if not _reads(parameter):
        return {}
    try:
        if source.get("jsonPath"):
            found = kubectl_output(f"jsonpath={source['jsonPath']}", orjson.loads(text))
            return {"value": jq.argo_filter(source["jqFilter"], found) if source.get("jqFilter") else found}
        return {"value": jq.argo_filter(source["jqFilter"], text)}
    except JsonPathError as err:
        raise ExecutorError(f"error: {err}") from err
    except jq.JqError as err:
        raise ExecutorError(str(err)) from err


def _json(obj: Object) -> bytes:
    return orjson.dumps(obj, default=dict)


def _note(memory: Path, found: Found | None) -> None:
    """Remembers that the action was taken, and on what."""
    noted: dict[str, Any] = {}
    if found is not None:
        r = found.resource
        noted = {"resource": [r.group, r.version, r.plural, r.kind, r.namespaced], "key": list(found.key)}
    memory.parent.mkdir(parents=True, exist_ok=True)
    draft = memory.with_suffix(".new")
    draft.write_text(json.dumps(noted), encoding="utf-8")
    draft.replace(memory)


def _recall(memory: Path) -> tuple[bool, Found | None]:
    """Whether the action was taken, and on what."""
    if not memory.exists():
        return False, None
    noted = json.loads(memory.read_text(encoding="utf-8"))
    return True, Found(Resource(*noted["resource"]), ObjectKey(*noted["key"])) if noted else None
