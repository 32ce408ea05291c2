"""From an HTTP request to the verbs and back.

    identify → read the path → discovery, schemas, health
                             → authorize → body → ApiServer.answer / open_watch / open_log → represent

One handler, no routing table: paths of the Kubernetes API are regular, and resources come and go at run time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import web

from tiphys.client.transport import Request, Verb
from tiphys.cluster.apiserver.http import bodies, escalation, representation, reviews
from tiphys.cluster.apiserver.http.audit import Asked, Auditor, Entry
from tiphys.cluster.apiserver.http.connections import Connection
from tiphys.cluster.apiserver.http.discovery import Discovery
from tiphys.cluster.apiserver.http.fairness import Fairness, Seat
from tiphys.cluster.apiserver.http.health import Health, is_health
from tiphys.cluster.apiserver.http.identity import Authenticator, Authorizer
from tiphys.cluster.apiserver.http.impersonation import impersonated
from tiphys.cluster.apiserver.http.metrics import CONTENT_TYPE, Metrics
from tiphys.cluster.apiserver.http.openapi import OpenApi
from tiphys.cluster.apiserver.http.paths import GroupVersion, ResourcePath, asks_to_watch, parse
from tiphys.cluster.apiserver.http.rbac import Rbac
from tiphys.cluster.apiserver.http.representation import Representation
from tiphys.cluster.apiserver.http.streams.dispatch import SUBRESOURCES, Conversations
from tiphys.cluster.apiserver.listing import Page
from tiphys.cluster.apiserver.problems import no_such_page, not_allowed
from tiphys.cluster.apiserver.record import Record
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.server import Answer, ApiServer
from tiphys.cluster.apiserver.tables import Table, scale_table, table_for
from tiphys.cluster.apiserver.tokens import ISSUER
from tiphys.cluster.apiserver.users import User
from tiphys.cluster.apiserver.verbs import MANAGER_BYTES_MAX, WriteOptions, Writer
from tiphys.cluster.apiserver.version import VERSION
from tiphys.lang.gofmt import quote
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import ApiError, BadRequest, Forbidden, NotAcceptable
from tiphys.machinery.resources import Resource
from tiphys.machinery.selectors import SelectorError, parse_fields
from tiphys.machinery.times import to_time
from tiphys.serving.jwt import ALGORITHM

_ON_OBJECT: Final[dict[str, Verb]] = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_ON_COLLECTION: Final[dict[str, Verb]] = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_SEAT: Final = web.RequestKey("seat", Seat)
_ENTRY: Final = web.RequestKey("audit", list[Entry])
_WARNINGS: Final = web.RequestKey("warnings", list[str])
_WHERE: Final = web.RequestKey("where", object)
_KEYS: Final = "/openid/v1/jwks"
_CONFIGURATION: Final = "/.well-known/openid-configuration"
_PUBLIC: Final = {"Cache-Control": "public, max-age=3600"}
_JSON: Final = {"Content-Type": "application/json"}
_NO_CACHE: Final = {"Cache-Control": "no-cache, private"}
_BEGUN: Final = web.RequestKey("begun", int)
_CLIENT_GONE: Final = 499
_BROKEN: Final = 500
WRITE_SECONDS_MAX: Final = 60.0
"""How long a reader of a stream may take for what was sent to it."""


class HttpHandler:
    """Give it to ``aiohttp.web.Server``."""

    def __init__(
        self, server: ApiServer, authenticator: Authenticator, authorizer: Authorizer, auditor: Auditor | None = None
    ) -> None:
        self._auditor = auditor
        self._server = server
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._rbac = Rbac(server.store)
        server.verbs.chain.last = (escalation.step(self._rbac), *server.verbs.chain.last)
        self._discovery = Discovery(server.registry)
        self._openapi = OpenApi(server.registry)
        self._conversations = Conversations(server, authorizer)
        self._health = Health(server.store.takes_writes)
        self._fairness = Fairness()
        self._metrics = Metrics(server.store, server.registry)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        request[_WARNINGS] = []
        request[_WHERE] = where = parse(request.rel_url.raw_path)
        began = self._server.clock.monotonic()
        asked = self._metrics.begin(request.method, where, request.query, request.headers.get("Content-Type", ""))
        response: web.StreamResponse | None = None
        code = _BROKEN
        connection = request.protocol if isinstance(request.protocol, Connection) else None
        try:
            if connection is not None:
                connection.begin()
            response = await self._serve(request)
        except ApiError as err:
            response = refusal(err)
            if self._auditor is not None and _ENTRY not in request:
                self._begin_audit(request, User(""))
        except RecursionError:
            # Whatever reads schemas, patches and values calls itself for what is inside; this is its bound.
            response = refusal(BadRequest("the request nests values too deeply"))
        except (asyncio.CancelledError, ConnectionError):  # the client went away; for a stream that is a usual end
            code = request.get(_BEGUN, _CLIENT_GONE)
            raise
        finally:
            code = response.status if response is not None else code
            self._metrics.end(asked, code, self._server.clock.monotonic() - began)
            if self._auditor is not None:
                _end_audit(request, response)
            if connection is not None:
                connection.finish()
        return response

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = request.rel_url.raw_path
        known = self._authenticator.identify(request)
        if self._auditor is not None:
            self._begin_audit(request, known)
        if is_health(raw):
            return self._health.answer(raw, request.query)
        if raw in ("/version", "/version/"):
            return web.Response(body=orjson.dumps(VERSION, option=orjson.OPT_INDENT_2), headers={**_NO_CACHE, **_JSON})
        user = impersonated(request.headers, known, self._authorizer)
        entry = _entry(request)
        if entry is not None and user is not known:
            entry.impersonates(user)
        async with self._fairness.seat(user) as request[_SEAT]:
            return await self._route(request, raw, user)

    async def _route(self, request: web.BaseRequest, raw: str, user: User) -> web.StreamResponse:
        where = request[_WHERE]
        if isinstance(where, ResourcePath):
            return await self._resource(request, where, user)
        with _decision(request):
            self._authorizer.check_path(user, request.method.lower(), raw)
        if isinstance(where, GroupVersion):
            return self._discover(request, where)
        if raw == _KEYS:
            keys = orjson.dumps(self._server.tokens.key.jwks())
            return web.Response(body=keys, headers={**_PUBLIC, "Content-Type": "application/jwk-set+json"})
        if raw == _CONFIGURATION:
            return web.Response(body=self._configuration(request), headers={**_PUBLIC, **_JSON})
        if raw.startswith("/openapi/"):
            return self._openapi.answer(request)
        if raw == "/":
            return answer_json({"paths": sorted({*self._discovery.paths(), *self._health.paths()})})
        if raw == "/metrics":
            return web.Response(body=self._metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})
        if raw == "/metrics/slis":
            return self._health.metrics()
        return web.Response(status=404, text="404 page not found\n")

    def _configuration(self, request: web.BaseRequest) -> bytes:
        """How others verify tokens of this cluster (OpenID Connect Discovery 1.0)."""
        return orjson.dumps(
            {
                "issuer": ISSUER,
                "jwks_uri": f"https://{request.host}{_KEYS}",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            }
        )

    def _discover(self, request: web.BaseRequest, where: GroupVersion) -> web.StreamResponse:
        document = self._discovery.answer(where, request.headers.get("Accept", ""), request.host)
        if document is None:
            return web.Response(status=404, text="404 page not found\n")
        return web.Response(body=document.body, headers={**_NO_CACHE, "Content-Type": document.content_type})

    def _begin_audit(self, request: web.BaseRequest, user: User) -> None:
        """Before anything is decided: a request that is refused is told of as well."""
        assert self._auditor is not None, "asked before"
        raw, method = request.rel_url.raw_path, request.method
        where = request[_WHERE]
        place = where if isinstance(where, ResourcePath) else None
        verb = method.lower() if place is None else _verb_or_method(method, place, request.query)
        sources = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        sources += [request.remote] if request.remote else []
        asked = Asked(user, verb, raw, place)
        agent = request.headers.get("User-Agent", "")
        entry = self._auditor.begin(asked, request.raw_path, sources, agent)
        request[_ENTRY] = [] if entry is None else [entry]

    # Resources

    async def _resource(self, request: web.BaseRequest, where: ResourcePath, user: User) -> web.StreamResponse:
        if where.group not in self._server.registry.groups():
            return web.Response(status=404, text="404 page not found\n")
        info = self._server.registry.find(where.group, where.version, where.plural)
        if info is None:
            if self._is_custom(where.group):
                return web.Response(status=404, text="404 page not found\n")
            raise no_such_page()
        if info.custom is not None and where.namespace is not None and not info.resource.namespaced:
            return web.Response(status=404, text="404 page not found\n")
        query = dict(request.query)
        verb = _verb(request.method, where, query)
        if info.resource.namespaced and where.namespace is None and verb in ("create", "deletecollection"):
            raise not_allowed()
        with _decision(request):
            self._authorizer.check(user, verb, _named(where, verb, query))
        if verb == "create" and info.is_virtual and reviews.is_review(info.kind):
            return await self._review(request, info, user)
        if where.subresource in SUBRESOURCES:
            if info.subresource(where.subresource) is None:
                raise no_such_page()
            request[_SEAT].give_back()
            return await self._conversations.serve(request, info, where, user)
        kind_request = self._request(info.resource, where, verb, query)
        if where.subresource == "log":
            return await self._log(request, kind_request)
        how = representation.negotiate(request.headers.get("Accept", ""))
        if verb == "watch":
            return await self._watch(request, info, kind_request, how)
        try:
            answer = await self._answer(request, kind_request, verb, user)
        except ApiError as err:
            warnings = request[_WARNINGS]
            return _warned(refusal(err), info, warnings)
        return _warned(self._respond(info, answer, how, query), info, answer.warnings)

    def _is_custom(self, group: str) -> bool:
        """Groups that only definitions make answer what they do not have with a bare page."""
        return all(info.custom is not None for info in self._server.registry if info.resource.group == group)

    def _request(self, resource: Resource, where: ResourcePath, verb: Verb, query: dict[str, str]) -> Request:
        if where.is_watch and where.name:
            query["fieldSelector"] = f"metadata.name={where.name}"
        name = None if verb == "watch" else where.name
        return Request(verb, resource, where.namespace, name, where.subresource, query)

    async def _answer(self, request: web.BaseRequest, asked: Request, verb: Verb, user: User) -> Answer:
        if verb in ("get", "list"):
            return await self._server.answer(asked)
        entry = _entry(request)
        writer = Writer(_agent(request), trusted=False, user=user, warnings=request[_WARNINGS])
        if entry is not None:
            writer = replace(writer, audit=entry.annotations)
        media = bodies.media_type(request)
        if verb in _OPTIONS:  # what is wrong with them is told before the body is looked at
            WriteOptions.parse(asked.query, _OPTIONS[verb], writer, applies=media == PatchType.APPLY.value)
        content = await bodies.read(request)
        if not content and verb in ("delete", "deletecollection"):
            return await self._server.answer(asked, writer)
        full = _with_body(asked, bodies.parse(content, media, asked.resource.kind), media)
        self._check_shape(full, verb)
        if entry is not None:
            entry.sent(full.body)
        return await self._server.answer(full, writer)

    def _check_shape(self, asked: Request, verb: Verb) -> None:
        """Bodies that are no stored object must still be of their type; raises BadRequest."""
        if verb in ("delete", "deletecollection"):
            bodies.check(asked.body, "meta.k8s.io/v1", "DeleteOptions")
        elif asked.subresource not in (None, "status") and verb in ("create", "update"):
            info = self._server.target(asked).info
            part = info.subresource(asked.subresource)
            assert part is not None, "looked for with the target"
            version = f"{part.group}/{part.version}" if part.group else part.version
            bodies.check(asked.body, version or info.resource.api_version, part.kind)

    def _respond(
        self, info: ResourceInfo, answer: Answer, how: Representation, query: Mapping[str, str]
    ) -> web.Response:
        value = answer.value

        def table() -> Table:
            return table_for(info, query.get("includeObject", ""), how.version, self._server.clock.now())

        if isinstance(value, Page):
            if how.shape == "PartialObjectMetadata":
                raise _wrong_shape(how, f"the requested object is a list (*core.{info.list_kind})")
            body = representation.page(value, how, table)
        elif isinstance(value, Record):
            if how.shape == "PartialObjectMetadataList":
                raise _wrong_shape(how, f"the requested object is not a list (*core.{info.kind})")
            body = representation.one(info, value, how, table)
        elif how.shape == "Table" and value.get("kind") == "Scale":
            body = how.encode(scale_table(value, how.version, self._server.clock.now()))
        else:
            body = how.encode(value)
        headers = {**_NO_CACHE, "Content-Type": how.media_type}
        return web.Response(status=answer.code, body=body + how.ending, headers=headers)

    async def _watch(
        self, request: web.BaseRequest, info: ResourceInfo, asked: Request, how: Representation
    ) -> web.StreamResponse:
        if how.media_type == bodies.PROTOBUF:
            how.encode(info.codec.empty() if info.codec is not None else {})  # refused now rather than in the stream
        watcher = self._server.open_watch(asked)
        watcher.count_bytes()
        include = asked.query.get("includeObject", "")
        try:
            response = web.StreamResponse(headers={**_NO_CACHE, "Content-Type": how.stream_type})
            response.enable_chunked_encoding()
            await response.prepare(request)
            _begin_stream(request)
            request[_SEAT].give_back()
            has_columns = False
            async for event in watcher:
                table = None
                if how.shape == "Table":
                    table = table_for(info, include, how.version, self._server.clock.now())
                    table = table.continued() if has_columns else table
                frames = [representation.frame(event, how, table)]
                # The columns are said once, in the first frame.
                later = table.continued() if table is not None else None
                frames += [representation.frame(each, how, later) for each in watcher.take()]
                has_columns = True
                self._metrics.watched(info.resource, len(frames))
                async with asyncio.timeout(WRITE_SECONDS_MAX):
                    await response.write(b"".join(frames))
        except TimeoutError:
            return _cut_off(request, response)
        except ConnectionResetError:  # who watched was killed: no failure of ours
            return response
        except ApiError as err:
            if not response.prepared:
                raise
            await response.write(representation.error_frame(err.status(), how))
        finally:
            watcher.close()
        await response.write_eof()
        return response

    async def _review(self, request: web.BaseRequest, info: ResourceInfo, user: User) -> web.StreamResponse:
        """A question about access or identity."""
        how = representation.negotiate(request.headers.get("Accept", ""))
        body = bodies.parse(await bodies.read(request), bodies.media_type(request), info.kind)
        asker = reviews.Asker(user, to_time(self._server.clock.now()), _agent(request))
        bodies.check(body, info.resource.api_version, info.kind)
        given = body or {}
        entry = _entry(request)
        if entry is not None:
            entry.sent(given)
        found = reviews.answer(info.kind, given, asker, self._rbac, self._server.tokens)
        return web.Response(status=201, body=how.encode(found), headers={**_NO_CACHE, "Content-Type": how.media_type})

    async def _log(self, request: web.BaseRequest, asked: Request) -> web.StreamResponse:
        async with self._server.open_log(asked) as chunks:
            response = web.StreamResponse(headers={**_NO_CACHE, "Content-Type": "text/plain"})
            response.enable_chunked_encoding()
            await response.prepare(request)
            _begin_stream(request)
            request[_SEAT].give_back()
            async for chunk in chunks:
                try:
                    async with asyncio.timeout(WRITE_SECONDS_MAX):
                        await response.write(chunk)
                except TimeoutError:
                    return _cut_off(request, response)
        await response.write_eof()
        return response


def _cut_off(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Nobody reads: what is queued for such a reader would be kept for as long as the connection stands."""
    if request.transport is not None:
        request.transport.abort()
    return response


