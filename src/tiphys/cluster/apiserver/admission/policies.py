"""ValidatingAdmissionPolicy: rules in CEL that a binding puts to use, with parameters, variables and conditions.

    policy (what) ◄── binding (where, with which parameters, with what consequence) ──► Deny | Warn | Audit

Wording, order and codes are the original's (apiserver/pkg/admission/plugin/policy/validating).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.apiserver.admission.chain import Attributes
from tiphys.cluster.apiserver.admission.expressions import Scope, Unusable
from tiphys.cluster.apiserver.admission.matching import REGISTRATION, Matcher, described
from tiphys.cluster.apiserver.problems import forbidden
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.apiserver.store import Store
from tiphys.lang import gojson
from tiphys.machinery.errors import ApiError, Forbidden, Invalid, TooLarge, Unauthorized
from tiphys.machinery.selectors import from_structured

POLICIES: Final = f"validatingadmissionpolicies.{REGISTRATION}"
BINDINGS: Final = f"validatingadmissionpolicybindings.{REGISTRATION}"
MESSAGE_LENGTH_MAX: Final = 5 * 1024
_REASONS: Final[dict[str, type[ApiError]]] = {
    "Unauthorized": Unauthorized,
    "Forbidden": Forbidden,
    "Invalid": Invalid,
    "RequestEntityTooLarge": TooLarge,
}
_FAILURE_ANNOTATION: Final = "validation.policy.admission.k8s.io/validation_failure"


@dataclass(frozen=True)
class Verdict:
    """One rule that a request breaks; ``at`` is the rule's place in its policy."""

    policy: str
    binding: str
    message: str
    reason: str = ""
    at: int = 0

    @property
    def shown(self) -> str:
        return f"ValidatingAdmissionPolicy '{self.policy}' with binding '{self.binding}'"


class PolicyStep:
    """A step over the policies in a store."""

    def __init__(self, store: Store, registry: Registry, matcher: Matcher) -> None:
        self._store = store
        self._registry = registry
        self._matcher = matcher

    def check(self, request: Attributes) -> None:
        """Raises the ApiError that the first denying rule asks for; adds warnings and audit annotations."""
        if not self._store.collection(BINDINGS).records:
            return
        denied: list[Verdict] = []
        for policy, binding in self._wanted(request):
            actions = binding["spec"].get("validationActions") or ("Deny",)
            for verdict in self._verdicts(request, policy, binding):
                if "Deny" in actions:
                    denied.append(verdict)
                if "Warn" in actions:
                    request.warnings.append(f"Validation failed for {verdict.shown}: {verdict.message}")
                if "Audit" in actions:
                    _note(request, verdict, actions)
        if denied:
            raise _refusal(request, denied[0])

    def _wanted(self, request: Attributes) -> Iterator[tuple[Object, Object]]:
        """The policies that are about the request, each with every binding that is."""
        bindings = [self._store.view(record) for record in self._store.collection(BINDINGS).records.values()]
        policies = self._store.collection(POLICIES).records
        for name in sorted(policies):
            bound = [each for each in bindings if each["spec"].get("policyName") == name]
            if not bound:
                continue
            policy = self._store.view(policies[name])
            if not self._matcher.fits(request, policy["spec"].get("matchConstraints") or {}, "resourceRules"):
                continue
            for binding in bound:
                if self._matcher.fits(request, binding["spec"].get("matchResources") or {}, "resourceRules"):
                    yield policy, binding

    def _verdicts(self, request: Attributes, policy: Object, binding: Object) -> Iterator[Verdict]:
        names = policy["metadata"]["name"], binding["metadata"]["name"]
        fails = (policy["spec"].get("failurePolicy") or "Fail") == "Fail"
        try:
            params = list(self._params(request, policy, binding))
        except Unusable as err:
            if fails:
                yield Verdict(*names, f"failed to configure binding: {err}")
            return
        for each in params:
            yield from _judged(self._scope(request, each), policy["spec"], names, request, fails=fails)

    def _scope(self, request: Attributes, params: Object | None) -> Scope:
        values = {
            "object": request.obj,
            "oldObject": request.old,
            "request": described(request),
            "params": params,
            "namespaceObject": self._matcher.namespace(request) if request.namespace else None,
        }
        return Scope(values)

    def _params(self, request: Attributes, policy: Object, binding: Object) -> Iterator[Object | None]:
        """What the binding gives the policy to go by; None where it wants nothing. Raises Unusable."""
        kind, reference = policy["spec"].get("paramKind"), binding["spec"].get("paramRef")
        if not kind or not reference:
            yield None
            return
        group, _, version = str(kind.get("apiVersion", "")).rpartition("/")
        info = self._registry.by_kind(group, version, str(kind.get("kind")))
        if info is None:
            raise Unusable(f"paramKind kind `{group}/{version}, Kind={kind.get('kind')}` not known")
        namespace = ""
        if info.resource.namespaced:
            namespace = str(reference.get("namespace") or request.namespace)
        found = list(self._found_params(info.collection, namespace, reference))
        if not found and (reference.get("parameterNotFoundAction") or "Deny") == "Deny":
            raise Unusable("no params found for policy binding with `Deny` parameterNotFoundAction")
        yield from found

    def _found_params(self, collection: str, namespace: str, reference: Mapping[str, Any]) -> Iterator[Object]:
        if reference.get("name"):
            key = f"{namespace}/{reference['name']}" if namespace else str(reference["name"])
            record = self._store.latest(collection, key)
            if record is not None:
                yield self._store.view(record)
            return
        selector = from_structured(reference.get("selector") or {})
        records = self._store.collection(collection)
        for key in list(records.keys(namespace or None)):
            view = self._store.view(records.records[key])
            if selector.matches(view["metadata"].get("labels") or {}):
                yield view


