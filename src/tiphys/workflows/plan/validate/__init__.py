"""Validation of workflows and templates: the pure core of ``tiphys lint`` and of submission.

`validate` takes a manifest and says what is wrong with it, in the original's words and with the place of each fault.
Two modes, as upstream: ``lint`` lets workflow parameters be without a value; otherwise a value is needed. Expressions,
durations and the syntax of ``when`` are not looked into, as upstream does not either; the run reports those.

| Concept | File |
|---|---|
| objects: workflow, templates, cron | ``objects.py`` |
| text to objects, strictly or not | ``manifests.py`` |
| one template and what it calls | ``templates.py``, ``steps.py``, ``dag.py``, ``leaf.py`` |
| inputs, outputs, arguments | ``arguments.py`` |
| where templates are found | ``resolution.py`` |
| which variables may be used | ``variables.py`` |
"""

from tiphys.workflows.plan.validate.manifests import Manifest, parse
from tiphys.workflows.plan.validate.objects import (
    validate,
    validate_cluster_workflow_template,
    validate_cron_workflow,
    validate_workflow,
    validate_workflow_template,
)
from tiphys.workflows.plan.validate.problem import Problem
from tiphys.workflows.plan.validate.resolution import Lookup, NoTemplates

__all__ = [
    "Lookup",
    "Manifest",
    "NoTemplates",
    "Problem",
    "parse",
    "validate",
    "validate_cluster_workflow_template",
    "validate_cron_workflow",
    "validate_workflow",
    "validate_workflow_template",
]
