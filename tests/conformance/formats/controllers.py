"""Effects of the cluster's controllers (``golden/kube-live``, documents with ``controllers: all``), seen with ours: the
same requests to our API server, with all controllers, the scheduler and one simulated node, in virtual time.

A request that reads is asked again until the answer is the recorded one (up to a virtual deadline, as the recorder
waited for it); one that writes is sent once, when things are quiet. Symbols mean what ``kube_live.py`` says.

Left out, as the recording's README says or because how many writes it took is ours to choose: resourceVersions; the
order of items; the order and the count of events, and events that the recorder was too early for; ``managedFields`` of
events; the header contentType.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tests.conformance.kube_live import SYMBOL, difference, fits
from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.app.places import HostPlaces
from tiphys.client.client import Client
from tiphys.client.managed import ManagedTransport
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.http.paths import ResourcePath, parse
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.verbs import Writer
from tiphys.cluster.apiserver.watch import Watcher
from tiphys.cluster.node.simulated.nodes import SimulatedNodes
from tiphys.cluster.node.simulated.stages import Stages, load
from tiphys.machinery.errors import ApiError
from tiphys.machinery.resources import NAMESPACES
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop

TRIGGERS = ("endpoints.kubernetes.io/last-change-trigger-time", "f:endpoints.kubernetes.io/last-change-trigger-time")
IDENTITY = re.compile(r'(k:{"(?:uid|ip)":|v:)"[^"]*"')
WAITED_SECONDS = 150.0
QUIET_SECONDS = 3.0
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def recognises(sample: Sample) -> bool:
    document = sample.document
    if not isinstance(document, dict) or document.get("controllers") != "all":
        return False
    first = document["exchanges"][0]
    return {"request", "response"} <= first.keys() and {"method", "path"} <= first["request"].keys()


def judge(sample: Sample) -> Iterator[Row]:
    clock = VirtualClock()
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return iter(runner.run(replay(sample.document, clock)))


async def replay(document: Mapping[str, Any], clock: VirtualClock) -> list[Row]:
    rng = random.Random(1)
    async with AsyncExitStack() as stack:
        store = Store(shared_maps=SHARED_MAPS)
        server = await ApiServer.start(store, clock, SeededIds(rng), ("none",), roles=True, accounts=True)
        stack.push_async_callback(server.close)
        server.ca_certificate = b"PEM"
        kubelet = Client(ManagedTransport(server.transport(), "Go-http-client"))
        stages = Stages(load().stages, prefix="fake")
        nodes = SimulatedNodes(kubelet, ["node-1"], clock=clock, rng=rng, stages=stages)
        await nodes.register()
        feed = StoreFeed(store, server.registry)
        places = HostPlaces(Path("/volumes"))
        controllers = ClusterControllers(server.transport(), feed, clock, rng, lambda: "PEM", places)
        tasks = [asyncio.create_task(nodes.run()), asyncio.create_task(controllers.run())]
        for name in re.findall(r"namespaces? ([a-z0-9-]+)", str(document.get("presupposes"))):
            await Client(server.transport()).create(NAMESPACES, {"metadata": {"name": name}})
        await quiet()
        talk = Conversation(server, clock)
        rows = await talk.hold(document["exchanges"])
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                raise outcome
        return rows


async def quiet() -> None:
    await asyncio.sleep(QUIET_SECONDS)


class Conversation:
    def __init__(self, server: ApiServer, clock: VirtualClock) -> None:
        self.server = server
        self.clock = clock
        self.bound: dict[str, str] = {}

    async def hold(self, exchanges: Sequence[Mapping[str, Any]]) -> list[Row]:
        rows: list[Row] = []
        watches: list[tuple[str, Mapping[str, Any], Watcher]] = []
        for number, exchange in enumerate(exchanges):
            request = exchange["request"]
            name = f"{number} {request['method']} {request['path']}"
            if exchange.get("watch"):
                watches.append((name, exchange["response"], self.watch(request)))
                continue
            rows.append(await self.one(name, exchange))
            for watched, response, watcher in [w for w in watches if w[1].get("closedAfter") == number]:
                rows.append(self.watched(watched, response, watcher))
        return rows

    async def one(self, name: str, exchange: Mapping[str, Any]) -> Row:
        request, response = exchange["request"], exchange["response"]
        expected = {key: response[key] for key in ("status", "body") if key in response}
        reads = request["method"] == "GET"
        if not reads:
            await quiet()
        deadline = self.clock.monotonic() + (WAITED_SECONDS if reads else 0.0)
        while True:
            got = await self.send(request)
            self.bind_version(expected, got)
            bound = agrees(expected, got, self.bound)
            if bound is not None or self.clock.monotonic() >= deadline:
                break
            await asyncio.sleep(0.25)
        if bound is not None:
            self.bound = bound
            return Row(name, True)
        fits(expected, got, self.bound)
        return Row(name, False, difference(expected, got), difference(got, expected))

    def bind_version(self, expected: Mapping[str, Any], got: Mapping[str, Any]) -> None:
        """The version of a list, which a later watch begins from."""
        symbol = str(((expected.get("body") or {}).get("metadata") or {}).get("resourceVersion"))
        version = (got["body"].get("metadata") or {}).get("resourceVersion")
        if symbol.startswith("$rv") and version:
            self.bound[symbol] = str(version)

    def watched(self, name: str, response: Mapping[str, Any], watcher: Watcher) -> Row:
        got = [{"type": event.type, "object": event.record.view} for event in watcher.take()]
        bound = agrees(response["events"], got, self.bound)
        watcher.close()
        ok = bound is not None
        self.bound = bound if bound is not None else self.bound
        return Row(name, ok, difference(response["events"], got), difference(got, response["events"]))

    def watch(self, request: Mapping[str, Any]) -> Watcher:
        where = parse(request["path"])
        assert isinstance(where, ResourcePath)
        info = self.server.registry.find(where.group, where.version, where.plural)
        assert info is not None
        query = self.filled(dict(request.get("query") or {}))
        return self.server.open_watch(Request("watch", info.resource, where.namespace, None, None, query))

    async def send(self, request: Mapping[str, Any]) -> dict[str, Any]:
        where = parse(self.filled(request["path"]))
        assert isinstance(where, ResourcePath)
        info = self.server.registry.find(where.group, where.version, where.plural)
        assert info is not None, request["path"]
        verb: Any = VERBS[request["method"]]
        if where.name is None:
            verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
        asked = Request(
            verb,
            info.resource,
            where.namespace,
            where.name,
            where.subresource,
            self.filled(dict(request.get("query") or {})),
            self.filled(request.get("body")),
            request.get("contentType") or "application/json",
        )
        try:
            answer = await self.server.answer(asked, Writer("golden", trusted=False))
        except ApiError as err:
            return {"status": err.code, "body": err.status()}
        value: Any = answer.value
        if hasattr(value, "records"):
            value = {
                "kind": value.info.list_kind,
                "apiVersion": value.info.resource.api_version,
                "metadata": value.metadata(),
                "items": [bare(record.view) for record in value.records],
            }
        elif hasattr(value, "view"):
            value = value.view
        return {"status": answer.code, "body": value}

    def filled(self, value: Any) -> Any:
        """A request with its symbols replaced by what they stand for."""
        if isinstance(value, str):
            found = SYMBOL.sub(lambda m: self.bound.get(m[0], m[0]), value)
            return self.some_pod(found) if "-$rand" in found else found
        if isinstance(value, dict):
            return {self.filled(key): self.filled(member) for key, member in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value

    def some_pod(self, path: str) -> str:
        """A path with a generated name that was never shown: any pod of that name's beginning."""
        shown = re.search(r"([a-z0-9.-]*-)\$rand[0-9]*", path)
        assert shown is not None
        names = (key.partition("/")[2] for key in self.server.store.collection("pods").order)
        chosen = next((name for name in names if name.startswith(shown[1])), shown[0])
        return path.replace(shown[0], chosen)


