"""A small system-call filter for sandboxed containers, as the BPF program that bubblewrap loads.

A deny list, not the long allow list of container engines: the namespaces do the isolating, the filter takes away
what needs no namespace to hurt the machine (kernel modules, keyrings, rebooting, new mounts and user namespaces from
inside). Refused calls fail with EPERM, as engines do. Unknown processor architectures get no filter but "allow".
"""

from __future__ import annotations

import errno
import platform
import struct

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_CLONE_NEWUSER = 0x10000000
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_X32_BIT = 0x40000000

# Numbers from the kernel's tables: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
_NAMES = (
    "acct", "add_key", "bpf", "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load",
    "kexec_load", "keyctl", "mount", "move_mount", "fsmount", "fsopen", "open_tree", "perf_event_open", "pivot_root",
    "quotactl", "reboot", "request_key", "setdomainname", "setns", "settimeofday", "swapoff", "swapon", "syslog",
    "umount2", "unshare", "userfaultfd", "clock_settime", "open_by_handle_at",
)  # fmt: skip
_X86_64 = (
    163, 248, 321, 176, 313, 175, 173, 172, 320, 246, 250, 165, 429, 432, 430, 428, 298, 155, 179, 169, 249, 171, 308,
    164, 168, 167, 103, 166, 272, 323, 227, 304,
)  # fmt: skip
_GENERIC = (
    89, 217, 280, 106, 273, 105, -1, -1, 294, 104, 219, 40, 429, 432, 430, 428, 241, 41, 60, 142, 218, 162, 268, 170,
    225, 224, 116, 39, 97, 282, 112, 265,
)  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_TABLES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _GENERIC)}


def program(machine: str | None = None) -> bytes:
    """The filter for this (or the named) machine, as an array of ``struct sock_filter``."""
    machine = machine or platform.machine()
    if machine not in _TABLES:
        return _statement(_RETURN, _ALLOW)
    architecture, table = _TABLES[machine]
    denied = sorted(number for number in table if number >= 0)
    code = [_statement(_LOAD, _ARCHITECTURE_AT), _jump(_JUMP_EQUAL, architecture, 1, 0)]
    code += [_statement(_RETURN, _ERRNO | errno.EPERM), _statement(_LOAD, _NUMBER_AT)]
    if machine == "x86_64":  # the x32 numbers are the same calls by another name
        code += [_jump(_JUMP_SET, _X32_BIT, 0, 1), _statement(_RETURN, _ERRNO | errno.EPERM)]
    for number in denied:
        code += [_jump(_JUMP_EQUAL, number, 0, 1), _statement(_RETURN, _ERRNO | errno.EPERM)]
    # clone3 hides its flags from filters; without it the C library falls back to clone.
    code += [_jump(_JUMP_EQUAL, _CLONE3, 0, 1), _statement(_RETURN, _ERRNO | errno.ENOSYS)]
    code += [_jump(_JUMP_EQUAL, _CLONE[machine], 0, 3), _statement(_LOAD, _FIRST_ARGUMENT_AT)]
    code += [_jump(_JUMP_SET, _CLONE_NEWUSER, 0, 1), _statement(_RETURN, _ERRNO | errno.EPERM)]
    return b"".join([*code, _statement(_RETURN, _ALLOW)])


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def profile() -> dict[str, object]:
    """The same filter in the words of an OCI runtime's configuration, which knows calls by name."""
    refused = {"names": sorted(_NAMES), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}
    hidden = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    flags = {"index": 0, "value": _CLONE_NEWUSER, "valueTwo": _CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}
    spaces = {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM, "args": [flags]}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refused, hidden, spaces]}
