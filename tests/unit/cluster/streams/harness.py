"""A node and its API server over HTTPS, and the kubectls of this machine to talk to it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.cluster.node.harness import Node, node
from tiphys.cluster.apiserver.http.listen import serve
from tiphys.machinery.resources import ObjectKey

DEADLINE = 30.0
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 1000 & wait; done"]


# SPDY for all; WebSocket for exec; SPDY in a WebSocket for port-forward; the newest.
SPOKEN = ("kubectl.1.29", "kubectl.1.30", "kubectl.1.33")


def kubectls(*, every: bool = False) -> list[str]:
    """The programs ``kubectl.1.NN`` beside kubectl, those of ``SPOKEN`` or all; else kubectl itself, if it is there."""
    found = shutil.which("kubectl")
    if found is None:
        return []
    versions = sorted(Path(found).resolve().parent.glob("kubectl.1.*"))
    return [str(path) for path in versions if every or path.name in SPOKEN] or [found]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@dataclass
class Cluster:
    node: Node
    kubeconfig: Path

    async def kubectl(self, program: str, *words: str, stdin: bytes | None = None) -> Ran:
        process = await self.begin(program, *words, stdin=stdin is not None)
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def begin(self, program: str, *words: str, stdin: bool = False) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            program,
            *words,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.kubeconfig.parent)},
        )

    async def pod(self, name: str, *containers: Mapping[str, Any], restart: str = "Always") -> ObjectKey:
        """Makes a pod and waits until it runs."""
        made = list(containers) or [{"name": "c", "image": "busybox", "command": FOREVER}]
        key = await self.node.create(
            {"metadata": {"name": name, "namespace": "default"}, "spec": {"restartPolicy": restart, "containers": made}}
        )
        await self.node.until(key, lambda pod: (pod.get("status") or {}).get("phase") == "Running")
        return key


@asynccontextmanager
async def cluster(runtime: str, directory: Path) -> AsyncIterator[Cluster]:
    async with node(runtime, directory / "node") as made:
        await made.start()
        served = await serve(made.server, "127.0.0.1:0", directory / "api")
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(served.kubeconfig)
        try:
            yield Cluster(made, kubeconfig)
        finally:
            await served.close()
