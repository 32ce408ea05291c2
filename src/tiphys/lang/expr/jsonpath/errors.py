"""The one error of JSONPath."""

from __future__ import annotations


class JsonPathError(ValueError):
    """A path that cannot be read, or that leads nowhere. The message is the original's."""
