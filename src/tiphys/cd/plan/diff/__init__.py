"""Comparing a wanted object with the live one: would applying it change anything, and what would come out?

| Concept | File |
|---|---|
| the whole comparison of one object | ``comparing.py`` |
| what every comparison overlooks: Secrets, Roles, Endpoints | ``normal.py`` |
| what users ask to overlook: ``ignoreDifferences``, known types | ``ignoring.py`` |
| three-way and two-way: kubectl's patch, with the server's defaults on both sides | ``threeway.py`` |
| by field owners: structured merge, and the answer of a server-side dry run | ``owners.py`` |
| values of Secrets replaced, equal ones by equal text | ``masking.py`` |

Source of the behaviour: gitops-engine pkg/diff and argo-cd util/argo/diff, normalizers, managedfields; judged by
golden/cd diff.
"""

from tiphys.cd.plan.diff.comparing import Comparator, Diff, DiffError, DryRun
from tiphys.cd.plan.diff.ignoring import Ignores
from tiphys.cd.plan.diff.masking import masked

__all__ = ["Comparator", "Diff", "DiffError", "DryRun", "Ignores", "masked"]
