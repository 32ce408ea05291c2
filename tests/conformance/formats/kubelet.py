"""Pods recorded on a real kubelet (``golden/kubelet``), lived again on our node with a real runtime.

A document has ``objects``, ``admitted``, ``statuses``, ``events``. The objects are created on our API server, the
recorder's steps and commands repeated (``kubelet_world.py``), and judged are, one row each:

    milestones   per container the order of what must be seen, per pod the order of its phases
    status       the last status before the recorder cleaned up, whole
    events       the set of the node's events (type, reason, message, field path)
    logs, exec   what each command printed, and how it ended

Left out, since no two runs of the original agree on it (its README): how many statuses there were; which of two
statuses that follow each other at once was coalesced; counts and times of events; the order of lines from different
streams in a log, and so which of them are its last. And because here is another machine: container and image ids, the
image's resolved name, pod addresses (pods share the node's network), the scheduler's events, sizes of the node's memory
file systems. And a ResizeCompleted of resources whose ResizeStarted nobody told of: the kubelet looks at a cache that
may be one look behind, and tells now and then that the resources from before are complete. And what an attached client
saw before the first line that the recorder's saw: which one that is depends on when either began.

Cases that a runtime cannot give are in ``kubelet_runtimes.toml`` with the reason. ``TIPHYS_GOLDEN_RUNTIME`` names the
runtime (``oci`` where it works, else ``sandbox``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conformance import kubelet_world
from tests.conformance.golden import Format, Row, Sample, read
from tests.conformance.kubectl import Said
from tests.conformance.kubelet_world import HOST_IP, Seen, counts, last_recorded, recorded, whereabouts, while_running
from tiphys.cluster.node.runtime import Runtime
from tiphys.cluster.node.runtimes.oci import OciRuntime
from tiphys.cluster.node.runtimes.sandbox import SandboxRuntime

Object = Mapping[str, Any]

HERE = Path(__file__).parent
RUNTIMES: dict[str, Callable[[Path], Runtime]] = {"oci": OciRuntime, "sandbox": SandboxRuntime}
STATUS_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_KNOWN: dict[str, tuple[Object, Seen]] = {}


def recognises(sample: Sample) -> bool:
    return {"objects", "admitted", "statuses", "events", "logs", "exec", "steps"} <= sample.head.keys()


def prepare(paths: Sequence[Path]) -> None:
    """Lives all of these cases at once: one after another they would take half an hour."""
    samples = [sample for sample in map(read, paths) if recognises(sample)]
    cases = [sample.document for sample in samples if not missing(sample.document["name"])]
    if cases:
        for case, seen in kubelet_world.live_all(cases, runtime()):
            _KNOWN[case["name"]] = (case, seen)


def runtime() -> Runtime:
    directory = Path(os.environ.get("TMPDIR", "/tmp")) / f"tiphys-golden-{os.getpid()}"
    return RUNTIMES[runtime_name()](directory)


def runtime_name() -> str:
    return os.environ.get("TIPHYS_GOLDEN_RUNTIME", "oci")


def missing(case: str) -> str:
    """Why the runtime cannot give this case; "" where it can."""
    listed = tomllib.loads((HERE / "kubelet_runtimes.toml").read_text(encoding="utf-8"))
    return next((group["why"] for group in listed.get(runtime_name(), ()) if case in group["cases"]), "")


def judge(sample: Sample) -> Iterator[Row]:
    case = sample.document
    why = missing(case["name"])
    if why:
        yield Row(f"not under {runtime_name()}: {why}", ok=True)
        return
    known = _KNOWN.pop(case["name"], None)  # judged again, it lives again
    for _, seen in [known] if known is not None else kubelet_world.live_all([case], runtime()):
        yield from compare(case, seen)


def compare(case: Object, seen: Seen) -> Iterable[Row]:
    ours = Words(seen, case)
    if seen.trouble:
        yield Row("steps", ok=False, expected="they are taken", got=seen.trouble)
    yield _row("milestones", _recorded_milestones(case), _our_milestones(seen, case))
    last = {pod: normal_status(s["status"]) for pod, s in last_recorded(case).items()}
    yield _row("status", last, {pod: normal_status(ours.status(pod)) for pod in last})
    yield _row("events", _recorded_events(case), ours.events())
    for kind, said in (("logs", seen.logs), ("exec", seen.exec)):
        for number, entry in enumerate(case[kind]):
            got = said[number] if number < len(said) else Said(-1, "", "never asked")
            row = _recorded_said(entry, kind), ours.said(got, entry, kind)
            if kind == "logs" and "--tail=" in entry["cmd"]:
                row = _without_order(row[0], case), _without_order(row[1], case)
            yield _row(f"{kind} {number} {entry['cmd']}", *row)


def _row(name: str, expected: Any, got: Any) -> Row:
    """Where the two differ, only the places that do are shown."""
    if expected == got:
        return Row(name, ok=True)
    wanted, had = dict(_leaves(expected)), dict(_leaves(got))
    places = [place for place in {**wanted, **had} if wanted.get(place) != had.get(place)]
    return Row(name, False, {p: wanted[p] for p in places if p in wanted}, {p: had[p] for p in places if p in had})


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value and all(isinstance(row, list) for row in value):
        for row in value:  # a set of rows: each is its own place
            yield " | ".join(map(str, row)), "there"
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}[{inner.get('type') or inner.get('name') or number}]")
    else:
        yield place, value


# What is recorded.


def _recorded_milestones(case: Object) -> Any:
    return {pod: milestones([s["status"] for s in recorded(case) if s["pod"] == pod]) for pod in last_recorded(case)}


def _recorded_events(case: Object) -> list[list[str]]:
    rows = {
        (e["type"], e["reason"], plain(e["message"]), e["object"], e.get("fieldPath", ""))
        for e in case["events"]
        if counts(e)
    }
    return _without_stale(rows)


def _without_stale(rows: Iterable[tuple[str, ...]]) -> list[list[str]]:
    """Sorted, and without completions of resizes that were never begun."""
    kept = sorted(map(list, rows))
    begun = {message.partition(": ")[2] for _, reason, message, *_ in kept if reason == "ResizeStarted"}
    return [row for row in kept if row[1] != "ResizeCompleted" or row[2].partition(": ")[2] in begun]


def _recorded_said(entry: Object, kind: str) -> dict[str, Any]:
    out = _summary(entry["stdout_summary"]) if entry.get("stdout") is None else plain(entry["stdout"])
    said = {"rc": entry.get("rc"), "stdout": _lines(out, kind), "stderr": _lines(plain(entry["stderr"]), kind)}
    return {**said, "response": entry["response"]} if "response" in entry else said


def _without_order(said: dict[str, Any], case: Object) -> dict[str, Any]:
    """With two streams, one line of the log is as good as another; but there are as many."""
    if ">&2" not in json.dumps(case["objects"]):
        return said
    log = {line for entry in case["logs"] for line in _lines(plain(entry.get("stdout") or ""), "logs")}
    return {**said, "stdout": ["a line of the log\n" if line in log else line for line in said["stdout"]]}


def _summary(summary: Object) -> str:
    return f"SUMMARY {summary['sha256']} {summary['bytes']}"


# What we saw.


class Words:
    """Our answers in the recording's symbols."""

    def __init__(self, seen: Seen, case: Object) -> None:
        self._seen = seen
        self._until = seen_until(seen, case)
        uids = dict.fromkeys(obj["metadata"]["uid"] for _, obj in seen.statuses)
        self._uids = {uid: f"UID{number}" for number, uid in enumerate(uids, 1)}

    def text(self, text: str) -> str:
        for uid, symbol in self._uids.items():
            text = text.replace(uid, symbol)
        return plain(text.replace(HOST_IP, "HOST_IP"))

    def tree(self, value: Any) -> Any:
        return json.loads(self.text(json.dumps(value)))

    def status(self, pod: str) -> Object:
        found = [obj for name, obj in self._seen.statuses[: self._until] if name == pod]
        status: Object = self.tree((found[-1].get("status") or {}) if found else {})
        return status

    def events(self) -> list[list[str]]:
        rows = set()
        for event in self._seen.events[: self._seen.events_cleanup_from or None]:
            if event["source"].get("component") != "kubelet" or event["reason"] == "ImageMapped":
                continue
            about = event["involvedObject"]
            place = f"{about['kind']}/{about['name']}"
            rows.add((event["type"], event["reason"], self.text(event["message"]), place, about.get("fieldPath", "")))
        return _without_stale(rows)

    def said(self, said: Said, entry: Object, kind: str) -> dict[str, Any]:
        out = self.text(jwt_claims(said.stdout))
        if entry.get("stdout") is None:
            data = said.stdout.encode()
            out = f"SUMMARY {hashlib.sha256(data).hexdigest()} {len(data)}"
        err = self.text(said.stderr)
        if while_running(entry) and "attach" in entry["cmd"].split():
            out, err = _latest(out, entry["stdout"] or ""), _latest(err, entry["stderr"])
        words = {"rc": said.rc, "stdout": _lines(out, kind), "stderr": _lines(err, kind)}
        return {**words, "response": said.response} if "response" in entry else words


