"""``tiphys plan`` and ``tiphys explain`` for Applications."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tiphys.cli.endings import OK

if TYPE_CHECKING:
    from tiphys.cd.preview import Preview, Step

Object = Mapping[str, Any]
_CONTEXT_LINES = 3


def read(places: Sequence[str]) -> tuple[list[Object], list[Object]] | None:
    """The Applications of the files and the other objects; None where there are none: then it is about workflows."""
    from tiphys.cli import sources
    from tiphys.lang import goyaml

    if not places or "-" in places:
        return None
    texts = [source.text for source in sources.read(places)]
    if not any("kind: Application" in text for text in texts):
        return None
    try:
        values = [document.value for text in texts for document in goyaml.load_all(text)]
    except goyaml.YamlError:
        return None  # reading workflows says where
    found: list[Object] = [value for value in values if isinstance(value, dict) and value.get("metadata")]
    apps = [obj for obj in found if obj.get("kind") == "Application"]
    return (apps, [obj for obj in found if obj.get("kind") != "Application"]) if apps else None


async def show(found: tuple[list[Object], list[Object]], given: Mapping[str, Any]) -> int:
    from contextlib import AsyncExitStack

    from tiphys.app import settings
    from tiphys.app.cd import plan_applications
    from tiphys.cli import output, session

    async with AsyncExitStack() as stack:
        remote = None
        if session.names_a_cluster(given):
            remote = (await stack.enter_async_context(session.remote(given))).client
        previews = await plan_applications(*found, remote, settings.load({}).cd_plugins)
    match given["output"]:
        case "json":
            print(output.as_json([as_data(each) for each in previews]), end="")
        case "yaml":
            print(output.as_yaml([as_data(each) for each in previews]), end="")
        case "diff":
            print("".join(line for each in previews for line in diff(each)), end="")
        case _:
            print("\n".join(line for each in previews for line in describe(each)))
    return OK if not any(each.problems for each in previews) else 1


def describe(preview: Preview) -> Iterator[str]:
    """The plan in lines, in the order in which it would be carried out."""
    from tiphys.cli import columns

    name, revision = preview.app["metadata"]["name"], str(preview.sync.get("revision") or "")[:12]
    yield f"{name}: {preview.sync.get('status')}" + (f" at {revision}" if revision else "")
    for problem in preview.problems:
        yield f"  would not be synced: {problem}"
    rows = [["  " + _when(step), step.does, _shown(step), step.why] for step in preview.changes]
    yield from columns.align(rows)
    left = len(preview.steps) - len(preview.changes)
    if left:
        yield f"  {left} more {'is' if left == 1 else 'are'} as in Git"


def diff(preview: Preview) -> Iterator[str]:
    """A unified diff of all that changes."""
    for step in preview.changes:
        before, after = _lines(step.before), _lines(step.after)
        name = f"{preview.app['metadata']['name']}/{_shown(step).replace(' ', '/')}"
        old, new = ("/dev/null" if not text else name for text in (before, after))
        yield from difflib.unified_diff(before, after, old, new, n=_CONTEXT_LINES)


def as_data(preview: Preview) -> dict[str, Any]:
    def one(step: Step) -> dict[str, Any]:
        place = {"group": step.key.group, "kind": step.key.kind, "namespace": step.key.namespace, "name": step.key.name}
        return {"phase": step.phase, "wave": step.wave, "do": step.does, **place, "why": step.why}

    return {
        "application": preview.app["metadata"]["name"],
        "sync": preview.sync,
        "problems": list(preview.problems),
        "conditions": [{"type": each.type, "message": each.message} for each in preview.conditions],
        "steps": [one(step) for step in preview.steps],
    }


async def explain(name: str, given: Mapping[str, Any]) -> int:
    """Prints why the application is as it is."""
    from tiphys.cd.caches import APPLICATIONS
    from tiphys.cd.plan.explaining import explained
    from tiphys.cd.plan.health import resource_health
    from tiphys.cli import session
    from tiphys.machinery.resources import ObjectKey

    namespace, _, short = name.rpartition("/")
    async with session.remote(given) as cluster:
        key = ObjectKey(namespace or given.get("namespace") or "argocd", short)
        app = await cluster.client.get(APPLICATIONS, key)
        print("\n".join(explained(app, await _objects(cluster, app), resource_health)))
    return OK


async def _objects(cluster: Any, app: Object) -> list[Object]:
    """The application's live objects, and the workloads of its namespaces, among which are what belongs to them."""
    from tiphys.cd.kinds import DiscoveredKinds
    from tiphys.cd.plan.objects import Gvk
    from tiphys.machinery.errors import ApiError

    kinds = DiscoveredKinds(cluster.client.transport, cluster.clock)
    await kinds.refresh()
    resources = (app.get("status") or {}).get("resources") or ()
    wanted = {(Gvk(r.get("group") or "", r["version"], r["kind"]), r.get("namespace") or "") for r in resources}
    spaces = {namespace for _gvk, namespace in wanted if namespace}
    below = (Gvk("apps", "v1", "ReplicaSet"), Gvk("batch", "v1", "Job"), Gvk("", "v1", "Pod"))
    wanted |= {(gvk, namespace) for gvk in below for namespace in spaces}
    found: list[Object] = []
    for gvk, namespace in sorted(wanted):
        resource = kinds.resource(gvk)
        if resource is None:
            continue
        try:
            page = await cluster.client.list(resource, namespace or None)
        except ApiError:
            continue
        found += [{"apiVersion": gvk.api_version, "kind": gvk.kind, **each} for each in page.get("items") or ()]
    return found


def _when(step: Step) -> str:
    return f"{step.phase} {step.wave}" if step.wave else step.phase


def _shown(step: Step) -> str:
    key = step.key
    return f"{key.kind} {key.namespace}/{key.name}" if key.namespace else f"{key.kind} {key.name}"


def _lines(obj: Object | None) -> list[str]:
    from tiphys.cli import output

    return [] if obj is None else output.as_yaml(obj).splitlines(keepends=True)