def _entry(request: web.BaseRequest) -> Entry | None:
    """What the audit log wants to know of the request; None: nothing."""
    found = request.get(_ENTRY)
    return found[0] if found else None


@contextmanager
def _decision(request: web.BaseRequest) -> Iterator[None]:
    """Around a question whether the user may."""
    entry = _entry(request)
    try:
        yield
    except Forbidden:
        if entry is not None:
            entry.decided(allowed=False)
        raise
    if entry is not None:
        entry.decided(allowed=True)


def _begin_stream(request: web.BaseRequest) -> None:
    """The head of the answer is sent: whatever comes, it was a 200."""
    request[_BEGUN] = 200
    entry = _entry(request)
    if entry is not None:
        entry.event["responseStatus"] = {"metadata": {}, "code": 200}
        entry.reached("ResponseStarted")


def _end_audit(request: web.BaseRequest, response: web.StreamResponse | None) -> None:
    """``response`` is None where the client went away."""
    entry = _entry(request)
    if entry is None:
        return
    body = response.body if isinstance(response, web.Response) else None
    content = body if isinstance(body, bytes) else b""
    if response is not None and response.status >= 400 and content.startswith(b'{"kind":"Status"'):
        entry.refused(orjson.loads(content))
    elif response is not None:
        entry.answered(response.status, content)
    entry.reached("ResponseComplete")