def seen_until(seen: Seen, case: Object) -> int:
    """How many of our statuses count: until all pods were where the recorded ones were in the end."""
    last = {pod: whereabouts(s) for pod, s in last_recorded(case).items()}
    for count in range(seen.cleanup_from, 0, -1):
        latest = dict(seen.statuses[:count])
        if all(pod in latest and whereabouts(latest[pod]) == where for pod, where in last.items()):
            return count
    return seen.cleanup_from


def _our_milestones(seen: Seen, case: Object) -> Any:
    statuses = seen.statuses[: seen_until(seen, case)]
    return {
        pod: milestones([obj.get("status") or {} for name, obj in statuses if name == pod])
        for pod in dict.fromkeys(name for name, _ in statuses)
    }


# Both in the same form.


def milestones(statuses: Sequence[Object]) -> dict[str, list[str]]:
    """The order of what must be seen. A state that another one may have overtaken is left out."""
    found: dict[str, list[str]] = {"phase": _phases(statuses)}
    for status in statuses:
        for kind in STATUS_LISTS:
            for row in status.get(kind) or ():
                steps = found.setdefault(row["name"], [])
                step = _milestone(row)
                if step and (not steps or steps[-1] != step):
                    steps.append(step)
    return {name: _without_passing(steps) for name, steps in found.items()}


