"""The admission of a cluster: the original's default plugins, in its order (kubeapiserver/options/plugins.go), and
NodeRestriction, which every installer switches on."""

from __future__ import annotations

from tiphys.cluster.apiserver.admission import nodes
from tiphys.cluster.apiserver.admission.caller import Caller
from tiphys.cluster.apiserver.admission.chain import Admission
from tiphys.cluster.apiserver.admission.classes import ClassSteps
from tiphys.cluster.apiserver.admission.limits import LimitSteps
from tiphys.cluster.apiserver.admission.matching import Matcher
from tiphys.cluster.apiserver.admission.pods import PodSteps
from tiphys.cluster.apiserver.admission.policies import PolicyStep
from tiphys.cluster.apiserver.admission.quota import Quotas
from tiphys.cluster.apiserver.admission.security import SecurityStep
from tiphys.cluster.apiserver.admission.webhooks import MutatingWebhooks, ValidatingWebhooks
from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.apiserver.store import Store
from tiphys.runtime.ids import Ids


def assemble(store: Store, registry: Registry, ids: Ids, quotas: Quotas, *, accounts: bool) -> Admission:
    """``accounts``: pods get their account's token, tolerations and a priority, as on a cluster that others reach."""
    pods, classes, limits = PodSteps(store, ids), ClassSteps(store), LimitSteps(store)
    matcher, caller = Matcher(store, registry), Caller(store)
    mutating_hooks = MutatingWebhooks(store, matcher, ids, caller)
    made = Admission(
        mutating=(
            *((pods.account,) if accounts else ()),
            limits.defaults,
            nodes.taint,
            *((pods.priority, pods.tolerations) if accounts else ()),
            classes.protect,
            classes.storage,
            classes.ingress,
            pods.runtime_class,
        ),
        mutating_remote=(mutating_hooks,),
        validating=(
            nodes.NodeRestriction(store).check,
            limits.check,
            classes.priority,
            classes.keep_system,
            classes.resize,
            SecurityStep(store).check,
            PolicyStep(store, registry, matcher).check,
        ),
        validating_remote=(ValidatingWebhooks(store, matcher, ids, caller),),
        last=(quotas.charge,),
    )
    mutating_hooks.again = made.admit
    return made
