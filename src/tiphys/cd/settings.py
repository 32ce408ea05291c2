"""What the operator of the process chose for the CD controller; ``plan/settings.py`` is what the cluster stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from tiphys.cd.plan.settings import SelfHeal


@dataclass(frozen=True)
class ControllerSettings:
    """``refresh_period`` None: applications are compared only when something happens. A repository that fails
    is not the application's problem before ``repository_grace`` is over."""

    namespace: str = "argocd"
    refresh_period: timedelta | None = timedelta(seconds=120)
    refresh_jitter: timedelta = timedelta(seconds=60)
    repository_grace: timedelta = timedelta(minutes=3)
    sync_timeout: timedelta | None = None
    self_heal: SelfHeal = field(default_factory=SelfHeal)
    server_side_diff: bool = False
    workers: int = 32
