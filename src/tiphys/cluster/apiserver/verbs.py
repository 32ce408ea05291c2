"""The verbs: one pipeline for every kind and both transports.

    find the resource → options → build the new object (create, replace, patch) → metadata rules → defaults, strategy,
    admission, validation → nothing changed? → store

Nothing waits between reading the newest state of an object and staging the next one, so a write is atomic without
locks. Bodies are copied on entry; what comes out is shared and read-only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Final

from tiphys.api.decode import Repeated
from tiphys.cluster.apiserver import advice, metadata, rules
from tiphys.cluster.apiserver.admission.chain import Admission, Attributes
from tiphys.cluster.apiserver.deletion import DeleteOptions, check_preconditions, decide, is_finished
from tiphys.cluster.apiserver.listing import InvalidVersion, Lister, Page, parse_version, too_large_version
from tiphys.cluster.apiserver.ownership import Owners
from tiphys.cluster.apiserver.problems import (
    Complaint,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    forbidden_value,
    invalid,
    invalid_object,
    invalid_options,
    invalid_value,
    no_such_namespace,
    not_allowed,
    not_found,
    required,
    shown,
    unsupported,
)
from tiphys.cluster.apiserver.queries import flag
from tiphys.cluster.apiserver.record import Object, Record, isolated
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.typed import Unreadable
from tiphys.cluster.apiserver.users import IN_PROCESS, User
from tiphys.cluster.apiserver.versions import Versions
from tiphys.lang import gojson
from tiphys.machinery import structural
from tiphys.machinery.equality import same
from tiphys.machinery.errors import AlreadyExists, Invalid, NotFound
from tiphys.machinery.times import to_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.ids import Ids

GENERATE_NAME_TRIES: Final = 8
CHANGE_TRIES: Final = 8
_NAMESPACES: Final = "namespaces"
# What our own recorders write, by the hundred per second, is as its type wants it.
_WELL_FORMED: Final = frozenset(("events",))


@dataclass(frozen=True)
class Target:
    """What a request is about: the resource, where, which, and through which subresource."""

    info: ResourceInfo
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None

    @property
    def key(self) -> str:
        """The store's key; only for a request that names an object."""
        return f"{self.namespace}/{self.name}" if self.info.resource.namespaced else str(self.name)


MANAGER_BYTES_MAX: Final = 128


@dataclass(frozen=True)
class Writer:
    """Who writes. ``agent`` names the manager of fields where the request names none, "" for nobody's; ``trusted``
    writers (our own, in this process) are not checked for unknown fields; their changes of metadata and status alone
    are taken as they are.
    ``warnings`` gathers what the writer is told, also where the write is refused, ``audit`` what admission
    has to say for the audit log."""

    agent: str = ""
    trusted: bool = True
    user: User = IN_PROCESS
    warnings: list[str] = field(default_factory=list)
    audit: dict[str, str] = field(default_factory=dict)


TRUSTED: Final = Writer()


@dataclass(frozen=True)
class WriteOptions:
    """``manager`` names the writer in managedFields, "" leaves them alone; ``warnings`` goes into Warning headers.

    ``is_sound``: the new object comes with the server, which made it for this and knows it to be right.
    Of a patch: ``patch_faults`` is what a strict reading of it objects to, ``patch_shown`` how messages show it ("": by
    what came out).
    """

    dry_run: bool = False
    manager: str = ""
    validation: str = ""
    force: bool = False
    trusted: bool = True
    is_sound: bool = False
    applies: bool = False
    warnings: list[str] = field(default_factory=list)
    user: User = IN_PROCESS
    patch_faults: tuple[str, ...] = ()
    patch_shown: str = ""
    audit: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, query: Mapping[str, str], kind: str, writer: Writer = TRUSTED, *, applies: bool = False
    ) -> WriteOptions:
        """``applies``: the request is a server-side apply, which needs a manager; only such a one may use force."""
        complaints = list(_option_complaints(query, kind, applies))
        if complaints:
            raise invalid_options(kind, complaints)
        return cls(
            dry_run=query.get("dryRun") == "All",
            manager=query.get("fieldManager") or writer.agent,
            validation=query.get("fieldValidation", ""),
            force=flag(query, "force"),
            trusted=writer.trusted,
            applies=applies,
            warnings=[] if writer is TRUSTED else writer.warnings,
            user=writer.user,
            audit={} if writer is TRUSTED else writer.audit,
        )


