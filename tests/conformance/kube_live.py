"""Conversations with a real API server (``golden/kube-live``), held again with ours: request for request.

A document has ``exchanges``, or ``rows`` with exchanges each (then every row begins from the same state). Every
exchange is one row of the verdict. Symbols (``$uid1``, ``$rv3`` …) stand for whatever we answer, the same thing
everywhere; requests that use one get what it stood for. A watch is judged by all events up to the exchange that closed
it.

How the format is recognised and run is in ``formats/kube_live.py``; a line per failing row, and counts per file:

    python -m tests.conformance.kube_live FILE…

Left out: ``Warning`` texts' order; the order of ``managedFields`` (time stands still here), node ports and ages in
tables; response headers that are not in the recording; the order of keys; ``continue`` tokens' content; digests of
documents (``hash=``, which are of the bytes served, descriptions and all); files whose ``controllers`` say "all" (they
are judged where controllers are).
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from tests.conformance import golden
from tests.conformance.golden import Format, Row, Sample
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.http import representation
from tiphys.cluster.apiserver.http.handler import HttpHandler
from tiphys.cluster.apiserver.http.identity import Authenticator
from tiphys.cluster.apiserver.http.paths import ResourcePath, parse
from tiphys.cluster.apiserver.http.rbac import Rbac
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.tables import table_for
from tiphys.cluster.apiserver.users import ANONYMOUS, User
from tiphys.cluster.apiserver.verbs import Target, WriteOptions
from tiphys.cluster.apiserver.watch import Watcher
from tiphys.machinery.errors import ApiError
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SeededIds

WORKFLOW_CRDS = tuple(
    f"{kind}.argoproj.io"
    for kind in (
        "clusterworkflowtemplates",
        "cronworkflows",
        "workflowartifactgctasks",
        "workfloweventbindings",
        "workflows",
        "workflowtaskresults",
        "workflowtasksets",
        "workflowtemplates",
    )
)
SHOWN = {"authentication.kubernetes.io/credential-id": (f"X509SHA256={'0' * 64}",)}
USERS = {
    "admin": User("kubernetes-admin", ("system:masters", "system:authenticated"), "", SHOWN),
    "alice": User("alice", ("devs", "system:authenticated"), "", SHOWN),
    "bob": User("bob", ("system:authenticated",), "", SHOWN),
    "carol": User("carol", ("ops", "system:authenticated"), "", SHOWN),
    "anonymous": ANONYMOUS,
}
SYMBOL = re.compile(r"\$(?:[a-zA-Z]+[0-9]*)|<generateName>\$rand[0-9]+")
ANYTHING = ("$time", "$microtime", "$jwt", "$pem", "$rand", "$mtime")


def recognises(sample: Sample) -> bool:
    document = sample.document
    if not isinstance(document, dict) or document.get("controllers") == "all":
        return False
    exchanges = document.get("exchanges") or [e for row in document.get("rows", ()) for e in row.get("exchanges", ())]
    first = exchanges[0] if exchanges and isinstance(exchanges[0], dict) else {}
    return {"request", "response"} <= first.keys() and {"method", "path"} <= first["request"].keys()


def judge(sample: Sample) -> Iterator[Row]:
    return iter(asyncio.run(replay(sample.document)))


async def replay(document: dict[str, Any]) -> list[Row]:
    found: list[Row] = []
    if "exchanges" in document:
        async with conversation(document) as talk:
            found += await talk.hold(document["exchanges"], "")
        return found
    async with conversation(document) as talk:
        for row in document["rows"]:
            await talk.begin(row)
            found += await talk.hold(row["exchanges"], row["name"] + " ")
            await talk.clear()
    return found


class TestUsers(Authenticator):
    __test__ = False

    def identify(self, request: web.BaseRequest) -> User:
        name = request.headers.get("X-Test-User", "admin")
        return USERS[name] if name in USERS else super().identify(request)


@asynccontextmanager
async def conversation(document: Mapping[str, Any]) -> AsyncIterator[Conversation]:
    said = str(document.get("presupposes"))
    store, ids = Store(), RecordedIds(random.Random(1))
    await ApiServer.start(store, StillClock(), ids, definitions_of(document), roles=True)
    # A second server on the same store: its memory of changes begins here, older versions are "compacted".
    server = ApiServer(store, StillClock(), ids, accounts=True)
    handler = HttpHandler(server, TestUsers([server.tokens]), Rbac(server.store))
    runner = web.ServerRunner(web.Server(handler, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    talk = Conversation(server, ids, f"http://127.0.0.1:{runner.addresses[0][1]}")
    for name in namespaces_in(said):
        await talk.make("namespaces", {"metadata": {"name": name}})
        await talk.make("serviceaccounts", {"metadata": {"name": "default", "namespace": name}})
    try:
        async with aiohttp.ClientSession() as talk.session:
            yield talk
    finally:
        await runner.cleanup()
        await server.close()


def definitions_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The custom resources that the conversation finds installed: those it names, or the products'."""
    installed = [each["name"] for each in document.get("installed", ()) if each.get("status") == 201]
    if installed:
        return tuple(installed)
    return WORKFLOW_CRDS if "Argo Workflows' eight" in str(document.get("presupposes")) else ("none",)


