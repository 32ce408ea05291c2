"""Simulation of the cluster's controllers: random users, restarts of all controllers, a shuffled loop, virtual time.

    python -m tests.sim.cluster --seed 7

What must never happen is checked at every write that becomes visible:

    a rollout    never has more pods than replicas + maxSurge, nor fewer available than replicas - maxUnavailable
    a set        makes ordinal n only when all below it are ready (OrderedReady)
    a budget     is never broken by evictions
    a quota      is never exceeded

and after things are quiet: no object is left whose owners are all gone, everything wanted is available.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.app.controllers import ClusterControllers
from tiphys.app.feed import StoreFeed
from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.server import SHARED_MAPS, ApiServer
from tiphys.cluster.apiserver.store import Change, Store
from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_of
from tiphys.cluster.controllers.plan.stateful_sets import parent_and_ordinal
from tiphys.cluster.node.simulated.nodes import SimulatedNodes
from tiphys.cluster.node.simulated.stages import Stage, Stages
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import ApiError, NotFound
from tiphys.machinery.resources import (
    DEPLOYMENTS,
    NODES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    RESOURCE_QUOTAS,
    STATEFUL_SETS,
    ObjectKey,
    Resource,
)
from tiphys.machinery.shares import RollingBounds
from tiphys.runtime.ids import SeededIds
from tiphys.runtime.virtual import VirtualClock, VirtualLoop

Object = Mapping[str, Any]
QUIET_SECONDS = 30.0
STEPS = 6
NAMESPACE = "default"


class Violation(AssertionError):
    """Something happened that never may."""


@dataclass
class Watchdog:
    """Checks every published group of changes."""

    store: Store
    rolling: dict[str, RollingBounds] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)
    evicting: dict[str, int] = field(default_factory=dict)
    quota: int = 0
    found: Violation | None = None

    def heard(self, changes: list[Change]) -> None:
        """A listener of the store: what it finds is raised later, not into the writer's work."""
        try:
            self._check(changes)
        except Violation as err:
            self.found = self.found or err

    def raise_found(self) -> None:
        if self.found is not None:
            raise self.found

    def _check(self, changes: list[Change]) -> None:
        kinds = {change.collection for change in changes}
        if "pods" in kinds:
            self._pods(changes)
        if "replicasets.apps" in kinds:
            self._surge()

    def all(self, resource: Resource) -> list[Object]:
        return [record.view for record in self.store.collection(resource.key).records.values()]

    def _pods(self, changes: list[Change]) -> None:
        pods = self.all(PODS)
        for name, bounds in self.rolling.items():
            ready = sum(podfacts.is_ready(pod) and _app(pod) == name for pod in pods)
            if ready < bounds.available_min:
                raise Violation(f"{name}: {ready} available, at least {bounds.available_min} must be")
        for name, least in self.evicting.items():
            healthy = sum(
                podfacts.is_ready(pod) and not pod["metadata"].get("deletionTimestamp") and _app(pod) == name
                for pod in pods
            )
            if healthy < least:
                raise Violation(f"{name}: {healthy} healthy after evictions, the budget wants {least}")
        if self.quota and len([pod for pod in pods if not podfacts.is_terminated(pod)]) > self.quota:
            raise Violation(f"{len(pods)} pods, the quota is {self.quota}")
        for change in changes:
            if change.collection == "pods" and change.type == "ADDED":
                self._ordinal(change.record.view, pods)

    def _ordinal(self, pod: Object, pods: list[Object]) -> None:
        owner = controller_of(pod)
        if owner is None or owner["kind"] != STATEFUL_SETS.kind:
            return
        parent, ordinal = parent_and_ordinal(pod["metadata"]["name"])
        mine = [each for each in pods if podfacts.is_ready(each) and _app(each) == parent]
        missing = set(range(ordinal)) - {parent_and_ordinal(each["metadata"]["name"])[1] for each in mine}
        if missing:
            raise Violation(f"{pod['metadata']['name']} made before {sorted(missing)} were ready")

    def _surge(self) -> None:
        for name, bounds in self.rolling.items():
            total = sum(int(each["spec"].get("replicas") or 0) for each in self.sets(name))
            if total > self.replicas[name] + bounds.surge:
                raise Violation(f"{name}: {total} replicas, at most {self.replicas[name]} + {bounds.surge} may be")

    def sets(self, name: str) -> list[Object]:
        records = self.store.collection("replicasets.apps").records.values()
        found = [record.view for record in records]
        return [each for each in found if (each["metadata"].get("labels") or {}).get("app") == name]


