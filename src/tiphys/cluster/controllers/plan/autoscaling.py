"""How many replicas a HorizontalPodAutoscaler wants: from metrics to a number, within its limits and its behaviour.

    metrics ──ratio to target──► wanted ──stabilised──► wanted, no faster than its policies ──min, max──► desired

Amounts are in thousandths. Source: pkg/controller/podautoscaler (replica_calculator.go, horizontal.go).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.scheduling.requests import amount
from tiphys.machinery.times import parse_time

Object = Mapping[str, Any]

TOLERANCE: Final = 0.1
_CPU_STARTS: Final = timedelta(minutes=5)
_FIRST_READINESS: Final = timedelta(seconds=30)
_DOWN_WINDOW_SECONDS: Final = 300


class MetricsError(Exception):
    """A metric cannot be used; the text says why."""


@dataclass(frozen=True)
class Sample:
    """What one pod uses of one resource."""

    value: int
    at: datetime
    window: timedelta = timedelta(minutes=1)


@dataclass(frozen=True)
class Count:
    """``replicas`` wanted because of one metric; ``current`` is its entry for the status."""

    replicas: int
    current: Mapping[str, Any]
    name: str


@dataclass(frozen=True)
class Tolerances:
    up: float = TOLERANCE
    down: float = TOLERANCE

    @classmethod
    def of(cls, behavior: Mapping[str, Any]) -> Tolerances:
        def read(side: str) -> float:
            given = (behavior.get(side) or {}).get("tolerance")
            return TOLERANCE if given is None else amount("cpu", str(given)) / 1000

        return cls(read("scaleUp"), read("scaleDown"))

    def hold(self, ratio: float) -> bool:
        """Whether so small a difference is no reason to scale."""
        return (1.0 - self.down) <= ratio <= (1.0 + self.up)


# Metrics of pods


@dataclass(frozen=True)
class Groups:
    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def grouped(pods: Iterable[Object], samples: Mapping[str, Sample], resource: str, now: datetime) -> Groups:
    """Which pods count: those that go or failed do not; those that just start or say nothing are guessed at."""
    ready, unready, missing, ignored = 0, set(), set(), set()
    for pod in pods:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp") or podfacts.phase(pod) == "Failed":
            ignored.add(name)
        elif podfacts.phase(pod) == "Pending":
            unready.add(name)
        elif name not in samples:
            missing.add(name)
        elif resource == "cpu" and _is_starting(pod, samples[name], now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_starting(pod: Object, sample: Sample, now: datetime) -> bool:
    condition, began = podfacts.condition(pod, "Ready"), (pod.get("status") or {}).get("startTime")
    if condition is None or not began:
        return True
    since, changed = parse_time(began), parse_time(condition["lastTransitionTime"])
    if since + _CPU_STARTS > now:
        return bool(condition["status"] == "False") or sample.at < changed + sample.window
    return bool(condition["status"] == "False") and since + _FIRST_READINESS > changed


def by_utilization(
    current: int, target: int, pods: Sequence[Object], samples: Mapping[str, Sample], requests: Mapping[str, int],
    groups: Groups, tolerances: Tolerances,
) -> tuple[int, int, int]:  # fmt: skip
    """(replicas, utilization in percent of the requests, average value); raises MetricsError."""
    values = _counted(samples, groups)

    def ratio(found: Mapping[str, int]) -> tuple[float, int, int]:
        asked = sum(requests.get(name, 0) for name in found)
        if not asked:
            raise MetricsError("no metrics returned matched known pods")
        used = sum(found.values())
        percent = used * 100 // asked
        return percent / target, percent, used // len(found)

    now_ratio, percent, average = ratio(values)
    guess = {name: requests.get(name, 0) * max(100, target) // 100 for name in groups.missing}
    wanted = _from_ratio(current, now_ratio, values, guess, groups, tolerances, lambda found: ratio(found)[0])
    return wanted, percent, average


def by_average(
    current: int, target: int, samples: Mapping[str, Sample], groups: Groups, tolerances: Tolerances
) -> tuple[int, int]:
    """(replicas, average value); raises MetricsError."""
    values = _counted(samples, groups)

    def ratio(found: Mapping[str, int]) -> float:
        return sum(found.values()) / len(found) / target

    guess = dict.fromkeys(groups.missing, target)
    wanted = _from_ratio(current, ratio(values), values, guess, groups, tolerances, ratio)
    return wanted, sum(values.values()) // len(values)


def _counted(samples: Mapping[str, Sample], groups: Groups) -> dict[str, int]:
    left_out = groups.unready | groups.ignored
    values = {name: sample.value for name, sample in samples.items() if name not in left_out}
    if not values:
        raise MetricsError("did not receive metrics for targeted pods (pods might be unready)")
    return values


def _from_ratio(
    current: int, ratio: float, values: dict[str, int], guess: Mapping[str, int], groups: Groups,
    tolerances: Tolerances, again: Any,
) -> int:  # fmt: skip
    """Pods that say nothing are taken to be at the target when shrinking, idle when growing."""
    rising_unready = bool(groups.unready) and ratio > 1.0
    if not rising_unready and not groups.missing:
        return current if tolerances.hold(ratio) else math.ceil(ratio * groups.ready)
    filled = dict(values)
    for name in groups.missing:
        filled[name] = guess[name] if ratio < 1.0 else 0
    if rising_unready:
        filled |= dict.fromkeys(groups.unready, 0)
    new = float(again(filled))
    if tolerances.hold(new) or (ratio < 1.0 < new) or (ratio > 1.0 > new):
        return current
    wanted = math.ceil(new * len(filled))
    turned = (new < 1.0 and wanted > current) or (new > 1.0 and wanted < current)
    return current if turned else wanted


def by_value(current: int, ready: int, usage: int, target: int, tolerances: Tolerances) -> int:
    """For a metric of one thing as a whole."""
    ratio = usage / target
    if current == 0:
        return math.ceil(ratio)
    return current if tolerances.hold(ratio) else math.ceil(ratio * ready)


def by_share(current: int, usage: int, target: int, tolerances: Tolerances) -> int:
    """For a metric of one thing, shared by all replicas."""
    if current and tolerances.hold(usage / (target * current)):
        return current
    return math.ceil(usage / target)


# From what is wanted to what is done


@dataclass
class Memory:
    """What an autoscaler remembers: what it wanted when, and by how much it scaled when."""

    recommended: list[tuple[datetime, int]] = field(default_factory=list)
    grown: list[tuple[datetime, int]] = field(default_factory=list)
    shrunk: list[tuple[datetime, int]] = field(default_factory=list)

    def note_scaling(self, before: int, after: int, now: datetime) -> None:
        (self.grown if after > before else self.shrunk).append((now, abs(after - before)))

    def forget(self, now: datetime, seconds: int = 3600) -> None:
        since = now - timedelta(seconds=seconds)
        for kept in (self.recommended, self.grown, self.shrunk):
            kept[:] = [each for each in kept if each[0] >= since]


@dataclass(frozen=True)
class Normalised:
    """``able`` and ``limited`` are the conditions (status, reason, message) that the way here earned."""

    replicas: int
    able: tuple[bool, str, str]
    limited: tuple[bool, str, str]


_MATCHES: Final = (True, "ReadyForNewScale", "recommended size matches current size")
_WITHIN: Final = (False, "DesiredWithinRange", "the desired count is within the acceptable range")


def normalised(spec: Mapping[str, Any], current: int, wanted: int, memory: Memory, now: datetime) -> Normalised:
    """The size to set: stabilised, no faster than allowed, between the limits."""
    behavior = spec.get("behavior")
    least, most = int(spec.get("minReplicas", 1)), int(spec["maxReplicas"])
    stable, able = _stabilised(behavior, current, wanted, memory, now)
    memory.recommended.append((now, wanted))
    upper, lower = (max(2 * current, 4), 0) if behavior is None else _rates(behavior, current, memory, now)
    return _limit(stable, current, least, most, upper, lower, able)


def _stabilised(
    behavior: Mapping[str, Any] | None, current: int, wanted: int, memory: Memory, now: datetime
) -> tuple[int, tuple[bool, str, str]]:
    up = int(((behavior or {}).get("scaleUp") or {}).get("stabilizationWindowSeconds") or 0)
    given = ((behavior or {}).get("scaleDown") or {}).get("stabilizationWindowSeconds")
    down = _DOWN_WINDOW_SECONDS if given is None else int(given)
    highest = lowest = wanted
    for at, before in memory.recommended:
        if behavior is not None and at > now - timedelta(seconds=up):
            lowest = min(lowest, before)
        if at > now - timedelta(seconds=down):
            highest = max(highest, before)
    stable = highest if behavior is None else min(max(current, lowest), highest)
    if stable == wanted:
        return stable, _MATCHES
    if stable < wanted:
        text = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        return stable, (True, "ScaleUpStabilized", text)
    text = "recent recommendations were higher than current one, applying the highest recent recommendation"
    return stable, (True, "ScaleDownStabilized", text)


def _rates(behavior: Mapping[str, Any], current: int, memory: Memory, now: datetime) -> tuple[int, int]:
    """(highest, lowest) size that the policies of both ways let."""
    up, down = behavior.get("scaleUp") or {}, behavior.get("scaleDown") or {}
    upper = _bound(up, current, memory.grown, memory.shrunk, now, growing=True)
    lower = _bound(down, current, memory.shrunk, memory.grown, now, growing=False)
    return upper, lower


_UP: Final[Sequence[Mapping[str, Any]]] = (
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
)
_DOWN: Final[Sequence[Mapping[str, Any]]] = ({"type": "Percent", "value": 100, "periodSeconds": 15},)


def _bound(
    rules: Mapping[str, Any], current: int, same_way: Sequence[tuple[datetime, int]],
    other_way: Sequence[tuple[datetime, int]], now: datetime, *, growing: bool,
) -> int:  # fmt: skip
    choice = rules.get("selectPolicy", "Max")
    if choice == "Disabled":
        return current
    found = []
    for policy in rules.get("policies") or (_UP if growing else _DOWN):
        since = now - timedelta(seconds=int(policy["periodSeconds"]))
        done = sum(count for at, count in same_way if at > since)
        undone = sum(count for at, count in other_way if at > since)
        # The size at the beginning of the period.
        start = current - done + undone if growing else current + done - undone
        value = int(policy["value"])
        if policy["type"] == "Pods":
            found.append(start + value if growing else start - value)
        elif growing:
            found.append(math.ceil(start * (1 + value / 100)))
        else:
            found.append(int(start * (1 - value / 100)))
    most = max(found) if growing == (choice == "Max") else min(found)
    return max(current, most) if growing else min(current, max(0, most))


def _limit(
    wanted: int, current: int, least: int, most: int, upper: int, lower: int, able: tuple[bool, str, str]
) -> Normalised:
    """Between the limits; which of them it was is said."""
    if wanted > min(upper, most) and wanted > current:
        if most > upper:
            text = "the desired replica count is increasing faster than the maximum scale rate"
            return Normalised(upper, able, (True, "ScaleUpLimit", text))
        return Normalised(most, able, (True, "TooManyReplicas", _TOO_MANY))
    if wanted < max(lower, least) and wanted < current:
        if lower > least:
            text = "the desired replica count is decreasing faster than the maximum scale rate"
            return Normalised(lower, able, (True, "ScaleDownLimit", text))
        return Normalised(least, able, (True, "TooFewReplicas", _TOO_FEW))
    if wanted > most:
        return Normalised(most, able, (True, "TooManyReplicas", _TOO_MANY))
    if wanted < least:
        return Normalised(least, able, (True, "TooFewReplicas", _TOO_FEW))
    return Normalised(wanted, able, _WITHIN)


_TOO_MANY: Final = "the desired replica count is more than the maximum replica count"
_TOO_FEW: Final = "the desired replica count is less than the minimum replica count"
