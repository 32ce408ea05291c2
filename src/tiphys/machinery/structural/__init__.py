"""Custom resources as their structural schema (OpenAPI v3) says: pruned, defaulted, validated.

| Concept | File |
|---|---|
| dropping what the schema does not know, nulls, filling defaults | ``shape.py`` |
| types, bounds, formats, value validations, list types | ``validation.py``, ``formats.py`` |

The order is the server's: coerce, prune, drop nulls, default, validate. Rules in CEL come last, in
``tiphys.machinery.cel_rules``.
"""

from tiphys.machinery.structural.shape import defaulted, pruned, without_nulls
from tiphys.machinery.structural.validation import Fault, list_faults, unchanged, validate

__all__ = ["Fault", "defaulted", "list_faults", "pruned", "unchanged", "validate", "without_nulls"]