def _app(obj: Object) -> str:
    return str((obj["metadata"].get("labels") or {}).get("app"))


@dataclass
class World:
    seed: int
    rng: random.Random
    clock: VirtualClock
    server: ApiServer
    client: Client
    dog: Watchdog
    controllers: asyncio.Task[None] | None = None
    trace: list[str] = field(default_factory=list)
    wanted: dict[str, tuple[Resource, int]] = field(default_factory=dict)
    count: int = 0

    def start(self) -> None:
        feed = StoreFeed(self.server.store, self.server.registry)
        cluster = ClusterControllers(self.server.transport(), feed, self.clock, self.rng)
        self.controllers = asyncio.create_task(cluster.run())

    async def restart(self) -> None:
        """All controllers die at this moment and begin anew, knowing nothing."""
        assert self.controllers is not None
        self.controllers.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.controllers
        self.start()

    async def quiet(self, restarts: bool = True) -> None:
        """Lets time pass, with a restart now and then, until all is still."""
        for _ in range(3):
            await asyncio.sleep(self.rng.random() * 3)
            if restarts and self.rng.random() < 0.3:
                self.trace.append("all controllers restart")
                await self.restart()
        await asyncio.sleep(QUIET_SECONDS)
        if self.controllers is not None and self.controllers.done():
            self.controllers.result()

    # What users do

    async def step(self) -> None:
        choices = [self.deploy, self.roll, self.roll, self.scale, self.remove, self.stateful, self.update_stateful]
        choices += [self.kill, self.drain, self.fill_quota]
        await self.rng.choice(choices)()

    async def deploy(self) -> None:
        self.count += 1
        name, replicas = f"app-{self.count}", self.rng.randrange(1, 6)
        rolling = {"maxSurge": self.rng.choice([1, 2, "25%"]), "maxUnavailable": self.rng.choice([0, 1, "50%"])}
        spec = workload(name, replicas, self.rng.randrange(0, 3))
        spec["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
        self.trace.append(f"deploy {name} x{replicas} {rolling}")
        await self.client.create(DEPLOYMENTS, spec)
        self.wanted[name] = (DEPLOYMENTS, replicas)
        await self.quiet()

    def _some(self, kind: Resource) -> str | None:
        names = [name for name, (resource, _) in sorted(self.wanted.items()) if resource == kind]
        return self.rng.choice(names) if names else None

    async def roll(self) -> None:
        name = self._some(DEPLOYMENTS)
        if name is None:
            return await self.deploy()
        replicas = self.wanted[name][1]
        held = await self.client.get(DEPLOYMENTS, ObjectKey(NAMESPACE, name))
        rolling = held["spec"]["strategy"]["rollingUpdate"]
        self.dog.rolling[name] = RollingBounds.of(rolling["maxSurge"], rolling["maxUnavailable"], replicas)
        self.dog.replicas[name] = replicas
        image = f"v{self.rng.randrange(4)}"
        self.trace.append(f"roll {name} to {image}")
        for _ in range(self.rng.choice([1, 1, 2])):  # sometimes again while it rolls
            await self._patch_image(DEPLOYMENTS, name, image)
            await asyncio.sleep(self.rng.random() * 2)
            image = f"v{self.rng.randrange(4)}"
        await self.quiet()
        del self.dog.rolling[name]

    async def _patch_image(self, kind: Resource, name: str, image: str) -> None:
        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
        await self.client.patch(kind, ObjectKey(NAMESPACE, name), patch, PatchType.JSON)

    async def scale(self) -> None:
        name = self._some(self.rng.choice([DEPLOYMENTS, STATEFUL_SETS]))
        if name is None:
            return await self.deploy()
        kind, replicas = self.wanted[name][0], self.rng.randrange(0, 6)
        self.trace.append(f"scale {name} to {replicas}")
        await self.client.patch(kind, ObjectKey(NAMESPACE, name), {"spec": {"replicas": replicas}})
        self.wanted[name] = (kind, replicas)
        await self.quiet()

    async def remove(self) -> None:
        name = self._some(self.rng.choice([DEPLOYMENTS, STATEFUL_SETS]))
        if name is None:
            return await self.deploy()
        policy = self.rng.choice(["Background", "Foreground"])
        self.trace.append(f"delete {name}, {policy}")
        kind = self.wanted.pop(name)[0]
        await self.client.delete(kind, ObjectKey(NAMESPACE, name), {"propagationPolicy": policy})
        await self.quiet()

    async def stateful(self) -> None:
        self.count += 1
        name, replicas = f"set-{self.count}", self.rng.randrange(1, 5)
        self.trace.append(f"stateful {name} x{replicas}")
        await self.client.create(STATEFUL_SETS, workload(name, replicas, self.rng.randrange(0, 2)))
        self.wanted[name] = (STATEFUL_SETS, replicas)
        await self.quiet()

    async def update_stateful(self) -> None:
        name = self._some(STATEFUL_SETS)
        if name is None:
            return await self.stateful()
        self.trace.append(f"update {name}")
        await self._patch_image(STATEFUL_SETS, name, f"v{self.rng.randrange(4)}")
        await self.quiet()

    async def kill(self) -> None:
        """Pods vanish."""
        for pod in self.dog.all(PODS):
            if self.rng.random() < 0.3:
                self.trace.append(f"kill {pod['metadata']['name']}")
                meta = pod["metadata"]
                with contextlib.suppress(NotFound):
                    await self.client.delete(PODS, ObjectKey(NAMESPACE, meta["name"]), {"gracePeriodSeconds": 0})
        await self.quiet(restarts=False)

    async def drain(self) -> None:
        """A node is cordoned and emptied by evictions, within a budget."""
        name = self._some(DEPLOYMENTS)
        if name is None or not self.wanted[name][1]:
            return await self.deploy()
        replicas = self.wanted[name][1]
        least = max(0, replicas - 1)
        budget = {
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": name}}},
        }
        await self.client.create(POD_DISRUPTION_BUDGETS, budget)
        await self.quiet(restarts=False)
        node = self.rng.choice(["node-1", "node-2", "node-3"])
        self.trace.append(f"drain {node} with {least} of {name} kept")
        await self.client.patch(NODES, ObjectKey("", node), {"spec": {"unschedulable": True}})
        self.dog.evicting[name] = least
        for _ in range(20):
            left = [p for p in self.dog.all(PODS) if p["spec"].get("nodeName") == node and _app(p) == name]
            if not left:
                break
            await self._evict(self.rng.choice(left)["metadata"]["name"])
            await asyncio.sleep(1.0)
        del self.dog.evicting[name]
        await self.client.patch(NODES, ObjectKey("", node), {"spec": {"unschedulable": None}})
        await self.client.delete(POD_DISRUPTION_BUDGETS, ObjectKey(NAMESPACE, name))
        await self.quiet()

    async def _evict(self, name: str) -> None:
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
        with contextlib.suppress(ApiError):  # refused by the budget: tried again later
            await self.client.transport.call(Request("create", PODS, NAMESPACE, name, "eviction", body=body))

    async def fill_quota(self) -> None:
        """A quota of what there is and a little more, then more pods than that are asked for."""
        here = len(self.dog.all(PODS))
        hard = here + self.rng.randrange(0, 3)
        if not hard:
            return await self.deploy()
        quota = {"metadata": {"name": "all", "namespace": NAMESPACE}, "spec": {"hard": {"pods": str(hard)}}}
        await self.client.create(RESOURCE_QUOTAS, quota)
        await asyncio.sleep(1.0)
        self.dog.quota = hard
        self.trace.append(f"quota of {hard} pods")
        self.count += 1
        await self.client.create(DEPLOYMENTS, workload(f"app-{self.count}", 5, 0))
        await asyncio.sleep(5.0)
        self.dog.quota = 0
        await self.client.delete(RESOURCE_QUOTAS, ObjectKey(NAMESPACE, "all"))
        key = ObjectKey(NAMESPACE, f"app-{self.count}")
        await self.client.delete(DEPLOYMENTS, key, {"propagationPolicy": "Background"})
        await self.quiet()

    # What must hold in the end

    def check_end(self) -> None:
        alive = {obj["metadata"]["uid"] for name in self.server.store.collections() for obj in self._objects(name)}
        for name in self.server.store.collections():
            for obj in self._objects(name):
                owners = obj["metadata"].get("ownerReferences") or ()
                if owners and not any(owner["uid"] in alive for owner in owners):
                    raise Violation(f"{name} {obj['metadata']['name']} is left without its owners")
        for name, (kind, replicas) in self.wanted.items():
            status = self.server.store.collection(kind.key).records[f"{NAMESPACE}/{name}"].view["status"]
            if int(status.get("readyReplicas") or 0) != replicas:
                raise Violation(f"{name}: {status} in the end, {replicas} wanted")

    def _objects(self, collection: str) -> list[Object]:
        return [record.view for record in self.server.store.collection(collection).records.values()]


def workload(name: str, replicas: int, version: int) -> dict[str, Any]:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": f"v{version}"}], "terminationGracePeriodSeconds": 1},
    }
    selector = {"matchLabels": {"app": name}}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": replicas, "selector": selector, "template": template, "serviceName": name}
        if name.startswith("set")
        else {"replicas": replicas, "selector": selector, "template": template},
    }


