"""The API server: its parts put together, and the one entry that both transports use.

InProcessTransport ─┐                      ┌─ Verbs ── Store ── Journal
                    ├─> ApiServer.answer ──┤
HTTP (http/) ───────┘   .watch .log        └─ Lister ── Hub

server = await ApiServer.start(Store(), clock, ids)
client = Client(server.transport())
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any, Final

from tiphys.client.inprocess import InProcessTransport
from tiphys.client.transport import Request, WatchEvent
from tiphys.cluster.apiserver import crds, subresources
from tiphys.cluster.apiserver.admission.caller import Caller
from tiphys.cluster.apiserver.admission.classes import system_classes
from tiphys.cluster.apiserver.admission.defaults import assemble
from tiphys.cluster.apiserver.admission.nodes import NodeRestriction
from tiphys.cluster.apiserver.admission.quota import QUOTAS, QuotaKeeper, Quotas
from tiphys.cluster.apiserver.bootstrap import RBAC, first_roles, own_service, with_first_owners
from tiphys.cluster.apiserver.conversion import Webhook
from tiphys.cluster.apiserver.deletion import DeleteOptions, check_preconditions
from tiphys.cluster.apiserver.expiry import EventExpiry, EventLimits
from tiphys.cluster.apiserver.housekeeping import Housekeeping
from tiphys.cluster.apiserver.listing import Lister, Page
from tiphys.cluster.apiserver.ownership import Owners, owned_once
from tiphys.cluster.apiserver.patching import patcher, shown_in_messages, strictly
from tiphys.cluster.apiserver.problems import forbidden, no_such_page, not_allowed, not_found
from tiphys.cluster.apiserver.record import Object, Record, isolated
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo, builtin
from tiphys.cluster.apiserver.services import SERVICE_NETWORK, ServiceAddresses
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.strategies import STRATEGIES
from tiphys.cluster.apiserver.streams import LogSource, StreamSource, parse_log_options
from tiphys.cluster.apiserver.tokens import ACCOUNT_OF, LEGACY_TYPE, ServiceAccountTokens
from tiphys.cluster.apiserver.usage import GROUP, LiveUsage, UsageSource
from tiphys.cluster.apiserver.verbs import TRUSTED, Change, Target, Verbs, WriteOptions, Writer, check_verb
from tiphys.cluster.apiserver.versions import Versions
from tiphys.cluster.apiserver.watch import Hub, Watcher
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import BadRequest, MethodNotAllowed, NotFound, ServiceUnavailable
from tiphys.machinery.resources import NAMESPACES, SERVICE_ACCOUNTS, WORKFLOWS
from tiphys.machinery.times import to_time
from tiphys.runtime.clock import Clock
from tiphys.runtime.ids import Ids
from tiphys.serving.jwt import SigningKey

SHARED_MAPS: Final = {WORKFLOWS.key: ("status", "nodes")}
"""Maps that the store keeps entry by entry: what an update of a few entries costs does not depend on the others."""
NAMESPACES_AT_START: Final = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass(frozen=True)
class Answer:
    """What a request comes to: one object, a page of them, or a Status. ``code`` is the HTTP status."""

    value: Record | Page | Object
    code: int = 200
    warnings: tuple[str, ...] = ()


@dataclass
class ApiServer:
    """Make one with ``start``. Everything else of the cluster talks to it through a ``Transport``."""

    store: Store
    clock: Clock
    ids: Ids
    registry: Registry = field(default_factory=lambda: builtin(STRATEGIES))
    log_source: LogSource | None = None
    stream_source: StreamSource | None = None
    signing_key: SigningKey = field(default_factory=SigningKey)
    ca_certificate: bytes = b""
    accounts: bool = False
    """Whether new pods get their account's token and what else a cluster that others reach gives them."""
    service_network: IPv4Network = SERVICE_NETWORK
    event_limits: EventLimits | None = None

    def __post_init__(self) -> None:
        self.hub = Hub(self.store, self.clock)
        self.lister = Lister(self.store, self.hub)
        versions = Versions(self.registry, Webhook(Caller(self.store), self.ids))
        owners = Owners(self.registry, versions)
        self.verbs = Verbs(self.store, self.lister, self.registry, self.clock, self.ids, owners, versions)
        quotas = Quotas(self.store, self.clock)
        self._quota_keeper = QuotaKeeper(self.store, quotas, self._write_quota)
        self.verbs.chain = assemble(self.store, self.registry, self.ids, quotas, accounts=self.accounts)
        self._nodes = NodeRestriction(self.store)
        self.tokens = ServiceAccountTokens(self.store, self.registry, self.clock, self.ids, self.signing_key)
        self.verbs.after_create[crds.COLLECTION] = self._establish
        self.verbs.after_update[crds.COLLECTION] = self._rename
        self.verbs.after_create["secrets"] = self._fill_token
        self.verbs.after_remove = self._finish_definition
        self.verbs.admission += [self._admit_custom, ServiceAddresses(self.store, self.service_network)]
        customs = crds.CustomResources(self.registry)
        customs.load(record.view for record in self.store.collection(crds.COLLECTION).records.values())
        self.store.subscribe(customs.published)
        self.store.subscribe(self._quota_keeper.heard)
        self._usage: LiveUsage | None = None
        self._housekeeping = Housekeeping(self.store, self.verbs, self.registry, self.clock, self.ids)
        limits = self.event_limits
        self._expiry = EventExpiry(self.store, self.clock, limits) if limits is not None else None

    @classmethod
    async def start(
        cls,
        store: Store,
        clock: Clock,
        ids: Ids,
        definitions: Collection[str] = (),
        roles: bool | None = None,
        signing_key: SigningKey | None = None,
        accounts: bool = False,
        service_network: IPv4Network = SERVICE_NETWORK,
        event_limits: EventLimits | None = None,
    ) -> ApiServer:
        """A server on ``store``; a fresh store gets the namespaces and the definitions that every cluster has.

        ``definitions`` names the only ones wanted (``plural.group``): a simulation starts ten times faster. ``roles``:
        with the users' cluster roles; by default where nothing was left out. ``signing_key`` is for tokens; by default
        one that is gone with the server. ``accounts``: see the field. ``service_network`` is where the addresses of
        Services come from. ``event_limits``: which events are kept; by default all.
        """
        key = signing_key or SigningKey()
        server = cls(
            store,
            clock,
            ids,
            signing_key=key,
            accounts=accounts,
            service_network=service_network,
            event_limits=event_limits,
        )
        await server._bootstrap(definitions, not definitions if roles is None else roles)
        return server

    def register_log_source(self, source: LogSource) -> None:
        self.log_source = source

    def register_stream_source(self, source: StreamSource) -> None:
        self.stream_source = source

    def register_usage_source(self, source: UsageSource) -> None:
        """From now on there is metrics.k8s.io."""
        self._usage = LiveUsage(self.store, self.registry, source)
        self._housekeeping.look_again()

    def transport(self) -> InProcessTransport:
        """A transport with an administrator's rights that calls straight into this server."""
        return InProcessTransport(self)

    async def close(self) -> None:
        """Ends all watches, makes what is staged durable and closes the store."""
        self.hub.close()
        await self._quota_keeper.close()
        await self._housekeeping.close()
        if self._expiry is not None:
            await self._expiry.close()
        await self.store.close()

    # Requests

    def target(self, request: Request) -> Target:
        """Raises NotFound for a resource or subresource that this server does not have."""
        resource = request.resource
        info = self.registry.find(resource.group, resource.version, resource.plural)
        if info is None:
            raise no_such_page()
        if request.subresource is not None and info.subresource(request.subresource) is None:
            if info.custom is not None and request.subresource in ("status", "scale"):
                raise not_found(info, request.name or "")
            raise no_such_page()
        namespace = request.namespace if info.resource.namespaced else None
        return Target(info, namespace, request.name, request.subresource)

    async def answer(self, request: Request, writer: Writer = TRUSTED) -> Answer:
        """Carries out one request that has one answer; raises ApiError."""
        target = self.target(request)
        if self._usage is not None and target.info.resource.group == GROUP:
            return await self._live(self._usage, target, request)
        if request.subresource not in (None, "status"):
            return await self._subresource(target, request, writer)
        check_verb(target.info, request.verb)
        match request.verb:
            case "get":
                return Answer(await self.verbs.read(target, request.query))
            case "list":
                return Answer(await self.verbs.list(target, request.query))
            case "create":
                options = WriteOptions.parse(request.query, "CreateOptions", writer)
                return Answer(await self.verbs.create(target, request.body, options), 201, tuple(options.warnings))
            case "update":
                options = WriteOptions.parse(request.query, "UpdateOptions", writer)
                record, created = await self.verbs.update(target, request.body, options)
                return Answer(record, 201 if created else 200, tuple(options.warnings))
            case "patch":
                return await self._patch(target, request, writer)
            case "delete":
                return await self._delete(target, request, writer)
            case "deletecollection":
                deletion = DeleteOptions.parse(_body(request), request.query)
                return Answer(await self.verbs.delete_collection(target, request.query, deletion, writer))
        raise MethodNotAllowed(f"the verb {request.verb} has no single answer")

    def open_watch(self, request: Request) -> Watcher:
        """Opens a watch; raises ApiError (Expired for a version that is too old)."""
        target = self.target(request)
        check_verb(target.info, "watch")
        watcher = self.lister.watch(target.info, target.namespace, request.query)
        versions, info = self.verbs.versions, target.info
        if versions.waits(info):
            watcher.show_by(lambda records: versions.show(info, records))
        elif not versions.is_plain(info):
            watcher.show_as(lambda record: versions.shown(info, record))
        return watcher

    def open_log(self, request: Request) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Opens a pod's log; raises ApiError."""
        target = self.target(request)
        if request.subresource != "log":
            raise no_such_page()
        pod = self.store.view(self.verbs.get(Target(target.info, target.namespace, target.name)))
        options = parse_log_options(pod, request.query, self.clock.now())
        if self.log_source is None:
            raise ServiceUnavailable("no node of this cluster keeps logs")
        return self.log_source.logs(pod, options)

    # What the in-process transport needs (``client.inprocess.LocalServer``)

    async def call(self, request: Request) -> Mapping[str, Any]:
        value = (await self.answer(request)).value
        if isinstance(value, Record):
            return self.store.view(value)
        if isinstance(value, Page):
            return {
                "kind": value.info.list_kind,
                "apiVersion": value.info.resource.api_version,
                "metadata": value.metadata(),
                "items": [self.store.view(record) for record in value.records],
            }
        return value

    def events(self, request: Request) -> _Events:
        return _Events(self.open_watch(request), self.store)

    # Parts

    async def _live(self, live: LiveUsage, target: Target, request: Request) -> Answer:
        """What is measured, not stored."""
        check_verb(target.info, request.verb)
        if target.name is not None:
            return Answer(await live.get(target.info, target.namespace, target.name))
        return Answer(await live.list(target.info, target.namespace, request.query))

    async def _delete(self, target: Target, request: Request, writer: Writer) -> Answer:
        options = DeleteOptions.parse(_body(request), request.query)
        if target.info.collection == crds.COLLECTION:
            return Answer(await self._delete_definition(target, options))
        before = self.store.latest(target.info.collection, target.key)
        record = await self.verbs.delete(target, options, writer)
        if record is not None:
            return Answer(await self.verbs.show(target.info, record))
        details = {"name": target.name}
        if target.info.resource.group:
            details["group"] = target.info.resource.group
        details["kind"] = target.info.resource.plural
        if before is not None:
            details["uid"] = self.store.view(before)["metadata"]["uid"]
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return Answer(status)

    async def _patch(self, target: Target, request: Request, writer: Writer) -> Answer:
        applies = request.content_type.partition(";")[0] == PatchType.APPLY.value
        options = WriteOptions.parse(request.query, "PatchOptions", writer, applies=applies)
        body = isolated(request.body) if writer.trusted else request.body
        if applies:
            if not isinstance(body, dict):
                raise BadRequest("the applied configuration is not an object")
            record, created = await self.verbs.apply(target, body, options)
            return Answer(record, 201 if created else 200, tuple(options.warnings))
        if not writer.trusted:
            faults, body = strictly(request.content_type, body)
            options = replace(options, patch_faults=faults, patch_shown=shown_in_messages(request.content_type, body))
        patch = patcher(target.info, request.content_type, body)
        change = self._checked(target, patch)
        return Answer(await self.verbs.change(target, change, options), 200, tuple(options.warnings))

    def _checked(self, target: Target, patch: Change) -> Change:
        """A patch cannot move an object or make another kind of it."""

        def change(old: Object) -> Object:
            new = patch(old)
            if new is not old:
                self.verbs.check_patched(target, new, old)
            return new

        return change

    async def _subresource(self, target: Target, request: Request, writer: Writer) -> Answer:
        declared = target.info.subresource(request.subresource or "")
        if declared is None or request.verb not in declared.verbs:
            raise not_allowed()
        applies = request.verb == "patch" and request.content_type.partition(";")[0] == PatchType.APPLY.value
        kind = "PatchOptions" if applies else "UpdateOptions"
        options = WriteOptions.parse(request.query, kind, writer, applies=applies)
        match request.subresource:
            case "scale":
                return await self._scale(target, request, options)
            case "binding":
                await subresources.bind(self.verbs, target, isolated(request.body), options)
                return Answer(subresources.SUCCESS, 201)
            case "eviction":
                self._nodes.check_eviction(options.user, target.info, self.verbs.get(target).view)
                await subresources.evict(self.verbs, target, isolated(request.body))
                return Answer(subresources.SUCCESS, 201)
            case "token":
                return self._token(target, request, options)
            case "finalize":
                return Answer(await subresources.finalize(self.verbs, target, isolated(request.body), options))
            case "ephemeralcontainers" | "resize" | "approval":
                return await self._part(target, request, options)
        raise no_such_page()

    def _token(self, target: Target, request: Request, options: WriteOptions) -> Answer:
        """A token of a service account; the request is answered, not stored."""
        account = self.store.view(self.verbs.get(Target(target.info, target.namespace, target.name)))
        given = request.body if isinstance(request.body, dict) else {}
        self._nodes.check_token(options.user, target.info, account, given.get("spec") or {})
        issued = self.tokens.request(account, given)
        if options.manager:
            spec = {"expirationSeconds": issued["spec"]["expirationSeconds"], **(given.get("spec") or {})}
            who = (options.manager, issued["metadata"]["creationTimestamp"])
            issued["metadata"]["managedFields"] = [owned_once(issued["apiVersion"], {"spec": spec}, *who, "token")]
        return Answer(issued, 201)

    async def _part(self, target: Target, request: Request, options: WriteOptions) -> Answer:
        """A subresource that is a few fields of its object: the rest of what is sent does not count."""
        if request.verb == "get":
            return Answer(await self.verbs.read(target))
        body, name = isolated(request.body), request.subresource or ""

        def change(old: Object) -> Object:
            wanted = body if request.verb == "update" else patcher(target.info, request.content_type, body)(old)
            return subresources.with_part(name, old, wanted)

        return Answer(await self.verbs.change(target, change, options))

    async def _scale(self, target: Target, request: Request, options: WriteOptions) -> Answer:
        info, body = target.info, isolated(request.body)

        def change(obj: Object) -> Object:
            scale = subresources.scale_of(info, obj, to_change=True)
            wanted = body if request.verb == "update" else patcher(info, request.content_type, body)(scale)
            return subresources.with_scale(info, obj, wanted)

        def apply(obj: Object) -> Object:
            if not isinstance(body, dict):
                raise BadRequest("the applied configuration is not an object")
            now = to_time(self.clock.now())
            return subresources.with_applied_scale(info, obj, body, options.manager, now, force=options.force)

        if request.verb == "get":
            record = await self.verbs.read(target)
        else:
            record = await self.verbs.change(target, apply if options.applies else change, options)
        return Answer(subresources.scale_of(info, self.store.view(record)))

    async def _fill_token(self, record: Record) -> None:
        """A new Secret of an account gets the account's token; without such an account it goes away again."""
        secret = record.view
        if secret.get("type") != LEGACY_TYPE:
            return
        meta, info = secret["metadata"], self.registry.find("", "v1", "secrets")
        assert info is not None, "built-in kinds are registered"
        where = Target(info, meta["namespace"], meta["name"])
        account = self.store.latest(SERVICE_ACCOUNTS.key, f"{meta['namespace']}/{meta['annotations'][ACCOUNT_OF]}")
        if account is None:
            await self.verbs.delete(where, DeleteOptions())
            return
        filled = self.tokens.filled(self.store.view(account), secret, self.ca_certificate)
        # Where owners are kept, this is the work of the original's token controller.
        manager = "kube-controller-manager" if meta.get("managedFields") else ""
        await self.verbs.change(where, lambda old: filled, WriteOptions(manager=manager))

    async def _write_quota(self, quota: Object, status: Object, charged: bool) -> None:
        """``charged``: by admission; the rest is what the original's quota controller writes."""
        meta, info = quota["metadata"], self.registry.find("", "v1", QUOTAS)
        assert info is not None, "built-in kinds are registered"
        manager = "kube-apiserver" if charged else "kube-controller-manager"
        manager = manager if meta.get("managedFields") else ""
        where = Target(info, meta["namespace"], meta["name"], "status")
        with contextlib.suppress(NotFound, ServiceUnavailable):  # gone meanwhile; or the disk refuses: tried again
            await self.verbs.change(where, lambda old: old | {"status": status}, WriteOptions(manager=manager))

    async def _establish(self, record: Record) -> None:
        """Accepts a new definition's names, right after its creation."""
        others = (each.view for each in self.store.collection(crds.COLLECTION).records.values())
        await self._write_definition_status(
            record.view, crds.established(record.view, to_time(self.clock.now()), others)
        )

    async def _rename(self, record: Record, before: Record) -> None:
        """Judges the names of a changed definition."""
        if record.view["spec"]["names"] != before.view["spec"]["names"]:
            await self._establish(record)

    async def _write_definition_status(self, crd: Object, status: Object) -> None:
        info = self.registry.find(*crds.PLACE)
        assert info is not None, "built-in kinds are registered"
        # Where owners are kept, these fields are the server's own.
        manager = "kube-apiserver" if crd["metadata"].get("managedFields") else ""
        target = Target(info, None, crd["metadata"]["name"], "status")
        await self.verbs.change(target, lambda old: old | {"status": status}, WriteOptions(manager=manager))

    async def _delete_definition(self, target: Target, options: DeleteOptions) -> Record:
        """Marks a definition, deletes its objects; it goes with the last of them."""
        now = to_time(self.clock.now())
        record = self.verbs.get(target)
        check_preconditions(target.info, record.view, options)
        if not record.view["metadata"].get("deletionTimestamp") and not options.dry_run:
            marked = crds.terminating(record.view, now, "InstanceDeletionPending")
            record = await self.store.put(crds.COLLECTION, target.key, marked)
            progress = crds.terminating(record.view, now, "InstanceDeletionInProgress")
            await self._write_definition_status(record.view, progress["status"])
            await self._delete_objects(record.view)
        return record

    async def _delete_objects(self, crd: Object) -> None:
        info = next((i for i in crds.infos(crd)), None)
        if info is None:
            await self._finish_definition(None)
            return
        for key in list(self.store.collection(info.collection).order):
            namespace, _, name = key.rpartition("/")
            try:
                await self.verbs.delete(Target(info, namespace or None, name), DeleteOptions())
            except NotFound:
                continue
        await self._finish_definition(info)

    async def _finish_definition(self, info: ResourceInfo | None) -> None:
        """Removes a terminating definition of which no object is left."""
        if info is None or info.custom is None or self.store.collection(info.collection).records:
            return
        record = self.store.latest(crds.COLLECTION, info.collection)
        if record is not None and record.view["metadata"].get("deletionTimestamp"):
            await self.store.remove(crds.COLLECTION, record)

    def _admit_custom(self, info: ResourceInfo, obj: Object, old: Object | None) -> None:
        """Nothing new of a kind whose definition is going."""
        if info.custom is None or old is not None:
            return
        record = self.store.latest(crds.COLLECTION, info.collection)
        if record is not None and self.store.view(record)["metadata"].get("deletionTimestamp"):
            why = "create not allowed while custom resource definition is terminating"
            raise forbidden(info, obj["metadata"].get("name", ""), why)

    def _first_roles(self) -> list[tuple[ResourceInfo, Object]]:
        """cluster-admin, admin, edit and view, who is the first, and what parts of a cluster may do."""
        now = to_time(self.clock.now())
        found = []
        for plural, obj in first_roles():
            info = self.registry.find(RBAC, "v1", plural)
            assert info is not None, "built-in kinds are registered"
            found.append((info, with_first_owners(info.resource.api_version, obj, now)))
        return found

    def _own_service(self) -> list[tuple[ResourceInfo, Object]]:
        """How pods reach this server."""
        services = self.registry.find("", "v1", "services")
        assert services is not None
        return [(services, with_first_owners("v1", own_service(self.service_network), to_time(self.clock.now())))]

    async def _bootstrap(self, only: Collection[str], roles: bool) -> None:
        """Creates what is missing: the namespaces, then all else at once, in one group commit each.

        Judging the originals' definitions would take longer than all the rest; a test does it.
        """
        namespaces, definitions = self.registry.find(*_NAMESPACE_PLACE), self.registry.find(*crds.PLACE)
        assert namespaces is not None
        assert definitions is not None
        await self._create_missing([(namespaces, {"metadata": {"name": name}}) for name in NAMESPACES_AT_START])
        wanted: list[tuple[ResourceInfo, Object]] = [(definitions, crd) for crd in crds.bundled(only)]
        if roles:
            wanted += self._first_roles()
            classes = self.registry.find("scheduling.k8s.io", "v1", "priorityclasses")
            assert classes is not None
            wanted += [(classes, each) for each in system_classes()]
            wanted += self._own_service()
        await self._create_missing(wanted)
        if roles and self.accounts:  # nobody else looks at what a cluster says of itself
            await self._housekeeping.begin()

    async def _create_missing(self, wanted: Sequence[tuple[ResourceInfo, Object]]) -> None:
        missing = [
            self.verbs.create(
                Target(info, obj["metadata"].get("namespace")),
                obj,
                WriteOptions(manager="kube-apiserver" if "value" in obj else "", is_sound=True),
            )
            for info, obj in wanted
            if self.store.latest(info.collection, _key_of(obj["metadata"])) is None
        ]
        await asyncio.gather(*missing)


@dataclass(frozen=True)
class _Events:
    """A watch as in-process readers see it: parsed objects."""

    watcher: Watcher
    store: Store

    async def __aiter__(self) -> AsyncIterator[WatchEvent]:
        async for event in self.watcher:
            yield WatchEvent(event.type, self.store.view(event.record))

    def close(self) -> None:
        self.watcher.close()


_NAMESPACE_PLACE: Final = (NAMESPACES.group, NAMESPACES.version, NAMESPACES.plural)


def _key_of(meta: Mapping[str, Any]) -> str:
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def _body(request: Request) -> Mapping[str, Any] | None:
    return isolated(request.body) if request.body else None
