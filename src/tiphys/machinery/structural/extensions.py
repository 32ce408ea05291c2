"""Which schemas have validation rules: asked before anything that reads rules is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

RULES: Final = "x-kubernetes-validations"


def has_rules(schema: Any) -> bool:
    """Whether a rule stands anywhere in a schema."""
    if isinstance(schema, Mapping):
        return bool(schema.get(RULES)) or any(map(has_rules, schema.values()))
    return isinstance(schema, list) and any(map(has_rules, schema))
