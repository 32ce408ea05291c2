"""A stage: an embedded cluster whose pods only pretend, by a script, in virtual time. Public."""

from tiphys.testing.stage.node import run_on_stage, stage
from tiphys.testing.stage.rules import Part, Role, Rule, Script

__all__ = ["Part", "Role", "Rule", "Script", "run_on_stage", "stage"]
