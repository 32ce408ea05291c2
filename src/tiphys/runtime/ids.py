"""Sources of unique ids and of chance, injected so that a simulation with the same seed gives the same trace."""

from __future__ import annotations

import random
import secrets
import uuid
from typing import Protocol

# Kubernetes' alphabet for generated names: no vowels, no look-alikes (apimachinery util/rand).
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class Ids(Protocol):
    def uid(self) -> str:
        """A new UUID as text."""
        ...

    def suffix(self) -> str:
        """The five characters that ``generateName`` appends."""
        ...


class SystemIds:
    def uid(self) -> str:
        return str(uuid.uuid4())

    def suffix(self) -> str:
        return "".join(secrets.choice(NAME_ALPHABET) for _ in range(5))


class SeededIds:
    """The same ids in the same order for the same seed."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def uid(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def suffix(self) -> str:
        return "".join(self._rng.choice(NAME_ALPHABET) for _ in range(5))
