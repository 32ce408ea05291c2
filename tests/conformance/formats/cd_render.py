"""What argo-cd's repo server renders: the tools it calls with which arguments and files, the commands, the objects.

The tools are a fake driver that notes its calls and prints what the row says, as in the recording. Left out: the order
of ``--set`` pairs and labels is Go's map order upstream; rows with several of them are not in the corpus.
The error of a plugin names a socket of the recorder's machine; only its beginning, up to the cause, is compared.
Lines in YAML errors are left out, see `yaml`.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.conformance.formats.cd_sources import checkout
from tests.conformance.golden import Format, Row, Sample
from tiphys.cd.plan import tracking
from tiphys.cd.plan.objects import is_crd
from tiphys.cd.sources import paths
from tiphys.cd.sources.kustomization import KUSTOMIZATION_NAMES
from tiphys.cd.sources.render import render
from tiphys.cd.sources.request import RenderError, Request

REPOSITORY = "https://git.example.com/org/repo.git"
REVISION = "0123456789abcdef0123456789abcdef01234567"
LINE = re.compile(r"yaml: line \d+: ")
SOCKET_ERROR = ": error dialing to cmp-server"


class Recorder:
    """The fake driver of tools."""

    def __init__(self, root: Path, given: Mapping[str, Any]) -> None:
        self.root = root
        self.given = given
        self.calls: list[dict[str, Any]] = []

    def run(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
        call: dict[str, Any] = {"argv": list(argv[1:]), "bin": argv[0], "cwd": str(cwd)}
        files = self._files(argv)
        if files:
            call["files"] = files
        if argv[:2] == ["kustomize", "build"] and len(argv) == 3:
            found = {name: (Path(argv[2]) / name) for name in KUSTOMIZATION_NAMES}
            kustomization = {name: path.read_text() for name, path in found.items() if path.exists()}
            if kustomization:
                call["kustomization"] = kustomization
        self.calls.append(call)
        if "toolError" in self.given:
            command = " ".join(argv)
            raise RenderError(f"`{command}` failed exit status 1: {self.given['toolError'].strip()}")
        if argv[0] == "kustomize" and argv[1] != "build":
            return ""
        default = f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-{argv[0]}\n"
        return str(self.given.get("toolOutput", default))

    def _files(self, argv: Sequence[str]) -> dict[str, str | None]:
        """The files named by --values and --set-file; null where it cannot be read."""
        if argv[0] != "helm":
            return {}
        found = {}
        for flag, value in pairwise(argv):
            if flag in ("--values", "--set-file"):
                path = Path(value.partition("=")[2] if flag == "--set-file" else value)
                found[value] = path.read_text() if path.is_file() else None
        return found


def rendered(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    asking = asked["request"]
    root = checkout(folder / "repository", asked["files"], asked.get("symlinks"))
    tools = Recorder(root, asked)
    request = Request(
        app=asking["appName"],
        source={"repoURL": REPOSITORY, **asking["applicationSource"]},
        root=root,
        revision=asked.get("revision", REVISION),
        namespace=asking["namespace"],
        project=asking["projectName"],
        kube_version=asking.get("kubeVersion", ""),
        enabled_types=asking.get("enabledSourceTypes") or {},
        build_options=(asking.get("kustomizeOptions") or {}).get("BuildOptions", ""),
        values_file_schemes=(asking.get("helmOptions") or {}).get("valuesFileSchemes") or (),
    )
    paths.app_path(root, asking["applicationSource"]["path"])
    try:
        found = render(request, tools)
    except RenderError as err:
        return {"calls": tools.calls, "error": str(err)}
    return {
        "calls": tools.calls,
        "commands": found.commands,
        "manifests": [marked(manifest, asking) for manifest in found.manifests],
        "sourceType": found.source_type,
    }


def marked(manifest: dict[str, Any], asking: dict[str, Any]) -> Any:
    """The object with its tracking mark; in the original the repo server sets it."""
    if not asking["appLabelKey"] or is_crd(manifest):
        return manifest
    method = asking.get("trackingMethod") or tracking.LABEL
    return tracking.tracked(manifest, asking["appName"], asking["namespace"], method, asking["appLabelKey"])


def portable(value: Any, root: str, temporary: set[str]) -> Any:
    """The answer with the checkout's directory and the temporary values file replaced."""
    if isinstance(value, dict):
        return {portable(k, root, temporary): portable(v, root, temporary) for k, v in value.items()}
    if isinstance(value, list):
        return [portable(item, root, temporary) for item in value]
    if not isinstance(value, str):
        return value
    for name in temporary:
        value = value.replace(name, "$TMPFILE")
    return value.replace(root, "$ROOT")


def judge(sample: Sample) -> Iterable[Row]:
    for row in sample.rows:
        expected: dict[str, Any] = {key: row[key] for key in ("out", "error") if key in row}
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            try:
                found = rendered(row["in"], folder)
                temporary = {
                    name
                    for call in found["calls"]
                    for name in call.get("files", ())
                    if not name.startswith(str(folder))
                }
                temporary = {name for name in temporary if Path(name).is_absolute()}
                got = {"out": portable(found, str(folder / "repository"), temporary)}
            except paths.PathError as err:
                got = {"error": portable(str(err), str(folder / "repository"), set())}
        expected, got = without_socket(expected), without_lines(got)
        yield Row(row["name"], got == expected, expected, got)


def without_socket(answer: dict[str, Any]) -> dict[str, Any]:
    return with_error(answer, lambda error: LINE.sub("yaml: ", error.partition(SOCKET_ERROR)[0]))


def without_lines(answer: dict[str, Any]) -> dict[str, Any]:
    return with_error(answer, lambda error: LINE.sub("yaml: ", error))


def with_error(answer: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The answer with its error's text changed, if it has one."""
    out = answer.get("out") or {}
    return {"out": {**out, "error": change(out["error"])}} if "error" in out else answer


FORMATS = [
    Format(
        "rendering",
        lambda sample: {"files", "request"} <= set(sample.head.get("in") or ()),
        judge,
    )
]
