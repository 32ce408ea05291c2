"""The one error of template tags."""

from __future__ import annotations


class TagError(ValueError):
    """A text whose tags cannot be replaced. The message is the original's."""

    @property
    def missing_variable(self) -> bool:
        """Whether it failed for a variable that may still come (the engine then waits and tries again)."""
        text = str(self)
        return "failed to resolve {{" in text or " is missing" in text or "variable not in env" in text