def bare(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}


# Comparing


def agrees(expected: Any, got: Any, bound: Mapping[str, str]) -> dict[str, str] | None:
    """The symbols with what they stand for, where the answers agree."""
    expected, got = settled(expected), settled(got)
    items = (expected.get("body") or {}).get("items") if isinstance(expected, dict) else None
    theirs = (got.get("body") or {}).get("items") if isinstance(got, dict) else None
    found = dict(bound)
    if isinstance(items, list) and isinstance(theirs, list):
        head = {**expected, "body": {**expected["body"], "items": []}}
        if not fits(head, {**got, "body": {**got["body"], "items": []}}, found):
            return None
        if all("involvedObject" in item for item in (*items, *theirs)):
            return same_events(items, theirs, found)
        return matched(items, theirs, found) if len(items) == len(theirs) else None
    return found if fits(expected, got, found) else None


def matched(items: list[Any], theirs: list[Any], bound: dict[str, str]) -> dict[str, str] | None:
    """Each recorded item with one of ours, all with the same symbols; tries other pairs where one does not do."""
    if not items:
        return bound
    for at, other in enumerate(theirs):
        found = dict(bound)
        if fits(items[0], other, found):
            rest = matched(items[1:], theirs[:at] + theirs[at + 1 :], found)
            if rest is not None:
                return rest
    return None


