"""``helm`` without a helm program: the commands that a render needs, on the Helm SDK wheel (helm-python-sdk, Helm v4).

It understands the arguments that `helm.arguments` writes and nothing else. A call into the SDK cannot be interrupted,
so it belongs into a process that can be killed (`workers`). What the original prints beside objects – notes, comments,
the order of kinds – is not reproduced: whoever reads the output takes it apart into objects and orders them anew.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import helm_python
from helm_python import _native
from helm_python.registry import dependency_build, dependency_update

from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.tools import shown
from tiphys.lang import goyaml, strvals

_SWITCHES = ("--include-crds", "--skip-schema-validation", "--skip-tests")
_SCHEMA = "values.schema.json"
REMOTE_VALUES_BYTES_MAX = 10 * 1024 * 1024
REMOTE_VALUES_SECONDS = 30.0


class HelmSdk:
    """A driver of tools for ``helm`` only."""

    def run(self, argv: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> str:
        """The output of ``helm template``; the other commands print nothing. Raises `RenderError`."""
        commands: dict[str, Callable[[], str]] = {
            "template": lambda: _template(argv[2:], cwd),
            "repo": lambda: "",
            "dependency": lambda: _fetch_dependencies(cwd),
        }
        try:
            return commands[argv[1]]()
        except (helm_python.HelmError, strvals.StrvalsError, goyaml.YamlError, OSError) as err:
            raise RenderError(f"`{shown(argv)}` failed exit status 1: Error: {err}") from None


def _fetch_dependencies(place: Path) -> str:
    (dependency_build if (place / "Chart.lock").exists() else dependency_update)(place)
    return ""


def _template(arguments: Sequence[str], cwd: Path) -> str:
    given = _Arguments(arguments)
    with _chart_directory(cwd / given.chart, "--skip-schema-validation" in given.switches) as place:
        _check_dependencies(place)
        with helm_python.Chart.load(place) as chart:
            crds = [crd["data"] for crd in chart.crds] if "--include-crds" in given.switches else []
            rendered = _render(chart, _values(given, cwd), given)
    documents = [*crds, *(text for path, text in sorted(rendered.items()) if not path.endswith("NOTES.txt"))]
    text = "\n---\n".join(document for document in documents if document.strip())
    return _without_tests(text) if "--skip-tests" in given.switches else text


class _Arguments:
    """The arguments of ``template`` by flag; ``switches`` are those without a value."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.chart = arguments[0]
        self.switches = {one for one in arguments[1:] if one in _SWITCHES}
        pairs = [one for one in arguments[1:] if one not in _SWITCHES]
        self.pairs = list(zip(pairs[::2], pairs[1::2], strict=True))

    def all(self, flag: str) -> list[str]:
        return [value for name, value in self.pairs if name == flag]

    def one(self, flag: str) -> str | None:
        return next(iter(self.all(flag)), None)


def _render(chart: Any, values: dict[str, Any], given: _Arguments) -> dict[str, str]:
    """The SDK's render, with two options that its Python surface leaves out."""
    options: dict[str, Any] = {"name": given.one("--name-template"), "namespace": given.one("--namespace")}
    options["kube_version"] = given.one("--kube-version")
    options["api_versions"] = given.all("--api-versions") or None
    known = {name: value for name, value in options.items() if value is not None}
    text = _native.call_string("helm_render", chart._raw(), json.dumps(values), json.dumps(known))
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def _values(given: _Arguments, cwd: Path) -> dict[str, Any]:
    """The values in the order in which helm lets them override each other."""
    values: dict[str, Any] = {}
    for name in given.all("--values"):
        layer = goyaml.load(_content(name, cwd))
        if layer is not None and not isinstance(layer, dict):
            raise RenderError(f"failed to parse {name}: values must be a map")
        values = _merged(values, layer or {})
    for expression in given.all("--set"):
        strvals.assign(values, expression)
    for expression in given.all("--set-string"):
        strvals.assign_strings(values, expression)
    for expression in given.all("--set-file"):
        strvals.assign_files(values, expression, lambda name: _content(name, cwd))
    return values


def _content(name: str, cwd: Path) -> str:
    if name.startswith(("http://", "https://")):
        with urlopen(name, timeout=REMOTE_VALUES_SECONDS) as answer:
            data = answer.read(REMOTE_VALUES_BYTES_MAX + 1)
        if len(data) > REMOTE_VALUES_BYTES_MAX:
            raise RenderError(f"{name} is longer than {REMOTE_VALUES_BYTES_MAX} bytes")
        return bytes(data).decode("utf-8", "replace")
    return (cwd / name).read_text(encoding="utf-8")


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        held = found.get(key)
        found[key] = _merged(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return found


@contextmanager
def _chart_directory(place: Path, without_schema: bool) -> Iterator[Path]:
    """The chart, or a copy without its schemas."""
    if not without_schema:
        yield place
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / place.name
        shutil.copytree(place, copy, symlinks=True, ignore=shutil.ignore_patterns(_SCHEMA, ".git"))
        yield copy


def _check_dependencies(place: Path) -> None:
    """Refuses a chart whose dependencies were not fetched, in helm's words."""
    missing = [one["name"] for one in helm_python.dependency_list(place) if one.get("status") == "missing"]
    if missing:
        raise RenderError(
            "An error occurred while checking for chart dependencies. You may need to run `helm dependency build` to "
            f"fetch missing dependencies: found in Chart.yaml, but missing in charts/ directory: {', '.join(missing)}"
        )


def _without_tests(text: str) -> str:
    """The documents that are no test hooks."""
    documents = (document for document in text.split("\n---"))
    return "\n---".join(document for document in documents if not _is_test(document))


def _is_test(document: str) -> bool:
    value = goyaml.load(document)
    annotations = (value.get("metadata") or {}).get("annotations") or {} if isinstance(value, dict) else {}
    hooks = {hook.strip() for hook in str(annotations.get("helm.sh/hook", "")).split(",")}
    return bool(hooks & {"test", "test-success", "test-failure"})
