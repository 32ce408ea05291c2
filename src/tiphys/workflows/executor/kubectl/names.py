"""What a server calls its resources. Which there are is the server's knowledge; ``app`` hands it in."""

from __future__ import annotations

from typing import Protocol

from tiphys.machinery.resources import Resource


class ResourceNames(Protocol):
    def by_kind(self, group: str, version: str, kind: str) -> Resource | None: ...

    def by_name(self, name: str) -> Resource | None:
        """By plural, singular, short name or kind, with or without ``.group`` or ``.version.group``; any case."""
        ...
