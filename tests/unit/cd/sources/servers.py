"""Servers of repositories on this machine: files and git over HTTP(S), git over SSH. Each is gone with its block."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from tests.unit.cluster.node.images.registry_server import answering
from tiphys.serving.certificates import Authority, Pair

BACKEND = shutil.which("git-http-backend") or "/usr/lib/git-core/git-http-backend"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Site:
    """What is served, who may read it, and who asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    repositories: Path | None = None
    authorization: str = ""
    needs_certificate: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Host and Authorization of each request."""

    async def answer(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        self.seen.append((request.headers.get("Host", ""), given))
        if self.needs_certificate and not (request.transport and request.transport.get_extra_info("peercert")):
            return web.Response(status=403)
        if self.authorization and given != self.authorization:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
        name = request.path.lstrip("/")
        if name in self.files:
            return web.Response(body=self.files[name])
        return await self._git(request, self.repositories) if self.repositories else web.Response(status=404)

    async def _git(self, request: web.Request, root: Path) -> web.Response:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "http.receivepack",
            "GIT_CONFIG_VALUE_1": "true",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        }
        process = await asyncio.create_subprocess_exec(
            BACKEND, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        output, _ = await process.communicate(await request.read())
        head, _, body = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split(" ")[0])
        return web.Response(status=status, headers=headers, body=body)


def authority(place: Path) -> Authority:
    found = Authority(place / "authority")
    found.ensure(datetime.now(UTC))
    return found


def client_pair(trusted: Authority) -> tuple[str, str]:
    """Certificate and key of a client, as PEM."""
    pair: Pair = trusted.client("me", (), datetime.now(UTC))
    return pair.certificate.read_text(), pair.key.read_text()


@asynccontextmanager
async def serving(site: Site, trusted: Authority | None = None) -> AsyncIterator[str]:
    """The URL of the site; HTTPS with a certificate of the authority where there is one."""
    context = None
    if trusted is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pair = trusted.server((), datetime.now(UTC))
        context.load_cert_chain(pair.certificate, pair.key)
        context.load_verify_locations(trusted.ca.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    place = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await place.start()
    try:
        yield place.name
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class SshServer:
    """``url`` is the beginning of URLs; absolute paths follow. ``known_hosts`` is the line of its key."""

    url: str
    known_hosts: str
    private_key: str


@asynccontextmanager
async def ssh_server(place: Path) -> AsyncIterator[SshServer]:
    """Lets who has the key be who we are. Skips the test where there is no sshd that we may start."""
    port = _prepared(place)
    with _separation(), (place / "sshd.log").open("wb") as log:
        argv = [SSHD, "-D", "-e", "-f", str(place / "sshd_config")]
        server = await asyncio.create_subprocess_exec(*argv, stdout=log, stderr=log)
        try:
            await answering(port)
            key = " ".join((place / "host.pub").read_text().split()[:2])
            known = f"[127.0.0.1]:{port} {key}\n"
            yield SshServer(f"ssh://root@127.0.0.1:{port}", known, (place / "user").read_text())
        finally:
            server.kill()
            await server.wait()


def _prepared(place: Path) -> int:
    """Keys and configuration; the port."""
    if not Path(SSHD).exists() or os.geteuid() != 0:
        pytest.skip("no sshd that we may start")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    options: Mapping[str, object] = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": place / "host",
        "AuthorizedKeysFile": place / "user.pub",
        "PermitRootLogin": "yes",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    (place / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    return port


@contextmanager
def _separation() -> Iterator[None]:
    """The directory that sshd wants to have; it is part of no package's files where it is in memory."""
    place = Path("/run/sshd")
    is_ours = not place.exists()
    place.mkdir(mode=0o755, exist_ok=True)
    try:
        yield
    finally:
        if is_ours:
            with suppress(OSError):
                place.rmdir()
