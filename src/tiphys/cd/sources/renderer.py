"""The renderer that the controller uses: files fetched, tools run, results kept.

    source ──► files on disk at a revision ──► objects ──► marked as the application's
               fetching.py                     RenderPool, or here for plain files

Results are kept by everything that went into them;
with the annotation on paths a commit that changes none of an application's files costs no render. Plain manifests are
read in this process, which is ten times quicker than asking another; everything that runs foreign code is not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tiphys.cd.plan import integrity, tracking
from tiphys.cd.plan.compare import Rendered
from tiphys.cd.plan.objects import is_crd
from tiphys.cd.rendering import Push, RenderFailed, Wanted
from tiphys.cd.sources import artifacts, paths, plugins, request
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.fetching import CredentialsFor, Fetched, Fetcher, Stores
from tiphys.cd.sources.hydrated import push
from tiphys.cd.sources.kustomization import kustomization_file
from tiphys.cd.sources.render import render
from tiphys.cd.sources.request import RenderError, Request
from tiphys.cd.sources.tools import Toolbox
from tiphys.cd.sources.workers import RenderPool
from tiphys.lang import gojson

KEPT_BYTES_MAX = 64 * 1024 * 1024
APPLICATIONS_MAX = 10_000
BRACKETS_MAX = 4_000
_OVERRIDES = ".argocd-source*.yaml"
Source = Mapping[str, Any]


class SourceRenderer:
    """Implements `tiphys.cd.rendering.Renderer`."""

    def __init__(
        self,
        stores: Stores,
        pool: RenderPool,
        credentials: CredentialsFor = lambda url, project, to_write=False: Credentials(),
        installed: Sequence[plugins.Plugin] = (),
    ) -> None:
        self.fetcher = Fetcher(stores, credentials)
        self.pool = pool
        self.plugins = installed
        self._tools = Toolbox()
        self._kept = _Kept()
        self._last: OrderedDict[tuple[str, int, bool], tuple[str, str]] = OrderedDict()
        """Per application and source, dry ones apart: the revision rendered last, and the key of its result."""

    async def render(self, wanted: Wanted) -> Rendered:
        """The marked objects of all sources. A problem is part of the answer, never raised."""
        with ExitStack() as held:
            return await self._all(wanted, held)

    async def _all(self, wanted: Wanted, held: ExitStack) -> Rendered:
        """``held`` keeps the files of every source on disk until the last one is rendered."""
        targets: list[Mapping[str, Any]] = []
        revisions: list[str] = []
        types: list[str] = []
        commands: list[str] = []
        number = 0
        try:
            fetched = [await self.fetcher.fetch(wanted, index, held) for index in range(len(wanted.sources))]
            references = _references(wanted.sources, fetched)
            for number, source in enumerate(wanted.sources):
                revisions.append(fetched[number].revision)
                if _is_reference_only(source):
                    types.append("")
                    continue
                found = await self._source(wanted, number, fetched[number], references)
                targets.extend(_marked(wanted, one) for one in found.manifests)
                types.append(found.source_type)
                commands.extend(found.commands)
        except (RenderError, tracking.TrackingError) as err:
            where = f"failed to generate manifest for source {number + 1} of {len(wanted.sources)}"
            return Rendered(revisions=revisions, problem=f"{where}: {_as_status(str(err))}")
        untrusted = list(_untrusted(wanted.sources, fetched))
        return Rendered(targets, revisions, types, untrusted=untrusted, commands=commands)

    async def push(self, wanted: Push) -> str:
        """Commits hydrated manifests. Raises RenderFailed."""
        try:
            repository = await self.fetcher.repository(wanted.url, wanted.project, to_write=True)
            return await push(self.fetcher.stores.git, repository, wanted)
        except RenderError as err:
            raise RenderFailed(str(err)) from None

    async def commit_metadata(self, url: str, project: str, commit: str) -> Mapping[str, str]:
        """What is known of a commit that was rendered. Raises RenderFailed."""
        try:
            return await self.fetcher.stores.git.metadata(await self.fetcher.repository(url, project), commit)
        except RenderError as err:
            raise RenderFailed(str(err)) from None

    async def close(self) -> None:
        """Ends the processes that render."""
        await self.pool.close()

    async def _source(
        self, wanted: Wanted, index: int, fetched: Fetched, references: Mapping[str, Path]
    ) -> request.Rendered:
        asked = self._request(wanted, wanted.sources[index], fetched, references)
        place = _place_of(wanted, index)
        key = _key(asked, references)
        if wanted.hard:
            self._kept.forget(key)
        elif await self._is_unconcerned(wanted, index, fetched):
            key = self._last[place][1]
        found = self._kept.get(key)
        if found is None:
            found = await self._rendered(asked)
            self._kept.put(key, found)
        self._last[place] = (fetched.revision, key)
        self._last.move_to_end(place)
        if len(self._last) > APPLICATIONS_MAX:
            self._last.popitem(last=False)
        return found

    async def _rendered(self, asked: Request) -> request.Rendered:
        if await asyncio.to_thread(_is_for_here, asked):
            return await asyncio.to_thread(render, asked, self._tools)
        return await self.pool.render(asked)

    async def _is_unconcerned(self, wanted: Wanted, index: int, fetched: Fetched) -> bool:
        """Whether the application says which paths matter and none of them changed since its last render."""
        known = self._last.get(_place_of(wanted, index))
        if (
            known is None
            or fetched.repository is None
            or known[0] == fetched.revision
            or self._kept.get(known[1]) is None
        ):
            return False
        app = {"metadata": {"annotations": wanted.annotations}, "spec": {}}
        concerned = paths.refresh_paths(app, wanted.sources[index])
        if not concerned:
            return False
        changed = await self.fetcher.stores.git.changed_files(fetched.repository, known[0], fetched.revision)
        return not paths.files_changed(concerned, changed) if changed else True

    def _request(self, wanted: Wanted, source: Source, fetched: Fetched, references: Mapping[str, Path]) -> Request:
        settings = wanted.settings
        is_overridden = bool(self.plugins) and any(_place(fetched.root, source).glob(_OVERRIDES))
        return Request(
            app=wanted.instance,
            source=source,
            root=fetched.root,
            revision=fetched.revision,
            namespace=wanted.namespace,
            project=wanted.project,
            kube_version=wanted.kube_version,
            api_versions=wanted.api_versions,
            enabled_types=settings.enabled_tools,
            build_options=settings.kustomize_build_options,
            values_file_schemes=settings.values_file_schemes,
            references=references,
            hidden=[fetched.root, *references.values()],
            plugins=plugins.concerning(self.plugins, source, is_overridden=is_overridden),
        )


class _Kept:
    """Results by what went into them, as bytes, the oldest forgotten first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, key: str) -> request.Rendered | None:
        held = self._entries.get(key)
        if held is None:
            return None
        self._entries.move_to_end(key)
        return request.Rendered(**json.loads(held))

    def put(self, key: str, found: request.Rendered) -> None:
        self.forget(key)
        self._entries[key] = data = gojson.dump_bytes(vars(found), keep_order=True)
        self._size += len(data)
        while self._size > KEPT_BYTES_MAX:
            _, oldest = self._entries.popitem(last=False)
            self._size -= len(oldest)

    def forget(self, key: str) -> None:
        self._size -= len(self._entries.pop(key, b""))


