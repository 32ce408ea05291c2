"""Runs a command inside a sandbox that exists already: what ``exec`` starts, in the namespaces of process 1 there.

    python -I -S joining.py      the order is JSON on descriptor 3: pid, argv, env, cwd, filter (path or ""), tty,
                                 groups (optional: files of control groups to write ourselves into)

A program of its own, standard library only: joining a process or user namespace takes a process with one thread, which
the agent is not. The command gets what process 1 of the container has: namespaces, capabilities, no new privileges, the
system-call filter; it never has more than that, not even between two steps of this file, because it is a child that is
cut down before it executes anything of the container.

This process waits outside of the container's process namespace, ends with the command's code (128 + n for signal n),
and takes the command with it when it is killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import struct
import sys
import termios
from typing import Any

ORDER_FD = 3
CANNOT_EXECUTE, NOT_FOUND = 126, 127
NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")
NS_GET_PARENT = 0xB702  # include/uapi/linux/nsfs.h
# include/uapi/linux/prctl.h, capability.h, seccomp.h
PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 23, 24, 38
CAPABILITY_VERSION_3, SECCOMP_MODE_FILTER = 0x20080522, 2
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

libc = ctypes.CDLL(None, use_errno=True)


class Refused(OSError):
    """The kernel refused a step."""


def main() -> int:
    with os.fdopen(ORDER_FD, "rb") as file:
        order: dict[str, Any] = json.load(file)
    shape = shape_of(order["pid"])
    bpf = read(order["filter"]) if order["filter"] else b""
    for entry in order.get("groups", ()):
        with open(entry, "w", encoding="ascii") as file:
            file.write("0")
    own_user = join(order["pid"])
    child = os.fork()
    if child == 0:
        try:
            become(order, shape, bpf, own_user=own_user)
        except OSError as err:
            os.write(2, f"exec failed: {err.strerror or err}\n".encode())
            os._exit(NOT_FOUND if isinstance(err, FileNotFoundError) else CANNOT_EXECUTE)
    return wait_for(child)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def shape_of(pid: int) -> dict[str, str]:
    """What the kernel says of process 1: ids and capability sets."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}


def join(pid: int) -> bool:
    """Enters all namespaces of ``pid`` that are not ours already; whether there was a user namespace among them.

    The outermost user namespace first, which gives the right to join the others; one nested in it last.
    """
    others = [f"/proc/{pid}/ns/{name}" for name in NAMESPACES]
    descriptors = [
        os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        for place, name in zip(others, NAMESPACES, strict=True)
        if os.path.exists(place) and os.stat(place).st_ino != os.stat(f"/proc/self/ns/{name}").st_ino
    ]
    users = user_namespaces(pid)
    for descriptor in (*users[:1], *descriptors, *users[1:]):
        check(libc.setns(descriptor, 0), "setns")
    return bool(users)


def user_namespaces(pid: int) -> list[int]:
    """The user namespaces between ours and that of ``pid``, outermost first, opened."""
    own = os.stat("/proc/self/ns/user").st_ino
    found: list[int] = []
    descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    while os.fstat(descriptor).st_ino != own:
        found.insert(0, descriptor)
        descriptor = fcntl.ioctl(descriptor, NS_GET_PARENT)
    return found


def become(order: dict[str, Any], shape: dict[str, str], bpf: bytes, *, own_user: bool) -> None:
    """Makes this process what process 1 of the container is, and executes the command. Raises OSError."""
    os.setsid()
    if order["tty"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.umask(0o022)
    os.chdir(order["cwd"])
    drop_bounds(int(shape["CapBnd"], 16))
    if not own_user:  # in a user namespace of its own there is one user, which we are
        os.setgroups([int(word) for word in shape["Groups"].split()])
        os.setresgid(*[int(shape["Gid"].split()[1])] * 3)
        user = int(shape["Uid"].split()[1])
        if user:
            os.setresuid(user, user, user)
    limit_capabilities(int(shape["CapEff"], 16), int(shape["CapPrm"], 16), int(shape["CapInh"], 16))
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if shape.get("NoNewPrivs") == "1" or bpf:
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    if bpf:
        filter_calls(bpf)
    for each in (*FORWARDED, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)
    os.execvpe(order["argv"][0], order["argv"], order["env"])


def drop_bounds(kept: int) -> None:
    number = 0
    while libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if not kept >> number & 1:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
        number += 1


def limit_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """Sets the three sets; what another user's id has taken away already is not asked for again."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    held = ctypes.create_string_buffer(24)
    check(libc.capget(header, held), "capget")
    words = struct.unpack("=6I", held.raw)
    have = words[1] | words[4] << 32
    sets = effective & have, permitted & have, inheritable & have
    low, high = [each & 0xFFFFFFFF for each in sets], [each >> 32 for each in sets]
    check(libc.capset(header, struct.pack("=6I", *low, *high)), "capset")


def filter_calls(bpf: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    program = Program(len(bpf) // 8, bpf)
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


def wait_for(child: int) -> int:
    for each in FORWARDED:
        signal.signal(each, lambda told, _: os.kill(child, told))
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    _, ended = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended)
    return code if code >= 0 else 128 - code


def check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise Refused(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main())
