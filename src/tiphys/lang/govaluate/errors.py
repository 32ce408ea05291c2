"""The one error of the language."""

from __future__ import annotations


class GovaluateError(ValueError):
    """An expression that cannot be read or evaluated. The message is the original's."""
