"""Jsonnet files: external variables, top-level arguments and libraries, all within the repository (gojsonnet)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tiphys.cd.sources import paths
from tiphys.cd.sources.manifests import why_no_object
from tiphys.cd.sources.request import Manifest, RenderError, Request
from tiphys.lang.gofmt import quote

_REFUSED = "/refused-import"
_REFUSED_LINE = re.compile(rf"^\t{_REFUSED}:.*\n", re.M)
_PRECONDITION = "rpc error: code = FailedPrecondition desc = "


def objects(request: Request, place: Path, path: Path) -> list[Manifest]:
    """What one file evaluates to: an object, or an array of objects and nulls. Raises `RenderError`."""
    options = (request.source.get("directory") or {}).get("jsonnet") or {}
    arguments = _variables(request, options)
    libraries = [place, *(_library(request, name) for name in options.get("libs") or ())]
    try:
        import _gojsonnet  # an extra: 17 MB that only Jsonnet sources need
    except ImportError:
        raise RenderError("Jsonnet needs the gojsonnet package: pip install 'tiphys[render]'") from None
    importer = _Importer(request.root, libraries)
    code = path.read_text(encoding="utf-8")
    try:
        text = _gojsonnet.evaluate_snippet(str(path), code, import_callback=importer, **arguments)
        importer.check()
    except RuntimeError as err:
        why = _REFUSED_LINE.sub("", str(err))
        raise RenderError(f"{_PRECONDITION}Failed to evaluate jsonnet {quote(path.name)}: {why}") from None
    return _objects(path.name, json.loads(text))


def _variables(request: Request, options: dict[str, Any]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {"ext_vars": {}, "ext_codes": {}, "tla_vars": {}, "tla_codes": {}}
    for prefix, name in (("ext", "extVars"), ("tla", "tlas")):
        for variable in options.get(name) or ():
            kind = f"{prefix}_codes" if variable.get("code") else f"{prefix}_vars"
            found[kind][variable["name"]] = request.substituted(variable.get("value", ""))
    return found


def _library(request: Request, name: str) -> Path:
    """A library's directory, always taken from the root of the repository."""
    try:
        return paths.resolve(request.root, request.root, name, may_be_root=True)
    except paths.PathError as err:
        raise RenderError(str(err)) from None


def _objects(name: str, value: Any) -> list[Manifest]:
    items = [item for item in value if item is not None] if isinstance(value, list) else [value]
    if all(why_no_object(item) is None for item in items):
        return items
    why = why_no_object(value)
    raise RenderError(f"{_PRECONDITION}Failed to unmarshal generated json {quote(name)}: {why}")


class _Importer:
    """Finds an import beside the file that asks for it, then in the libraries, the last one first; never outside the
    repository, wherever links lead.

    It raises nothing: an exception's text comes out of gojsonnet with bytes of memory behind it. An import that is
    refused is a file that says why when it is evaluated; ``check`` tells of one that was only read (``importstr``).
    """

    def __init__(self, root: Path, libraries: list[Path]) -> None:
        self.root = root.resolve()
        self.libraries = libraries
        self._refusal = ""

    def check(self) -> None:
        """Raises RuntimeError when an import was refused."""
        if self._refusal:
            raise RuntimeError(f"RUNTIME ERROR: {self._refusal}")

    def __call__(self, folder: str, name: str) -> tuple[str, bytes]:
        for base in (Path(folder), *reversed(self.libraries)):
            path = base / name
            real = path.resolve()
            if not real.is_relative_to(self.root):
                return self._refused(f"import {quote(name)} leads out of the repository")
            if real.is_file():
                return str(path), real.read_bytes()
        return self._refused(f"couldn't open import {quote(name)}: no match locally or in the Jsonnet library paths")

    def _refused(self, why: str) -> tuple[str, bytes]:
        self._refusal = self._refusal or why
        return _REFUSED, b"error " + json.dumps(why).encode()
