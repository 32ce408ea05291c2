"""The upstream manifests that are run for real: which there are, how each is meant to end, and the page about it.

    examples        the example manifests; they refer to each other and share one namespace
    e2e             those of the end-to-end suite; each has a namespace of its own, with what it mentions

Where the suite's table (``examples.toml``, ``e2e.toml``) says nothing, a file with a Workflow must end Succeeded, one
in a folder ``expectedfailures`` or ``lintfail`` Failed or Error. What a suite's reader is asked to make by hand is made
here, and the servers that they speak of (MinIO, httpbin, Artifactory, HDFS) are small ones of ours
(``tests/services.py``), whose addresses are put in the place of theirs.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.conformance.golden import ROOT
from tiphys.app.settings import Settings
from tiphys.cli import loading, sources
from tiphys.cli.endings import Problems
from tiphys.lang.goyaml.printing import dump
from tiphys.runtime.clock import SystemClock
from tiphys.serving.certificates import Authority

ARTIFACT_DRIVER = Path(__file__).parent.parent / "artifact_driver.py"
PAGE = ROOT / "docs" / "reference" / "conformance.md"
APPLIED = ("WorkflowTemplate", "ClusterWorkflowTemplate", "ConfigMap", "PersistentVolumeClaim", "Secret")
FAILING = ("expectedfailures", "lintfail")
MINIO, HTTPBIN = "minio:9000", "httpbin:9100"
ARTIFACTORY, WEBHDFS = "artifactory:8081", "https://mywebhdfsprovider.com"
NAME_NODES = tuple(f"my-hdfs-namenode-{n}.my-hdfs-namenode.default.svc.cluster.local:8020" for n in range(2))
NOT_RUN = "not run"
PATIENT = os.environ.get("TIPHYS_CONFORMANCE") == "all"

_CREDENTIALS = {
    "accessKeySecret": {"name": "my-minio-cred", "key": "accesskey"},
    "secretKeySecret": {"name": "my-minio-cred", "key": "secretkey"},
}
_PLACE = {"endpoint": MINIO, "insecure": True, **_CREDENTIALS}
_REPOSITORY = {"s3": {"bucket": "my-bucket", **_PLACE}}
_PLUGIN_REPOSITORY = {
    "archiveLogs": True,
    "plugin": {"name": "test", "configuration": dump({"bucket": "plugin-bucket", **_PLACE})},
}


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
HTTPBIN_CREDENTIALS = _httpbin_credentials()

# What the end-to-end suite's plugins do: one greets whoever knows its token, the other says much.
_PLUGIN = """
import http.server, json, sys
word, port, token = sys.argv[1], int(sys.argv[2]), open(sys.argv[3]).read()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer " + token:
            self.send_error(403)
            return
        said = {"hello": "bar", "massive": "HELLO_WORLD_123 " * 6250}[word]
        node = {"phase": "Succeeded", "message": word, "outputs": {"parameters": [{"name": "foo", "value": said}]}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"node": node} if word in asked["template"]["plugin"] else None).encode())
http.server.ThreadingHTTPServer(("", port), Handler).serve_forever()
"""


def _executor_plugin(word: str, port: int) -> dict[str, Any]:
    name = f"{word}-executor-plugin"
    container = {
        "name": name,
        "image": "python:alpine3.23",
        "command": ["python", "-c"],
        "args": [_PLUGIN, word, str(port), "/var/run/argo/token"],
        "ports": [{"containerPort": port}],
        "resources": {name: {"cpu": "100m", "memory": "64Mi"} for name in ("requests", "limits")},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    made = _made("ConfigMap", name, data={"sidecar.container": json.dumps(container)})
    made["metadata"]["labels"] = {"workflows.argoproj.io/configmap-type": "ExecutorPlugin"}
    return made


_BASIC: dict[str, Any] = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "ClusterWorkflowTemplate",
    "metadata": {"name": "basic"},
    "spec": {
        "entrypoint": "main",
        "templates": [{"name": "main", "container": {"image": "argoproj/argosay:v2"}}],
    },
}


@dataclass(frozen=True)
class Suite:
    """A folder of manifests. ``shares``: all of them are run in one namespace, with everything in it applied first.

    ``made_by_hand`` is there for every file, ``at_hand`` for those that mention it.
    """

    name: str
    title: str
    shares: bool
    made_by_hand: tuple[dict[str, Any], ...]
    at_hand: tuple[dict[str, Any], ...] = ()

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
            _made("Secret", "my-minio-cred", stringData={"accesskey": "admin", "secretkey": "password"}),
            _made("Secret", "my-artifactory-credentials", stringData={"username": "admin", "password": "password"}),
            _made("Secret", "oauth-sec", stringData=HTTPBIN_CREDENTIALS),
            _made(
                "Secret",
                "cert-sec",
                stringData={
                    "certificate.pem": HTTPBIN_CREDENTIALS["cert.pem"],
                    "key.pem": HTTPBIN_CREDENTIALS["key.pem"],
                },
            ),
        ),
    ),
    Suite(
        "e2e",
        "The manifests of the end-to-end suite",
        shares=False,
        made_by_hand=(
            _made("Secret", "my-minio-cred", stringData={"accesskey": "admin", "secretkey": "password"}),
            _made("Secret", "my-httpbin-cred", stringData=HTTPBIN_CREDENTIALS),
            LIMITS,
            _made(
                "ConfigMap",
                "artifact-repositories",
                annotations={"workflows.argoproj.io/default-artifact-repository": "default-v1"},
                data={
                    "default-v1": json.dumps(_REPOSITORY),
                    "my-key": json.dumps(_REPOSITORY),
                    "plugin-v1": json.dumps(_PLUGIN_REPOSITORY),
                    "empty": "",
                },
            ),
            *(_made("ServiceAccount", name) for name in ("argo", "github.com", "jenkins")),
        ),
        at_hand=(_executor_plugin("hello", 4355), _executor_plugin("massive", 4357), _BASIC),
    ),
)


@dataclass(frozen=True)
class Example:
    """One file. ``needs`` and ``not_yet`` say why it is not run; "" when it is. ``only``: runtime → why not under it.
    ``aside``: it is not run this time, and what the page says of it stays.

    ``when`` are things to do to the workflow: display name of a step (a pattern) → resume, stop or terminate, once it
    runs, or let go of ``before`` or ``after``, where it pauses.
    ``differs`` says why it ends in another way than with the original, on purpose.
    ``others`` are the objects beside its workflows, ``parameters`` what the submitter gives.
    """

    file: str
    workflows: tuple[dict[str, Any], ...]
    expect: tuple[str, ...] = ("Succeeded",)
    needs: str = ""
    not_yet: str = ""
    aside: bool = False
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
    return Example(
        name,
        workflows,
        expect=_expected(name, said),
        needs=needs,
        not_yet="" if PATIENT else said.get("not_yet", ""),
        aside=bool(said.get("slow") and not PATIENT) or not all(map(shutil.which, said.get("programs", ()))),
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
    return [
        *(obj for e in sound for obj in e.others if obj.get("kind") in APPLIED),
        *suite.made_by_hand,
        *suite.at_hand,
    ]


def needed(suite: Suite, example: Example, among: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a file finds in its namespace: what it brings, what is made by hand, and what these mention by name."""
    pool = [obj for obj in among if obj["metadata"].get("name")]
    found = {_key(obj): obj for obj in (*suite.made_by_hand, *example.others)}
    text = json.dumps([*example.workflows, *example.others], default=str)
    while fresh := [obj for obj in pool if _key(obj) not in found and f'"{_mentioned(obj)}"' in text]:
        found.update((_key(obj), obj) for obj in reversed(fresh))
        text = json.dumps(fresh, default=str)
    return list(found.values())


