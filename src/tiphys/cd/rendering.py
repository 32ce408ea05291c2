"""The renderer as the controller sees it: sources in, marked objects out, whatever tool made them.

A renderer never raises for what a user can cause: a repository that is not there, a chart that does not render and an
unknown revision are a ``Rendered`` with its ``problem``. It may keep what it rendered as long as it can tell that
nothing changed; ``resolve`` asks it to look what a branch means now, ``hard`` to forget what it kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tiphys.cd.plan.compare import Rendered
from tiphys.cd.plan.settings import Settings

__all__ = ["Push", "RenderFailed", "Rendered", "Renderer", "Wanted"]


@dataclass(frozen=True)
class Wanted:
    """What is to be rendered for one application.

    ``instance`` is its name as tracking has it; ``namespace`` is the destination's. ``revisions`` are what to render
    each source at, "" for its ``targetRevision``. Objects come back marked as the instance's, by the method in
    ``settings``, unless they should not be (``is_marked``). ``integrity`` are the project's policies on signatures.
    """

    instance: str
    namespace: str
    project: str
    sources: Sequence[Mapping[str, Any]]
    revisions: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    kube_version: str = ""
    api_versions: Sequence[str] = ()
    integrity: Sequence[Mapping[str, Any]] = ()
    resolve: bool = True
    hard: bool = False
    is_marked: bool = True


@dataclass(frozen=True)
class Push:
    """A commit of hydrated manifests: ``files`` on top of ``branch``, which begins at ``base`` where it is new. There
    is one only if one of ``deciding`` changes; ``dry`` is the commit that they come from."""

    url: str
    project: str
    branch: str
    base: str
    files: Mapping[str, str]
    deciding: Sequence[str]
    message: str
    author: str
    email: str
    dry: str


class RenderFailed(ValueError):
    """What a repository, or who has a say in it, does not let us do."""


class Renderer(Protocol):
    async def render(self, wanted: Wanted) -> Rendered:
        """The objects of all sources, later ones winning, with the revision that each source was rendered at."""
        ...

    async def push(self, wanted: Push) -> str:
        """The commit that the branch is at afterwards. Raises RenderFailed."""
        ...

    async def commit_metadata(self, url: str, project: str, commit: str) -> Mapping[str, str]:
        """``author``, ``date`` and ``message`` of a commit that was rendered. Raises RenderFailed."""
        ...

    async def close(self) -> None:
        """Ends its processes and removes what it kept on disk."""
        ...
