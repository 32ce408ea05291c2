"""The Pod Security Standards: what a pod may not ask for at a level, as it was at each version. Pure.

    violations("restricted", LATEST, metadata, spec) ─► [Violation("runAsNonRoot != true", "pod or container …")]

One function per control, with the wording of k8s.io/pod-security-admission. ``CHECKS`` says since which minor version
each holds; a restricted control may replace a baseline one. Levels build on each other: privileged, baseline,
restricted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

LEVELS: Final = ("privileged", "baseline", "restricted")
LATEST: Final = 1_000
_ANNOTATION: Final = "seccomp.security.alpha.kubernetes.io/pod"
_CONTAINER_ANNOTATION: Final = "container.seccomp.security.alpha.kubernetes.io/"
_APPARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"

Object = Mapping[str, Any]


class Violation(NamedTuple):
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Object, Object], Violation | None]
"""(metadata, spec) of a pod or of its template."""


def violations(level: str, version: int, meta: Object, spec: Object) -> list[Violation]:
    """All that the pod asks for too much, in the original's order: baseline first, then by the control's name."""
    return [found for check in checks(level, version) if (found := check(meta, spec)) is not None]


def checks(level: str, version: int) -> list[Check]:
    """The controls of a level at a minor version (``LATEST`` for the newest)."""
    wanted = LEVELS.index(level)
    chosen: dict[str, tuple[int, Check]] = {}
    for name, rank, versions, replaced in CHECKS:
        current = [check for since, check in versions if since <= version]
        if rank <= wanted and current:
            if replaced:
                chosen.pop(replaced, None)
            chosen[name] = (rank, current[-1])
    return [check for _, (_, check) in sorted(chosen.items(), key=lambda entry: (entry[1][0], entry[0]))]


# Words


def _containers(spec: Object) -> Iterator[Object]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _security(holder: Object) -> Object:
    found: Object = holder.get("securityContext") or {}
    return found


def _quoted(words: Collection[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _many(word: str, items: Collection[Any]) -> str:
    return word if len(items) == 1 else f"{word}s"


def _named(names: Sequence[str]) -> str:
    return f"{_many('container', names)} {_quoted(names)}"


def _setters(pod: bool, names: Sequence[str]) -> str:
    """Who it was: the pod, containers, or both."""
    return " and ".join([*(["pod"] if pod else []), *([_named(names)] if names else [])])


def _is_windows(spec: Object) -> bool:
    return bool((spec.get("os") or {}).get("name") == "windows")


def _unless_windows(check: Check) -> Check:
    return lambda meta, spec: None if _is_windows(spec) else check(meta, spec)


def _unless_own_users(check: Check) -> Check:
    """Relaxed for pods in a user namespace of their own."""
    return lambda meta, spec: None if spec.get("hostUsers") is False else check(meta, spec)


# Baseline


def _host_namespaces(_: Object, spec: Object) -> Violation | None:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _privileged(_: Object, spec: Object) -> Violation | None:
    bad = [c["name"] for c in _containers(spec) if _security(c).get("privileged")]
    return Violation("privileged", f"{_named(bad)} must not set securityContext.privileged=true") if bad else None


_ALLOWED_CAPABILITIES: Final = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)


def _capabilities(_: Object, spec: Object) -> Violation | None:
    bad, names = [], set()
    for container in _containers(spec):
        added = set((_security(container).get("capabilities") or {}).get("add") or ()) - _ALLOWED_CAPABILITIES
        if added:
            bad.append(container["name"])
            names |= added
    if not bad:
        return None
    detail = f"{_named(bad)} must not include {_quoted(sorted(names))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def _host_paths(_: Object, spec: Object) -> Violation | None:
    bad = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", f"{_many('volume', bad)} {_quoted(bad)}") if bad else None


def _host_ports(_: Object, spec: Object) -> Violation | None:
    bad, ports = [], set()
    for container in _containers(spec):
        found = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if found:
            bad.append(container["name"])
            ports |= found
    if not bad:
        return None
    uses = "uses" if len(bad) == 1 else "use"
    return Violation("hostPort", f"{_named(bad)} {uses} {_many('hostPort', ports)} {', '.join(sorted(ports))}")


def _host_probes(_: Object, spec: Object) -> Violation | None:
    bad, hosts = set(), set()
    for container in _containers(spec):
        handlers = [container.get(f"{kind}Probe") for kind in ("liveness", "readiness", "startup")]
        handlers += [(container.get("lifecycle") or {}).get(kind) for kind in ("postStart", "preStop")]
        kinds = [(handler or {}).get(kind) or {} for handler in handlers for kind in ("httpGet", "tcpSocket")]
        found = {str(kind["host"]) for kind in kinds if kind.get("host")}
        if found:
            bad.add(container["name"])
            hosts |= found
    if not bad:
        return None
    uses, what = "uses" if len(bad) == 1 else "use", _many("probe or lifecycle host", hosts)
    return Violation("probe or lifecycle host", f"{_named(sorted(bad))} {uses} {what} {_quoted(sorted(hosts))}")


def _app_armor(meta: Object, spec: Object) -> Violation | None:
    def is_bad(profile: Object | None) -> bool:
        return profile is not None and profile.get("type") not in ("RuntimeDefault", "Localhost")

    own = _security(spec).get("appArmorProfile")
    bad = [c for c in _containers(spec) if is_bad(_security(c).get("appArmorProfile"))]
    values = sorted({each["type"] for each in (own, *(_security(c)["appArmorProfile"] for c in bad)) if is_bad(each)})
    marks = [
        f"{key}={json.dumps(value)}"
        for key, value in (meta.get("annotations") or {}).items()
        if key.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    ]
    who = [each for each in (_setters(is_bad(own), [c["name"] for c in bad]),) if each]
    if marks:
        values += sorted(marks)
        who.append(_many("annotation", marks))
    if not who:
        return None
    detail = f"{' and '.join(who)} must not set AppArmor profile type to {_quoted(values)}"
    return Violation(_many("forbidden AppArmor profile", values), detail)


def _proc_mount(_: Object, spec: Object) -> Violation | None:
    bad = [c for c in _containers(spec) if _security(c).get("procMount") not in (None, "Default")]
    if not bad:
        return None
    types = sorted({_security(c)["procMount"] for c in bad})
    names = [c["name"] for c in bad]
    return Violation("procMount", f"{_named(names)} must not set securityContext.procMount to {_quoted(types)}")


def _selinux(allowed: frozenset[str]) -> Check:
    def check(_: Object, spec: Object) -> Violation | None:
        types: set[str] = set()
        marks: set[str] = set()

        def is_bad(holder: Object) -> bool:
            options = _security(holder).get("seLinuxOptions") or {}
            kind = options.get("type") or ""
            types.update({kind} - allowed)
            found = {part for part in ("user", "role") if options.get(part)}
            marks.update(found)
            return kind not in allowed or bool(found)

        pod = is_bad(spec)
        bad = [c["name"] for c in _containers(spec) if is_bad(c)]
        if not pod and not bad:
            return None
        data = [f"{_many('type', types)} {_quoted(sorted(types))}"] if types else []
        data += [f"{part} may not be set" for part in ("user", "role") if part in marks]
        text = f"{_setters(pod, bad)} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}"
        return Violation("seLinuxOptions", text)

    return check


_SELINUX: Final = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))


def _is_good_seccomp(profile: Object) -> bool:
    return profile.get("type") in ("Localhost", "RuntimeDefault")


def _bad_seccomp(spec: Object) -> Violation | None:
    """Profiles that are set, and to something else than may be."""
    own = _security(spec).get("seccompProfile")
    pod = own is not None and not _is_good_seccomp(own)
    set_by = [(c["name"], _security(c).get("seccompProfile")) for c in _containers(spec)]
    bad = [(name, profile) for name, profile in set_by if profile is not None and not _is_good_seccomp(profile)]
    if not pod and not bad:
        return None
    values = sorted({profile["type"] for _, profile in bad} | ({own["type"]} if pod and own is not None else set()))
    who = _setters(pod, [name for name, _ in bad])
    return Violation("seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {_quoted(values)}")


def _seccomp_annotations(meta: Object, spec: Object) -> Violation | None:
    keys = [_ANNOTATION, *(f"{_CONTAINER_ANNOTATION}{c['name']}" for c in _containers(spec))]
    held = meta.get("annotations") or {}
    fine = ("runtime/default", "docker/default")
    bad = sorted(
        f"{key}={json.dumps(held[key])}"
        for key in keys
        if key in held and held[key] not in fine and not held[key].startswith("localhost/")
    )
    return Violation("seccompProfile", f"forbidden {_many('annotation', bad)} {', '.join(bad)}") if bad else None


def _sysctls(allowed: frozenset[str]) -> Check:
    def check(_: Object, spec: Object) -> Violation | None:
        bad = [each["name"] for each in _security(spec).get("sysctls") or () if each["name"] not in allowed]
        return Violation("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


_SYSCTLS: Final = frozenset(
    (
        "kernel.shm_rmid_forced",
        *("net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"),
        "net.ipv4.ip_unprivileged_port_start",
    )
)
_SYSCTLS_27: Final = _SYSCTLS | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29: Final = _SYSCTLS_27 | {
    f"net.ipv4.tcp_{name}" for name in ("keepalive_time", "fin_timeout", "keepalive_intvl", "keepalive_probes")
}
_SYSCTLS_32: Final = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _host_process(_: Object, spec: Object) -> Violation | None:
    def is_bad(holder: Object) -> bool:
        return bool((_security(holder).get("windowsOptions") or {}).get("hostProcess"))

    bad = [c["name"] for c in _containers(spec) if is_bad(c)]
    if not bad and not is_bad(spec):
        return None
    who = _setters(is_bad(spec), bad)
    return Violation("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


# Restricted


def _escalation(_: Object, spec: Object) -> Violation | None:
    bad = [c["name"] for c in _containers(spec) if _security(c).get("allowPrivilegeEscalation") is not False]
    if not bad:
        return None
    detail = f"{_named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def _capabilities_restricted(_: Object, spec: Object) -> Violation | None:
    undropped, adding, names = [], [], set()
    for container in _containers(spec):
        held = _security(container).get("capabilities") or {}
        if "ALL" not in (held.get("drop") or ()):
            undropped.append(container["name"])
        added = set(held.get("add") or ()) - {"NET_BIND_SERVICE"}
        if added:
            adding.append(container["name"])
            names |= added
    details = [f'{_named(undropped)} must set securityContext.capabilities.drop=["ALL"]'] if undropped else []
    if adding:
        shown = _quoted(sorted(names))
        details.append(f"{_named(adding)} must not include {shown} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


_VOLUMES: Final = frozenset(
    (
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim"),
        *("projected", "secret"),
    )
)
_KNOWN_VOLUMES: Final = frozenset(
    (
        *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd"),
        *("flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk"),
        *("photonPersistentDisk", "portworxVolume", "scaleIO", "storageos"),
    )
)


def _volumes(_: Object, spec: Object) -> Violation | None:
    bad, types = [], set()
    for volume in spec.get("volumes") or ():
        kinds = [key for key, value in volume.items() if key != "name" and value is not None]
        if not any(kind in _VOLUMES for kind in kinds):
            bad.append(volume["name"])
            types |= {kind for kind in kinds if kind in _KNOWN_VOLUMES} or {"unknown"}
    if not bad:
        return None
    uses, what = "uses" if len(bad) == 1 else "use", _many("restricted volume type", types)
    detail = f"{_many('volume', bad)} {_quoted(bad)} {uses} {what} {_quoted(sorted(types))}"
    return Violation("restricted volume types", detail)


def _non_root(_: Object, spec: Object) -> Violation | None:
    own = _security(spec).get("runAsNonRoot")
    said = [(c["name"], _security(c).get("runAsNonRoot")) for c in _containers(spec)]
    explicit = [name for name, value in said if value is False]
    if own is False or explicit:
        who = _setters(own is False, explicit)
        return Violation("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    silent = [name for name, value in said if value is None and own is not True]
    if not silent:
        return None
    return Violation("runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true")


def _run_as_user(_: Object, spec: Object) -> Violation | None:
    pod = _security(spec).get("runAsUser") == 0
    bad = [c["name"] for c in _containers(spec) if _security(c).get("runAsUser") == 0]
    return Violation("runAsUser=0", f"{_setters(pod, bad)} must not set runAsUser=0") if pod or bad else None


def _seccomp_restricted(_: Object, spec: Object) -> Violation | None:
    found = _bad_seccomp(spec)
    if found is not None:
        return found
    own = _security(spec).get("seccompProfile")
    silent = [c["name"] for c in _containers(spec) if _security(c).get("seccompProfile") is None and own is None]
    if not silent:
        return None
    text = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", f"pod or {_named(silent)} {text}")


# (name, level, ((since minor version, check), …), the baseline control that it replaces)
CHECKS: Final[tuple[tuple[str, int, tuple[tuple[int, Check], ...], str], ...]] = (
    ("appArmorProfile", 1, ((0, _app_armor),), ""),
    ("capabilities_baseline", 1, ((0, _capabilities),), ""),
    ("hostNamespaces", 1, ((0, _host_namespaces),), ""),
    ("hostPathVolumes", 1, ((0, _host_paths),), ""),
    ("hostPorts", 1, ((0, _host_ports),), ""),
    ("hostProbesAndHostLifecycle", 1, ((34, _host_probes),), ""),
    ("privileged", 1, ((0, _privileged),), ""),
    ("procMount", 1, ((0, _proc_mount), (35, _unless_own_users(_proc_mount))), ""),
    ("seLinuxOptions", 1, ((0, _selinux(_SELINUX)), (31, _selinux(_SELINUX | {"container_engine_t"}))), ""),
    ("seccompProfile_baseline", 1, ((0, _seccomp_annotations), (19, lambda _, spec: _bad_seccomp(spec))), ""),
    (
        "sysctls",
        1,
        (
            (0, _sysctls(_SYSCTLS)),
            (27, _sysctls(_SYSCTLS_27)),
            (29, _sysctls(_SYSCTLS_29)),
            (32, _sysctls(_SYSCTLS_32)),
        ),
        "",
    ),
    ("windowsHostProcess", 1, ((0, _host_process),), ""),
    ("allowPrivilegeEscalation", 2, ((8, _escalation), (25, _unless_windows(_escalation))), ""),
    (
        "capabilities_restricted",
        2,
        ((22, _capabilities_restricted), (25, _unless_windows(_capabilities_restricted))),
        "capabilities_baseline",
    ),
    ("procMount_restricted", 2, ((35, _proc_mount),), "procMount"),
    ("restrictedVolumes", 2, ((0, _volumes),), "hostPathVolumes"),
    ("runAsNonRoot", 2, ((0, _non_root), (35, _unless_own_users(_non_root))), ""),
    ("runAsUser", 2, ((23, _run_as_user), (35, _unless_own_users(_run_as_user))), ""),
    (
        "seccompProfile_restricted",
        2,
        ((19, _seccomp_restricted), (25, _unless_windows(_seccomp_restricted))),
        "seccompProfile_baseline",
    ),
)
