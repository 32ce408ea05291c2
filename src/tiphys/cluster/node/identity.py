"""Who a container's process is: user, groups, capabilities, from the pod's security contexts and the image. Pure.

The container's own context wins over the pod's, both over the image (kubernetes pkg/securitycontext
DetermineEffectiveSecurityContext; the groups as containerd adds them: those of the pod, and, unless the policy is
Strict, those that the image's /etc/group gives the user).

    user:   runAsUser, else the image's USER (a number, or a name in its /etc/passwd), else 0
    group:  runAsGroup, else the image's, else the user's in /etc/passwd, else 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tiphys.cluster.node.accounts import NO_ACCOUNTS, Accounts
from tiphys.cluster.node.podnames import full_name
from tiphys.cluster.node.runtime import ConfigError, Identity

Object = Mapping[str, Any]

# What container engines give (moby oci/caps/defaults.go).
USUAL_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
# The names that Linux knows (uapi/linux/capability.h), in the order of their numbers.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip


def identity_of(container: Object, pod: Object, image_user: str = "", accounts: Accounts = NO_ACCOUNTS) -> Identity:
    """Raises ``ConfigError`` where the pod insists on another user than root, and for a user that nobody knows."""
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    asked = own.get("runAsUser", whole.get("runAsUser"))
    _verify_not_root(container, pod, asked, image_user)
    uid, gid, name = _user(asked, image_user, accounts)
    group = own.get("runAsGroup", whole.get("runAsGroup"))
    gid = gid if group is None else int(group)
    identity = Identity(
        uid=uid,
        gid=gid,
        groups=_groups(whole, gid, name, accounts),
        capabilities=capabilities(own.get("capabilities") or {}),
        privileged=bool(own.get("privileged")),
    )
    if own.get("allowPrivilegeEscalation") is False:
        identity = replace(identity, no_new_privileges=True)
    return identity


def _user(asked: int | None, image_user: str, accounts: Accounts) -> tuple[int, int, str | None]:
    """(uid, gid, name)"""
    if asked is not None:
        name = accounts.name_of(asked)
        return asked, accounts.users[name][1] if name else 0, name
    word, _, group = image_user.partition(":")
    if not word:
        name, (uid, gid) = accounts.name_of(0), (0, 0)
    elif word.isdigit():
        name = accounts.name_of(int(word))
        uid, gid = int(word), accounts.users[name][1] if name else 0
    elif word in accounts.users:
        name, (uid, gid) = word, accounts.users[word]
    else:
        raise ConfigError(f"unable to find user {word}: no matching entries in passwd file")
    if group:
        if not group.isdigit() and group not in accounts.groups:
            raise ConfigError(f"unable to find group {group}: no matching entries in group file")
        gid = int(group) if group.isdigit() else accounts.groups[group]
    return uid, gid, name


def _groups(whole: Object, gid: int, name: str | None, accounts: Accounts) -> tuple[int, ...]:
    """All groups of the process, its own among them, in the order of their numbers."""
    found = {gid, *(whole.get("supplementalGroups") or ())}
    if whole.get("fsGroup") is not None:
        found.add(whole["fsGroup"])
    if whole.get("supplementalGroupsPolicy") != "Strict" and name is not None:
        found.update(accounts.members.get(name, ()))
    return tuple(sorted(found))


def capabilities(asked: Object) -> tuple[str, ...] | None:
    """The usual set changed by ``drop``, then ``add``; None where nothing is asked. Unknown names are left out."""
    add, drop = _plain(asked.get("add") or ()), _plain(asked.get("drop") or ())
    if not add and not drop:
        return None
    kept = set(CAPABILITIES if "ALL" in add else () if "ALL" in drop else USUAL_CAPABILITIES)
    kept -= drop
    kept |= add - {"ALL"}
    return tuple(name for name in CAPABILITIES if name in kept)


def _plain(names: Sequence[str]) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in names}


def _verify_not_root(container: Object, pod: Object, asked: int | None, image_user: str) -> None:
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    if not own.get("runAsNonRoot", whole.get("runAsNonRoot")):
        return
    about = f'(pod: "{full_name(pod)}", container: {container["name"]})'
    if asked is not None:
        if asked == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {about}")
        return
    user = image_user.partition(":")[0]
    if user and not user.isdigit():
        text = f"container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root"
        raise ConfigError(f"{text} {about}")
    if not user or int(user) == 0:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {about}")
