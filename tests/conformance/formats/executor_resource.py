"""Golden rows of resource templates: what reaches the API server, what is reported, and the message of a failure.

Recognised by ``out.kubectl``. Left out: ``kubectl`` (the original's command lines; ours has none), reading requests
(the original asks again and again, ours watches: scripted answers after the first come as events), ``manifestFile``
(no file is written), ``error`` where it only repeats ``terminationMessage``, and of ``taskResult`` what is not
``outputs`` (labels and order of the writes are the node agent's: ``executor_pipeline.py``).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.conformance.golden import Format, Row, Sample
from tiphys.app.names import RegistryNames
from tiphys.cli import kinds
from tiphys.client.client import Client
from tiphys.client.transport import Request, WatchEvent
from tiphys.cluster.apiserver.registry import builtin
from tiphys.lang.gofmt import quote
from tiphys.machinery.errors import AlreadyExists, InternalError, Invalid, NotFound, UnsupportedMediaType, from_status
from tiphys.machinery.patches import json as json_patch
from tiphys.machinery.patches import merge
from tiphys.machinery.resources import Resource
from tiphys.workflows.executor import inputs
from tiphys.workflows.executor.errors import go_error
from tiphys.workflows.executor.resource import ResourceExecutor
from tiphys.workflows.executor.template import MANIFEST, Manifest

METHODS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}
CUSTOM = "example.com"
NO_STRATEGIC = (
    "the body of the request was in an unknown format - accepted media types include: "
    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
)


def recognises(sample: Sample) -> bool:
    out = sample.head.get("out")
    return isinstance(out, dict) and "kubectl" in out and "taskResult" in out


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected = wanted(row["out"])
        got = asyncio.run(run(row["in"]))
        yield Row(row["name"], got == expected, expected, got)


def wanted(out: Mapping[str, Any]) -> dict[str, Any]:
    reports = [call["body"]["outputs"] for call in out["taskResult"] if call["body"].get("outputs")]
    writes = [
        {
            "method": call["method"],
            "path": call["path"],
            "query": dict(parse_qsl(call.get("query") or "")),
            "body": call.get("body"),
            "type": call.get("contentType"),
        }
        for call in out["requests"]
        if call["method"] != "GET"
    ]
    return {
        "exit": out["exit"],
        "message": out["terminationMessage"] or "",
        "outputs": reports[-1] if reports else None,
        "writes": writes,
    }


async def run(given: Mapping[str, Any]) -> dict[str, Any]:
    server = Server(given)
    template = given["template"] | {"resource": given["template"]["resource"] | {"action": given["action"]}}
    with tempfile.TemporaryDirectory() as folder:
        executor = ResourceExecutor(Client(server), Names(), AtOnce())
        memory = Path(folder) / "memory"
        end = await asyncio.wait_for(
            executor.run(template, "argo", manifest_of(template, Path(folder)), memory, lambda _: None), 20
        )
    return {"exit": end.code, "message": end.message, "outputs": end.outputs, "writes": server.writes}


def manifest_of(template: Mapping[str, Any], folder: Path) -> Callable[[], Manifest]:
    """The manifest where the init container has put it; artifacts of these rows are not staged."""

    def read() -> Manifest:
        staged = inputs.staged_file(template)
        if staged is not None:
            return Manifest(staged[1].decode(), staged[0])
        name = template["resource"]["manifestFrom"]["artifact"]["name"]
        given = (template.get("inputs") or {}).get("artifacts") or ()
        path = next((a["path"] for a in given if a["name"] == name), MANIFEST)
        try:
            return Manifest((folder / path.lstrip("/")).read_text(), path)
        except OSError as err:
            raise go_error("open", path, err) from err

    return read


@dataclass(frozen=True)
class Names:
    """The built-in resources, and whatever is asked for in the recording server's own group."""

    built_in: RegistryNames = field(default_factory=lambda: RegistryNames(builtin({})))

    def by_kind(self, group: str, version: str, kind: str) -> Resource | None:
        if group == CUSTOM:
            return Resource(group, version, kinds.plural(kind), kind)
        return self.built_in.by_kind(group, version, kind)

    def by_name(self, name: str) -> Resource | None:
        return self.built_in.by_name(name)