def _option_complaints(query: Mapping[str, str], kind: str, applies: bool) -> Iterator[Complaint]:
    dry_run, validation = query.get("dryRun", ""), query.get("fieldValidation", "")
    if kind == "PatchOptions":
        if applies and not query.get("fieldManager"):
            yield required("fieldManager", "is required for apply patch")
        if not applies and query.get("force"):
            yield forbidden_value("force", "may not be specified for non-apply patch")
    if len(query.get("fieldManager", "").encode()) > MANAGER_BYTES_MAX:
        text = f"Too long: may not be more than {MANAGER_BYTES_MAX} bytes"
        yield Complaint("fieldManager", "FieldValueTooLong", text)
    if dry_run not in ("", "All"):
        yield unsupported("dryRun", [dry_run], ["All"])
    if validation not in ("", "Ignore", "Warn", "Strict"):
        yield unsupported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"])


Change = Callable[[Object], Object]
"""Makes the new object of the old one; must not change the old one, may share with it."""


Admit = Callable[[ResourceInfo, Object, Object | None], None]
"""Completes or refuses (by an ApiError) an object that is about to be stored, in place; the second one is the old."""


@dataclass
class Verbs:
    """All verbs on all resources. Every method raises ``machinery.errors.ApiError``."""

    store: Store
    lister: Lister
    registry: Registry
    clock: Clock
    ids: Ids
    owners: Owners
    versions: Versions
    admission: list[Admit] = field(default_factory=list)
    chain: Admission = field(default_factory=Admission)
    after_create: dict[str, Callable[[Record], Awaitable[None]]] = field(default_factory=dict)
    after_update: dict[str, Callable[[Record, Record], Awaitable[None]]] = field(default_factory=dict)
    after_remove: Callable[[ResourceInfo], Awaitable[None]] | None = None

    # Reading

    def get(self, target: Target) -> Record:
        """For kinds that no webhook converts: the built-in ones."""
        return self.versions.shown(target.info, self._found(target))

    async def read(self, target: Target, query: Mapping[str, str] | None = None) -> Record:
        if query and query.get("resourceVersion"):
            self._check_version(query["resourceVersion"])
        return await self.show(target.info, self._found(target))

    async def list(self, target: Target, query: Mapping[str, str]) -> Page:
        page = self.lister.list(target.info, target.namespace, query)
        if self.versions.is_plain(target.info):
            return page
        return replace(page, records=await self.versions.show(target.info, page.records))

    def _found(self, target: Target) -> Record:
        record = self.store.get(target.info.collection, target.key)
        if record is None:
            raise not_found(target.info, target.name or "")
        return record

    async def show(self, info: ResourceInfo, record: Record) -> Record:
        """The record as ``info``'s version shows it."""
        if self.versions.is_plain(info):
            return record
        return (await self.versions.show(info, [record]))[0]

    def _check_version(self, text: str) -> None:
        asked = parse_version(text, watch=True)
        if asked > self.store.version:
            raise too_large_version(asked, self.store.version)

    # Creating

    async def create(self, target: Target, body: Any, options: WriteOptions) -> Record:
        """Adds an object; the answer is its first state."""
        info = target.info
        obj = self._accept(info, isolated(body) if options.trusted and not options.is_sound else body)
        obj = self._read(info, obj, options)
        namespace = self._namespace_of(info, target.namespace, obj)
        given = obj["metadata"]
        base = "" if given.get("name") else given.get("generateName") or ""
        for attempt in range(GENERATE_NAME_TRIES if base else 1):
            if base:
                given["name"] = metadata.generated_name(base, self.ids.suffix())
            try:
                return await self._create(info, namespace, dict(obj), options)
            except AlreadyExists:
                if not base or attempt == GENERATE_NAME_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _create(self, info: ResourceInfo, namespace: str, obj: Object, options: WriteOptions) -> Record:
        strategy, now = info.strategy, self.clock.now()
        obj["metadata"] = metadata.for_create(
            obj["metadata"],
            namespace=namespace,
            uid=self.ids.uid(),
            now=to_time(now),
            generation=strategy.generation != "none",
        )
        status = obj.pop("status", None) if strategy.status == "isolated" else None
        # Fields that the server adds below are nobody's.
        if options.manager and not options.applies and not obj["metadata"].get("deletionTimestamp"):
            obj = self._owned(info, "", None, obj, options)
        if strategy.status_at_first and status is not None:
            obj["status"] = status
        elif strategy.status == "isolated" and strategy.initial_status is not None:
            obj["status"] = dict(strategy.initial_status)
        if strategy.on_create is not None:
            strategy.on_create(obj)
        if strategy.names_writer and not options.trusted:
            _name_writer(obj, options.user)
        obj["metadata"] = metadata.ordered(obj["metadata"])
        request = Attributes(info, "CREATE", namespace, obj["metadata"].get("name") or "", obj, **_asked(options))
        await self._admit(request)
        assert request.obj is not None, "admission changes objects, it does not take them away"
        obj = request.obj
        for admit in self.admission:
            admit(info, obj, None)
        if strategy.on_admitted is not None:
            strategy.on_admitted(obj)
        if not options.is_sound:
            self._judge(info, obj)
        if strategy.on_judged is not None:
            strategy.on_judged(obj)
        if not options.trusted:
            options.warnings.extend(advice.warnings_of(info.resource.key, obj, None))
        await self._validate(request)
        kept = await self.versions.stored(info, obj)
        self.chain.charge(request)
        name = obj["metadata"]["name"]
        key = f"{namespace}/{name}" if namespace else name
        if self.store.latest(info.collection, key) is not None:
            raise already_exists(info, name)
        if namespace:
            self._check_namespace(info, namespace, name)
        if options.dry_run:
            del obj["metadata"]["resourceVersion"]
            return Record(key, 0, 0, obj)
        record = await self.store.put(info.collection, key, kept)
        hook = self.after_create.get(info.collection)
        if hook is not None:
            await hook(record)
        return await self.show(info, record)

    # Changing

    async def update(self, target: Target, body: Any, options: WriteOptions) -> tuple[Record, bool]:
        """Replaces an object; the second value says whether it was created by this."""
        info = target.info
        given = self._accept(info, isolated(body) if options.trusted else body)
        if not options.trusted:
            given = self._read(info, given, options)
        self._namespace_of(info, target.namespace, given)
        meta = given["metadata"]
        if not meta.get("name"):
            raise bad_request(
                f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
            )
        if meta["name"] != target.name:
            raise bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
            )
        exists = self.store.latest(info.collection, target.key) is not None
        creates = info.strategy.create_on_update and not exists
        if exists and not info.strategy.unconditional_update and not meta.get("resourceVersion"):
            complaint = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(info.resource.plural, info.resource.group, meta["name"], [complaint])
        if creates:
            return await self.create(target, given, options), True
        return await self.change(target, lambda old: given, options), False

    async def _admit(self, request: Attributes) -> None:
        self.chain.admit(request)
        if self.chain.waits_to_admit(request):
            await self.chain.ask_to_admit(request)

    async def _validate(self, request: Attributes) -> None:
        self.chain.validate(request)
        if self.chain.waits_to_validate(request):
            await self.chain.ask_to_validate(request)

    async def change(self, target: Target, change: Change, options: WriteOptions) -> Record:
        """The way of every update and patch: ``change`` makes the object that shall be.

        Begins again where somebody else wrote while webhooks were asked.
        """
        for _ in range(CHANGE_TRIES):
            record = await self._try_change(target, change, options)
            if record is not None:
                return record
        raise conflict(target.info, target.name or "")

    async def _try_change(self, target: Target, change: Change, options: WriteOptions) -> Record | None:
        info = target.info
        old_record = self.store.latest(info.collection, target.key)
        if old_record is None:
            raise not_found(info, target.name or "")
        self.store.view(old_record)
        read = old_record
        old_record = await self.show(info, old_record)
        old = old_record.view
        wanted = change(old)
        if wanted is old:
            return old_record
        self._check_writer(target, wanted, old)
        if _is_unread(target, wanted, old, options):
            wanted = self._read(info, wanted, options, patched=True, old=old)
        request = Attributes(
            info,
            "UPDATE",
            target.namespace or "",
            target.name or "",
            wanted,
            old,
            target.subresource or "",
            **_asked(options),
        )
        await self._admit(request)
        assert request.obj is not None, "admission changes objects, it does not take them away"
        new = self._next(target, request.obj, old, options)
        self._judge(info, new, old, target.subresource or "")
        if target.subresource is None and not options.trusted:
            options.warnings.extend(advice.warnings_of(info.resource.key, new, old))
        if not _changed(new, old) and self.versions.is_migrated(info, read):
            return old_record
        request.obj = new
        await self._validate(request)
        kept = await self.versions.stored(info, new)
        if self.store.latest(info.collection, target.key) is not read:
            return None
        self.chain.charge(request)
        if is_finished(info, new):
            # The last finalizer is gone. The writer sees the object without it, watchers its last stored state.
            if not options.dry_run:
                await self._remove(info, old_record)
            return Record(old_record.key, old_record.id, old_record.version, new)
        if options.dry_run:
            return Record(old_record.key, old_record.id, old_record.version, new)
        record = await self.store.put(info.collection, target.key, kept)
        hook = self.after_update.get(info.collection)
        if hook is not None and target.subresource is None:
            await hook(record, read)
        return await self.show(info, record)

    async def apply(self, target: Target, applied: Object, options: WriteOptions) -> tuple[Record, bool]:
        """Server-side apply; the second value says whether the object was created by this."""
        info, subresource = target.info, target.subresource or ""
        self._check_place(target, applied.setdefault("metadata", {}))
        live = self.store.latest(info.collection, target.key)
        now = to_time(self.clock.now())
        if live is None and subresource:
            raise not_found(info, target.name or "")
        old = self.store.view(await self.show(info, live)) if live is not None else None
        merged = self.owners.apply(info, subresource, old, applied, options.manager, now, options.force)
        meta = merged["metadata"] | {"name": target.name}
        merged = merged | {"metadata": meta | ({"namespace": target.namespace} if target.namespace else {})}
        if old is None:
            return await self.create(target, merged, options), True
        return await self.change(target, lambda _: merged, options), False

    def check_patched(self, target: Target, new: Object, old: Object) -> None:
        """Raises BadRequest or Invalid for a patch that makes another object of the one it was for."""
        self._check_place(target, new["metadata"])
        resource, meta, held = target.info.resource, new["metadata"], old["metadata"]
        is_current = meta.get("resourceVersion") in (None, "", "0", held["resourceVersion"])
        if meta.get("uid") not in (None, "", held["uid"]) and is_current:
            # Both the generic and the kind's own rules of metadata say so in the original.
            complaint = invalid_value("metadata.uid", meta["uid"], "field is immutable")
            raise invalid_object(target.info, target.name or "", [complaint, complaint])
        if (new.get("kind"), new.get("apiVersion")) != (resource.kind, resource.api_version):
            group_version = str(new.get("apiVersion"))
            group, _, version = group_version.rpartition("/")
            why = _misread(self.registry.by_kind(group, version, str(new.get("kind"))), new)
            if why and target.info.custom is None:
                raise _bad_patch(_result_text(new, old), why)
            raise bad_request(
                f"{new.get('kind')} in version {shown(group_version)} cannot be handled as a {resource.kind}"
            )

    def _check_place(self, target: Target, meta: Mapping[str, Any]) -> None:
        """A changed object must still be where its URL says; raises BadRequest."""
        name, namespace = meta.get("name") or target.name, meta.get("namespace") or target.namespace
        if name != target.name:
            raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({target.name})")
        if target.info.resource.namespaced and namespace != target.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")

    def _owned(
        self, info: ResourceInfo, subresource: str, old: Object | None, new: Object, options: WriteOptions
    ) -> Object:
        owned = self.owners.update(info, subresource, old, new, options.manager, to_time(self.clock.now()))
        return owned | {"metadata": metadata.ordered(owned["metadata"])}

    def _read(
        self,
        info: ResourceInfo,
        obj: Object,
        options: WriteOptions,
        *,
        patched: bool = False,
        old: Object | None = None,
    ) -> Object:
        """The object as its type reads it; unknown fields are refused, warned of or ignored as the request asks.

        ``old`` is what was ``patched``.
        """
        if info.codec is None or (options.trusted and info.collection in _WELL_FORMED):
            return obj
        try:
            read, unknown = info.codec.read(obj)
        except Unreadable as err:
            if patched:
                raise _bad_patch(options.patch_shown or _result_text(obj, old), str(err)) from None
            raise bad_request(_unreadable(info, str(err))) from None
        unknown = [*options.patch_faults, *unknown]
        if unknown and not options.trusted:
            if options.validation == "Strict":
                text = f"strict decoding error: {', '.join(unknown)}"
                if patched:
                    raise _bad_patch(options.patch_shown or _result_text(obj, old), text)
                raise bad_request(_unreadable(info, text))
            if options.validation != "Ignore":
                options.warnings.extend(unknown)
        if not options.trusted and obj["metadata"].get("managedFields") == []:
            # As good as nothing to the type, but to the owners' keeper an order to forget them.
            read = read | {"metadata": read["metadata"] | {"managedFields": []}}
        return read

    def _check_writer(self, target: Target, wanted: Object, old: Object) -> None:
        """The writer's resourceVersion and uid, where given, must be the object's."""
        meta, held = wanted["metadata"], old["metadata"]
        version = meta.get("resourceVersion") or "0"
        if not isinstance(version, str):
            return  # reading the object says so
        if version not in ("0", held["resourceVersion"]):
            if not version.isdigit():
                raise InvalidVersion(f'strconv.ParseUint: parsing "{version}": invalid syntax')
            raise conflict(target.info, target.name or "")
        if meta.get("uid") and meta["uid"] != held["uid"]:
            path = f"/registry/{target.info.resource.plural}/{target.key}"
            why = (
                f"StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg:"
                f" Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {held['uid']}"
            )
            raise conflict(target.info, target.name or "", why)

    def _next(self, target: Target, wanted: Object, old: Object, options: WriteOptions) -> Object:
        """The object that ``wanted`` becomes under the rules; unchanged parts keep their identity.

        Subresources other than status have already taken only what is theirs (``subresources.py``).
        """
        info, strategy = target.info, target.info.strategy
        if target.subresource == "status":
            new = old | {"metadata": metadata.for_update(_status_metadata(wanted, old, info), old["metadata"])}
            if "status" in wanted:
                new["status"] = wanted["status"]
            else:
                new.pop("status", None)
            new = self._owned_update(target, wanted, old, new, options)
            if strategy.on_status is not None:
                strategy.on_status(new, old, to_time(self.clock.now()))
            return new
        new = dict(wanted)
        new["metadata"] = metadata.for_update(wanted["metadata"], old["metadata"])
        if target.subresource is None and strategy.status == "isolated":
            new.pop("status", None)
        new = self._owned_update(target, wanted, old, new, options)
        if target.subresource is None:
            self._keep_apart(info, new, old)
        if target.subresource != "binding" and _counts(strategy.generation, new, old):
            new["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1
            new["metadata"] = metadata.ordered(new["metadata"])
        return new

    def _owned_update(self, target: Target, wanted: Object, old: Object, new: Object, options: WriteOptions) -> Object:
        """``new`` with its owners. Managed fields that were sent empty reset the ownership; unsent ones stay."""
        sent = wanted["metadata"].get("managedFields")
        if not options.manager or options.applies:
            return new
        if sent is not None and not [entry for entry in sent if entry]:
            new = new | {"metadata": new["metadata"] | {"managedFields": sent}}
        owned = self._owned(target.info, target.subresource or "", old, self._as_sent(target, wanted, new), options)
        if target.subresource == "status" and target.info.custom is not None:
            kept = {key: value for key, value in new["metadata"].items() if key != "managedFields"}
            entries = owned["metadata"].get("managedFields")
            owned = owned | {"metadata": metadata.ordered(kept | ({"managedFields": entries} if entries else {}))}
        return without_empty_scale(owned) if target.subresource == "scale" else owned

    @staticmethod
    def _as_sent(target: Target, wanted: Object, new: Object) -> Object:
        """What ownership is judged by: who sends labels to the status of a custom object owns them, though not kept."""
        if target.subresource != "status" or target.info.custom is None:
            return new
        sent = {key: value for key, value in wanted["metadata"].items() if key in ("labels", "annotations")}
        return new | {"metadata": new["metadata"] | sent}

    def _keep_apart(self, info: ResourceInfo, new: Object, old: Object) -> None:
        """What the main resource may not change, and what the kind itself has to say."""
        strategy = info.strategy
        if strategy.status == "isolated":
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if strategy.on_update is not None:
            strategy.on_update(new, old)
        for admit in self.admission:
            admit(info, new, old)

    # Deleting

    async def delete(self, target: Target, options: DeleteOptions, writer: Writer = TRUSTED) -> Record | None:
        """Deletes or begins to; None where the object is gone and the answer shall be a plain Status. The record is as
        it is kept."""
        info = target.info
        record = self.store.latest(info.collection, target.key)
        if record is None:
            raise not_found(info, target.name or "")
        obj = self.store.view(record)
        check_preconditions(info, obj, options)
        request = Attributes(info, "DELETE", target.namespace or "", target.name or "", None, obj)
        request.user, request.dry_run = writer.user, options.dry_run
        request.warnings = writer.warnings if writer is not TRUSTED else []
        request.audit = writer.audit if writer is not TRUSTED else {}
        await self._validate(request)
        record = self.store.latest(info.collection, target.key)
        if record is None:
            raise not_found(info, target.name or "")
        obj = self.store.view(record)
        verdict = decide(info, obj, options, self.clock.now())
        final = Record(record.key, record.id, record.version, verdict.obj)
        if verdict.what == "keep":
            return record
        if verdict.what in ("remove", "end"):
            if not options.dry_run:
                final = await self._remove(info, final, ends=verdict.what == "end")
            return final if info.strategy.returns_deleted else None
        if options.dry_run:
            return final
        return await self.store.put(info.collection, target.key, dict(verdict.obj))

    async def delete_collection(
        self, target: Target, query: Mapping[str, str], options: DeleteOptions, writer: Writer = TRUSTED
    ) -> Page:
        """Deletes what a list with the same query shows; the answer is that list."""
        page = self.lister.list(target.info, target.namespace, query)
        deleted: list[Record] = []
        for record in page.records:
            namespace, _, name = record.key.rpartition("/")
            try:
                one = Target(target.info, namespace or None, name)
                deleted.append(await self.delete(one, options, writer) or record)
            except NotFound:  # somebody else was faster
                continue
        return Page(target.info, await self.versions.show(target.info, deleted), self.store.version)

    async def _remove(self, info: ResourceInfo, record: Record, *, ends: bool = False) -> Record:
        """``ends``: watchers see the record as a change before they see it go."""
        if ends:
            final = await self.store.end(info.collection, record.key, dict(record.view))
        else:
            final = await self.store.remove(info.collection, record)
        if self.after_remove is not None:
            await self.after_remove(info)
        return final

    # What every write goes through

    def _accept(self, info: ResourceInfo, body: Any) -> Object:
        """The body as an object of this kind, kind and apiVersion first; raises BadRequest."""
        if body is None:
            body = {}
        if not isinstance(body, dict):
            raise bad_request(f"the body is not an object: {type(body).__name__}")
        resource = info.resource
        kind, version = body.pop("kind", None), body.pop("apiVersion", None)
        if (kind or resource.kind) != resource.kind or (version or resource.api_version) != resource.api_version:
            raise bad_request(self._other_kind(info, kind or resource.kind, version or resource.api_version, body))
        meta = body.get("metadata")
        if meta is None:
            meta = {}
        if not isinstance(meta, dict):
            word = {str: "string", list: "array", bool: "bool"}.get(type(meta), "number")
            place = f"Go struct field {resource.kind}.metadata of type v1.ObjectMeta"
            raise bad_request(_unreadable(info, f"json: cannot unmarshal {word} into {place}"))
        found = {"kind": resource.kind, "apiVersion": resource.api_version} | body | {"metadata": meta}
        if not isinstance(body, Repeated):
            return found
        again = Repeated(found)
        again.repeated, again.told = body.repeated, body.told
        return again

    def _other_kind(self, info: ResourceInfo, kind: Any, version: Any, body: Object) -> str:
        """Why an object of this kind is none of the resource's. It is read as what it says it is first."""
        resource = info.resource
        group, _, number = str(version).rpartition("/")
        known = self.registry.by_kind(group, number, str(kind))
        head = f'{kind} in version "{resource.version}" cannot be handled as a {resource.kind}'
        why = _misread(known, body) if info.custom is None else ""
        if why:
            return f"{head}: {why}"
        if info.custom is not None and version == resource.api_version:
            return head
        if info.custom is None and known is None:
            scheme = 'in scheme "pkg/runtime/scheme.go:111"'
            return f'{head}: no kind "{kind}" is registered for version "{version}" {scheme}'
        if info.custom is None and (kind != resource.kind or group != resource.group):
            package = resource.group.partition(".")[0] or "core"
            return f"{head}: converting ({number}.{kind}) to ({package}.{resource.kind}): unknown conversion"
        expected = f"expected API version ({resource.api_version})"
        return f"the API version in the data ({version}) does not match the {expected}"

    def _namespace_of(self, info: ResourceInfo, namespace: str | None, obj: Object) -> str:
        """The object's namespace, "" for none; raises BadRequest where body and path disagree."""
        said = obj["metadata"].get("namespace") or ""
        if not info.resource.namespaced:
            obj["metadata"].pop("namespace", None)
            return ""
        if said and namespace and said != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        found = namespace or said
        if not found:
            raise bad_request("an empty namespace may not be set during creation")
        return found

    def _check_namespace(self, info: ResourceInfo, namespace: str, name: str) -> None:
        """New content needs a namespace that is there and stays."""
        record = self.store.latest(_NAMESPACES, namespace)
        if record is None:
            raise no_such_namespace(namespace)
        if self.store.view(record)["metadata"].get("deletionTimestamp"):
            raise forbidden(
                info,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
                [Complaint("metadata.namespace", "NamespaceTerminating", f"namespace {namespace} is being terminated")],
            )

    def _judge(self, info: ResourceInfo, obj: Object, old: Object | None = None, subresource: str = "") -> None:
        """Refuses what is wrong with an object; of a changed one only what the change made wrong (ratcheting)."""
        strategy, is_custom = info.strategy, info.custom is not None
        found = list(metadata.complaints(obj, strategy.name_rule, is_custom=is_custom or strategy.any_finalizer))
        found += rules.complaints(info.resource.key, obj, old, subresource)
        if not found and info.codec is not None:
            faults = info.codec.faults(obj)
            faults = [fault for fault in faults if old is None or not structural.unchanged(fault, obj, old)]
            found = [Complaint(*fault) for fault in (*faults, *info.codec.rule_faults(obj, old, faults))]
        if found:
            raise invalid_object(info, obj["metadata"].get("name") or "", found)


def without_empty_scale(obj: Object) -> Object:
    """A Scale to zero shows no replicas, so that nobody owns them."""
    if (obj.get("spec") or {}).get("replicas"):
        return obj
    entries = [each for each in obj["metadata"].get("managedFields") or () if each.get("subresource") != "scale"]
    return obj | {"metadata": obj["metadata"] | {"managedFields": entries}}


def _name_writer(obj: Object, user: User) -> None:
    """A request for a certificate says who asks, and nobody owns its fields."""
    obj["metadata"].pop("managedFields", None)
    spec = {k: v for k, v in (obj.get("spec") or {}).items() if k not in ("username", "uid", "groups", "extra")}
    spec |= {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        spec["uid"] = user.uid
    if user.extra:
        spec["extra"] = {key: list(values) for key, values in user.extra.items()}
    obj["spec"] = spec


def _asked(options: WriteOptions) -> dict[str, Any]:
    """What admission gets to know of a request's options."""
    return {"user": options.user, "dry_run": options.dry_run, "warnings": options.warnings, "audit": options.audit}


def check_verb(info: ResourceInfo, verb: str) -> None:
    """Raises MethodNotAllowed where the resource does not have the verb."""
    if verb not in info.verbs:
        raise not_allowed()


def _changed(new: Object, old: Object) -> bool:
    """Whether a write would change anything; ``new`` is under the old resourceVersion."""
    if len(new) != len(old):
        return True
    return not all(value is old.get(key) or (key in old and same(value, old[key])) for key, value in new.items())


def _bad_patch(shown_text: str, why: str) -> Invalid:
    """A patch whose result cannot be read."""
    return invalid("", "", "", [invalid_value("patch", shown_text, why)])


def _result_text(patched: Object, old: Object | None) -> str:
    """The result of a patch as messages show it: maps that the patch went through are sorted, others are as they were
    stored."""

    def shown(value: Any, held: Any, at: str) -> Any:
        if isinstance(value, dict):
            keys = value if value is held and at != "fieldsV1" else sorted(value)
            before = held if isinstance(held, dict) else {}
            return {key: shown(value[key], before.get(key), "fieldsV1" if at == "fieldsV1" else key) for key in keys}
        if isinstance(value, list):
            before_items = held if value is held else []
            pairs = zip_longest(value, before_items[: len(value)])
            return [shown(item, other, at) for item, other in pairs]
        return value

    return gojson.dumps(shown(patched, old, ""), keep_order=True)


def _misread(info: ResourceInfo | None, body: Object) -> str:
    """Why the body cannot be read as one of a built-in kind; "" where it can."""
    if info is None or info.custom is not None or info.codec is None:
        return ""
    try:
        info.codec.read(isolated({key: value for key, value in body.items() if key not in ("kind", "apiVersion")}))
    except Unreadable as err:
        return str(err)
    return ""


def _is_unread(target: Target, wanted: Object, old: Object, options: WriteOptions) -> bool:
    """Whether a change is still as its writer said it, without defaults.

    Applied objects of built-in kinds have come by their type; metadata and status, which our own controllers write by
    the thousand, need none.
    """
    if options.applies and target.info.custom is None:
        return False
    return not options.trusted or (target.subresource is None and _counts("content", wanted, old))


def _unreadable(info: ResourceInfo, why: str) -> str:
    return f'{info.kind} in version "{info.resource.version}" cannot be handled as a {info.kind}: {why}'


def _counts(rule: str, new: Object, old: Object) -> bool:
    """Does this change raise ``metadata.generation``?"""
    if rule in ("none", "first"):
        return False
    if rule == "spec":
        return not same(new.get("spec"), old.get("spec"))
    ignored = {"metadata", "status"} if rule == "content" else {"metadata"}
    keys = (new.keys() | old.keys()) - ignored
    if any(not same(new.get(key), old.get(key)) for key in keys):
        return True
    return rule == "any, labels" and new["metadata"].get("labels") != old["metadata"].get("labels")


def _status_metadata(wanted: Object, old: Object, info: ResourceInfo) -> dict[str, Any]:
    """What ``/status`` may change of the metadata: of custom kinds managedFields, else all but owners."""
    held = old["metadata"]
    if info.custom is not None:
        return dict(held) | {"managedFields": wanted["metadata"].get("managedFields")}
    return dict(wanted["metadata"]) | {"ownerReferences": held.get("ownerReferences")}
