"""Steps that hold still to be looked at: ``ARGO_DEBUG_PAUSE_BEFORE`` and ``ARGO_DEBUG_PAUSE_AFTER``.

A container with one of these variables set to "true" waits before its command, or after it, until somebody makes the
file ``/var/run/argo/ctr/<container>/before`` or ``…/after`` in it. On the embedded node nothing wraps the user's
command; only such a container gets a wrapper, a few lines for the shell of its own image, so that it is still there to
be entered when the command has ended. Source: cmd/argoexec/commands/emissary.go, docs/debug-pause.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiphys.workflows.executor.template import VAR_RUN_ARGO

Object = Mapping[str, Any]
VARIABLES = frozenset({"ARGO_DEBUG_PAUSE_BEFORE", "ARGO_DEBUG_PAUSE_AFTER"})

# $1 and $2 the markers, the rest the command. Signals go on to the command; one that asks to end ends a pause, with the
# exit code of the original's executor. The command is waited for in a loop: a signal ends a `wait`.
SCRIPT = """\
before=$1 after=$2
shift 2
child= asked=
pass() { asked=$1; [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null; }
for name in HUP INT QUIT TERM USR1 USR2; do trap "pass $name" "$name"; done
hold() {
  until [ -e "$1" ]; do
    if [ "$asked" = TERM ]; then
      echo "failed waiting for debug-pause-${1##*/} marker: context canceled" >&2
      exit 64
    fi
    sleep 0.1
  done
}
[ "$ARGO_DEBUG_PAUSE_BEFORE" != true ] || hold "$before"
exec 3<&0
"$@" <&3 3<&- &
child=$!
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
child=
[ "$ARGO_DEBUG_PAUSE_AFTER" != true ] || hold "$after"
exit "$code"
"""


def is_wanted(container: Object) -> bool:
    """Whether the container names one of the variables; what it says is seen when it runs."""
    return any(variable.get("name") in VARIABLES for variable in container.get("env") or ())


def wrapper(container: str) -> tuple[str, ...]:
    """What comes before the container's command."""
    place = f"{VAR_RUN_ARGO}/ctr/{container}"
    return ("sh", "-c", SCRIPT, "tiphys-pause", f"{place}/before", f"{place}/after")


def make_place(run: Path, container: str) -> None:
    """Makes the directory of a container's markers; ``run`` is what is mounted at /var/run/argo."""
    place = run / "ctr" / container
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o777)  # whoever enters the container, whatever user it runs as
