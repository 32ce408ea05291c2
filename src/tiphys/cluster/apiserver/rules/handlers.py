"""Probes and hooks of containers: what they run or ask, and when."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import Fields, needed, not_negative, port, port_or_name

_TIMES: Final = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_BASE: Final = [
    "ABRT",
    "ALRM",
    "BUS",
    "CHLD",
    "CLD",
    "CONT",
    "FPE",
    "HUP",
    "ILL",
    "INT",
    "IO",
    "IOT",
    "KILL",
    "PIPE",
    "POLL",
    "PROF",
    "PWR",
    "QUIT",
    "SEGV",
    "STKFLT",
    "STOP",
    "SYS",
    "TERM",
    "TRAP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "USR1",
    "USR2",
    "VTALRM",
    "WINCH",
    "XCPU",
    "XFSZ",
]
_SIGNALS: Final = tuple(
    sorted(
        (
            *(f"SIG{name}" for name in _BASE),
            "SIGRTMIN",
            "SIGRTMAX",
            *(f"SIGRTMIN+{n}" for n in range(1, 16)),
            *(f"SIGRTMAX-{n}" for n in range(1, 15)),
        )
    )
)
_WINDOWS_SIGNALS: Final = ("SIGKILL", "SIGTERM")


def probe_complaints(container: Fields, at: str, grace: int | None) -> Iterator[Complaint]:
    for kind in PROBES:
        probe, here = container.get(kind), f"{at}.{kind}"
        if probe is None:
            continue
        yield from _handler(probe, here, grace, ("exec", "httpGet", "tcpSocket", "grpc"))
        yield from not_negative(probe, here, *_TIMES)
        seconds = probe.get("terminationGracePeriodSeconds")
        if seconds is not None and seconds <= 0:
            yield invalid_value(f"{here}.terminationGracePeriodSeconds", seconds, "must be greater than 0")
        if kind == "readinessProbe":
            if seconds is not None:
                text = "must not be set for readinessProbes"
                yield invalid_value(f"{here}.terminationGracePeriodSeconds", seconds, text)
        elif (probe.get("successThreshold") or 0) != 1:
            yield invalid_value(f"{here}.successThreshold", probe.get("successThreshold") or 0, "must be 1")


def lifecycle_complaints(lifecycle: Fields, at: str, grace: int | None, system: str | None) -> Iterator[Complaint]:
    """``grace``: the pod's seconds to end; ``system``: the pod's operating system, None where it names none."""
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            yield from _handler(lifecycle[hook], f"{at}.{hook}", grace, ("exec", "httpGet", "tcpSocket", "sleep"))
    signal = lifecycle.get("stopSignal")
    if signal is None:
        return
    if system is None:
        yield forbidden_value(f"{at}.stopSignal", "may not be set for containers with empty `spec.os.name`")
    elif system == "windows" and signal not in _WINDOWS_SIGNALS:
        yield unsupported(f"{at}.stopSignal", signal, _WINDOWS_SIGNALS)
    elif system == "linux" and signal not in _SIGNALS:
        yield unsupported(f"{at}.stopSignal", signal, _SIGNALS)


def _handler(handler: Fields, at: str, grace: int | None, kinds: tuple[str, ...]) -> Iterator[Complaint]:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    if not given:
        yield required(at, "must specify a handler type")
    for kind in given[:1]:
        yield from _action(kind, handler[kind], f"{at}.{kind}", grace)
    for kind in given[1:]:
        yield forbidden_value(f"{at}.{kind}", "may not specify more than 1 handler type")


def _action(kind: str, action: Fields, at: str, grace: int | None) -> Iterator[Complaint]:
    match kind:
        case "exec":
            yield from needed(action, at, "command")
        case "httpGet":
            yield from _http_get(action, at)
        case "tcpSocket":
            yield from port_or_name(action.get("port"), f"{at}.port")
        case "grpc":
            yield from port(action.get("port") or 0, f"{at}.port")
        case "sleep":
            yield from _sleep(action.get("seconds") or 0, at, grace)


def _http_get(action: Fields, at: str) -> Iterator[Complaint]:
    yield from needed(action, at, "path")
    yield from port_or_name(action.get("port"), f"{at}.port")
    scheme: Any = action.get("scheme") or ""
    if scheme not in ("HTTP", "HTTPS"):
        yield unsupported(f"{at}.scheme", scheme, ("HTTP", "HTTPS"))
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        if not re.fullmatch("[-A-Za-z0-9]+", name):
            text = (
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used "
                "for validation is '[-A-Za-z0-9]+')"
            )
            yield invalid_value(f"{at}.httpHeaders", name, text)


def _sleep(seconds: int, at: str, grace: int | None) -> Iterator[Complaint]:
    if grace is not None and not 0 <= seconds <= grace:
        yield invalid_value(at, seconds, f"must be non-negative and less than terminationGracePeriodSeconds ({grace})")
