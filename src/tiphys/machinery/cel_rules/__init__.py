"""``x-kubernetes-validations``: rules in CEL on the values of a structural schema.

| Concept | File |
|---|---|
| the types and size bounds that a schema gives to ``self`` | ``declared.py`` |
| values of a schema as CEL sees them | ``records.py`` |
| rules compiled once per schema, and judging a value by them | ``rules.py`` |
| what is wrong with the rules of a definition | ``definitions.py`` |
"""

from tiphys.machinery.cel_rules.definitions import definition_faults
from tiphys.machinery.cel_rules.rules import Rules, rules_of

__all__ = ["Rules", "definition_faults", "rules_of"]
