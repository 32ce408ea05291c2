"""The admission of one request: first everybody who may change the object, then everybody who may refuse it.

    admit: built-in plugins ─► mutating webhooks ─► (kind's own validation) ─► validate: plugins ─► policies
           ─► validating webhooks ─► quota ─► store

Built-in plugins are plain functions. Webhooks wait for others, so the verbs look again afterwards whether the object is
still the one they have read. Quota comes last, with nothing that waits between it and the store: usage is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.users import IN_PROCESS, User

Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(slots=True)
class Attributes:
    """One request as admission sees it. ``obj`` may be replaced by whoever admits; ``old`` is read-only."""

    info: ResourceInfo
    operation: Operation
    namespace: str
    name: str
    obj: Object | None
    old: Object | None = None
    subresource: str = ""
    user: User = IN_PROCESS
    dry_run: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        """The object's spec as a copy of its own, put into the object: for plugins that change it."""
        assert self.obj is not None, "there is an object"
        spec = dict(self.obj.get("spec") or {})
        self.obj["spec"] = spec
        return spec


Step = Callable[[Attributes], None]
"""Completes the object in place, or refuses the request by an ApiError."""


class Remote(Protocol):
    """Admission that waits for others."""

    def wants(self, request: Attributes) -> bool:
        """Cheap: whether anybody has to be asked."""
        ...

    async def ask(self, request: Attributes) -> None: ...


@dataclass
class Admission:
    """All of them, each list in order."""

    mutating: Sequence[Step] = ()
    mutating_remote: Sequence[Remote] = ()
    validating: Sequence[Step] = ()
    validating_remote: Sequence[Remote] = ()
    last: Sequence[Step] = ()

    def admit(self, request: Attributes) -> None:
        for step in self.mutating:
            step(request)

    def validate(self, request: Attributes) -> None:
        for step in self.validating:
            step(request)

    def charge(self, request: Attributes) -> None:
        """Right before the store: nothing waits in between."""
        for step in self.last:
            step(request)

    def waits_to_admit(self, request: Attributes) -> bool:
        return any(remote.wants(request) for remote in self.mutating_remote)

    def waits_to_validate(self, request: Attributes) -> bool:
        return any(remote.wants(request) for remote in self.validating_remote)

    async def ask_to_admit(self, request: Attributes) -> None:
        for remote in self.mutating_remote:
            if remote.wants(request):
                await remote.ask(request)

    async def ask_to_validate(self, request: Attributes) -> None:
        for remote in self.validating_remote:
            if remote.wants(request):
                await remote.ask(request)