def namespaces_in(text: str) -> list[str]:
    found = re.search(r"namespaces? ([a-z0-9-]+)(?: and ([a-z0-9-]+) exist)?", text)
    return [name for name in found.groups() if name] if found else []


class Conversation:
    """One replay; ``bound`` is what each symbol stands for."""

    session: aiohttp.ClientSession

    def __init__(self, server: ApiServer, ids: RecordedIds, url: str) -> None:
        self.server = server
        self.ids = ids
        self.url = url
        self.version = "1"
        self.bound: dict[str, str] = {}
        self.token = "bad"
        self.watches: list[OpenWatch] = []

    async def make(self, plural: str, obj: dict[str, Any]) -> None:
        info = self.server.registry.find("", "v1", plural)
        assert info is not None
        await self.server.verbs.create(Target(info, obj["metadata"].get("namespace")), obj, WriteOptions())

    async def begin(self, row: Mapping[str, Any]) -> None:
        """The state before a row: its objects that were made unrecorded."""
        self.bound = {}
        self._before = {
            name: set(self.server.store.collection(name).records) for name in self.server.store.collections()
        }
        for made in [row["precreate"]] if isinstance(row.get("precreate"), dict) else row.get("precreate") or ():
            await self.send({"method": "POST", "path": collection_path(made), "body": made})

    async def clear(self) -> None:
        """Takes away what a row made."""
        for name in self.server.store.collections():
            for key, record in list(self.server.store.collection(name).records.items()):
                if key not in self._before.get(name, ()):
                    await self.server.store.remove(name, record)

    async def hold(self, exchanges: list[dict[str, Any]], prefix: str) -> list[Row]:
        found: list[Row] = []
        for at, exchange in enumerate(exchanges):
            request = exchange["request"]
            name = f"{prefix}{at}: {request['method']} {request['path']}"
            if exchange.get("watch"):
                self.watches.append(OpenWatch(self, name, exchange, prefix))
            else:
                found.append(await self.exchange(name, exchange))
            for watch in [w for w in self.watches if w.closes_after <= at]:
                self.watches.remove(watch)
                found.append(watch.verdict())
        return found

    async def exchange(self, name: str, exchange: Mapping[str, Any]) -> Row:
        self.ids.recorded = recorded_suffix(exchange)
        self.version = stand_in_version(exchange)
        status, media, warnings, body = await self.send(exchange["request"])
        recorded = exchange["response"]
        expected: dict[str, Any] = {"status": recorded["status"], "contentType": recorded.get("contentType", "")}
        got: dict[str, Any] = {"status": status, "contentType": media}
        if recorded.get("warnings") or warnings:
            expected["warnings"], got["warnings"] = sorted(recorded.get("warnings") or []), sorted(warnings)
        if "body" in recorded:
            expected["body"] = recorded["body"]
            try:
                got["body"] = json.loads(body)
            except ValueError:
                got["body"] = body
            self.token = token_in(got["body"]) or self.token
        elif "bodyText" in recorded:
            expected["body"] = recorded["bodyText"]
            got["body"] = body if recorded["bodyText"] != MASKED else MASKED
        return self.verdict(name, expected, got)

    def verdict(self, name: str, expected: Any, got: Any) -> Row:
        bound, expected = dict(self.bound), self.keyed(expected)
        ok = fits(expected, got, bound)
        # What fits binds its symbols; of what does not, those found so far help the rest of the conversation.
        self.bound.update(bound)
        return Row(name, ok, difference(expected, got), difference(got, expected))

    def keyed(self, value: Any) -> Any:
        """A recorded answer with the symbols in its keys replaced (lists by value: ``v:"$podIP1/24"``)."""
        if isinstance(value, dict):
            return {self.filled(key) if "$" in key else key: self.keyed(member) for key, member in value.items()}
        return [self.keyed(item) for item in value] if isinstance(value, list) else value

    def stand_in(self, symbol: str) -> str:
        number = int(re.sub(r"\D", "", symbol) or 1)
        if symbol.startswith("$clusterIP"):
            return f"10.96.200.{number}"
        if symbol.startswith("$podIP"):
            return f"10.244.0.{number}"
        return self.version if symbol.startswith("$rv") else symbol

    async def send(self, request: Mapping[str, Any]) -> tuple[int, str, list[str], str]:
        headers = dict(request.get("headers") or {})
        headers.setdefault("User-Agent", "golden")
        headers["Host"] = "127.0.0.1:16443"
        headers["X-Test-User"] = str(request.get("user") or "admin")
        if request.get("user") == "token":  # the one that was answered last
            headers["Authorization"] = f"Bearer {self.token}"
        content: bytes | None = None
        if "bodyText" in request:
            text = re.sub(r"\$repeat:(.):(\d+)", lambda m: m[1] * int(m[2]), request["bodyText"])
            content = str(self.filled(text)).encode()
        elif "body" in request:
            content = json.dumps(self.filled(repeated(request["body"]))).encode()
        if content is not None and request.get("contentType", "application/json"):
            headers["Content-Type"] = request.get("contentType", "application/json")
        query = self.filled(dict(request.get("query") or {}))
        url = self.url + self.filled(request["path"]) + ("?" + urlencode(query) if query else "")
        method, whole = request["method"], URL(url, encoded=True)
        data = None if content is None else io.BytesIO(content)  # aiohttp warns of large bodies as bytes
        async with self.session.request(method, whole, data=data, headers=headers) as r:
            text = (await r.read()).decode("utf-8", "replace")
            return r.status, r.headers.get("Content-Type", ""), r.headers.getall("Warning", []), text

    def filled(self, value: Any) -> Any:
        """A request with its symbols replaced by what they stand for."""
        if isinstance(value, str):
            known = {**STAND_INS, "$jwt": self.token, **self.bound}
            return SYMBOL.sub(lambda m: known.get(m[0]) or self.stand_in(m[0]), value)
        if isinstance(value, dict):
            return {self.filled(key): self.filled(member) for key, member in value.items()}
        return [self.filled(item) for item in value] if isinstance(value, list) else value


