"""From a container of the manifest to what a runtime is told: command, environment, mounts, identity, files.

Everything is settled here, before anything starts: what cannot be is an ``environment.ConfigError`` (the pod waits with
CreateContainerConfigError) or a ``StartFailure``.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.cluster.node import environment, hostfiles, identity, services, volumes
from tiphys.cluster.node.environment import Fetch, NodeFacts
from tiphys.cluster.node.images.map import Image
from tiphys.cluster.node.network.attachments import UNATTACHED, Attachment
from tiphys.cluster.node.runtime import USUAL_UMASK, Launch, Mount, Runtime, StartFailure
from tiphys.machinery.podlife import Staged

Object = Mapping[str, Any]

SECCOMP_DIRECTORY = "/var/lib/kubelet/seccomp"
USUAL_MESSAGE_PATH = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the containers of one pod have in common."""

    runtime: Runtime
    facts: NodeFacts
    network: hostfiles.NodeNetwork
    fetch: Fetch
    directory: Path
    volumes: Mapping[str, Path]
    staged: Staged
    services: tuple[Object, ...] = ()
    attachment: Attachment = UNATTACHED
    guarded: frozenset[str] = frozenset()


def every_container(pod: Object) -> tuple[Object, ...]:
    """Init, main and ephemeral containers, in that order."""
    spec = pod["spec"]
    return (*(spec.get("initContainers") or ()), *spec["containers"], *(spec.get("ephemeralContainers") or ()))


def container_of(pod: Object, name: str) -> Object:
    return next(c for c in every_container(pod) if c["name"] == name)


async def launch_of(container: Object, pod: Object, attempt: int, image: Image, around: Surroundings) -> Launch:
    """Raises ``ConfigError``, ``StartFailure``, ``ApiError``."""
    name, staged = container["name"], around.staged
    _check_profile(container, pod)
    who = identity.identity_of(container, pod, image.user, image.accounts)
    names = hostfiles.names_of(pod, around.network)
    env = await _environment(container, pod, image, names.host, around)
    address = around.attachment.address or around.facts.host_ip
    isolated = around.runtime.isolated
    return Launch(
        pod_uid=pod["metadata"]["uid"],
        container=name,
        attempt=attempt,
        place=around.directory / f"{name}.{attempt}",
        argv=_command(container, image, env, _life_id(pod, name, attempt), own=name in staged.in_process),
        env=env,
        cwd=container.get("workingDir") or image.workdir or "/",
        hostname=names.host,
        hosts=hostfiles.hosts_file(pod, names, (address,), around.network) if isolated else "",
        resolv_conf=hostfiles.resolv_conf(hostfiles.resolver_of(pod, around.network)) if isolated else "",
        network=around.attachment.namespace,
        mounts=_mounts(container, pod, env, around),
        programs=image.programs,
        root=image.root,
        image_volumes=image.volumes,
        identity=who,
        read_only_root=bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem")),
        split_output=name in staged.split_output,
        kept=_kept(container, staged),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        umask=USUAL_UMASK if staged.umask is None else staged.umask,
        supervised=staged.supervised,
        wrapper=tuple(staged.wrappers.get(name, ())),
        pod=pod,
    )


def _check_profile(container: Object, pod: Object) -> None:
    """Profiles of the machine's administrator would lie where a kubelet has them; we apply none."""
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    profile = own.get("seccompProfile") or whole.get("seccompProfile") or {}
    if profile.get("type") == "Localhost":
        path = f"{SECCOMP_DIRECTORY}/{profile.get('localhostProfile') or ''}"
        said = f'failed to create containerd container: cannot load seccomp profile "{path}"'
        raise StartFailure("CreateContainerError", f"{said}: open {path}: no such file or directory")


def _life_id(pod: Object, container: str, attempt: int) -> str:
    """What containerd would have called this life: 64 hexadecimal digits."""
    return hashlib.sha256(f"{pod['metadata']['uid']}/{container}/{attempt}".encode()).hexdigest()


async def _environment(
    container: Object, pod: Object, image: Image, hostname: str, around: Surroundings
) -> dict[str, str]:
    base = {**around.runtime.base_env, **image.env, **around.staged.env}
    if around.runtime.isolated:
        base["HOSTNAME"] = hostname
        if container.get("tty"):
            base["TERM"] = "xterm"
    if around.services:
        base.update(services.variables(pod, around.services))
    return await environment.build(container, pod, base, around.facts, around.fetch, around.volumes)


def _command(container: Object, image: Image, env: Mapping[str, str], life: str, *, own: bool) -> tuple[str, ...]:
    command = [environment.expand(str(word), env) for word in container.get("command") or ()]
    arguments = [environment.expand(str(word), env) for word in container.get("args") or ()]
    argv = command + arguments if command else [*image.entrypoint, *(arguments or image.cmd)]
    if not argv and not own:
        said = f'failed to generate container "{life}" spec: failed to generate spec: no command specified'
        raise StartFailure("CreateContainerError", said)
    return tuple(argv)


def _mounts(container: Object, pod: Object, env: Mapping[str, str], around: Surroundings) -> tuple[Mount, ...]:
    if not around.runtime.uses_files:
        return ()
    mounts = volumes.container_mounts(container, around.volumes, env, volumes.generated(pod), around.guarded)
    staged = around.staged
    if staged.containers is None or container["name"] in staged.containers:
        mounts += [Mount(source, target, read_only) for source, target, read_only in staged.mounts]
    mounts += [Mount(*mount) for mount in staged.own_mounts.get(container["name"], ())]
    return tuple(mounts)


def _kept(container: Object, staged: Staged) -> frozenset[str]:
    """Container paths that are looked at after its end."""
    kept = staged.paths if staged.main is None or container["name"] in staged.main else frozenset()
    message = container.get("terminationMessagePath")
    return kept | {message} if message and message != USUAL_MESSAGE_PATH else kept


def path_in_volumes(container: Object, path: str, places: Mapping[str, Path]) -> Path | None:
    """A container's path inside one of its volumes; None where it lies in none, or links lead out of it."""
    return volumes.path_in_volume(posixpath.normpath(path), container.get("volumeMounts") or (), places)
