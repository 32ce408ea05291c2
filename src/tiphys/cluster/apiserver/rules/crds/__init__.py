"""CustomResourceDefinitions: names, versions, columns (``objects.py``), and their schemas.

| Question | File |
|---|---|
| Is the schema structural? | ``shapes.py`` |
| Are its keywords allowed and its lists and maps well declared? | ``keywords.py`` |
| Do its defaults fit it? | ``defaults.py`` |
| Do its rules compile, within their cost? | ``tiphys.machinery.cel_rules`` |
"""

from tiphys.cluster.apiserver.rules.crds.objects import definition
from tiphys.cluster.apiserver.rules.crds.schemas import schema_complaints

__all__ = ["definition", "schema_complaints"]