class StillClock(SystemClock):
    """Every ``$time`` is one moment."""

    def now(self) -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC)


class RecordedIds(SeededIds):
    """``generateName`` ends as it did in the recording, where that is known."""

    recorded = ""

    def suffix(self) -> str:
        return self.recorded or super().suffix()


STAND_INS = {"$time": "2024-01-01T00:00:00Z", "$microtime": "2024-01-01T00:00:00.000000Z"}
MASKED = "(masked)"
CERTIFICATE = re.compile(r"X509SHA256=[0-9a-f]{64}")
NODE_PORT = re.compile(r":3[0-9]{4}/")
DIGEST = re.compile(r"hash=[0-9A-F]{128}")
AGE = re.compile(r"(\d+[smhdy]){1,2}")


def recorded_suffix(exchange: Mapping[str, Any]) -> str:
    """What ``generateName`` was completed with, where the recording shows it."""
    request, answer = exchange["request"].get("body"), exchange["response"].get("body")
    if not isinstance(request, dict) or not isinstance(answer, dict):
        return ""
    given = request.get("metadata")
    base = (given.get("generateName") if isinstance(given, dict) else "") or ""
    if not isinstance(base, str):
        return ""
    base = repeated(base)[:58]
    name = (answer.get("details") or {}).get("name") or (answer.get("metadata") or {}).get("name") or ""
    return name[len(base) :] if base and name.startswith(base) and "$" not in name[len(base) :] else ""


