"""The vocabulary between whoever runs pods and whoever prepares and harvests them: values only.

A node agent runs a pod's containers; a product may stage files before the first starts and collect what they left
after the last ended (``cluster/node/extension.py`` has the Protocol). Neither may import the other, so what they hand
each other is named here.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Exit:
    """How one life of a container ended. A death by signal n has the code 128+n.

    ``reason`` is "" for the usual ones (Completed, Error). ``outputs`` is given by runtimes that only play a container:
    the outputs (shape of a workflow node's ``outputs``) that a real one would have left in files.
    """

    code: int
    started_at: datetime
    finished_at: datetime
    reason: str = ""
    message: str = ""
    outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PodDirs:
    """The places that belong to one pod.

    ``private`` is for the extension alone and outlives the agent. ``host_path(container, path)`` is where this machine
    sees a container's path once it has run (None: nowhere); ``volume(container, path)`` is the same for what lies in
    one of its volumes, before it has run too. ``log_files(container)`` are its output files (one, or standard output
    and standard error apart). ``isolated`` is false where container paths are this machine's own.
    """

    private: Path
    isolated: bool
    host_path: Callable[[str, str], Path | None]
    volume: Callable[[str, str], Path | None]
    log_files: Callable[[str], Sequence[Path]]


@dataclass(frozen=True, slots=True)
class Failure:
    """An extension's own failure, shown in the pod's status as a container of this name that ended with ``code``."""

    container: str
    message: str
    code: int = 64


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended that was carried out without a process; ``outputs`` as `Exit` has them."""

    code: int = 0
    message: str = ""
    outputs: Mapping[str, Any] | None = None


InProcess = Callable[[Callable[[str], None]], Coroutine[Any, Any, Ended]]
"""A container's work, done by the extension itself. It gets a function that adds a line to the container's log, is
cancelled where a process would get a signal, and must be safe to repeat (a restarted agent begins it again)."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What an extension adds to the pod before it starts; with ``failure`` the pod ends Failed, nothing having run.

    ``mounts`` are (host path, container path, read-only) for the containers in ``containers`` (None: all); those that
    an init container of the extension's own finds out may be added while it runs. ``own_mounts`` are one container's.
    ``split_output`` names the containers whose standard output is wanted apart. ``paths`` are the container paths that
    the pod reads or writes: where they are the machine's own, pods with overlapping paths run one after another.
    ``claimed`` is called once ``paths`` are the pod's, and may refuse it then.
    ``main`` names the containers whose end is the pod's end (the others are then asked to stop; None: all count);
    a container in ``after`` starts when those it names have ended well. At ``deadline`` the pod is asked to end.
    ``wrappers`` are words that come before a container's own command, which they are to start.
    ``env`` is added to the containers' environment, under what the pod itself says; ``umask`` is theirs (None: usual).
    ``helpers`` are native sidecars that the extension needs to collect: it does so before they are asked to stop.
    ``supervised``: their commands run below a process of the runtime's, so that a signal ends them that process 1 of a
    container would ignore (where containers have process numbers of their own).
    """

    mounts: Sequence[tuple[Path, str, bool]] = ()
    own_mounts: Mapping[str, Sequence[tuple[Path, str, bool]]] = field(default_factory=dict)
    containers: frozenset[str] | None = None
    helpers: frozenset[str] = frozenset()
    split_output: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    claimed: Callable[[], Failure | None] | None = None
    main: frozenset[str] | None = None
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wrappers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    umask: int | None = None
    supervised: bool = False
    deadline: datetime | None = None
    in_process: Mapping[str, InProcess] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Harvest:
    """What came out of a finished pod: objects to create (or, existing, to overwrite) before its final status.

    ``remove`` are files and directories outside the pod's own that go once the harvest is safe.
    """

    objects: Sequence[Mapping[str, Any]] = ()
    failure: Failure | None = None
    remove: Sequence[Path] = ()