def _mentioned(obj: Mapping[str, Any]) -> str:
    """The word by which others refer to an object."""
    return str(obj["metadata"]["name"]).removesuffix("-executor-plugin")


def _key(obj: Mapping[str, Any]) -> tuple[str, str]:
    return str(obj.get("kind")), str(obj["metadata"].get("name"))


def page(
    suites: Mapping[str, list[Example]], verdicts: Mapping[str, Mapping[str, str]], before: Mapping[str, list[str]]
) -> str:
    """The page. ``verdicts``: runtime → suite/file → how it went; files that were not run are missing there.

    ``before`` are the rows of the page so far, for files that are set aside.
    """
    runtimes = list(verdicts)
    lines = [
        "<!-- written by the test run: TIPHYS_WRITE_PAGES=1 pytest tests/conformance/test_examples.py -->",
        "# Conformance: the manifests of Argo Workflows",
        "",
        "The example manifests of Argo Workflows v4.1.2 and those of its end-to-end suite, run with tiphys on one",
        "machine, no cluster, no network. Images are served by the image map: programs of this machine stand for them.",
        "Small servers of the test stand for MinIO, httpbin, Artifactory and HDFS, programs of the test for plugins.",
    ]
    for suite in SUITES:
        every = suites[suite.name]
        run = [e for e in every if not (e.needs or e.not_yet)]
        found = {f"{suite.name}/{e.file}": _cells(f"{suite.name}/{e.file}", e, verdicts, before) for e in every}
        good = {r: sum(_is_good(found[f"{suite.name}/{e.file}"][n]) for e in run) for n, r in enumerate(runtimes)}
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
        for name, cells in found.items():
            lines.append(f"| {name} | " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cells(
    name: str, example: Example, verdicts: Mapping[str, Mapping[str, str]], before: Mapping[str, list[str]]
) -> list[str]:
    """How it went under each runtime."""
    known = before.get(name, ()) if example.aside else ()
    earlier = dict(zip(verdicts, known, strict=False))
    return [example.why_not(r) or verdicts[r].get(name) or earlier.get(r, NOT_RUN) for r in verdicts]


def _is_good(cell: str) -> bool:
    return not cell.startswith(("**", "not here: ", NOT_RUN))


def settings(runtime: str, place: Path) -> Settings:
    """With the artifact plugin that the suite's controller has; ``place`` is a directory for files."""
    image = "ghcr.io/argoproj-labs/artifact-driver-s3"
    drivers, images = place / "drivers.yaml", place / "images.toml"
    drivers.write_text(f"- {{name: test, image: '{image}:v0.3.1', connectionTimeoutSeconds: 60}}\n", encoding="utf-8")
    images.write_text(
        f"""[[entry]]
name = "artifact-driver"
match = ["{image}"]
entrypoint = ["/artifact-driver"]
provides = {{ "/artifact-driver" = ["{ARTIFACT_DRIVER}"], "/usr/local/bin/python3" = ["python3", "@interpreter"] }}
""",
        encoding="utf-8",
    )
    return replace(Settings(), runtime=runtime, artifact_drivers=drivers, image_map=images)


def rows(text: str) -> dict[str, list[str]]:
    """File → cells of a page: its structure, for comparing."""
    cells = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {row[0]: row[1:] for row in cells if row[0].endswith(".yaml")}
