"""Security contexts of pods and containers, with the older annotations that say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import (
    INT32_MAX,
    Fields,
    duplicate,
    given_one_of,
    in_form,
    inside,
    too_long,
    within,
)
from tiphys.lang import name_rules

_SYSCTL_SEGMENT: Final = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL: Final = f"^({_SYSCTL_SEGMENT}[\\./])*{_SYSCTL_SEGMENT}$"
_PROFILES: Final = ("Localhost", "RuntimeDefault", "Unconfined")
_SECCOMP_POD: Final = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_LOCAL: Final = "localhost/"
PATH_MAX: Final = 4095

Containers = Sequence[tuple[str, Fields]]
"""All containers of a pod with their places: init containers, containers, ephemeral ones."""


def container_context(context: Fields, at: str, *, host_users: bool) -> Iterator[Complaint]:
    for field in ("runAsUser", "runAsGroup"):
        yield from _identity(context.get(field), f"{at}.{field}")
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            yield unsupported(f"{at}.procMount", mount, ("Default", "Unmasked"))
        if host_users and mount == "Unmasked":
            yield invalid_value(f"{at}.procMount", mount, "`hostUsers` must be false to use `Unmasked`")
    yield from _seccomp(context.get("seccompProfile"), f"{at}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        yield from _escalation(context, at)
    yield from _windows_options(context.get("windowsOptions"), f"{at}.windowsOptions")
    yield from _app_armor(context.get("appArmorProfile"), f"{at}.appArmorProfile")


def _escalation(context: Fields, at: str) -> Iterator[Complaint]:
    told: Any = internal_names.shown("core.SecurityContext", context)
    if context.get("privileged"):
        text = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        yield invalid_value(at, told, text)
    for capability in (context.get("capabilities") or {}).get("add") or ():
        if capability == "CAP_SYS_ADMIN":
            text = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid_value(at, told, text)


def pod_context(spec: Fields, at: str) -> Iterator[Complaint]:
    """The pod's own; ``at`` is the context's place."""
    context = spec.get("securityContext") or {}
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        yield from _identity(context.get(field), f"{at}.{field}")
    for number, group in enumerate(context.get("supplementalGroups") or ()):
        yield from _identity(group, f"{at}.supplementalGroups[{number}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid_value(f"{at}.shareProcessNamespace", True, text)
    yield from _sysctls(context.get("sysctls") or [], spec, f"{at}.sysctls")
    yield from given_one_of(context, at, "fsGroupChangePolicy", ("Always", "OnRootMismatch"))
    yield from _seccomp(context.get("seccompProfile"), f"{at}.seccompProfile")
    yield from _windows_options(context.get("windowsOptions"), f"{at}.windowsOptions")
    yield from _app_armor(context.get("appArmorProfile"), f"{at}.appArmorProfile")
    yield from given_one_of(context, at, "supplementalGroupsPolicy", ("Merge", "Strict"))
    yield from given_one_of(context, at, "seLinuxChangePolicy", ("Recursive",))


def _identity(value: int | None, at: str) -> Iterator[Complaint]:
    if value is not None:
        yield from within(value, at, 0, INT32_MAX)


def _sysctls(sysctls: Sequence[Fields], spec: Fields, at: str) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, each in enumerate(sysctls):
        here, name = f"{at}[{number}].name", each.get("name") or ""
        if not name:
            yield required(here)
        elif len(name) > 253 or not re.match(_SYSCTL, name):
            yield invalid_value(here, name, f"must have at most 253 characters and match regex {_SYSCTL}")
        elif name in seen:
            yield duplicate(here, name)
        yield from _host_sysctl(name, spec, here)
        seen.add(name)


def _host_sysctl(name: str, spec: Fields, at: str) -> Iterator[Complaint]:
    """What belongs to a namespace of the kernel that the pod shares with the host."""
    dotted = _with_dots(name)
    if spec.get("hostNetwork") and dotted.startswith("net."):
        yield invalid_value(at, name, "may not be specified when 'hostNetwork' is true")
    elif spec.get("hostIPC") and (
        dotted.startswith(("kernel.shm", "kernel.msg", "fs.mqueue.")) or dotted == "kernel.sem"
    ):
        yield invalid_value(at, name, "may not be specified when 'hostIPC' is true")


def _with_dots(name: str) -> str:
    """``net/ipv4/x`` as ``net.ipv4.x``: whichever separator comes first separates."""
    first = re.search(r"[./]", name)
    if first is None or first[0] == ".":
        return name
    return name.translate(str.maketrans("./", "/."))


def _seccomp(profile: Fields | None, at: str) -> Iterator[Complaint]:
    if profile is None:
        return
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if not kind:
        yield required(f"{at}.type", "type is required when seccompProfile is set")
    elif kind not in _PROFILES:
        yield unsupported(f"{at}.type", kind, _PROFILES)
    if kind == "Localhost":
        if local is None:
            yield required(f"{at}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from inside(local, f"{at}.localhostProfile")
    elif local is not None:
        told = internal_names.shown("core.SeccompProfile", profile)
        yield invalid_value(f"{at}.localhostProfile", told, "can only be set when seccomp type is Localhost")


def _app_armor(profile: Fields | None, at: str) -> Iterator[Complaint]:
    if profile is None:
        return
    kind, local = profile.get("type") or "", profile.get("localhostProfile")
    if kind == "Localhost":
        if local is None or (not local.strip() and local == local.strip()):
            yield required(f"{at}.localhostProfile", "must be set when AppArmor type is Localhost")
        elif local.strip() != local:
            yield invalid_value(f"{at}.localhostProfile", local, "must not be padded with whitespace")
        if local is not None and len(local.encode()) > PATH_MAX:
            yield too_long(f"{at}.localhostProfile", PATH_MAX)
    elif kind in _PROFILES:
        if local is not None:
            yield invalid_value(f"{at}.localhostProfile", local, "can only be set when AppArmor type is Localhost")
    elif not kind:
        yield required(f"{at}.type", "type is required when appArmorProfile is set")
    else:
        yield unsupported(f"{at}.type", kind, _PROFILES)


# Windows


def _windows_options(options: Fields | None, at: str) -> Iterator[Complaint]:
    if options is None:
        return
    name, spec, user = (options.get(f) for f in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        yield from in_form(name, f"{at}.gmsaCredentialSpecName", name_rules.dns1123_subdomain)
    if spec is not None and not spec:
        yield invalid_value(f"{at}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string")
    elif spec is not None and len(spec.encode()) > 64 << 10:
        yield invalid_value(f"{at}.gmsaCredentialSpec", spec, "gmsaCredentialSpec size must be under 64 KiB")
    if user is not None:
        for problem in _user_problems(user):
            yield invalid_value(f"{at}.runAsUserName", user, problem)


_NET_BIOS: Final = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}')
_DNS_LABEL: Final = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"


def _user_problems(name: str) -> Iterator[str]:
    if not name:
        yield "runAsUserName cannot be an empty string"
        return
    if re.search(r"[\x00-\x1f\x7f]", name):
        yield "runAsUserName cannot contain control characters"
        return
    if name.count("\\") > 1:
        yield "runAsUserName cannot contain more than one backslash"
        return
    domain, backslash, user = name.rpartition("\\")
    if len(domain.encode()) >= 256:
        yield "runAsUserName's Domain length must be under 256 characters"
    if backslash and not (_NET_BIOS.fullmatch(domain) or re.fullmatch(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*", domain)):
        yield "runAsUserName's Domain doesn't match the NetBios nor the DNS format"
    if not user:
        yield "runAsUserName's User cannot be empty"
    elif len(user.encode()) > 104:
        yield "runAsUserName's User length must not be longer than 104 characters"
    if re.fullmatch(r"[. ]+", user):
        yield "runAsUserName's User cannot contain only periods or spaces"
    if re.search(r'["/\\:;|=,+*?<>@\[\]]', user):
        yield "runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]"


_POD_NOT_ON_WINDOWS: Final = (
    ("securityContext", "appArmorProfile"),
    ("securityContext", "seLinuxOptions"),
    ("", "hostUsers"),
    ("", "hostPID"),
    ("", "hostIPC"),
    ("securityContext", "seccompProfile"),
    ("securityContext", "fsGroup"),
    ("securityContext", "fsGroupChangePolicy"),
    ("securityContext", "sysctls"),
    ("", "shareProcessNamespace"),
    ("securityContext", "runAsUser"),
    ("securityContext", "runAsGroup"),
    ("securityContext", "supplementalGroups"),
    ("securityContext", "supplementalGroupsPolicy"),
    ("securityContext", "seLinuxChangePolicy"),
)
_TRUTHY: Final = frozenset(("hostPID", "hostIPC", "sysctls"))
_NOT_ON_WINDOWS: Final = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def on_windows(spec: Fields, at: str, containers: Containers) -> Iterator[Complaint]:
    context = spec.get("securityContext") or {}
    for owner, field in _POD_NOT_ON_WINDOWS:
        value = (context if owner else spec).get(field)
        if value if field in _TRUTHY else value is not None:
            place = f"{at}.{owner}.{field}" if owner else f"{at}.{field}"
            yield forbidden_value(place, "cannot be set for a windows pod")
    for place, container in containers:
        own = container.get("securityContext") or {}
        for field in _NOT_ON_WINDOWS:
            if own.get(field) is not None:
                yield forbidden_value(f"{place}.securityContext.{field}", "cannot be set for a windows pod")


def on_linux(spec: Fields, at: str, containers: Containers) -> Iterator[Complaint]:
    for place, owner in ((at, spec), *containers):
        if (owner.get("securityContext") or {}).get("windowsOptions") is not None:
            text = "windows options cannot be set for a linux pod"
            yield forbidden_value(f"{place}.securityContext.windowsOptions", text)


def host_processes(spec: Fields, at: str, containers: Containers) -> Iterator[Complaint]:
    """HostProcess containers (Windows): all of a pod's containers or none, in the host's network."""
    whole = _host_process(spec)
    count = 0
    for place, container in containers:
        own = _host_process(container)
        if whole is not None and own is not None and whole != own:
            text = f"pod hostProcess value must be identical if both are specified, was {str(whole).lower()}"
            yield invalid_value(f"{place}.securityContext.windowsOptions.hostProcess", own, text)
        count += bool(whole if own is None else own)
    if count and count != len(containers):
        text = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        yield invalid_value(at, "", text)
    if count and not spec.get("hostNetwork"):
        text = "hostNetwork must be true if pod contains any hostProcess containers"
        yield invalid_value(f"{at}.hostNetwork", False, text)


def _host_process(owner: Fields) -> bool | None:
    found: bool | None = ((owner.get("securityContext") or {}).get("windowsOptions") or {}).get("hostProcess")
    return found


# Annotations


def annotation_values(annotations: Mapping[str, str], at: str, containers: Containers) -> Iterator[Complaint]:
    """Profiles in annotations: well formed, and for containers that are there."""
    if _SECCOMP_POD in annotations:
        yield from _seccomp_text(annotations[_SECCOMP_POD], f"{at}.{_SECCOMP_POD}")
    for key in sorted(annotations):
        if key.startswith(_SECCOMP_CONTAINER):
            yield from _seccomp_text(annotations[key], f"{at}.{key}")
    names = {container.get("name") for _, container in containers}
    for key in sorted(annotations):
        if not key.startswith(APP_ARMOR):
            continue
        name, profile = key.removeprefix(APP_ARMOR), annotations[key]
        if name not in names:
            yield invalid_value(f"{at}[{key}]", name, "container not found")
        if profile not in ("", "runtime/default", "unconfined") and not profile.startswith(_LOCAL):
            yield invalid_value(f"{at}[{key}]", profile, f'invalid AppArmor profile name: "{profile}"')


def _seccomp_text(profile: str, at: str) -> Iterator[Complaint]:
    if profile.startswith(_LOCAL):
        yield from inside(profile.removeprefix(_LOCAL), at)
    elif profile not in ("runtime/default", "docker/default", "unconfined"):
        yield invalid_value(at, profile, "must be a valid seccomp profile")


def annotations_match(
    annotations: Mapping[str, str], spec: Fields, at: str, containers: Containers
) -> Iterator[Complaint]:
    """Where an annotation and a field say the same thing, they must say the same."""
    context = spec.get("securityContext") or {}
    if _SECCOMP_POD in annotations:
        place = f"{at}.securityContext.seccompProfile"
        yield from _profile_match(annotations[_SECCOMP_POD], context.get("seccompProfile"), place, "seccomp")
    for place, container in containers:
        said = annotations.get(_SECCOMP_CONTAINER + (container.get("name") or ""))
        profile = (container.get("securityContext") or {}).get("seccompProfile")
        if said is not None:
            yield from _profile_match(said, profile, f"{place}.securityContext.seccompProfile", "seccomp")
    if (spec.get("os") or {}).get("name") == "windows":
        return
    for place, container in containers:
        said = annotations.get(APP_ARMOR + (container.get("name") or ""))
        profile = (container.get("securityContext") or {}).get("appArmorProfile") or context.get("appArmorProfile")
        if said is not None:
            yield from _profile_match(said, profile, f"{place}.securityContext.appArmorProfile", "apparmor")


def _profile_match(said: str, profile: Fields | None, at: str, kind: str) -> Iterator[Complaint]:
    if profile is None:
        return
    default = ("runtime/default", "docker/default") if kind == "seccomp" else ("runtime/default",)
    wanted = {"Unconfined": ("unconfined",), "RuntimeDefault": default}.get(profile.get("type") or "")
    if wanted is not None and said not in wanted:
        yield forbidden_value(f"{at}.type", f"{kind} type in annotation and field must match")
    elif profile.get("type") == "Localhost":
        if not said.startswith(_LOCAL):
            yield forbidden_value(f"{at}.type", f"{kind} type in annotation and field must match")
        elif said.removeprefix(_LOCAL) != profile.get("localhostProfile"):
            yield forbidden_value(f"{at}.localhostProfile", f"{kind} profile in annotation and field must match")
