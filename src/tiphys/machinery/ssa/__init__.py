"""Server-side apply: who owns which field of an object, and what an apply makes of it.

| Concept | File |
|---|---|
| a set of fields, in the wire's own form (FieldsV1) | ``fieldsets.py`` |
| what the schema says about merging: scalar, list or map; atomic or not; list keys | ``schema.py`` |
| merge, compare, remove and list the fields of typed values | ``values.py`` |
| one apply or update: owners, conflicts, pruning | ``ownership.py`` |
| ``metadata.managedFields``, caps, client-side-apply migration: what the API server calls | ``manager.py`` |

The behaviour is that of structured-merge-diff v6 as kube-apiserver wires it; ``golden/kube`` (server-side-apply) holds
its recorded answers. Pure: the time of an operation is an argument.
"""

from tiphys.machinery.ssa.fieldsets import FieldSet
from tiphys.machinery.ssa.manager import FieldManager, upgrade_client_side_apply
from tiphys.machinery.ssa.schema import DEDUCED, SchemaType, from_openapi

__all__ = ["DEDUCED", "FieldManager", "FieldSet", "SchemaType", "from_openapi", "upgrade_client_side_apply"]