def _verb_or_method(method: str, where: ResourcePath, query: Mapping[str, str]) -> str:
    try:
        return _verb(method, where, query)
    except ApiError:
        return method.lower()


def _warned(response: web.Response, info: ResourceInfo, warnings: Sequence[str]) -> web.Response:
    """An answer with what every request for the kind is told, and what was said about this one."""
    standing = [info.strategy.warning] if info.strategy.warning else []
    for warning in dict.fromkeys([*standing, *warnings]):
        response.headers.add("Warning", f"299 - {quote(warning)}")
    return response


_OPTIONS: Final[Mapping[Verb, str]] = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def refusal(err: ApiError) -> web.Response:
    """A failed request's answer."""
    headers = dict(_NO_CACHE)
    seconds = err.details.get("retryAfterSeconds")
    if seconds:
        headers["Retry-After"] = str(seconds)
    return web.json_response(body=orjson.dumps(err.status()), status=err.code, headers=headers)


def answer_json(value: Any) -> web.Response:
    return web.json_response(body=orjson.dumps(value), headers=_NO_CACHE)


def _verb(method: str, where: ResourcePath, query: Mapping[str, str]) -> Verb:
    """What a method means at a path; raises MethodNotAllowed."""
    if method == "GET" and asks_to_watch(where, query):
        return "watch"
    if where.subresource is not None and method == "POST":
        return "create"
    if method == "HEAD" and where.subresource == "proxy":
        return "get"
    verb = (_ON_COLLECTION if where.name is None else _ON_OBJECT).get(method)
    if verb is None:
        raise not_allowed()
    return verb


def _named(where: ResourcePath, verb: Verb, query: Mapping[str, str]) -> ResourcePath:
    """A list or watch of one name is judged as a request for that object."""
    if where.name is not None or verb not in ("list", "watch", "deletecollection"):
        return where
    try:
        name = parse_fields(query.get("fieldSelector", "")).exact_value("metadata.name")
    except SelectorError:
        return where
    return replace(where, name=name) if name else where


def _with_body(asked: Request, body: Any, media: str) -> Request:
    return Request(asked.verb, asked.resource, asked.namespace, asked.name, asked.subresource, asked.query, body, media)


def _agent(request: web.BaseRequest) -> str:
    """The manager of fields of a writer that names none: its program, from the User-Agent."""
    return request.headers.get("User-Agent", "").partition("/")[0][:MANAGER_BYTES_MAX] or "unknown"


def _wrong_shape(how: Representation, why: str) -> NotAcceptable:
    return NotAcceptable(f"you requested {how.shape}, but {why}")
