"""What checks are made of: rules on conditions, tables of a field's values, and reading that never fails.

A check made by `conditions` looks at the conditions in their order; the first that a rule knows decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.cd.plan.health.builtin import Check
from tiphys.cd.plan.health.reading import conditions as conditions_of
from tiphys.cd.plan.health.verdict import Health, HealthStatus
from tiphys.cd.plan.objects import Object

Condition = Mapping[str, Any]
Text = str | Callable[[Condition], str]


def said(condition: Condition) -> str:
    """The condition's message."""
    return str(condition.get("message") or "")


def reason(condition: Condition) -> str:
    return str(condition.get("reason") or "")


def said_or(default: str) -> Callable[[Condition], str]:
    """The condition's message, or the default where it has none."""
    return lambda condition: default if condition.get("message") is None else str(condition["message"])


@dataclass(frozen=True)
class When:
    """A condition of a type, with a status ("" for any), makes a verdict."""

    type: str
    status: str
    verdict: HealthStatus
    text: Text = said
    reason: str = ""

    def fits(self, condition: Condition) -> bool:
        return (
            condition.get("type") == self.type
            and self.status in ("", condition.get("status"))
            and self.reason in ("", condition.get("reason"))
        )

    def health(self, condition: Condition) -> Health:
        return Health(self.verdict, self.text if isinstance(self.text, str) else self.text(condition))


def conditions(*rules: When, otherwise: Health) -> Check:
    """The first condition that some rule knows decides."""

    def check(obj: Object) -> Health:
        return judged(conditions_of(status_of(obj)), rules) or otherwise

    return check


def in_turn(*rules: When, otherwise: Health) -> Check:
    """The first rule that some condition fits decides."""

    def check(obj: Object) -> Health:
        for rule in rules:
            found = judged(conditions_of(status_of(obj)), (rule,))
            if found is not None:
                return found
        return otherwise

    return check


def judged(given: Sequence[Condition], rules: Sequence[When]) -> Health | None:
    for condition in given:
        for rule in rules:
            if rule.fits(condition):
                return rule.health(condition)
    return None


def ready(waiting: str, type_: str = "Ready") -> Check:
    """One condition: True is healthy, False is not, with its message."""
    return conditions(
        When(type_, "False", "Degraded"), When(type_, "True", "Healthy"), otherwise=Health("Progressing", waiting)
    )


def values(field: str, table: Mapping[Any, Health], otherwise: Health) -> Check:
    """A field of the status decides by its value."""

    def check(obj: Object) -> Health:
        return table.get(status_of(obj).get(field), otherwise)

    return check


def status_of(obj: Object) -> Mapping[str, Any]:
    """The status, empty where there is none."""
    return mapping(obj.get("status"))


def spec_of(obj: Object) -> Mapping[str, Any]:
    return mapping(obj.get("spec"))


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, none where it is no list."""
    return [mapping(one) for one in value] if isinstance(value, list) else []


def generation(obj: Object) -> Any:
    return mapping(obj.get("metadata")).get("generation")


def kind(obj: Object) -> str:
    return str(obj.get("kind", ""))


def amount(value: Any) -> float:
    """A number, 0 for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return value


def progressing(text: str = "") -> Health:
    return Health("Progressing", text)


def healthy(text: str = "") -> Health:
    return Health("Healthy", text)


def degraded(text: str = "") -> Health:
    return Health("Degraded", text)


def suspended(text: str = "") -> Health:
    return Health("Suspended", text)


def unknown(text: str = "") -> Health:
    return Health("Unknown", text)
