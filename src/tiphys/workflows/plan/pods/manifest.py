"""The manifest of a resource template: with ``setOwnerReference`` the object belongs to the workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiphys.lang import goyaml
from tiphys.workflows.plan.pods.metadata import owner
from tiphys.workflows.plan.problems import Problem

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import Template


def owned(state: State, template: Template) -> Template:
    """The template with the reference in its manifest. Raises `Problem` when that is not a YAML object."""
    resource = template.get("resource") or {}
    if not resource.get("setOwnerReference"):
        return template
    try:
        obj = goyaml.load(str(resource.get("manifest") or ""))
    except goyaml.YamlError as err:
        raise Problem(str(err)) from err
    if not isinstance(obj, dict):
        raise Problem("the manifest of a resource template must be an object")
    meta = obj.get("metadata") or {}
    references = [*(meta.get("ownerReferences") or ()), owner(state)]
    made = {**obj, "metadata": {**meta, "ownerReferences": references}}
    return {**template, "resource": {**resource, "manifest": goyaml.dump(made)}}
