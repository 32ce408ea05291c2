"""Every kubectl of this machine, with the recorded command lines: the same exit code, whatever its words are."""

import asyncio
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.conformance import golden
from tests.conformance.formats.kubectl_lines import SETTLED_SECONDS, cluster, kubeconfig, run
from tiphys.machinery.resources import NAMESPACES

CORPUS = golden.corpus()
FIRST = shutil.which("kubectl")
PROGRAMS = sorted(Path(FIRST).resolve().parent.glob("kubectl.1.*")) if FIRST else []
COMMANDS_MIN = 100
# What one version says otherwise than the recorder's 1.33: flags and subresources that it does not know.
NEWER = re.compile(
    r"--subresource|auth whoami|events --for|--output=plaintext-openapiv2|debug|edit|rollout|wait|top|delete|explain"
)

pytestmark = [
    pytest.mark.skipif(CORPUS is None or not PROGRAMS, reason="no corpus, or no kubectl of several versions"),
    pytest.mark.skipif(os.environ.get("TIPHYS_CONFORMANCE") != "all", reason="slow: TIPHYS_CONFORMANCE=all"),
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_a_hundred_command_lines_end_as_recorded(program: Path) -> None:
    assert CORPUS is not None
    document = json.loads((CORPUS / "golden/kube-live/i-kubectl/kubectl.json").read_text(encoding="utf-8"))
    rows = [row for row in document["rows"] if row["kubectl"] == "1.33"]
    asked, wrong = asyncio.run(_ask(program, document["files"], rows))
    assert asked >= COMMANDS_MIN
    assert wrong == []


async def _ask(program: Path, files: dict[str, str], rows: list[dict[str, object]]) -> tuple[int, list[str]]:
    wrong: list[str] = []
    asked = 0
    async with cluster() as (client, url):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            for name, text in files.items():
                (place / name).write_text(text, encoding="utf-8")
            (place / "kubeconfig").write_text(json.dumps(kubeconfig(url)), encoding="utf-8")
            await client.create(NAMESPACES, {"metadata": {"name": "k-empty"}})
            for _ in range(2):
                await run(program, ["apply", "-f", "setup.yaml"], place)
                await asyncio.sleep(SETTLED_SECONDS)
            for row in rows:
                commands = row["commands"]
                assert isinstance(commands, list)
                for command in commands:
                    line = " ".join(command["args"])
                    got = await run(program, command["args"], place, command.get("stdin", ""))
                    if NEWER.search(line):
                        continue
                    asked += 1
                    if got["exit"] != command["exit"]:
                        wrong.append(f"{line}: {got['exit']}, not {command['exit']}: {got['stderr'][:200]}")
    return asked, wrong
