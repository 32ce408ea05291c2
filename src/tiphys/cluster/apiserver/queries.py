"""What all queries have in common. Source: ``Convert_Slice_string_To_bool`` of k8s.io/apimachinery."""

from __future__ import annotations

from collections.abc import Mapping


def flag(query: Mapping[str, str], name: str) -> bool:
    """A truth value: only "0", "false" (in any case) and nothing at all are no; ``?watch`` alone is yes."""
    return query.get(name, "0").lower() not in ("0", "false")
