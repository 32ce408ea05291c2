"""Recorded kubectl command lines (``golden/kube-live``): the real kubectl of this machine against our server with all
controllers, the scheduler and one simulated node; what it prints and how it exits are the verdict.

A row needs kubectl of its version (``kubectl.1.33`` beside the one in the path); without it the row is left out. Runs
of spaces count as one, since the recording's ages have other widths. Of ``rollout status`` the last line counts.

Chance in the recording, and not compared: the order of the endpoints of a slice and of the data in ``describe
configmap`` (Go maps), and how often the scheduler tried a pod again while other rows changed the node: there must be
such an event, and what it says must be recorded.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.conformance.golden import Format, Row, Sample
from tests.conformance.kube_live import TestUsers, text_fits
from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.app.places import HostPlaces
from tiphys.client.client import Client
from tiphys.client.managed import ManagedTransport
from tiphys.cluster.apiserver.http.handler import HttpHandler
from tiphys.cluster.apiserver.http.rbac import Rbac
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.node.simulated.nodes import Machine, SimulatedNodes
from tiphys.cluster.node.simulated.stages import Stage, Stages
from tiphys.machinery.resources import NAMESPACES
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SeededIds

COMMAND_SECONDS = 60
# The recorder's kubelet: pods run and are ready at once, those of jobs succeed a moment later and are not seen to run.
RECORDED_STAGES = (
    Stage("leave", "Gone", deleting=True),
    Stage("start", "Running", phases=frozenset({"Pending"}), policies=frozenset({"Always"})),
    Stage(
        "end",
        "Ended",
        policies=frozenset({"Never", "OnFailure"}),
        unless={"run": "forever"},
        after=timedelta(seconds=2),
    ),
)
RECORDED_NODE = Machine(
    capacity={"cpu": "1k", "memory": "4000Gi", "ephemeral-storage": "4000Gi", "pods": "20k"},
    labels={},
    info={
        "machineID": "m",
        "systemUUID": "s",
        "bootID": "b",
        "kernelVersion": "6.1.0",
        "osImage": "Debian GNU/Linux 12 (bookworm)",
        "containerRuntimeVersion": "containerd://2.0.0",
    },
    ready="kubelet is posting ready status",
)
SETTLED_SECONDS = 6.0
SYMBOLS = {
    "$age": r"(?:\d+[smhdy]){1,2}",
    "$serveraddr": r"[0-9.:]+",
    "$server": r"https?://[0-9.:]+",
    "$podIP": r"10\.\d+\.\d+\.\d+",
    "$clusterIP": r"10\.\d+\.\d+\.\d+",
    "$nodePort": r"\d+",
}
SYMBOL = re.compile(
    r"\$(age|serveraddr|server|podIP\d*|clusterIP\d*|nodePort\d*|time|microtime|rand\d*|uid\d*|rv\d*|mtime|pem|jwt)"
)


def recognises(sample: Sample) -> bool:
    if "PYTEST_VERSION" in os.environ and os.environ.get("TIPHYS_CONFORMANCE") != "all":
        return False  # minutes, and a real clock: not for every run of the tests
    document = sample.document
    rows = document.get("rows") if isinstance(document, dict) else None
    return isinstance(rows, list) and bool(rows) and {"kubectl", "commands"} <= rows[0].keys()


def judge(sample: Sample) -> Iterator[Row]:
    wanted = os.environ.get("TIPHYS_KUBECTL_ROWS", "")
    rows = [r for r in sample.document["rows"] if program(r["kubectl"]) and re.search(wanted, r["name"])]
    return iter(asyncio.run(replay(sample.document["files"], rows)) if rows else ())


def program(version: str) -> Path | None:
    """kubectl of a version, where this machine has it."""
    first = shutil.which("kubectl")
    if first is None:
        return None
    found = Path(first).resolve().parent / f"kubectl.{version}"
    return found if found.exists() else None


async def replay(files: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    async with cluster() as (client, url):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for name, text in files.items():
                (place / name).write_text(text)
            (place / "kubeconfig").write_text(json.dumps(kubeconfig(url)))
            await client.create(NAMESPACES, {"metadata": {"name": "k-empty"}})
            first = program("1.33") or program(rows[0]["kubectl"])
            assert first is not None
            await run(first, ["apply", "-f", "setup.yaml"], place)
            await asyncio.sleep(SETTLED_SECONDS)
            await run(first, ["apply", "-f", "setup.yaml"], place)
            await asyncio.sleep(SETTLED_SECONDS)
            return [await one(row, place) for row in rows]


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Client, str]]:
    rng, clock = random.Random(1), SystemClock()
    store = Store(shared_maps=SHARED_MAPS)
    server = await ApiServer.start(store, clock, SeededIds(rng), ("none",), roles=True, accounts=True)
    server.ca_certificate = b"PEM"
    kubelet = Client(ManagedTransport(server.transport(), "Go-http-client"))
    stages = Stages(RECORDED_STAGES, prefix="fake")
    nodes = SimulatedNodes(kubelet, ["node-1"], clock=clock, rng=rng, stages=stages, machine=RECORDED_NODE)
    await nodes.register()
    feed = StoreFeed(store, server.registry)
    controllers = ClusterControllers(server.transport(), feed, clock, rng, lambda: "PEM", HostPlaces(Path("/volumes")))
    tasks = [asyncio.create_task(nodes.run()), asyncio.create_task(controllers.run())]
    handler = HttpHandler(server, TestUsers([server.tokens]), Rbac(server.store))
    runner = web.ServerRunner(web.Server(handler, handler_cancellation=True))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Client(server.transport()), f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.close()


def kubeconfig(url: str) -> dict[str, Any]:
    context = {"cluster": "c", "user": "admin", "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "contexts": [{"name": "x", "context": context}],
        "users": [{"name": "admin", "user": {}}],
    }


async def one(row: Mapping[str, Any], place: Path) -> Row:
    bound: dict[str, str] = {}
    kubectl = program(row["kubectl"])
    assert kubectl is not None
    verdict = Row(row["name"], True)
    for number, command in enumerate(row["commands"]):
        got = await run(kubectl, command["args"], place, command.get("stdin", ""))
        expected = {"exit": command["exit"], "stdout": command["stdout"], "stderr": command["stderr"]}
        for field in expected:
            if verdict.ok and not agrees(command["args"], expected[field], got[field], bound):
                told = f"{number}: kubectl {' '.join(command['args'])}"
                verdict = Row(row["name"], False, {told: {field: expected[field]}}, {told: {field: got[field]}})
    return verdict


def agrees(args: Sequence[str], expected: Any, got: Any, bound: dict[str, str]) -> bool:
    if isinstance(expected, int):
        return bool(expected == got)
    one, other = plain(expected), plain(got)
    if "rollout" in args and "status" in args:
        one, other = one.rstrip().rpartition("\n")[2], other.rstrip().rpartition("\n")[2]
    if "describe" in args:
        one, other = without_chance(one, other)
    return fits(one, other) or text_fits(one, other, dict(bound))


RETRY = re.compile(r"^Warning FailedScheduling \S+(?: \(xN over \S+\))? (\S+ .*)\n", re.M)


def without_chance(expected: str, got: str) -> tuple[str, str]:
    """Two descriptions without what is chance in them: the order of lines in maps, what the scheduler repeats."""
    if re.search(r"^Data\n=+$", expected, re.M):
        return "\n".join(sorted(expected.splitlines())), "\n".join(sorted(got.splitlines()))
    recorded, said = set(RETRY.findall(expected)), set(RETRY.findall(got))
    return (RETRY.sub("", expected), RETRY.sub("", got)) if said and said <= recorded else (expected, got)


VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\d[ \t]\d\d:\d\d:\d\d(?:\.\d+)?[ \t]\+0000(?:[ \t]UTC)?"), "DATE"),
    (re.compile(r"^[WEI]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", re.M), "LOG "),
    (re.compile(r"/tmp/(LIVE|MERGED)-\d+"), r"$tmp/\1"),
    (re.compile(r"\$mtime"), "DATE"),
    (re.compile(r"kube-api-access-(?:\$rand|[a-z0-9]{5})"), "kube-api-access-RAND"),
    (re.compile(r"(?<=,)\$podIP\d+|\$podIP\d+(?=,\$podIP)"), "$podIP"),
    (re.compile(r"X509SHA256=[0-9a-f]{64}"), "X509SHA256"),
    (re.compile(r"\(x\d+ over "), "(xN over "),
    (re.compile(r"^( *Resource Version: +)\d+$", re.M), r"\1N"),
)


def plain(text: str) -> str:
    """Without what differs from run to run and has no symbol."""
    for pattern, instead in VOLATILE:
        text = pattern.sub(instead, text)
    lines = (re.sub(r"-{3,}", "---", line) for line in text.split("\n"))
    return "\n".join(re.sub(r"[ \t]+", " ", line).strip() for line in lines)


def fits(expected: str, got: str) -> bool:
    """Whether a text is the expected one, with anything fitting for its symbols; the same for the same."""
    pattern, at, seen = "", 0, set()
    for match in SYMBOL.finditer(expected):
        name = match[0]
        kind = re.sub(r"\d+$", "", name)
        pattern += re.escape(expected[at : match.start()])
        numbered = name != kind and kind not in ("$rv",)
        group = f"{kind[1:]}_{name[len(kind) :]}"
        if numbered and group in seen:
            pattern += f"(?P={group})"
        elif numbered:
            seen.add(group)
            pattern += f"(?P<{group}>{SYMBOLS.get(kind, '.+?')})"
        else:
            pattern += SYMBOLS.get(kind, r"[\s\S]+?")
        at = match.end()
    return re.fullmatch(pattern + re.escape(expected[at:]), got) is not None


async def run(kubectl: Path, args: Sequence[str], place: Path, stdin: str = "") -> dict[str, Any]:
    environment = {
        "KUBECONFIG": str(place / "kubeconfig"),
        "HOME": str(place),
        "PATH": os.environ.get("PATH", ""),
        "KUBE_EDITOR": "sed -i s/img:1/img:9/",
    }
    process = await asyncio.create_subprocess_exec(
        kubectl,
        *args,
        cwd=place,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), COMMAND_SECONDS)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
    return {"exit": process.returncode, "stdout": out.decode(), "stderr": err.decode()}


FORMATS = (Format("kubectl command lines", recognises, judge),)
