"""The upstream manifests that are run for real: which there are, how each is meant to end, and the page about it.

    examples        the example manifests; they refer to each other and share one namespace
    e2e             those of the end-to-end suite; each has a namespace of its own, with what it mentions

Where the suite's table (``examples.toml``, ``e2e.toml``) says nothing, a file with a Workflow must end Succeeded, one
in a folder ``expectedfailures`` or ``lintfail`` Failed or Error. What a suite's reader is asked to make by hand is made
here, and the servers that the original's tests have (MinIO, httpbin) are small ones of ours (``tests/services.py``),
whose addresses are put in the place of theirs.
"""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.golden import ROOT
from tiphys.cli import loading, sources
from tiphys.cli.endings import Problems
from tiphys.runtime.clock import SystemClock
from tiphys.serving.certificates import Authority

PAGE = ROOT / "docs" / "reference" / "conformance.md"
APPLIED = ("WorkflowTemplate", "ClusterWorkflowTemplate", "ConfigMap", "PersistentVolumeClaim", "Secret")
FAILING = ("expectedfailures", "lintfail")
MINIO, HTTPBIN = "minio:9000", "httpbin:9100"
PATIENT = os.environ.get("TIPHYS_CONFORMANCE") == "all"

_CREDENTIALS = {
    "accessKeySecret": {"name": "my-minio-cred", "key": "accesskey"},
    "secretKeySecret": {"name": "my-minio-cred", "key": "secretkey"},
}
_REPOSITORY = {"s3": {"bucket": "my-bucket", "endpoint": MINIO, "insecure": True, **_CREDENTIALS}}


def _httpbin_credentials() -> dict[str, str]:
    """Of every kind that the suite's httpbin takes."""
    with tempfile.TemporaryDirectory() as folder:
        authority, now = Authority(Path(folder)), SystemClock().now()
        authority.ensure(now)
        pair = authority.client("admin", (), now)
        certificate, key = pair.certificate.read_text(), pair.key.read_text()
    basic = {"user": "admin", "pass": "password"}
    oauth2 = {"clientID": "admin", "clientSecret": "password", "tokenURL": f"http://{HTTPBIN}/token"}
    return {**basic, **oauth2, "cert.pem": certificate, "key.pem": key}


def _made(kind: str, name: str, annotations: Mapping[str, str] | None = None, **body: Any) -> dict[str, Any]:
    meta = {"name": name, **({"annotations": annotations} if annotations else {})}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, **body}


LIMITS = _made("ConfigMap", "my-config", data={"template": "3", "workflow": "2"})


@dataclass(frozen=True)
class Suite:
    """A folder of manifests. ``shares``: all of them are run in one namespace, with everything in it applied first."""

    name: str
    title: str
    shares: bool
    made_by_hand: tuple[dict[str, Any], ...]

    def place(self, top: Path) -> Path:
        return top / "workflows" / self.name

    def table(self) -> Mapping[str, Any]:
        return tomllib.loads(Path(__file__).with_name(f"{self.name}.toml").read_text(encoding="utf-8"))


SUITES = (
    Suite(
        "examples",
        "The examples",
        shares=True,
        made_by_hand=(
            _made("Secret", "my-secret", stringData={"mypassword": "S00perS3cr3t"}),
            LIMITS,
            _made("ConfigMap", "artifact-repositories", data={"my-key": "{}"}),  # the local store
        ),
    ),
    Suite(
        "e2e",
        "The manifests of the end-to-end suite",
        shares=False,
        made_by_hand=(
            _made("Secret", "my-minio-cred", stringData={"accesskey": "admin", "secretkey": "password"}),
            _made("Secret", "my-httpbin-cred", stringData=_httpbin_credentials()),
            LIMITS,
            _made(
                "ConfigMap",
                "artifact-repositories",
                annotations={"workflows.argoproj.io/default-artifact-repository": "default-v1"},
                data={"default-v1": json.dumps(_REPOSITORY), "my-key": json.dumps(_REPOSITORY), "empty": ""},
            ),
            *(_made("ServiceAccount", name) for name in ("argo", "github.com", "jenkins")),
        ),
    ),
)


@dataclass(frozen=True)
class Example:
    """One file. ``needs`` and ``not_yet`` say why it is not run; "" when it is. ``only``: runtime → why not under it.

    ``when`` are things to do to the workflow: display name of a step → resume, stop or terminate, once it runs.
    ``differs`` says why it ends in another way than with the original, on purpose.
    ``others`` are the objects beside its workflows, ``parameters`` what the submitter gives.
    """

    file: str
    workflows: tuple[dict[str, Any], ...]
    expect: tuple[str, ...] = ("Succeeded",)
    needs: str = ""
    not_yet: str = ""
    differs: str = ""
    only: Mapping[str, str] = field(default_factory=dict)
    when: Mapping[str, str] = field(default_factory=dict)
    others: tuple[dict[str, Any], ...] = ()

    def why_not(self, runtime: str) -> str:
        """Why the file is not run under ``runtime``; "" when it is."""
        if self.not_yet:
            return f"not yet: {self.not_yet}"
        if self.needs:
            return f"needs {self.needs}"
        return f"not here: {self.only[runtime]}" if runtime in self.only else ""

    def verdict(self, phases: list[str], messages: list[str]) -> str:
        """How it went: the phase if it is one that was meant, else what was meant and why it is not so."""
        if all(phase in self.expect for phase in phases):
            return " ".join(sorted(set(phases))) + (f", on purpose: {self.differs}" if self.differs else "")
        return f"**{' '.join(phases)}** instead of {' or '.join(self.expect)}: {'; '.join(filter(None, messages))}"