def _without_passing(steps: Sequence[str]) -> list[str]:
    """An end that was followed by another life may not have been seen."""
    return [step for n, step in enumerate(steps) if " ended " not in step or n == len(steps) - 1]


def _phases(statuses: Sequence[Object]) -> list[str]:
    order = [status.get("phase", "") for status in statuses]
    kept = [phase for n, phase in enumerate(order) if n == 0 or order[n - 1] != phase]
    return kept if kept and kept[-1] not in ("Succeeded", "Failed") else [p for p in kept if p != "Running"]


def _milestone(row: Object) -> str:
    (kind, body), *_ = row["state"].items()
    count = row["restartCount"]
    if kind == "running":
        return ""
    reason = body.get("reason", "")
    if kind == "waiting":
        if reason in ("ErrImagePull", "ImagePullBackOff"):
            return "no image"
        return f"{count} {reason}" if reason == "CrashLoopBackOff" else ""
    return f"{count} ended {body['exitCode']}"


def normal_status(status: Object) -> Object:
    """Without what differs between any two machines; times only as "there is one"."""
    kept = dict(status)
    for address in ("hostIP", "hostIPs", "podIP", "podIPs"):
        kept.pop(address, None)
    if kept.get("startTime"):
        kept["startTime"] = "T"
    kept["conditions"] = [_normal_condition(row) for row in status.get("conditions") or ()]
    for kind in STATUS_LISTS:
        if kind in kept:
            kept[kind] = [_normal_container(row) for row in kept[kind]]
    if "message" in kept:
        kept["message"] = plain(kept["message"])
    return kept


def _normal_condition(row: Object) -> Object:
    times = {key: "T" for key in ("lastProbeTime", "lastTransitionTime") if row.get(key)}
    return {key: value for key, value in row.items() if value is not None} | times


