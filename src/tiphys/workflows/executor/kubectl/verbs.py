"""The six verbs: each carries out one command and answers with the objects that kubectl would print.

    command ─► flags ─► objects (manifest, or ``TYPE NAME`` arguments) ─► requests ─► Printed

Client-side apply is kubectl's three-way merge by fields; lists are replaced whole (as for custom resources there),
since the manifest says all that it wants of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.api.kube_types import strategic_schema
from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.lang import gojson, goyaml
from tiphys.lang.gofmt import quote
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import ApiError, Expired, NotFound, UnsupportedMediaType
from tiphys.machinery.resources import Resource
from tiphys.workflows.executor.kubectl import flags as command_line
from tiphys.workflows.executor.kubectl.errors import KubectlError, refused
from tiphys.workflows.executor.kubectl.flags import Flags
from tiphys.workflows.executor.kubectl.manifests import Place, Target, placed, targets
from tiphys.workflows.executor.kubectl.names import ResourceNames

Object = Mapping[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
LIST_LIMIT = "500"
_PATCH_TYPES = {"json": PatchType.JSON, "merge": PatchType.MERGE, "strategic": PatchType.STRATEGIC}
_PROPAGATION = {"background": "Background", "orphan": "Orphan", "foreground": "Foreground"}
_NOTHING_NAMED = """error: You must provide one or more resources by argument or filename.
Example resource specifications include:
   '-f rsrc.yaml'
   '--filename=rsrc.json'
   '<resource> <name>'
   '<resource>'"""


@dataclass(frozen=True)
class Command:
    """``kubectl verb words… [-f source]``. ``strategy`` is patch's ``--type``; the manifest is then the patch.

    ``names_objects``: the manifest (also) says which objects are meant.
    """

    verb: str
    words: Sequence[str] = ()
    manifest: str = ""
    source: str = ""
    strategy: str = ""
    names_objects: bool = True


@dataclass(frozen=True)
class Printed:
    """What came out, each with its resource; ``as_list``: as one List, as kubectl prints several objects."""

    objects: Sequence[tuple[Resource, Object]] = ()
    as_list: bool = False


@dataclass(frozen=True)
class Kubectl:
    client: Client
    names: ResourceNames
    namespace: str

    async def run(self, command: Command) -> Printed:
        """Raises `KubectlError`; ``ApiError`` comes through only for what may pass (see ``is_transient``)."""
        flags = command_line.parse(command.verb, command.words)
        for name in ("filename", "kustomize"):
            if flags.get(name):
                raise KubectlError(f"error: the path {quote(flags.get(name))} does not exist")
        carry_out = {
            "get": self._get,
            "create": self._create,
            "apply": self._apply,
            "replace": self._replace,
            "patch": self._patch,
            "delete": self._delete,
        }[command.verb]
        return await carry_out(command, flags)

    # Verbs.

    async def _get(self, command: Command, flags: Flags) -> Printed:
        if command.manifest:
            wanted: list[Target] = self._manifest(command, flags)
        elif _is_bulk(flags):
            return await self._get_list(flags)
        else:
            wanted = self._named(flags)
        found: list[tuple[Resource, Object]] = []
        for target in wanted:
            try:
                found.append((target.resource, await self._call(Request("get", *_address(target)))))
            except NotFound as err:
                if not flags.is_set("ignore-not-found"):
                    raise refused(err) from err
        return Printed(found, as_list=len(found) > 1)

    async def _get_list(self, flags: Flags) -> Printed:
        found = await self._list(flags)
        return Printed(found, as_list=bool(found) or not flags.is_set("ignore-not-found"))

    async def _create(self, command: Command, flags: Flags) -> Printed:
        made = []
        for target in self._manifest(command, flags):
            obj = placed(target)
            if flags.is_set("save-config"):
                obj = _with_last_applied(obj)
            made.append((target.resource, await self._create_one(target, obj, flags, "kubectl-create")))
        return Printed(made)

    async def _create_one(self, target: Target, obj: Object, flags: Flags, manager: str) -> Object:
        if flags.get("dry-run") in ("client", "unchanged"):
            return obj
        return await self._write(
            Request("create", target.resource, target.namespace or None, query=_query(flags, manager), body=obj),
            f"error when creating {quote(target.source)}",
        )

    async def _apply(self, command: Command, flags: Flags) -> Printed:
        one = self._apply_server_side if flags.is_set("server-side") else self._apply_one
        return Printed([(target.resource, await one(target, flags)) for target in self._manifest(command, flags)])

    async def _apply_server_side(self, target: Target, flags: Flags) -> Object:
        query = {**_query(flags, "kubectl"), "force": str(flags.is_set("force-conflicts")).lower()}
        return await self._write(_patch_request(target, placed(target), PatchType.APPLY, query))

    async def _apply_one(self, target: Target, flags: Flags) -> Object:
        if not target.name:
            raise KubectlError(
                f"error: from {(target.manifest.get('metadata') or {}).get('generateName', '')}: "
                "cannot use generate name with apply"
            )
        wanted = _with_last_applied(placed(target))
        try:
            current = await self._call(Request("get", *_address(target)))
        except NotFound:
            return await self._create_one(target, wanted, flags, "kubectl-client-side-apply")
        patch = three_way(_last_applied(current), wanted, current)
        if not patch or flags.get("dry-run") in ("client", "unchanged"):
            return current
        kind = _apply_type(target.resource, patch)
        query = _query(flags, "kubectl-client-side-apply")
        doing = (
            f"error when applying patch:\n{gojson.dumps(patch)}\nto:\n{_described(target)}\nfor: {quote(target.source)}"
        )
        return await self._write(_patch_request(target, patch, kind, query), doing)

    async def _replace(self, command: Command, flags: Flags) -> Printed:
        made = []
        for target in self._manifest(command, flags):
            if flags.is_set("force"):
                await self._delete_one(target, flags)
                made.append((target.resource, await self._create_one(target, placed(target), flags, "kubectl-replace")))
                continue
            obj, doing = placed(target), f"error when replacing {quote(target.source)}"
            if not obj["metadata"].get("resourceVersion"):
                current = await self._write(Request("get", *_address(target)), doing)
                version = current["metadata"].get("resourceVersion")
                if version:
                    obj["metadata"] = {**obj["metadata"], "resourceVersion": version}
            query = _query(flags, "kubectl-replace")
            request = Request("update", *_address(target), query=query, body=obj)
            made.append((target.resource, await self._write(request, doing)))
        return Printed(made)

    async def _patch(self, command: Command, flags: Flags) -> Printed:
        strategy = flags.get("type") or command.strategy
        if strategy.lower() not in _PATCH_TYPES:
            raise KubectlError(f"error: --type must be one of [json merge strategic], not {quote(strategy)}")
        wanted = self._manifest(command, flags) if command.names_objects else self._named(flags)
        try:
            patch = goyaml.load(command.manifest)
        except goyaml.YamlError as err:
            raise KubectlError(f"error: unable to parse {quote(command.manifest)}: {err}") from err
        query = _query(flags, "kubectl-patch", validates=False)
        subresource = flags.get("subresource") or None
        made = []
        for target in wanted:
            request = _patch_request(target, patch, _PATCH_TYPES[strategy.lower()], query, subresource)
            made.append((target.resource, await self._patched(request)))
        return Printed(made)

    async def _patched(self, request: Request) -> Object:
        try:
            return await self._write(request)
        except UnsupportedMediaType as err:
            resource = request.resource
            what = f"{resource.group}/{resource.version}, Kind={resource.kind}"
            raise KubectlError(f"error: {request.content_type} is not supported by {what}: {err.message}") from err

    async def _delete(self, command: Command, flags: Flags) -> Printed:
        if command.manifest:
            wanted = self._manifest(command, flags)
        elif _is_bulk(flags):
            if not (flags.get("selector") or flags.get("field-selector") or flags.is_set("all")):
                raise KubectlError("error: resource(s) were provided, but no name was specified")
            wanted = [_seen(resource, obj) for resource, obj in await self._list(flags)]
        else:
            wanted = self._named(flags)
        if flags.get("dry-run") in ("client", "unchanged"):
            return Printed()
        begun = [(target, await self._delete_one(target, flags)) for target in wanted]
        if flags.values.get("wait", "true") not in ("false", "0") and not flags.dry_run:
            for target, uid in begun:
                await self._wait_until_gone(target, uid)
        return Printed()

    async def _delete_one(self, target: Target, flags: Flags) -> str:
        """The uid of what was deleted; "" where nothing was there."""
        options: dict[str, Any] = {"propagationPolicy": _PROPAGATION.get(flags.get("cascade"), "Background")}
        grace = _grace_seconds(flags)
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        query = {"dryRun": "All"} if flags.dry_run else {}
        try:
            gone = await self._call(Request("delete", *_address(target), query=query, body=options))
        except NotFound:
            return ""
        except ApiError as err:
            raise _for_the_user(err, f"error when deleting {quote(target.source)}" if target.source else "") from err
        return str((gone.get("metadata") or {}).get("uid") or (gone.get("details") or {}).get("uid") or "")

    async def _wait_until_gone(self, target: Target, uid: str) -> None:
        while True:
            try:
                current = await self._call(Request("get", *_address(target)))
            except NotFound:
                return
            meta = current["metadata"]
            if uid and meta.get("uid") != uid:
                return
            try:
                if await self._saw_it_go(target, meta.get("resourceVersion", "")):
                    return
            except Expired:
                continue

    async def _saw_it_go(self, target: Target, since: str) -> bool:
        query = {"fieldSelector": f"metadata.name={target.name}", "resourceVersion": since}
        async with self.client.watch(target.resource, target.namespace or None, **query) as events:
            async for event in events:
                if event.type == "DELETED":
                    return True
        return False

    # Which objects.

    def _place(self, flags: Flags) -> Place:
        given = flags.get("namespace")
        return Place(given or self.namespace, forced=bool(given))

    def _manifest(self, command: Command, flags: Flags) -> list[Target]:
        if not command.manifest:
            raise KubectlError("error: must specify one of -f and -k")
        if flags.arguments and command.verb != "patch":
            raise KubectlError(
                "error: when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well"
                if command.verb in ("get", "delete")
                else f"error: Unexpected args: [{' '.join(flags.arguments)}]"
            )
        validates = "validate" in command_line.FLAGS[command.verb] and flags.field_validation == "Strict"
        return targets(command.manifest, command.source, self.names, self._place(flags), validates=validates)

    def _named(self, flags: Flags) -> list[Target]:
        """``TYPE NAME…`` or ``TYPE/NAME…``."""
        if not flags.arguments:
            raise KubectlError(_NOTHING_NAMED)
        namespace = self._place(flags).namespace
        if "/" in flags.arguments[0]:
            pairs = [tuple(word.split("/")) for word in flags.arguments]
            if any(len(pair) != 2 or not all(pair) for pair in pairs):
                raise KubectlError("error: arguments in resource/name form must have a single resource and name")
        else:
            pairs = [(kind, name) for kind in flags.arguments[0].split(",") for name in flags.arguments[1:]]
            if not pairs:
                raise KubectlError("error: resource(s) were provided, but no name was specified")
        found = []
        for kind, name in pairs:
            resource = self._resource(kind)
            found.append(Target(resource, namespace if resource.namespaced else "", name, {}))
        return found

    def _resource(self, name: str) -> Resource:
        resource = self.names.by_name(name)
        if resource is None:
            raise KubectlError(f"error: the server doesn't have a resource type {quote(name)}")
        return resource

    async def _list(self, flags: Flags) -> list[tuple[Resource, Object]]:
        query = {"limit": LIST_LIMIT}
        for flag, parameter in (("selector", "labelSelector"), ("field-selector", "fieldSelector")):
            if flags.get(flag):
                query[parameter] = flags.get(flag)
        everywhere = "all-namespaces" in flags.values and flags.is_set("all-namespaces")
        found: list[tuple[Resource, Object]] = []
        for name in flags.arguments[0].split(","):
            resource = self._resource(name)
            namespace = self._place(flags).namespace if resource.namespaced and not everywhere else None
            page = dict(query)
            while True:
                answer = await self._write(Request("list", resource, namespace, query=page))
                found += [(resource, item) for item in answer.get("items") or ()]
                more = (answer.get("metadata") or {}).get("continue")
                if not more:
                    break
                page["continue"] = more
        return found

    # Requests.

    async def _call(self, request: Request) -> Object:
        return await self.client.transport.call(request)

    async def _write(self, request: Request, doing: str = "") -> Object:
        try:
            return await self._call(request)
        except UnsupportedMediaType:
            raise
        except ApiError as err:
            raise _for_the_user(err, doing) from err


def is_transient(err: ApiError) -> bool:
    """Whether the same request may succeed later (util/errors.IsTransientErr)."""
    quota = (err.reason == "Forbidden" and "exceeded quota" in err.message) or (
        err.reason == "Conflict" and "Operation cannot be fulfilled on resourcequota" in err.message
    )
    return quota or err.reason in ("TooManyRequests", "ServerTimeout", "Timeout", "ServiceUnavailable")


def three_way(last_applied: Object, wanted: Object, current: Object) -> dict[str, Any]:
    """The merge patch that gives ``current`` what is wanted and takes from it what only the last manifest had."""
    patch: dict[str, Any] = {}
    for name, value in wanted.items():
        there = current.get(name)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            before = last_applied.get(name)
            inner = three_way(before if isinstance(before, Mapping) else {}, value, there)
            if inner:
                patch[name] = inner
        elif value != there:
            patch[name] = value
    patch.update({name: None for name in last_applied if name not in wanted and name in current})
    return patch


def _apply_type(resource: Resource, patch: Object) -> PatchType:
    built_in = strategic_schema(resource.api_version, resource.kind) is not None
    return PatchType.STRATEGIC if built_in and not _has_list(patch) else PatchType.MERGE


def _has_list(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, Mapping) and any(_has_list(v) for v in value.values()))


def _with_last_applied(obj: Mapping[str, Any]) -> dict[str, Any]:
    meta = dict(obj.get("metadata") or {})
    others = {k: v for k, v in (meta.get("annotations") or {}).items() if k != LAST_APPLIED}
    text = gojson.dumps({**obj, "metadata": {**meta, "annotations": others}}) + "\n"
    return {**obj, "metadata": {**meta, "annotations": {**others, LAST_APPLIED: text}}}


def _last_applied(current: Object) -> Object:
    text = (current["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    found = goyaml.load(text) if text else None
    return found if isinstance(found, Mapping) else {}


def _for_the_user(err: ApiError, doing: str) -> Exception:
    return err if is_transient(err) else refused(err, doing)


def _is_bulk(flags: Flags) -> bool:
    return len(flags.arguments) == 1 and "/" not in flags.arguments[0]


def _seen(resource: Resource, obj: Object) -> Target:
    meta = obj["metadata"]
    return Target(resource, meta.get("namespace") or "", meta["name"], obj)


def _address(target: Target) -> tuple[Resource, str | None, str]:
    return target.resource, target.namespace or None, target.name


def _patch_request(
    target: Target, patch: Any, kind: PatchType, query: Mapping[str, str], subresource: str | None = None
) -> Request:
    return Request("patch", *_address(target), subresource, query, patch, kind.value)


def _query(flags: Flags, manager: str, *, validates: bool = True) -> dict[str, str]:
    query = {"fieldManager": flags.get("field-manager") or manager}
    if validates:
        query["fieldValidation"] = flags.field_validation
    if flags.dry_run:
        query["dryRun"] = "All"
    return query


def _grace_seconds(flags: Flags) -> int | None:
    text = flags.values.get("grace-period", "-1")
    try:
        seconds = int(text)
    except ValueError as err:
        raise KubectlError(
            f'invalid argument "{text}" for "--grace-period" flag: strconv.ParseInt: parsing "{text}": invalid syntax'
        ) from err
    force = flags.is_set("force")
    if "now" in flags.values and flags.is_set("now"):
        return 1
    if seconds == 0 and not force:
        return 1
    if seconds < 0:
        return 0 if force else None
    return seconds


def _described(target: Target) -> str:
    resource = target.resource
    version = f"{resource.group}/{resource.version}"
    return (
        f'Resource: "{version}, Resource={resource.plural}", GroupVersionKind: "{version}, Kind={resource.kind}"\n'
        f"Name: {quote(target.name)}, Namespace: {quote(target.namespace)}"
    )