def stand_in_version(exchange: Mapping[str, Any]) -> str:
    """An unbound resourceVersion in a request was chosen by the recorder: too old, or from the future."""
    return "99999999999" if exchange["response"]["status"] == 504 else "1"


class OpenWatch:
    """A watch under way, straight from the server: nothing is sent late."""

    def __init__(self, talk: Conversation, name: str, exchange: Mapping[str, Any], prefix: str) -> None:
        del prefix
        self.talk, self.name, self.response = talk, name, exchange["response"]
        self.closes_after = int(self.response.get("closedAfter", -1))
        self.watcher: Watcher | None = None
        self.error: ApiError | None = None
        request = exchange["request"]
        self.accept = (request.get("headers") or {}).get("Accept", "")
        where = parse(request["path"])
        assert isinstance(where, ResourcePath)
        info = talk.server.registry.find(where.group, where.version, where.plural)
        assert info is not None
        self.info, self.query = info, talk.filled(dict(request.get("query") or {}))
        self.single = where.name
        try:
            self.how = representation.negotiate(self.accept)
            if where.name is None:
                asked = Request("watch", info.resource, where.namespace, None, None, self.query)
                self.watcher = talk.server.open_watch(asked)
            else:
                self.record = talk.server.verbs.get(Target(info, where.namespace, where.name))
        except ApiError as err:
            self.error = err

    def verdict(self) -> Row:
        events: list[Any] = []
        status = 200
        if self.error is not None:
            status = self.error.code
            events = [self.error.status()]
            if status == 410:  # too old is told inside the stream
                status, events = 200, [{"type": "ERROR", "object": self.error.status()}]
        elif self.watcher is None:
            events = [self.record.view]
        else:
            now, include = self.talk.server.clock.now(), self.query.get("includeObject", "")
            table = table_for(self.info, include, self.how.version, now) if self.how.shape == "Table" else None
            for event in self.watcher.take():
                events.append(json.loads(representation.frame(event, self.how, table)))
                table = table.continued() if table else None
            self.watcher.close()
        recorded = [e for e in self.response["events"] if not is_plain_bookmark(e)]
        events = [e for e in events if not is_plain_bookmark(e)]
        expected = {"status": self.response["status"], "events": recorded}
        return self.talk.verdict(self.name, expected, {"status": status, "events": events})


def is_plain_bookmark(event: Any) -> bool:
    """Bookmarks come when they come, except the one that ends the initial events."""
    if not isinstance(event, dict) or event.get("type") != "BOOKMARK":
        return False
    return "initial-events-end" not in json.dumps(event)


def collection_path(obj: Mapping[str, Any]) -> str:
    group = obj["apiVersion"]
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    kind = obj["kind"].lower()
    plural = kind + ("es" if kind.endswith("s") else "s")
    return f"{root}/namespaces/{obj['metadata'].get('namespace', 'g-default')}/{plural}"


def repeated(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"\$repeat:(.):(\d+)", lambda m: m[1] * int(m[2]), value)
    if isinstance(value, dict):
        return {repeated(key): repeated(member) for key, member in value.items()}
    return [repeated(item) for item in value] if isinstance(value, list) else value


def token_in(body: Any) -> str:
    """What a TokenRequest was answered with."""
    is_request = isinstance(body, dict) and body.get("kind") == "TokenRequest"
    return str((body.get("status") or {}).get("token") or "") if is_request else ""


# Comparing with symbols


