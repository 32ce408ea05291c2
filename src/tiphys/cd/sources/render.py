"""One request in, objects out: the tool is found, run, and lists are taken apart (GenerateManifests of argo-cd).

Nothing here limits time or memory: `workers` runs it in a process that can be killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tiphys.cd.sources import detection, directory, helm, kustomize, paths, plugins
from tiphys.cd.sources.request import Manifest, Rendered, RenderError, Request, Tools


def render(request: Request, tools: Tools) -> Rendered:
    """The objects of one source. Raises `RenderError` in the original's words."""
    try:
        return _rendered(request, tools)
    except (MemoryError, RecursionError) as err:
        much = "memory" if isinstance(err, MemoryError) else "nesting"
        raise RenderError(f"rendering takes too much {much}") from None


def _rendered(request: Request, tools: Tools) -> Rendered:
    place = _place(request)
    try:
        request = replace(request, source=detection.with_overrides(request.source, place, request.app))
        kind = detection.source_type(request, place, tools)
    except RenderError as err:
        raise RenderError(f"error getting app source type: {err}") from None
    commands: list[str] = []
    match kind:
        case "Helm":
            found, commands = helm.objects(request, place, tools)
        case "Kustomize":
            found, commands = kustomize.objects(request, place, tools)
        case "Plugin":
            found, commands = plugins.objects(request, place, tools)
        case _:
            found = directory.objects(request, place)
    return Rendered(list(_flat(found)), commands, kind)


def _place(request: Request) -> Path:
    """The directory to render; a chart from a repository lies in the root of what was unpacked."""
    if request.source.get("chart"):
        return request.root
    try:
        return paths.app_path(request.root, request.source.get("path", ""))
    except paths.PathError as err:
        raise RenderError(str(err)) from None


def _flat(objects: list[Manifest]) -> Iterator[Manifest]:
    """Lists become their items; one whose items are null is nothing."""
    for one in objects:
        items = one.get("items", ())
        if isinstance(items, list):
            yield from _items(items)
        elif items is not None or "status" in one:
            yield one


def _items(items: list[Manifest]) -> Iterator[Manifest]:
    for item in items:
        if not isinstance(item, dict):
            raise RenderError("items member is not an object")
        yield item
