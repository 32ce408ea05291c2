"""What validation finds: `Problem` for callers, `Invalid` while it is on its way up.

The message grows on the way (each caller puts its own words in front, as the original does); the place does not: it
stays where the fault is, be it in a template of another object.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a manifest.

    ``message`` is the original's text. ``path`` is the field, from the top of the object that holds it
    (``spec.templates[1].container.image``); ``template`` is the name of the template, ``source`` the object
    (``WorkflowTemplate/name``) where it is another one than was asked about.
    """

    message: str
    path: str = ""
    template: str = ""
    source: str = ""

    def __str__(self) -> str:
        place = f"{self.source}: {self.path}" if self.source else self.path
        return f"{self.message} (at {place})" if place else self.message


@dataclass(frozen=True, slots=True)
class Place:
    """Where a template stands: ``path`` within ``source`` (empty for the object itself)."""

    path: str
    template: str = ""
    source: str = ""

    def inside(self, path: str, template: str) -> Place:
        return Place(f"{self.path}.{path}", template, self.source)


class Invalid(ValueError):
    """A fault. ``path`` is relative until a `Place` is known."""

    def __init__(self, message: str, path: str = "", place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.place = place

    def within(self, prefix: str, path: str = "", place: Place | None = None) -> Invalid:
        """The same fault with words in front; ``path`` and ``place`` count only while the fault has no place yet."""
        message = prefix + self.message
        if self.place is not None:
            return Invalid(message, self.path, self.place)
        joined = f"{path}.{self.path}" if path and self.path and self.path[0] != "[" else path + self.path
        return Invalid(message, joined, place)

    def problem(self) -> Problem:
        place = self.place or Place("")
        return Problem(
            self.message, f"{place.path}.{self.path}".strip("."), template=place.template, source=place.source
        )


class NotFound(Invalid):
    """A template or an object that is referred to does not exist."""
