"""Which events are one: the same again, similar ones that come by the dozen, and those that nobody can read any more.

    the same event (object, type, reason, message)     counted in the first one
    the tenth message of a kind within ten minutes     counted in one that stands for all that follow
    more than 25 about an object from one source       dropped, but for one every five minutes

Pure: times come in as arguments. Source: client-go's tools/record (EventCorrelator); the third kind of events,
``series`` of events.k8s.io, follows tools/events.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from tiphys.machinery.actions import Emit
from tiphys.machinery.resources import ObjectKey

BURST: Final = 25
SIMILAR_MAX: Final = 10
_REFILL: Final = timedelta(minutes=5)
_SIMILAR_FOR: Final = timedelta(minutes=10)
_SERIES_FOR: Final = timedelta(minutes=6)
_KNOWN_MAX: Final = 4096
_COMBINED: Final = "(combined from similar events): "

Identity = tuple[str, ...]
V = TypeVar("V")


@dataclass(slots=True)
class Told:
    """An event that was written: where, how often it happened, since when and until when, and what was written last."""

    key: ObjectKey
    first: datetime
    last: datetime
    count: int = 1
    written: datetime | None = None


class Recent(Generic[V]):
    """A dictionary of the things used last."""

    def __init__(self) -> None:
        self._held: OrderedDict[Identity, V] = OrderedDict()

    def get(self, identity: Identity) -> V | None:
        found = self._held.get(identity)
        if found is not None:
            self._held.move_to_end(identity)
        return found

    def put(self, identity: Identity, value: V) -> V:
        self._held[identity] = value
        self._held.move_to_end(identity)
        if len(self._held) > _KNOWN_MAX:
            self._held.popitem(last=False)
        return value


@dataclass(slots=True)
class _Similar:
    last: datetime
    messages: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Tokens:
    left: float
    at: datetime


class Correlator:
    """``similar_max`` messages of a kind stand for themselves; ``burst`` events about an object pass at once."""

    def __init__(self, burst: int = BURST, similar_max: int = SIMILAR_MAX) -> None:
        self.burst = burst
        self.similar_max = similar_max
        self._similar: Recent[_Similar] = Recent()
        self._tokens: Recent[_Tokens] = Recent()

    def identify(self, event: Emit, at: datetime) -> tuple[Identity, str]:
        """What the event is counted as, and its message there."""
        kind = (*_about(event), event.type, event.reason, *_flat(event))
        known = self._similar.get(kind)
        if known is None or at - known.last > _SIMILAR_FOR:
            known = self._similar.put(kind, _Similar(at))
        known.last = at
        if event.message in known.messages or len(known.messages) < self.similar_max - 1:
            known.messages.add(event.message)
            return (*kind, event.about.get("fieldPath", ""), event.message), event.message
        return kind, _COMBINED + event.message

    def passes(self, event: Emit, at: datetime) -> bool:
        """Whether there is room for one more about its object."""
        about = _about(event)
        tokens = self._tokens.get(about)
        if tokens is None:
            tokens = self._tokens.put(about, _Tokens(self.burst, at))
        tokens.left = min(float(self.burst), tokens.left + (at - tokens.at) / _REFILL)
        tokens.at = at
        if tokens.left < 1:
            return False
        tokens.left -= 1
        return True


def series_of(event: Emit) -> Identity:
    """What an event of the newer form is counted as: whatever it says."""
    return (*_about(event), event.type, event.reason)


def continues(told: Told, at: datetime) -> bool:
    """Whether an event at this time belongs to the series."""
    return at - told.last <= _SERIES_FOR


def is_worth_writing(told: Told) -> bool:
    """The second of a series, then what happened since some minutes."""
    return told.count == 2 or told.written is None or told.last - told.written > _SERIES_FOR


def _about(event: Emit) -> Identity:
    about = event.about
    return (str(about.get("uid")), about["kind"], about.get("namespace") or "", about["name"])


def _flat(event: Emit) -> Identity:
    return tuple(f"{key}={value}" for key, value in sorted((event.annotations or {}).items()))
