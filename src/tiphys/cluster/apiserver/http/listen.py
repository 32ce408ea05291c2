"""Opens the API server to the network: HTTPS on loopback, a generated CA, an administrator's kubeconfig."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from tiphys.client import kubeconfig
from tiphys.cluster.apiserver.http.audit import Auditor
from tiphys.cluster.apiserver.http.connections import Connections
from tiphys.cluster.apiserver.http.handler import HttpHandler
from tiphys.cluster.apiserver.http.identity import Authenticator, Authorizer
from tiphys.cluster.apiserver.http.rbac import Rbac
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.users import MASTERS
from tiphys.machinery.errors import DriverError
from tiphys.serving.certificates import Authority, server_context

CLUSTER_NAME: Final = "tiphys"
ADMIN: Final = "admin"
CLOSE_SECONDS_MAX: Final = 2.0


@dataclass
class Served:
    """A listening server. ``kubeconfig`` is the text of an administrator's; ``close`` ends all connections."""

    url: str
    kubeconfig: str
    authority: Authority
    _runner: web.ServerRunner

    async def close(self) -> None:
        await self._runner.cleanup()


async def serve(
    server: ApiServer,
    listen: str,
    data_dir: Path,
    authenticator: Authenticator | None = None,
    authorizer: Authorizer | None = None,
    auditor: Auditor | None = None,
) -> Served:
    """Listens on ``host:port`` (port 0: any). Certificates live in ``data_dir/pki``; raises DriverError.

    The pipeline must be able to answer before this is called: the first client may come at once.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    authority = Authority(data_dir / "pki")
    now = server.clock.now()
    pair = await asyncio.to_thread(authority.server, [host, str(server.service_network[1])], now)
    admin = await asyncio.to_thread(authority.client, ADMIN, [MASTERS], now)
    server.ca_certificate = await asyncio.to_thread(authority.ca.certificate.read_bytes)
    known, allowed = authenticator or Authenticator([server.tokens]), authorizer or Rbac(server.store)
    handler = HttpHandler(server, known, allowed, auditor)
    runner = web.ServerRunner(
        Connections(handler, handler_cancellation=True, access_log=None, max_line_size=65_536, max_field_size=65_536),
        handle_signals=False,
        shutdown_timeout=CLOSE_SECONDS_MAX,
    )
    await runner.setup()
    site = web.TCPSite(
        runner, host, int(port), ssl_context=server_context(authority, pair), backlog=512, reuse_address=True
    )
    try:
        await site.start()
    except OSError as err:
        await runner.cleanup()
        raise DriverError(f"cannot listen on {listen}: {err.strerror or err}") from err
    address = runner.addresses[0]
    shown = f"[{host}]" if ":" in host else host
    url = f"https://{shown}:{address[1]}"
    text = kubeconfig.document(
        CLUSTER_NAME,
        url,
        authority.ca.certificate.read_bytes(),
        admin.certificate.read_bytes(),
        admin.key.read_bytes(),
    )
    return Served(url, text, authority, runner)