def _key(asked: Request, references: Mapping[str, Path]) -> str:
    parts = [
        asked.source,
        [asked.app, asked.revision, asked.namespace, asked.project, asked.kube_version, asked.build_options],
        sorted(asked.api_versions),
        dict(asked.enabled_types),
        sorted(asked.values_file_schemes),
        {name: str(path) for name, path in references.items()},
    ]
    return hashlib.sha256(gojson.dump_bytes(parts)).hexdigest()


def _is_for_here(asked: Request) -> bool:
    """Whether this process may render it; looks through the whole directory of a source."""
    return _is_plain(asked) and not _is_heavy(asked)


def _is_plain(asked: Request) -> bool:
    """Whether nothing but YAML and JSON has to be read, and no program has a say in it."""
    source = asked.source
    place = _place(asked.root, source)
    if asked.plugins or source.get("chart") or any(source.get(tool) for tool in ("helm", "kustomize", "plugin")):
        return False
    if not place.is_dir() or kustomization_file(place) or any(place.glob("*Chart.yaml")):
        return False
    if any(place.glob(_OVERRIDES)):
        return False
    pattern = "**/*.jsonnet" if (source.get("directory") or {}).get("recurse") else "*.jsonnet"
    return not any(place.glob(pattern))


def _is_heavy(asked: Request) -> bool:
    """Whether a file might be nested so deeply that parsing it, which takes the square of the depth, is a danger."""
    pattern = "**/*" if (asked.source.get("directory") or {}).get("recurse") else "*"
    files = (path for path in _place(asked.root, asked.source).glob(pattern) if path.is_file())
    large = (path.read_bytes() for path in files if path.stat().st_size > BRACKETS_MAX)
    return any(data.count(b"[") + data.count(b"{") > BRACKETS_MAX for data in large)


def _place(root: Path, source: Source) -> Path:
    return root / (source.get("path") or "").lstrip("/")


def _references(sources: Sequence[Source], fetched: Sequence[Fetched]) -> dict[str, Path]:
    """``$name`` of each source that others may take files from."""
    found: dict[str, Path] = {}
    for source, files in zip(sources, fetched, strict=True):
        if not source.get("ref"):
            continue
        if source.get("chart"):
            raise RenderError(f"source {source['ref']} cannot be referenced: it is a chart")
        found[f"${source['ref']}"] = files.root
    return found


def _untrusted(sources: Sequence[Source], fetched: Sequence[Fetched]) -> Iterator[str]:
    """What is wrong with signatures: one text per source, which is named where there are several."""
    for number, (source, files) in enumerate(zip(sources, fetched, strict=True), 1):
        name = f"source {source['name']}" if source.get("name") else f"source {number} of {len(sources)}"
        check, colon = integrity.CHECK, ": "
        prefix = f"{check}{colon}{name}" if len(sources) > 1 else check
        if files.untrusted:
            yield "\n".join(f"{prefix}{colon}{each.removeprefix(check + colon)}" for each in files.untrusted)


def _place_of(wanted: Wanted, index: int) -> tuple[str, int, bool]:
    return wanted.instance, index, wanted.is_marked


def _is_reference_only(source: Source) -> bool:
    is_more = source.get("path") or source.get("chart") or artifacts.is_artifact(source.get("repoURL") or "")
    return bool(source.get("ref")) and not is_more


def _marked(wanted: Wanted, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    if is_crd(manifest) or not wanted.is_marked:
        return manifest
    settings = wanted.settings
    return tracking.tracked(
        manifest,
        wanted.instance,
        wanted.namespace,
        settings.tracking_method,
        settings.instance_label,
        settings.installation_id,
    )


def _as_status(text: str) -> str:
    """How an error of the original's repo server reads: it speaks gRPC."""
    return text if text.startswith("rpc error:") else f"rpc error: code = Unknown desc = {text}"
