"""A checkout of one's own for renders that write into it.

Checkouts are shared and never changed. Where a tool writes – kustomize's edits, fetched dependencies of a chart, what a
plugin likes – it gets a copy: hard links, but real files in the application's own directory, where the writing is done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tiphys.cd.sources.kustomization import kustomization_file
from tiphys.cd.sources.request import Request

_EDITED = (
    "commonAnnotations",
    "commonLabels",
    "components",
    "images",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "patches",
    "replicas",
)


@contextmanager
def workspace(request: Request, scratch: Path) -> Iterator[Request]:
    """The request as it is, or one on a copy below ``scratch`` that is gone afterwards."""
    place = request.root / (request.source.get("path") or "").lstrip("/")
    if not _writes(request, place):
        yield request
        return
    with TemporaryDirectory(dir=scratch) as folder:
        root = Path(folder) / "source"
        shutil.copytree(request.root, root, symlinks=True, copy_function=_linked_outside(place))
        yield replace(request, root=root, hidden=[*request.hidden, root])


def _writes(request: Request, place: Path) -> bool:
    if request.source.get("plugin") is not None or request.plugins:
        return True
    if any((request.source.get("kustomize") or {}).get(field) for field in _EDITED):
        return True
    if any(place.glob(".argocd-source*.yaml")) and kustomization_file(place):
        return True
    chart = place / "Chart.yaml"
    return chart.is_file() and "dependencies:" in chart.read_text(encoding="utf-8", errors="replace")


def _linked_outside(place: Path) -> Callable[[str, str], str]:
    own = f"{place}{os.sep}"

    def copy(source: str, target: str) -> str:
        if source.startswith(own) or f"{os.sep}.git{os.sep}" in source:
            return shutil.copy2(source, target)
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:  # another file system
            return shutil.copy2(source, target)
        return target

    return copy
