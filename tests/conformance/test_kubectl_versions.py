"""Every kubectl of this machine, with the recorded command lines: the same exit code, whatever its words are. Then with
lines of our own, for what was not recorded: the words that matter as well.

Streams (exec, attach, cp, port-forward, logs -f, proxy) have their own test, with nodes that run something
(``tests/unit/cluster/streams``; TIPHYS_EVERY_KUBECTL=1 for every version).
"""

import asyncio
import json
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import golden
from tests.conformance.formats.kubectl_lines import SETTLED_SECONDS, cluster, kubeconfig, run
from tiphys.machinery.resources import NAMESPACES

CORPUS = golden.corpus()
FIRST = shutil.which("kubectl")
PROGRAMS = sorted(Path(FIRST).resolve().parent.glob("kubectl.1.*")) if FIRST else []
COMMANDS_MIN = 100
# What a version asks of APIs that a server of 1.35 has no more (authentication.k8s.io/v1alpha1).
GONE = {"kubectl.1.27": re.compile(r"auth whoami")}
KUSTOMIZATION = "namespace: k-empty\nconfigMapGenerator: [{name: k, literals: [a=b]}]\n"
OWN: Sequence[tuple[str, int, str]] = (
    ("-n k-main create deployment own --image=img:1 --replicas=2", 0, "deployment.apps/own created"),
    ("-n k-main rollout status deploy/own --timeout=60s", 0, "successfully rolled out"),
    ("-n k-main autoscale deploy own --min=1 --max=3", 0, "horizontalpodautoscaler.autoscaling/own autoscaled"),
    ("-n k-main get hpa own", 0, "Deployment/own"),
    ("-n k-main set env deploy/own A=B", 0, "env updated"),
    ("-n k-main set resources deploy/own --limits=cpu=10m", 0, "resource requirements updated"),
    ("-n k-main set serviceaccount deploy/own runner", 0, "serviceaccount updated"),
    ("-n k-main set image deploy/own img=img:2", 0, "image updated"),
    ("-n k-main rollout pause deploy/own", 0, "paused"),
    ("-n k-main rollout resume deploy/own", 0, "resumed"),
    ("-n k-main rollout restart deploy/own", 0, "restarted"),
    ("-n k-main rollout status deploy/own --timeout=60s", 0, "successfully rolled out"),
    ("-n k-main rollout undo deploy/own", 0, "rolled back"),
    ("-n k-main expose deploy own --port=80", 0, "service/own exposed"),
    ("-n k-main wait deploy/own --for=condition=Available --timeout=60s", 0, "condition met"),
    ("-n k-main delete deploy,svc,hpa own", 0, '"own" deleted'),
    ("kustomize k", 0, "name: k-4h2mbtbbt6"),
    ("diff -k k", 1, r"\+  a: b"),
    ("apply -k k", 0, "configmap/k-4h2mbtbbt6 created"),
    ("diff -k k", 0, ""),
    ("delete -k k", 0, "deleted"),
    ("config view", 0, "current-context: x"),
    ("config get-contexts -o name", 0, "x"),
    ("version", 0, r"v1\.35\.4"),
    ("cluster-info dump --namespaces k-empty", 0, '"kind": "NodeList"'),
    ("-n k-main create token runner", 0, r"^ey\w+\.ey\w+\.\S+$"),
    ("certificate approve nosuch", 1, ""),
    ("cordon node-1", 0, "node/node-1 cordoned"),
    ("get node node-1", 0, "Ready,SchedulingDisabled"),
    ("describe node node-1", 0, "node.kubernetes.io/unschedulable:NoSchedule"),
    ("-n k-main delete pdb web", 0, "deleted"),
    ("drain node-1 --ignore-daemonsets --force --timeout=60s", 0, "node/node-1 drained"),
    ("uncordon node-1", 0, "node/node-1 uncordoned"),
)

pytestmark = [
    pytest.mark.skipif(CORPUS is None or not PROGRAMS, reason="no corpus, or no kubectl of several versions"),
    pytest.mark.skipif(os.environ.get("TIPHYS_CONFORMANCE") != "all", reason="slow: TIPHYS_CONFORMANCE=all"),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_command_lines_of_all_kinds_end_as_they_should(program: Path) -> None:
    assert CORPUS is not None
    document = json.loads((CORPUS / "golden/kube-live/i-kubectl/kubectl.json").read_text(encoding="utf-8"))
    rows = [row for row in document["rows"] if row["kubectl"] == "1.33"]
    asked, wrong = asyncio.run(_ask(program, document["files"], rows))
    assert asked >= COMMANDS_MIN
    assert wrong == []


async def _ask(program: Path, files: dict[str, str], rows: list[dict[str, Any]]) -> tuple[int, list[str]]:
    wrong: list[str] = []
    asked = len(OWN)
    async with cluster() as (client, url):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for name, text in (*files.items(), ("k/kustomization.yaml", KUSTOMIZATION)):
                (place / name).parent.mkdir(exist_ok=True)
                (place / name).write_text(text, encoding="utf-8")
            (place / "kubeconfig").write_text(json.dumps(kubeconfig(url)), encoding="utf-8")
            await client.create(NAMESPACES, {"metadata": {"name": "k-empty"}})
            for _ in range(2):
                await run(program, ["apply", "-f", "setup.yaml"], place)
                await asyncio.sleep(SETTLED_SECONDS)
            for command in (command for row in rows for command in row["commands"]):
                line = " ".join(command["args"])
                got = await run(program, command["args"], place, command.get("stdin", ""))
                if program.name in GONE and GONE[program.name].search(line):
                    continue
                asked += 1
                if got["exit"] != command["exit"]:
                    wrong.append(f"{line}: {got['exit']}, not {command['exit']}: {got['stderr'][:200]}")
            for line, code, words in OWN:
                got = await run(program, line.split(), place)
                if got["exit"] != code or not re.search(words, got["stdout"], re.M):
                    wrong.append(f"{line}: {got['exit']}, not {code}: {got['stdout'][:200]} {got['stderr'][:200]}")
    return asked, wrong
