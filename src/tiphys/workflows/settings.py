"""What the operator of the controller chose: the settings that decisions about workflows depend on.

Everything has the default of a fresh installation. Only decisions are configured here: where the server listens, how
many workers run and the like live with the parts that do that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Executor = Literal["native", "in-pod"]


@dataclass(frozen=True)
class Image:
    """The entrypoint of an image whose containers name no command (the ``images`` table of the controller)."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArtifactPlugin:
    """An artifact plugin (``artifactDrivers`` of the controller); ``connection_timeout_seconds`` 0: the usual five."""

    image: str
    connection_timeout_seconds: int = 0


@dataclass(frozen=True)
class FailedPodRestart:
    """Pods that the cluster took away before their main container started are made again, ``max_restarts`` times."""

    enabled: bool = False
    max_restarts: int = 3


@dataclass(frozen=True)
class Settings:
    """``executor`` "native" leaves capture and artifacts to the node agent; "in-pod" builds the original's pods.

    Durations are in seconds. ``artifact_repository`` is the repository in its configuration form (``{"s3": {...}}``),
    None for the agent's own local store.
    """

    executor: Executor = "native"
    instance_id: str = ""
    controller_namespace: str = "argo"
    workflow_defaults: Mapping[str, Any] = field(default_factory=dict)
    artifact_repository: Mapping[str, Any] | None = None
    parallelism: int = 0
    namespace_parallelism: int = 0
    max_stack_depth: int = 100
    template_referencing: Literal["", "Strict", "Secure"] = ""
    user_override_allowlist: frozenset[str] = frozenset()

    executor_image: str = "quay.io/argoproj/argoexec:v4.1.2"
    executor_image_pull_policy: str = ""
    executor_log_level: str = "info"
    executor_log_format: str = "text"
    executor_glog_level: str = "0"
    executor_container: Mapping[str, Any] = field(default_factory=dict)
    main_container: Mapping[str, Any] | None = None
    images: Mapping[str, Image] = field(default_factory=dict)
    default_image: Image | None = None
    progress_patch_tick: str = "1m0s"
    progress_file_tick: str = "3s"
    agent_patch_rate: str = "10s"
    pod_gc_delete_delay_seconds: float = 5.0
    failed_pod_restart: FailedPodRestart = FailedPodRestart()

    node_events: bool = True
    workflow_events: bool = True
    archive: bool = False
    artifact_gc: bool = True

    recently_started_seconds: float = 10.0
    quota_retry_seconds: float = 10.0
    recently_deleted_seconds: float = 120.0
    task_result_timeout_seconds: float = 600.0
    database_locks: bool = True
    workflow_level_plugins: bool = False
    artifact_drivers: Mapping[str, ArtifactPlugin] = field(default_factory=dict)
    retry_host_label: str = "kubernetes.io/hostname"
