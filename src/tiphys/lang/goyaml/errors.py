"""What can be wrong with YAML, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class YamlError(ValueError):
    """The text is no YAML, no YAML that Go reads, or beyond a limit.

    ``line`` and ``column`` count from 1; 0 means unknown.
    """

    def __init__(self, line: int, column: int, message: str) -> None:
        where = f"line {line}: " if line else ""
        super().__init__(f"yaml: {where}{message}")
        self.line = line
        self.column = column
        self.message = message


@dataclass(frozen=True)
class DuplicateKey:
    """A key that a mapping already has. ``key`` is printed as Go prints it; ``path`` leads to the mapping."""

    line: int
    key: str
    path: str

    def __str__(self) -> str:
        place = f" (in {self.path})" if self.path else ""
        return f"line {self.line}: key {self.key} already set in map{place}"


class DuplicateKeysError(YamlError):
    """Strict reading found keys twice; all of them are in ``duplicates``."""

    def __init__(self, duplicates: Sequence[DuplicateKey]) -> None:
        super().__init__(duplicates[0].line, 0, "duplicate keys")
        self.duplicates = tuple(duplicates)

    def __str__(self) -> str:
        return "yaml: unmarshal errors:\n" + "\n".join(f"  {duplicate}" for duplicate in self.duplicates)