class AtOnce:
    """A clock on which waiting takes no time."""

    def now(self) -> datetime:
        return datetime(2099, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(when, call)

    async def sleep_until(self, when: float) -> None:
        await asyncio.sleep(0)


class Server:
    """The recording's API server: the objects that a row names, and scripted answers. A ``Transport``."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.writes: list[dict[str, Any]] = []
        self._objects: dict[str, Any] = {}
        self._scripts: dict[tuple[str, str], list[Any]] = {}
        self._uids = itertools.count(1)
        for api_version, plural, namespace, name, obj in given.get("objects") or ():
            prefix = "apis" if "/" in api_version else "api"
            inside = f"namespaces/{namespace}/" if namespace else ""
            self._objects[f"/{prefix}/{api_version}/{inside}{plural}/{name}"] = obj
        for script in given.get("api") or ():
            self._scripts[script["method"], script["path"]] = list(script.get("sequence") or [script])

    async def call(self, request: Request) -> Mapping[str, Any]:
        method = METHODS[request.verb]
        path = request.resource.path(request.namespace, request.name, request.subresource)
        if method != "GET":
            self._note(method, path, request)
        if (method, path) in self._scripts:
            return self._scripted(method, path)
        answer: Mapping[str, Any] = getattr(self, f"_{request.verb}")(path, request)
        return answer

    def _note(self, method: str, path: str, request: Request) -> None:
        body, query = json.loads(json.dumps(request.body)), dict(request.query)
        self.writes.append({"method": method, "path": path, "query": query, "body": body, "type": request.content_type})

    def _scripted(self, method: str, path: str) -> Mapping[str, Any]:
        script = self._scripts[method, path]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer.get("status", 200) >= 400:
            raise from_status(answer["body"])
        if "raw" in answer:
            raise InternalError(f"the server's answer is no JSON: {answer['raw']}")
        body: Mapping[str, Any] = answer["body"]
        return body

    def _get(self, path: str, request: Request) -> Mapping[str, Any]:
        if path not in self._objects:
            raise NotFound(f'{request.resource.key} "{request.name}" not found')
        found: Mapping[str, Any] = self._objects[path]
        return found

    def _list(self, path: str, request: Request) -> Mapping[str, Any]:
        wanted = dict(part.split("=") for part in (request.query.get("labelSelector") or "").split(",") if part)
        below = [obj for at, obj in self._objects.items() if at.startswith(f"{path}/")]
        items = [o for o in below if wanted.items() <= (o["metadata"].get("labels") or {}).items()]
        return {"kind": f"{request.resource.kind}List", "apiVersion": request.resource.api_version, "items": items}

    def _create(self, path: str, request: Request) -> Mapping[str, Any]:
        meta = dict(request.body.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}x"
        if not meta.get("name"):
            kind = f"{request.resource.kind}.{request.resource.group}"
            raise Invalid(
                f"{kind} {quote('')} is invalid: metadata.name: Required value: name or generateName is required"
            )
        if f"{path}/{meta['name']}" in self._objects:
            raise AlreadyExists(f'{request.resource.key} "{meta["name"]}" already exists')
        meta.setdefault("uid", f"00000000-0000-0000-0000-{next(self._uids):012}")
        made = {**request.body, "metadata": meta}
        if not request.query.get("dryRun"):
            self._objects[f"{path}/{meta['name']}"] = made
        return made

    def _update(self, path: str, request: Request) -> Mapping[str, Any]:
        self._get(path, request)
        self._objects[path] = request.body
        updated: Mapping[str, Any] = request.body
        return updated

    def _patch(self, path: str, request: Request) -> Mapping[str, Any]:
        kind = request.content_type
        if kind.startswith("application/apply-patch"):
            self._objects.setdefault(path, request.body)
            return self._update(path, request)
        current = self._get(path, request)
        if kind.startswith("application/strategic") and request.resource.group == CUSTOM:
            raise UnsupportedMediaType(NO_STRATEGIC)
        patched = (
            json_patch.apply(current, request.body) if "json-patch" in kind else merge.apply(current, request.body)
        )
        self._objects[path] = patched
        changed: Mapping[str, Any] = patched
        return changed

    def _delete(self, path: str, request: Request) -> Mapping[str, Any]:
        self._get(path, request)
        gone: Mapping[str, Any] = self._objects.pop(path)
        return gone

    def watch(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        name = request.query["fieldSelector"].removeprefix("metadata.name=")
        return self._watching(request.resource.path(request.namespace, name))

    @asynccontextmanager
    async def _watching(self, path: str) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        async def events() -> AsyncIterator[WatchEvent]:
            latest: Mapping[str, Any] = self._objects.get(path, {})
            while ("GET", path) in self._scripts:
                try:
                    latest = self._scripted("GET", path)
                except NotFound:
                    yield WatchEvent("DELETED", latest)
                    return
                yield WatchEvent("MODIFIED", latest)

        yield events()

    def stream(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotFound(f"no logs of {request.name}")

    async def close(self) -> None:
        return


FORMATS = [Format("executor-resource", recognises, judge)]