def same_events(items: list[Any], theirs: list[Any], bound: dict[str, str]) -> dict[str, str] | None:
    """Every recorded event is among ours; what ours say of the same kind of thing for the same reason is recorded too.

    Not the whole way round: events are written late, the recorder sometimes looked before the last ones came.
    """
    known = {matter(item) for item in items}
    forth = all(any(fits(told(item), told(other), dict(bound)) for other in theirs) for item in items)
    ours = [other for other in theirs if matter(other) in known]
    back = all(any(fits(told(item), told(other), dict(bound)) for item in items) for other in ours)
    return bound if forth and back else None


def matter(event: Mapping[str, Any]) -> tuple[str, ...]:
    return event["reason"], event["involvedObject"]["kind"], event["reportingComponent"]


def told(event: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in event.items() if key not in ("metadata", "count", "series")}
    about = {key: value for key, value in event["involvedObject"].items() if key not in ("resourceVersion", "uid")}
    about["name"] = unnamed(about["name"])
    return kept | {"involvedObject": about, "reportingInstance": "", "message": unnamed(event["message"])}


def unnamed(text: str) -> str:
    """A text without the ends of generated names."""
    return re.sub(r"-(?:\$rand[0-9]*|[bcdfghjklmnpqrstvwxz2456789]{5})(?![a-z0-9])", "-*", text)


def settled(value: Any) -> Any:
    """A value without what says how many writes there were: versions, and of EndpointSlices the generation and whether
    the last one answered a change. Keys of ``managedFields`` that hold symbols lose their values."""
    if isinstance(value, dict):
        found = {
            IDENTITY.sub(r'\1""', key): "" if key == "resourceVersion" else settled(member)
            for key, member in value.items()
            if key not in TRIGGERS
        }
        if value.get("addressType"):
            found["metadata"].pop("generation", None)
        for name in ("annotations", "f:annotations"):
            if not (found.get(name) or {}).keys() - {"."}:
                found.pop(name, None)
        return found
    if isinstance(value, list):
        return [settled(item) for item in value]
    if value in ("$pem-base64", "$jwt-base64"):
        return "$pem"
    return unnamed(value) if isinstance(value, str) and " " in value else value


FORMATS = [Format("effects of the cluster's controllers", recognises, judge)]
