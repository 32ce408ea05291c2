"""What can go wrong with a jq filter, and the three ways out of one that are no errors to ``try``."""

from __future__ import annotations

from typing import Any


class JqError(ValueError):
    """A filter cannot be read or ended in an error. ``is_syntax``: before anything ran."""

    is_syntax = False


class JqSyntaxError(JqError):
    """The filter cannot be read, or names something that does not exist."""

    is_syntax = True


class JqLimitError(JqError):
    """The filter takes more steps, depth or memory than it may; ``try`` does not catch this."""


class Failure(JqError):
    """An error inside of a filter, which ``try … catch`` hands over as a message."""

    @property
    def value(self) -> Any:
        """What ``catch`` gets."""
        return str(self)


class RaisedFailure(Failure):
    """``error(value)``: ``catch`` gets the value itself."""

    def __init__(self, value: Any, shown: str) -> None:
        super().__init__(f"error: {shown}")
        self._value = value

    @property
    def value(self) -> Any:
        return self._value


class Halt(JqError):
    """``halt`` and ``halt_error``: the filter is over, whatever surrounds them."""


class Break(JqError):
    """``break $label``, on its way to its label."""

    def __init__(self, label: object) -> None:
        super().__init__("break")
        self.label = label
