"""What a caller passes to a template: arguments that are written down, or anything where the caller is not known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tiphys.workflows.plan.canonical import has_tags
from tiphys.workflows.plan.validate.variables import Placeholders


class Arguments(Protocol):
    """What a caller passes to a template."""

    def parameter(self, name: str) -> Mapping[str, Any] | None: ...

    def artifact(self, name: str) -> Mapping[str, Any] | None: ...

    @property
    def is_plain(self) -> bool:
        """Whether no value has tags, which could do anything to the text of a template that they are put into."""
        ...


@dataclass(frozen=True)
class Given:
    """The arguments that are written down."""

    arguments: Mapping[str, Any]

    def parameter(self, name: str) -> Mapping[str, Any] | None:
        return next((item for item in self.arguments.get("parameters") or () if item["name"] == name), None)

    def artifact(self, name: str) -> Mapping[str, Any] | None:
        return next((item for item in self.arguments.get("artifacts") or () if item["name"] == name), None)

    @property
    def is_plain(self) -> bool:
        return not has_tags(self.arguments)


@dataclass(frozen=True)
class Anything:
    """Arguments of a caller that is not known: whatever is asked for is there."""

    placeholders: Placeholders

    def parameter(self, name: str) -> Mapping[str, Any] | None:
        return {"name": name, "value": self.placeholders.next()}

    def artifact(self, name: str) -> Mapping[str, Any] | None:
        return {"name": name}

    @property
    def is_plain(self) -> bool:
        return True
