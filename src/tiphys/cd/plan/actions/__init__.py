"""What a user may do to a resource from the outside: restart, pause, scale …; pure.

    catalog    which kinds have which actions: `discover` and `run`
    action     the parts an action is made of
    workloads, argo, flux, numa, databases, scaling
               one module per family of kinds

The actions, their conditions and their effects are those that Argo CD ships as Lua scripts (resource_customizations);
here they are Python. Scripts of users are in `tiphys.cd.plan.customizations`.
"""

from tiphys.cd.plan.actions.action import Action, ActionError, Impact
from tiphys.cd.plan.actions.catalog import discover, run

__all__ = ["Action", "ActionError", "Impact", "discover", "run"]
