"""Lists and watches: options, selectors, pages and consistent snapshots.

A page's continue token names the version of its first page. That version is rebuilt from the present and the ring of
recent changes, so that all pages of a list show one state; when the ring no longer reaches back, 410 Expired.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from tiphys.cluster.apiserver import fields
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_options, unsupported
from tiphys.cluster.apiserver.queries import flag
from tiphys.cluster.apiserver.record import Record
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.watch import Event, Filter, Hub, Watcher
from tiphys.machinery.errors import ApiError, BadRequest, Expired, Timeout
from tiphys.machinery.selectors import (
    FieldSelector,
    LabelSelector,
    SelectorError,
    parse_fields,
    parse_labels,
)

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
LIMIT_MAX = 100_000
_NEWEST = -1  # in a continue token: go on in whatever state there is
TIMEOUT_SECONDS_MAX = 24 * 3600


@dataclass(frozen=True)
class Page:
    """The answer to a list. ``remaining`` is None where the API does not say (no further page, or a selector)."""

    info: ResourceInfo
    records: Sequence[Record]
    version: int
    token: str = ""
    remaining: int | None = None

    def metadata(self) -> dict[str, Any]:
        meta: dict[str, Any] = {"resourceVersion": str(self.version)}
        # Lists of custom resources say it also where there is no more.
        if self.token or self.info.custom is not None:
            meta["continue"] = self.token
        if self.remaining is not None:
            meta["remainingItemCount"] = self.remaining
        return meta


class InvalidVersion(ApiError):
    """The original answers a resourceVersion that is no number with a bare 500."""

    code, reason = 500, ""


@dataclass(frozen=True)
class Selection:
    """Who is meant: namespace (None: all), labels, fields."""

    namespace: str | None
    labels: LabelSelector
    fields: FieldSelector

    @classmethod
    def parse(cls, info: ResourceInfo, namespace: str | None, query: Mapping[str, str]) -> Selection:
        """Raises BadRequest for a selector that cannot be read or names an unknown field."""
        try:
            labels = parse_labels(query.get("labelSelector", ""))
            wanted = fields.resolve(info, parse_fields(query.get("fieldSelector", "")))
        except (SelectorError, fields.UnknownField) as err:
            raise BadRequest(str(err)) from None
        return cls(namespace, labels, wanted)

    @property
    def is_whole(self) -> bool:
        return self.labels.is_empty and self.fields.is_empty

    def filter(self, info: ResourceInfo) -> Filter | None:
        """A test of records; None where every record passes."""
        prefix = f"{self.namespace}/" if self.namespace is not None else ""
        if self.is_whole:
            return (lambda record: record.key.startswith(prefix)) if prefix else None
        read, labels, wanted = fields.reader(info), self.labels, self.fields

        def matches(record: Record) -> bool:
            return (
                record.key.startswith(prefix)
                and (labels.is_empty or labels.matches(record.labels))
                and (wanted.is_empty or wanted.matches(record.fields(read)))
            )

        return matches


class ExpiredPage(Expired):
    """A continue token that is too old; the answer carries one that goes on with what is there now."""

    def __init__(self, token: str) -> None:
        super().__init__(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list "
            "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
            "the results. Continuing with the provided token results in an inconsistent list - objects that were "
            "created, modified, or deleted between the time the first chunk was returned and now may show up in the "
            "list."
        )
        self._token = token

    def status(self) -> dict[str, Any]:
        return super().status() | {"metadata": {"continue": self._token}}


class Lister:
    """Answers lists and opens watches from the store's memory."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub

    def list(self, info: ResourceInfo, namespace: str | None, query: Mapping[str, str]) -> Page:
        selection = Selection.parse(info, namespace, query)
        _check_options(query, watch=False)
        asked, limit, after = query.get("resourceVersion", ""), _count(query, "limit", LIMIT_MAX), ""
        if query.get("continue"):
            version, after = _decode_token(query["continue"])
            if asked and asked != "0":
                raise BadRequest("specifying resource version is not allowed when using continue")
            too_old: ApiError = ExpiredPage(_encode_token(_NEWEST, after))
        else:
            version = self._version_to_list(asked, query.get("resourceVersionMatch", ""), limit)
            too_old = Expired("The resourceVersion for the provided list is too old.")
        if version in (_NEWEST, self._store.version):
            version = self._store.version
            keys, records = self._present(info, selection)
        else:
            keys, records = self._past(info, selection.namespace, version, too_old)
        return _page(info, selection, version, keys, records, after, 0 if asked == "0" else limit)

    def watch(self, info: ResourceInfo, namespace: str | None, query: Mapping[str, str]) -> Watcher:
        selection = Selection.parse(info, namespace, query)
        _check_options(query, watch=True)
        asked = query.get("resourceVersion", "")
        initial = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
        wants_bookmarks = flag(query, "allowWatchBookmarks")
        starts_empty = asked not in ("", "0") and not initial
        since = parse_version(asked, watch=True) if starts_empty else self._store.version
        seconds = _count(query, "timeoutSeconds", TIMEOUT_SECONDS_MAX) or None
        make = _bookmark_maker(info)
        matches = selection.filter(info)
        watcher = self._hub.watch(info.collection, since, matches, make if wants_bookmarks else None, seconds)
        if not starts_empty and initial is not False:
            keys, records = self._present(info, selection)
            for key in keys:
                if matches is None or matches(records[key]):
                    watcher.push_initial(Event("ADDED", records[key]))
            if initial and wants_bookmarks:
                watcher.push_initial(Event("BOOKMARK", make(self._store.version, {INITIAL_EVENTS_END: "true"})))
        return watcher

    def _version_to_list(self, asked: str, match: str, limit: int) -> int:
        current = self._store.version
        if asked in ("", "0"):
            return current
        version = parse_version(asked)
        if version > current:
            raise too_large_version(version, current)
        return version if match == "Exact" or (limit and match != "NotOlderThan") else current

    def _present(self, info: ResourceInfo, selection: Selection) -> tuple[Sequence[str], Mapping[str, Record]]:
        """The durable records that can be meant, cheaply where one is named."""
        collection = self._store.collection(info.collection)
        name = selection.fields.exact_value("metadata.name")
        namespace = selection.namespace or selection.fields.exact_value("metadata.namespace")
        if name is None or (namespace is None and info.resource.namespaced):
            return collection.keys(selection.namespace), collection.records
        key = f"{namespace}/{name}" if info.resource.namespaced else name
        return ([key] if key in collection.records else []), collection.records

    def _past(
        self, info: ResourceInfo, namespace: str | None, version: int, too_old: ApiError
    ) -> tuple[Sequence[str], Mapping[str, Record]]:
        """The state at an older version: the present with the changes since taken back, newest first."""
        changes = self._hub.since(info.collection, version)
        if changes is None:
            raise too_old
        collection = self._store.collection(info.collection)
        records = {key: collection.records[key] for key in collection.keys(namespace)}
        prefix = f"{namespace}/" if namespace is not None else ""
        for change in reversed(changes):
            if not change.record.key.startswith(prefix):
                continue
            if change.previous is None:
                records.pop(change.record.key, None)
            else:
                records[change.record.key] = change.previous
        return sorted(records), records