def _normal_container(row: Object) -> Object:
    kept = {key: value for key, value in row.items() if key not in ("image", "imageID")}
    if kept.get("containerID"):
        kept["containerID"] = "CID"
    for state in ("state", "lastState"):
        kept[state] = {kind: _normal_state(body) for kind, body in row[state].items()}
    kept["volumeMounts"] = [
        {**mount, "name": re.sub(r"^kube-api-access-\w+$", "kube-api-access", mount["name"])}
        for mount in row.get("volumeMounts") or ()
    ]
    return kept


def _normal_state(body: Object) -> Object:
    kept = {key: value for key, value in body.items() if key != "containerID" and value is not None}
    for time in ("startedAt", "finishedAt"):
        if kept.get(time):
            kept[time] = "EPOCH" if str(kept[time]).startswith(("EPOCH", "1970")) else "T"
    if "message" in kept:
        kept["message"] = plain(kept["message"])
    if kept.get("reason") in ("ErrImagePull", "ImagePullBackOff"):  # which one depends on the moment
        kept["reason"] = "ErrImagePull"
        kept["message"] = kept["message"].rpartition("ErrImagePull: ")[2]
    return kept


_SYMBOLS = (
    (re.compile(r"POD_IP\d+|HOST_IP"), "HOST_IP"),
    (re.compile(r"/tmp/[\w./-]*/fixtures/[\w.-]+"), "/hostpath-fixture"),
    (re.compile(r"\b[0-9a-f]{64}\b|\bHEX\d+\b"), "HEX"),
    (re.compile(r"\b\d+(\.\d+)?m?s\b(?= \()|(?<=\()\d+(\.\d+)?m?s\b(?= including)|\bDUR\b"), "DUR"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d)|<RFC3339NANO>"), "<RFC3339NANO>"),
    (re.compile(r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d [ \d]\d:\d\d|<DATE>"), "<DATE>"),
    (re.compile(r"size=\d{5,}k"), "size=NODEk"),
    (re.compile(r"Image size: \d+ bytes"), "Image size: N bytes"),
    (re.compile(r", used: \d+,"), ", used: N,"),
    (re.compile(r"image can't be pulled|trying and failing to pull image"), "no image"),
    (re.compile(r"\r\n"), "\n"),
    (re.compile(r"\bUID\d+\b|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UID"),
    (re.compile(r"(\d{3} \d+:\d+) \d{3,4} (/v/tok)"), r"\1 TOKEN \2"),
)


def plain(text: str) -> str:
    for pattern, symbol in _SYMBOLS:
        text = pattern.sub(symbol, text)
    # The options of a resolv.conf come in any order.
    return re.sub(r"^options .*$", lambda m: " ".join(sorted(m[0].split())), text, flags=re.M)


def _latest(text: str, recorded: str) -> str:
    """Without the lines by which it has more than was recorded, behind those with which both begin."""
    had, wanted = text.splitlines(keepends=True), recorded.splitlines(keepends=True)
    both = next((n for n, pair in enumerate(zip(had, wanted, strict=False)) if pair[0] != pair[1]), len(wanted))
    return "".join(had[:both] + had[both + max(0, len(had) - len(wanted)) :])


def _lines(text: str, kind: str) -> str | list[str]:
    """A log's two streams are written down in any order; how often a probe has asked until then, nobody knows."""
    if kind != "logs":
        return text
    lines = text.splitlines(keepends=True)
    return sorted(set(lines) if "kube-probe/" in text else lines)


def jwt_claims(text: str) -> str:
    """The payload of a token as the recording shows it: times counted from when it was issued."""

    def shown(match: re.Match[str]) -> str:
        try:
            claims = json.loads(base64.urlsafe_b64decode(match[0] + "=" * (-len(match[0]) % 4)))
        except ValueError:
            return match[0]
        issued = claims["iat"]
        for holder, key in ((claims, "exp"), (claims, "nbf"), (claims["kubernetes.io"], "warnafter"), (claims, "iat")):
            if key in holder:
                holder[key] -= issued
        return f"JWT_CLAIMS {json.dumps(claims, sort_keys=True)}"

    return re.sub(r"^eyJ[\w-]{40,}$", shown, text, flags=re.M)


FORMATS = (Format("a pod's life on a kubelet", recognises, judge, prepare),)