def examples(suite: Suite, top: Path) -> list[Example]:
    """All files of a suite."""
    table, place = suite.table(), suite.place(top)
    found = sorted(place.rglob("*.yaml"))
    unknown = table.keys() - {path.relative_to(place).as_posix() for path in found}
    assert not unknown or not PATIENT, f"{suite.name}.toml names files that are not there: {unknown}"
    return [_example(path, path.relative_to(place).as_posix(), table) for path in found]


def _example(path: Path, name: str, table: Mapping[str, Any]) -> Example:
    said = table.get(name, {})
    try:
        manifests = loading.load(sources.read([str(path)]))
    except Problems as err:
        where, _, what = err.lines[0].splitlines()[0].partition(": ")
        return Example(name, (), needs=f"nothing: line {where.rpartition(':')[2]} cannot be read: {what}")
    workflows = tuple(_with_parameters(m.obj, said.get("parameters", {})) for m in manifests if m.kind == "Workflow")
    needs = said.get("needs", "")
    if not workflows:
        kinds = ", ".join(sorted({m.kind for m in manifests}))
        needs = f"nothing: it holds no Workflow ({kinds})" + ("; others use it" if _is_applied(manifests) else "")
    elif said.get("slow") and not PATIENT:
        needs = f"patience: it sleeps for {said['slow']} seconds"
    return Example(
        name,
        workflows,
        expect=_expected(name, said),
        needs=needs,
        not_yet="" if PATIENT else said.get("not_yet", ""),
        differs=said.get("differs", ""),
        only={runtime: said[runtime] for runtime in ("process", "sandbox") if runtime in said},
        when=said.get("when", {}),
        others=tuple(m.obj for m in manifests if m.kind != "Workflow"),
    )


def _expected(name: str, said: Mapping[str, Any]) -> tuple[str, ...]:
    wanted = said.get("expect")
    if wanted == "either":
        return ("Succeeded", "Failed")
    if wanted:
        return (wanted,)
    return ("Failed", "Error") if name.startswith(FAILING) else ("Succeeded",)


def _with_parameters(workflow: dict[str, Any], values: Mapping[str, str]) -> dict[str, Any]:
    if not values:
        return workflow
    spec = workflow["spec"]
    given = {p["name"]: p for p in (spec.get("arguments") or {}).get("parameters") or ()}
    made = [*({**p, "value": values.get(name, p.get("value"))} for name, p in given.items())]
    made += [{"name": name, "value": value} for name, value in values.items() if name not in given]
    return {**workflow, "spec": {**spec, "arguments": {**(spec.get("arguments") or {}), "parameters": made}}}


def _is_applied(manifests: list[loading.Manifest]) -> bool:
    return any(m.kind in APPLIED for m in manifests)


def companions(suite: Suite, every: Iterable[Example]) -> list[dict[str, Any]]:
    """What the manifests of a suite refer to; what is malformed on purpose was never there."""
    sound = (e for e in every if "malformed/" not in e.file)
    return [*(obj for e in sound for obj in e.others if obj.get("kind") in APPLIED), *suite.made_by_hand]


def needed(suite: Suite, example: Example, among: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a file finds in its namespace: what it brings, what is made by hand, and what these mention by name."""
    pool = [obj for obj in among if obj["metadata"].get("name")]
    found = {_key(obj): obj for obj in (*suite.made_by_hand, *example.others)}
    text = json.dumps([*example.workflows, *example.others], default=str)
    while fresh := [obj for obj in pool if _key(obj) not in found and f'"{obj["metadata"]["name"]}"' in text]:
        found.update((_key(obj), obj) for obj in reversed(fresh))
        text = json.dumps(fresh, default=str)
    return list(found.values())


def _key(obj: Mapping[str, Any]) -> tuple[str, str]:
    return str(obj.get("kind")), str(obj["metadata"].get("name"))


def page(suites: Mapping[str, list[Example]], verdicts: Mapping[str, Mapping[str, str]]) -> str:
    """The page. ``verdicts``: runtime → suite/file → how it went; files that were not run are missing there."""
    runtimes = list(verdicts)
    lines = [
        "<!-- written by the test run: TIPHYS_WRITE_PAGES=1 pytest tests/conformance/test_examples.py -->",
        "# Conformance: the manifests of Argo Workflows",
        "",
        "The example manifests of Argo Workflows v4.1.2 and those of its end-to-end suite, run with tiphys on one",
        "machine, no cluster, no network. Images are served by the image map: programs of this machine stand for them.",
        "Where the end-to-end suite has MinIO and httpbin, small servers of the test stand for these.",
    ]
    for suite in SUITES:
        every = suites[suite.name]
        run = [e for e in every if not (e.needs or e.not_yet)]
        good = {r: sum("**" not in verdicts[r].get(f"{suite.name}/{e.file}", "**") for e in run) for r in runtimes}
        ends = ", ".join(f"{good[r]} end as they are meant to under `{r}`" for r in runtimes)
        waiting = sum(bool(e.not_yet) for e in every)
        lines += [
            "",
            f"## {suite.title}",
            "",
            f"Of {len(every)} files {len(run)} are run: {ends}.",
            f"{waiting} wait for a part of tiphys that is not there yet; the others say what they need.",
            "",
            "| File | " + " | ".join(f"`{r}`" for r in runtimes) + " |",
            "|---|" + "---|" * len(runtimes),
        ]
        for example in every:
            name = f"{suite.name}/{example.file}"
            cells = [example.why_not(r) or verdicts[r].get(name, "not run") for r in runtimes]
            lines.append(f"| {name} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def rows(text: str) -> dict[str, list[str]]:
    """File → cells of a page: its structure, for comparing."""
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in cells if row[0].endswith(".yaml")}