def _page(
    info: ResourceInfo,
    selection: Selection,
    version: int,
    keys: Sequence[str],
    records: Mapping[str, Record],
    after: str,
    limit: int,
) -> Page:
    """The first ``limit`` (0: all) selected records after the key ``after``."""
    start = bisect_right(keys, after) if after else 0
    if selection.is_whole:
        taken = keys[start : start + limit] if limit else keys[start:]
        remaining: int | None = len(keys) - start - len(taken)
    else:
        matches = selection.filter(info)
        found = (key for key in keys[start:] if matches is None or matches(records[key]))
        taken = list(islice(found, limit)) if limit else list(found)
        # A selector hides how many are left, as in the original.
        remaining = None if limit and next(found, None) is not None else 0
    items = [records[key] for key in taken]
    token = _encode_token(version, taken[-1]) if remaining != 0 and taken else ""
    return Page(info, items, version, token, remaining or None)


def parse_version(text: str, *, watch: bool = False) -> int:
    """Reads a resourceVersion; "" is 0."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) < 20:
        return int(text)
    message = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    raise InvalidVersion(message) if watch else BadRequest(f"invalid resource version: {message}")


def too_large_version(asked: int, current: int) -> Timeout:
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Timeout(
        f"Timeout: Too large resource version: {asked}, current: {current}",
        {"causes": [cause], "retryAfterSeconds": 1},
    )


def _check_options(query: Mapping[str, str], *, watch: bool) -> None:
    """Which of resourceVersion, resourceVersionMatch, continue and sendInitialEvents go together."""
    match, initial = query.get("resourceVersionMatch", ""), query.get("sendInitialEvents")
    found: list[Complaint] = []
    field = "resourceVersionMatch"
    if watch:
        if initial is not None:
            if match != "NotOlderThan":
                found.append(
                    forbidden_value(field, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
                )
                if match:
                    found.append(unsupported(field, match, ["NotOlderThan"]))
        elif match:
            text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            found.append(forbidden_value(field, text))
    else:
        if initial is not None:
            found.append(forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        if match:
            found += _match_complaints(match, query)
    if found:
        raise invalid_options("ListOptions", found)


def _match_complaints(match: str, query: Mapping[str, str]) -> list[Complaint]:
    field, version = "resourceVersionMatch", query.get("resourceVersion", "")
    if query.get("continue"):
        return [forbidden_value(field, "resourceVersionMatch is forbidden when continue is provided")]
    if not version:
        return [forbidden_value(field, "resourceVersionMatch is forbidden unless resourceVersion is provided")]
    if match not in ("Exact", "NotOlderThan"):
        return [unsupported(field, match, ["Exact", "NotOlderThan", ""])]
    if match == "Exact" and version == "0":
        return [forbidden_value(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')]
    return []


def _count(query: Mapping[str, str], name: str, limit: int) -> int:
    """A number option: absent, zero and negative mean "none"."""
    text = query.get(name)
    if not text:
        return 0
    try:
        return max(0, min(int(text), limit))
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _encode_token(version: int, after: str) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{after}\0"})
    return urlsafe_b64encode(token).rstrip(b"=").decode()


def _decode_token(text: str) -> tuple[int, str]:
    try:
        content = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        legal = [c.isascii() and (c.isalnum() or c in "-_") for c in text]
        at = legal.index(False) if False in legal else max(0, len(text) - len(text) % 4)
        raise _bad_token(f"illegal base64 data at input byte {at}") from None
    try:
        token = orjson.loads(content)
        return int(token["rv"]), str(token["start"]).rstrip("\0")
    except (ValueError, KeyError, TypeError):
        first = content[:1].decode("latin-1")
        raise _bad_token(f"invalid character '{first}' looking for beginning of value") from None


def _bad_token(why: str) -> BadRequest:
    return BadRequest(f"invalid continue token: continue key is not valid: {why}")


class _BookmarkMaker:
    def __init__(self, info: ResourceInfo) -> None:
        self._info = info

    def __call__(self, version: int, annotations: Mapping[str, str] | None = None) -> Record:
        """The zero object of the kind with a resourceVersion, as the original sends it."""
        info = self._info
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if annotations:
            meta["annotations"] = dict(annotations)
        view = {"kind": info.kind, "apiVersion": info.resource.api_version, "metadata": meta}
        if info.codec is not None:
            view = info.codec.empty() | view
        return Record("", 0, version, view)


def _bookmark_maker(info: ResourceInfo) -> _BookmarkMaker:
    return _BookmarkMaker(info)
