"""Which request is which conversation, and what must be true before one begins.

Everything that can be refused is refused while the connection is still HTTP: no such pod, no such container, one that
does not run. What fails later is said inside the conversation.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from tiphys.cluster.apiserver.http.identity import Authorizer
from tiphys.cluster.apiserver.http.paths import ResourcePath
from tiphys.cluster.apiserver.http.streams import forwarding, proxy, remote
from tiphys.cluster.apiserver.problems import bad_request
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.streams import RemoteOptions, StreamSource, parse_remote_options
from tiphys.cluster.apiserver.users import User
from tiphys.cluster.apiserver.verbs import Target
from tiphys.machinery.errors import DriverError, InternalError, ServiceUnavailable

SUBRESOURCES: Final = frozenset(("exec", "attach", "portforward", "proxy"))
_ACTS: Final = frozenset(("exec", "attach", "portforward"))


class Conversations:
    """Serves the subresources that are streams."""

    def __init__(self, server: ApiServer, authorizer: Authorizer) -> None:
        self._server = server
        self._authorizer = authorizer

    async def serve(
        self, request: web.BaseRequest, info: ResourceInfo, where: ResourcePath, user: User
    ) -> web.StreamResponse:
        """Raises ApiError. The caller has checked the request's own verb."""
        if where.subresource == "proxy":
            return await proxy.serve(request, self._server.store, info, where)
        if where.subresource in _ACTS and request.method == "GET":
            # A WebSocket begins with GET, but it acts: reading pods must not be enough for it.
            self._authorizer.check(user, "create", where)
        pod = self._server.store.view(self._server.verbs.get(Target(info, where.namespace, where.name)))
        source = self._source(pod)
        if where.subresource == "portforward":
            return await self._forward(request, pod, source)
        return await self._remote(request, where.subresource or "", pod, source)

    def _source(self, pod: Object) -> StreamSource:
        if not pod["spec"].get("nodeName"):
            raise bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")
        if self._server.stream_source is None:
            raise ServiceUnavailable("no node of this cluster runs commands")
        return self._server.stream_source

    async def _remote(
        self, request: web.BaseRequest, verb: str, pod: Object, source: StreamSource
    ) -> web.StreamResponse:
        command = tuple(request.query.getall("command", [])) if verb == "exec" else None
        options = parse_remote_options(pod, request.query, command)
        try:
            source.check(pod, options.container)
        except DriverError as err:
            raise _not_upgraded(str(err)) from err

        async def run(client: remote.Client) -> None:
            await _converse(client, verb, pod, options, source)

        return await remote.serve(request, options, run)

    async def _forward(self, request: web.BaseRequest, pod: Object, source: StreamSource) -> web.StreamResponse:
        if (pod.get("status") or {}).get("phase") != "Running":
            raise _not_upgraded(f'pod not found ("{pod["metadata"]["name"]}_{pod["metadata"]["namespace"]}")')
        meta = pod["metadata"]
        return await forwarding.serve(request, meta["name"], meta["uid"], lambda port: source.connect(pod, port))


async def _converse(
    client: remote.Client, verb: str, pod: Object, options: RemoteOptions, source: StreamSource
) -> None:
    try:
        session = source.exec(pod, options) if verb == "exec" else source.attach(pod, options)
    except DriverError as err:
        await client.finish(remote.failed(verb, str(err)))
        return
    await remote.converse(client, options, session, f"[{' '.join(options.command)}]")


def _not_upgraded(why: str) -> InternalError:
    text = f"unable to upgrade connection: {why}"
    return InternalError(f"Internal error occurred: {text}", {"causes": [{"message": text}]})
