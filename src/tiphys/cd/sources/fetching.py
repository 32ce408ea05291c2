"""The files of a source: what its revision means now, and where they are on disk.

    git         reference ─► commit ─► GitStore      signatures are verified where the project wants it
    chart       constraint ─► version ─► ChartStore, or ArtifactStore where the repository is a registry
    oci://…     tag or constraint ─► digest ─► ArtifactStore

Questions for the same repository that come together are asked once, and what a revision meant is kept until somebody
wants to know anew. Nothing is handed out that has links out of its root.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tiphys.cd.plan import integrity
from tiphys.cd.rendering import Wanted
from tiphys.cd.sources import artifacts, paths, revisions
from tiphys.cd.sources.artifacts import ArtifactStore
from tiphys.cd.sources.charts import ChartRepository, ChartStore
from tiphys.cd.sources.credentials import Credentials
from tiphys.cd.sources.git import GitStore, Repository
from tiphys.cd.sources.github_app import GitHubApps
from tiphys.cd.sources.request import RenderError
from tiphys.cd.sources.shelf import Shelf
from tiphys.cd.sources.signatures import Signatures

RESOLVED_MAX = 10_000
Source = Mapping[str, Any]


class CredentialsFor(Protocol):
    def __call__(self, url: str, project: str, to_write: bool = False) -> Credentials:
        """The credentials for a repository's URL in a project, to read it or to write to it."""


@dataclass(frozen=True)
class Fetched:
    """A source's files and the revision they are of; ``repository`` is None for what is not from git.

    ``untrusted``: what the project finds wrong with its signatures.
    """

    root: Path
    revision: str
    repository: Repository | None = None
    untrusted: Sequence[str] = ()


@dataclass(frozen=True)
class Stores:
    """Where sources are kept, by the way they come; ``keys`` are the public keys of those who sign."""

    git: GitStore
    charts: ChartStore
    artifacts: ArtifactStore
    apps: GitHubApps
    keys: Callable[[], Mapping[str, str]] = dict


