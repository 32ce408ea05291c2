"""``/proxy``: plain HTTP to a port of a pod or of a Service, through the API server.

    /api/v1/namespaces/NS/pods/[http:|https:]NAME[:PORT]/proxy/PATH
    /api/v1/namespaces/NS/services/[http:|https:]NAME[:PORT or its name]/proxy/PATH

A Service's request goes to one of its ready pods. Bodies are streamed both ways; the caller's credentials stay here.
What asks for another protocol (a WebSocket) gets it where the pod agrees.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tiphys.cluster.apiserver.backends import service_address
from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.http.streams import upgrades
from tiphys.cluster.apiserver.problems import not_found
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import BadRequest, ServiceUnavailable

CONNECT_SECONDS_MAX: Final = 10.0
CHUNK_BYTES: Final = 64 << 10
SWITCHING_PROTOCOLS: Final = 101
# RFC 9110, 7.6.1; what is ours to know and not the pod's; what the client library sets itself.
_NOT_PASSED: Final = frozenset(
    (
        *("authorization", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)


@dataclass(frozen=True)
class Place:
    """Where a proxied request goes: ``scheme://host:port``."""

    scheme: str
    host: str
    port: int


async def serve(request: web.BaseRequest, store: Store, info: ResourceInfo, where: ResourcePath) -> web.StreamResponse:
    """Raises NotFound, BadRequest, and ServiceUnavailable where nobody answers."""
    place = locate(store, info, where)
    prefix, _, path = request.rel_url.raw_path.partition("/proxy")
    if not path and request.method in ("GET", "HEAD"):
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        return web.Response(status=301, headers={"Location": f"{prefix}/proxy/{query}"})
    text = f"{place.scheme}://{place.host}:{place.port}{path or '/'}"
    if request.rel_url.raw_query_string:
        text += f"?{request.rel_url.raw_query_string}"
    url = URL(text, encoded=True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        try:
            async with session.request(
                request.method,
                url,
                headers=_passed_on(request),
                data=request.content if request.can_read_body else None,
                allow_redirects=False,
                read_until_eof=not _protocol(request),
                ssl=_UNCHECKED if place.scheme == "https" else True,
            ) as answer:
                if answer.status == SWITCHING_PROTOCOLS:
                    return await upgrades.join(request, answer)
                return await _relay(request, answer, f"{prefix}/proxy")
        except (TimeoutError, aiohttp.ClientConnectionError) as err:
            why = str(err.__cause__ or err) or "timed out"
            raise ServiceUnavailable(f"error trying to reach service: {why}") from err


def _unchecked() -> ssl.SSLContext:
    """Pods have certificates of their own making; the original does not check them either."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_UNCHECKED: Final = _unchecked()


async def _relay(request: web.BaseRequest, answer: aiohttp.ClientResponse, prefix: str) -> web.StreamResponse:
    headers = CIMultiDict((key, value) for key, value in answer.headers.items() if key.lower() not in _NOT_PASSED)
    location = headers.get("Location", "")
    if location.startswith("/"):
        headers["Location"] = prefix + location
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    if answer.content_length is not None:
        response.content_length = answer.content_length
    await response.prepare(request)
    if request.method != "HEAD":
        async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
            await response.write(chunk)
    await response.write_eof()
    return response


def _protocol(request: web.BaseRequest) -> str:
    """The other protocol that is asked for, "" for none. Who only offers one (``Upgrade`` without ``Connection``) does
    not ask."""
    asks = any("upgrade" in value.lower() for value in request.headers.getall("Connection", ()))
    return request.headers.get("Upgrade", "") if asks else ""


def _passed_on(request: web.BaseRequest) -> CIMultiDict[str]:
    headers = CIMultiDict((key, value) for key, value in request.headers.items() if key.lower() not in _NOT_PASSED)
    headers.setdefault("Accept-Encoding", "identity")
    protocol = _protocol(request)
    if protocol:
        headers.update({"Connection": "Upgrade", "Upgrade": protocol})
    if request.remote:
        headers.add("X-Forwarded-For", request.remote)
    return headers


def locate(store: Store, info: ResourceInfo, where: ResourcePath) -> Place:
    """What a proxied name means. Raises NotFound, BadRequest, ServiceUnavailable."""
    scheme, name, port = _split(where.name or "")
    record = store.latest(info.collection, f"{where.namespace}/{name}")
    if record is None:
        raise not_found(info, name)
    obj = store.view(record)
    if info.collection == "pods":
        return _pod_place(obj, scheme, port)
    return Place(scheme, *service_address(store, where.namespace or "", name, port))


def _split(name: str) -> tuple[str, str, str]:
    """(scheme, name, port); the scheme is http unless it is said. Raises BadRequest."""
    parts = name.split(":")
    if len(parts) == 3 and parts[0] in ("http", "https", ""):
        return parts[0] or "http", parts[1], parts[2]
    if len(parts) > 2:
        raise BadRequest(f'invalid name "{name}"')
    return "http", parts[0], parts[1] if len(parts) == 2 else ""


def _pod_place(pod: Object, scheme: str, port: str) -> Place:
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise BadRequest("address not allowed")
    ports = [p for c in pod["spec"]["containers"] for p in c.get("ports") or ()]
    if not port:
        number = int(ports[0]["containerPort"]) if ports else (443 if scheme == "https" else 80)
    elif port.isdigit():
        number = int(port)
    else:
        number = next((int(p["containerPort"]) for p in ports if p.get("name") == port), 0)
        if not number:
            raise BadRequest(f'no container port "{port}" in pod "{pod["metadata"]["name"]}"')
    return Place(scheme, str(address), number)