def _judged(
    scope: Scope, spec: Mapping[str, Any], names: tuple[str, str], request: Attributes, *, fails: bool
) -> Iterator[Verdict]:
    for condition in spec.get("matchConditions") or ():
        try:
            if scope.evaluate(condition["expression"]) is not True:
                return
        except Unusable as err:
            if fails:
                text = f"match condition evaluation: {condition['name']}: {err}"
                yield Verdict(*names, text)
            return
    for variable in spec.get("variables") or ():
        scope.define(variable["name"], variable["expression"])
    for at, rule in enumerate(spec.get("validations") or ()):
        source = str(rule["expression"])
        try:
            holds = scope.evaluate(source) is True
        except Unusable as err:
            if fails:
                yield Verdict(*names, f"expression '{source}' resulted in error: {err}", at=at)
            continue
        if not holds:
            yield Verdict(*names, _message(scope, rule), str(rule.get("reason") or ""), at)
    _annotate(scope, spec, names, request)


def _message(scope: Scope, rule: Mapping[str, Any]) -> str:
    """What a broken rule says: its message expression, if it gives a usable line; its message; else itself."""
    if rule.get("messageExpression"):
        try:
            found = scope.evaluate(rule["messageExpression"])
        except Unusable:
            found = None
        if isinstance(found, str) and found.strip() and "\n" not in found and len(found) <= MESSAGE_LENGTH_MAX:
            return found.strip()
    if rule.get("message"):
        return str(rule["message"]).strip()
    return f"failed expression: {str(rule['expression']).strip()}"


def _annotate(scope: Scope, spec: Mapping[str, Any], names: tuple[str, str], request: Attributes) -> None:
    for annotation in spec.get("auditAnnotations") or ():
        try:
            value = scope.evaluate(annotation["valueExpression"])
        except Unusable:
            continue
        if isinstance(value, str) and value:
            request.audit[f"{names[0]}/{annotation['key']}"] = value


def _note(request: Attributes, verdict: Verdict, actions: Any) -> None:
    entry = {
        "message": verdict.message,
        "policy": verdict.policy,
        "binding": verdict.binding,
        "expressionIndex": str(verdict.at),
        "validationActions": list(actions),
    }
    request.audit[_FAILURE_ANNOTATION] = gojson.dumps([entry])


def _refusal(request: Attributes, verdict: Verdict) -> ApiError:
    message = f"{verdict.shown} denied request: {verdict.message}"
    plain = forbidden(request.info, request.name, message)
    kind = _REASONS.get(verdict.reason or "Invalid", Invalid)
    return kind(plain.message, {**plain.details, "causes": [{"message": message}]})
