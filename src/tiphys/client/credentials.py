"""Who we are, to a server: headers and TLS for the ways a kubeconfig knows, renewed where they run out.

Token files are read again when they change (bound service account tokens live an hour); exec plugins run again when
the server no longer takes what they said.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from tiphys.client.kubeconfig import Cluster, ExecPlugin
from tiphys.machinery.errors import DriverError

PLUGIN_SECONDS_MAX: Final = 60.0


class CredentialSource:
    """The credentials of one cluster. ``headers`` before each request, ``ssl_context`` once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._said = cluster.credentials
        self._from_file: tuple[float, str] | None = None
        self._asked = False

    async def ssl_context(self) -> ssl.SSLContext:
        await self._ask_plugin()
        return self._cluster.ssl_context(self._said)

    async def headers(self) -> Mapping[str, str]:
        await self._ask_plugin()
        said = self._said
        token = said.token or self._file_token()
        if token:
            return {"Authorization": f"Bearer {token}"}
        if said.username is not None:
            pair = f"{said.username}:{said.password or ''}".encode()
            return {"Authorization": f"Basic {b64encode(pair).decode()}"}
        return {}

    def _file_token(self) -> str | None:
        path = self._said.token_file
        if path is None:
            return None
        changed = path.stat().st_mtime
        if self._from_file is None or self._from_file[0] != changed:
            self._from_file = (changed, path.read_text(encoding="utf-8").strip())
        return self._from_file[1]

    async def _ask_plugin(self) -> None:
        plugin = self._cluster.credentials.exec
        if plugin is None or self._asked:
            return
        status = await run_plugin(plugin)
        self._said = replace(
            self._said,
            token=status.get("token"),
            certificate=_bytes(status.get("clientCertificateData")),
            key=_bytes(status.get("clientKeyData")),
        )
        self._asked = True

    def renew(self) -> bool:
        """After a 401: True where asking again may give other credentials."""
        could = self._asked
        self._asked = False
        return could


async def run_plugin(plugin: ExecPlugin) -> Mapping[str, Any]:
    """The ``status`` of the ExecCredential that a plugin prints; raises DriverError."""
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": False}}
    environment = {**os.environ, **plugin.env, "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode()}
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command,
            *plugin.args,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as err:
        raise DriverError(f"cannot run the credential plugin {plugin.command}: {err.strerror}") from err
    try:
        async with asyncio.timeout(PLUGIN_SECONDS_MAX):
            out, errors = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise DriverError(f"the credential plugin {plugin.command} said nothing for {PLUGIN_SECONDS_MAX:g}s") from None
    if process.returncode != 0:
        text = errors.decode("utf-8", "replace").strip()[-500:]
        raise DriverError(f"the credential plugin {plugin.command} ended with {process.returncode}: {text}")
    try:
        status = orjson.loads(out)["status"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as err:
        raise DriverError(f"the credential plugin {plugin.command} printed no ExecCredential: {err}") from None
    if not isinstance(status, dict):
        raise DriverError(f"the credential plugin {plugin.command} printed no status")
    return status


def _bytes(text: str | None) -> bytes | None:
    return text.encode() if text else None