def stages(rng: random.Random) -> Stages:
    """Pods take a while to start and to go, another while in every run."""
    from datetime import timedelta

    return Stages(
        (
            Stage("leave", "Gone", deleting=True, after=timedelta(seconds=rng.random() * 2)),
            Stage("start", "Running", phases=frozenset(("Pending",)), after=timedelta(seconds=rng.random() * 2)),
        )
    )


async def live(seed: int, clock: VirtualClock, rng: random.Random) -> list[str]:
    store = Store(shared_maps=SHARED_MAPS)
    server = await ApiServer.start(store, clock, SeededIds(rng), ("none",))
    dog = Watchdog(store)
    store.subscribe(dog.heard)
    nodes = SimulatedNodes(
        Client(server.transport()), ["node-1", "node-2", "node-3"], clock=clock, rng=rng, stages=stages(rng)
    )
    await nodes.register()
    world = World(seed, rng, clock, server, Client(server.transport()), dog)
    world.start()
    playing = asyncio.create_task(nodes.run())
    try:
        for _ in range(STEPS):
            await world.step()
            dog.raise_found()
        await asyncio.sleep(QUIET_SECONDS)
        world.check_end()
    except Violation as err:
        err.add_note("\n".join(world.trace))
        raise
    finally:
        for task in (playing, world.controllers):
            if task is not None:
                task.cancel()
        await asyncio.gather(playing, *filter(None, [world.controllers]), return_exceptions=True)
        await server.close()
    return world.trace


def simulate(seed: int) -> list[str]:
    """The trace of one run; raises Violation."""
    clock, rng = VirtualClock(), random.Random(seed)
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, rng)) as runner:
        return runner.run(live(seed, clock, rng))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.cluster")
    parser.add_argument("--seed", type=int, default=0)
    print("\n".join(simulate(parser.parse_args().seed)))


if __name__ == "__main__":
    main()