class Fetcher:
    """``credentials`` says who we are to a repository."""

    def __init__(self, stores: Stores, credentials: CredentialsFor) -> None:
        self.stores = stores
        self.credentials = credentials
        self._signatures = Signatures(stores.git)
        self._resolved: OrderedDict[tuple[str, ...], str] = OrderedDict()
        self._asked: dict[tuple[str, Credentials], asyncio.Task[dict[str, str]]] = {}
        self._checked: OrderedDict[Path, None] = OrderedDict()

    async def fetch(self, wanted: Wanted, index: int, held: ExitStack) -> Fetched:
        """The files of one source, which stay on disk as long as ``held`` lasts. Raises `RenderError`."""
        source = wanted.sources[index]
        given = wanted.revisions[index] if index < len(wanted.revisions) else ""
        revision = given or source.get("targetRevision") or ""
        url = source.get("repoURL") or ""
        credentials = self.credentials(url, wanted.project)
        if artifacts.is_artifact(url):
            return await self._artifact(wanted, url, revision, credentials, held)
        if source.get("chart"):
            return await self._chart(wanted, source, revision, credentials, held)
        return await self._commit(wanted, source, revision, credentials, held)

    async def repository(self, url: str, project: str, *, to_write: bool = False) -> Repository:
        """A git repository with our credentials. Raises `RenderError`."""
        credentials = self.credentials(url, project, to_write)
        return Repository(url, await self.stores.apps.exchanged(credentials, url), depth=credentials.depth)

    async def _artifact(
        self, wanted: Wanted, url: str, revision: str, credentials: Credentials, held: ExitStack
    ) -> Fetched:
        store = self.stores.artifacts
        digest = revision
        if not revision.startswith("sha256:"):
            ask = ("oci", url, revision)
            digest = await self._known(wanted, ask, lambda: store.resolve(url, revision, credentials))
        root = await store.checkout(url, digest, credentials)
        _hold(held, store.shelf, root)
        await self._check_links(root, "oci image")
        return Fetched(root, digest)

    async def _chart(
        self, wanted: Wanted, source: Source, revision: str, credentials: Credentials, held: ExitStack
    ) -> Fetched:
        url, chart = source.get("repoURL") or "", source["chart"]
        ask = ("chart", url, chart, revision)
        if credentials.enable_oci or artifacts.is_chart_registry(url):
            registry, store = url.removeprefix("https://").removeprefix("http://"), self.stores.artifacts
            version = await self._known(wanted, ask, lambda: store.version(registry, chart, revision, credentials))
            root = await store.chart(registry, chart, version, credentials)
            _hold(held, store.shelf, root)
        else:
            passes = bool((source.get("helm") or {}).get("passCredentials"))
            repository, charts = ChartRepository(url, credentials, passes), self.stores.charts
            version = await self._known(wanted, ask, lambda: charts.resolve(repository, chart, revision))
            root = await charts.checkout(repository, chart, version, hard=wanted.hard)
            _hold(held, charts.shelf, root.parent)
        await self._check_links(root, "chart")
        return Fetched(root, version)

    async def _commit(
        self, wanted: Wanted, source: Source, revision: str, credentials: Credentials, held: ExitStack
    ) -> Fetched:
        url, prefix, git = source.get("repoURL") or "", source.get("tagPrefix") or "", self.stores.git
        repository = Repository(url, await self.stores.apps.exchanged(credentials, url), depth=credentials.depth)
        ask = ("git", url, revision, prefix)
        commit = await self._known(wanted, ask, lambda: self._resolve(repository, revision, prefix))
        root = await git.checkout(repository, commit)
        _hold(held, git.shelf, root)
        await self._check_links(root, "repository")
        return Fetched(root, commit, repository, await self._untrusted(wanted, repository, commit, (revision, prefix)))

    async def _untrusted(
        self, wanted: Wanted, repository: Repository, commit: str, asked: tuple[str, str]
    ) -> Sequence[str]:
        """``asked``: the revision that meant the commit, and the prefix of tags."""
        try:
            policy = integrity.policy_for(wanted.integrity, repository.url)
        except integrity.IntegrityError as err:
            raise RenderError(str(err)) from None
        if policy is None:
            return ()
        revision, prefix = asked
        if prefix or revisions.is_constraint(revision):
            revision = GitStore.named(await self.stores.git.references(repository), revision, prefix)
        return await self._signatures.problems(repository, commit, revision, policy, self.stores.keys())

    async def _known(self, wanted: Wanted, key: tuple[str, ...], ask: Callable[[], Awaitable[str]]) -> str:
        """What a revision means: as it was last time unless the request wants to know anew."""
        if wanted.resolve or key not in self._resolved:
            self._resolved[key] = await ask()
            if len(self._resolved) > RESOLVED_MAX:
                self._resolved.popitem(last=False)
        return self._resolved[key]

    async def _resolve(self, repository: Repository, revision: str, tag_prefix: str) -> str:
        """Asks a repository for its references once for all who ask at the same time with the same credentials."""
        if revisions.is_commit(revision):
            return revision
        key = (repository.url, repository.credentials)
        task = self._asked.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self.stores.git.references(repository))
            self._asked[key] = task
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        return GitStore.chosen(await asyncio.shield(task), revision, tag_prefix)

    async def _check_links(self, root: Path, what: str) -> None:
        if root in self._checked:
            return
        try:
            await asyncio.to_thread(paths.check_links, root)
        except paths.PathError as err:
            name = str(err).rpartition(": ")[2]
            raise RenderError(f"{what} contains out-of-bounds symlinks. file: {name}") from None
        self._checked[root] = None
        if len(self._checked) > RESOLVED_MAX:
            self._checked.popitem(last=False)


def _hold(held: ExitStack, shelf: Shelf, place: Path) -> None:
    held.enter_context(shelf.held(place))