def fits(expected: Any, got: Any, bound: dict[str, str]) -> bool:
    """Whether ``got`` is ``expected`` with every symbol standing for one thing; binds new symbols as it goes."""
    if isinstance(expected, str) and isinstance(got, int) and SYMBOL.fullmatch(expected):
        return text_fits(expected, str(got), bound)
    if isinstance(expected, str) and isinstance(got, str):
        return text_fits(expected, got, bound)
    if isinstance(expected, dict) and isinstance(got, dict):
        ok = expected.keys() == got.keys()
        for key, value in expected.items():
            ok = (key in got and fits(arranged(key, value), arranged(key, got[key]), bound)) and ok
        return ok
    if isinstance(expected, list) and isinstance(got, list):
        # Not a generator: symbols of later elements are bound even where an earlier one does not fit.
        fitting = [fits(one, other, bound) for one, other in zip(expected, got, strict=False)]
        return all(fitting) and len(expected) == len(got)
    return type(expected) is type(got) and bool(expected == got)


def arranged(key: str, value: Any) -> Any:
    """Owners are listed by time; where time stands still their order says nothing. Nor does that of custom kinds in
    discovery, which is the order of a Go map."""
    if key == "resources" and isinstance(value, list) and all(isinstance(v, dict) and "kind" in v for v in value):
        return sorted(value, key=lambda entry: str(entry.get("name")))
    if key != "managedFields" or not isinstance(value, list):
        return value
    return sorted(
        value, key=lambda entry: [str(entry.get(k)) for k in ("manager", "operation", "subresource", "apiVersion")]
    )


def text_fits(expected: str, got: str, bound: dict[str, str]) -> bool:
    if expected == "(masked)":
        return True
    if "$" not in expected and "<generateName>" not in expected:
        # Our clock stands still: every age is 0s.
        if CERTIFICATE.fullmatch(expected) and CERTIFICATE.fullmatch(got):
            return True  # the recorder's certificates are not ours
        same_age = AGE.fullmatch(got) is not None and AGE.fullmatch(expected) is not None
        return same_age or _comparable(expected) == _comparable(got)
    pattern, names, at = "", [], 0
    for match in SYMBOL.finditer(expected):
        pattern += re.escape(expected[at : match.start()])
        name = match[0]
        if name in bound:
            pattern += re.escape(bound[name])
        elif name in ANYTHING or name.startswith("$evt"):
            pattern += r"[\s\S]+?"
        else:
            pattern += r"([\s\S]+?)"
            names.append(name)
        at = match.end()
    found = re.fullmatch(pattern + re.escape(expected[at:]), got)
    if found is None:
        return False
    bound.update(zip(names, found.groups(), strict=True))
    return True


def _comparable(text: str) -> str:
    return DIGEST.sub("hash=…", NODE_PORT.sub(":P/", text))


def difference(one: Any, other: Any) -> Any:
    """``one`` without what it has in common with ``other``: what a reader of a failure wants to see."""
    if isinstance(one, dict) and isinstance(other, dict):
        found = {}
        for key, value in one.items():
            if key not in other:
                found[key] = value
            elif not fits(value, other[key], {}) and not fits(other[key], value, {}):
                found[key] = difference(value, other[key])
        return found
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = zip(one, other, strict=True)
        return [difference(a, b) for a, b in pairs if not fits(a, b, {}) and not fits(b, a, {})]
    return one


FORMAT = Format("conversations with an API server", recognises, judge)


def main(files: list[str]) -> int:
    exceptions = golden.deliberate()
    total = {"passed": 0, "failed": 0}
    for path in golden.files_under(map(Path, files)):
        counts = dict.fromkeys(total, 0)
        for verdict, row in golden.judge_file(path, [FORMAT], exceptions):
            if verdict == "failed":
                expected, got = golden.shorten(row.expected), golden.shorten(row.got)
                print(f"FAIL {path.name} {row.name}\n  expected: {expected}\n  got:      {got}")
            if verdict in counts:
                counts[verdict] += 1
        print(f"{path.name}: {counts['passed']} passed, {counts['failed']} failed")
        total = {verdict: total[verdict] + counts[verdict] for verdict in total}
    print(f"{total['passed']} passed, {total['failed']} failed")
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
