"""How a pod gets onto the network: the drivers.

    HostNetwork   the machine's own network, for every pod; nothing to set up
    Loopback      an address of its own per pod on the loopback network (127.0.0.0/8); no rights needed
    Bridge        a network namespace per pod on a bridge, addresses of its own, the kernel forwards; needs root

Pods that ask for the host's network get it from every driver, and so do the steps of workflows that listen on nothing:
a namespace costs them 15 ms and gives them nothing.

An address is given back when the pod has ended. A driver is told the address that a pod had in an earlier life of the
agent, so that a pod that goes on running keeps it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Protocol

from tiphys.cluster.node.network.forwarding import Forwarding
from tiphys.cluster.node.network.nftables import rule_set
from tiphys.cluster.node.network.policies import Isolation
from tiphys.cluster.node.network.policy_rules import PolicyRules, policy_rules, script
from tiphys.cluster.node.network.proxy import Proxy
from tiphys.cluster.node.network.routes import Forward
from tiphys.machinery.errors import DriverError
from tiphys.runtime.clock import Clock

Object = Mapping[str, Any]

WORKFLOW = "workflows.argoproj.io/workflow"
COMMAND_SECONDS = 10.0
_NAMESPACES = Path("/run/netns")
_CLUSTERS_MAX = 16
_INTERFACES = Path("/sys/class/net")


class NetworkError(DriverError):
    """The machine does not let us do what a network needs, or an address is not to be had."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """``namespace`` is the network namespace's file, "" for the machine's."""

    address: str
    namespace: str = ""


UNATTACHED = Attachment("")


class PodNetwork(Protocol):
    """What a node has for its pods. ``name`` and ``why`` are for people."""

    name: str
    why: str
    services: IPv4Network
    """Where the addresses of Services come from."""

    async def attach(self, uid: str, pod: Object, known: str = "") -> Attachment:
        """Puts a pod on the network; ``known`` is the address it had. Raises NetworkError."""
        ...

    async def retire(self, uid: str) -> None:
        """A pod is about to end: Services lead to others, if there are any, once this returns. Raises NetworkError."""
        ...

    async def detach(self, uid: str) -> None:
        """Takes it off; a pod that is not on it is no error."""
        ...

    async def forward(self, forwards: Sequence[Forward]) -> None:
        """Makes the addresses of Services lead to their back ends."""
        ...

    unenforced: str
    """Why NetworkPolicies are without effect here, for people; "" where they are in force."""

    async def isolate(self, isolations: Sequence[Isolation]) -> None:
        """Puts these in force in place of those before; nothing where there is no way to."""
        ...

    @property
    def resolver_address(self) -> str:
        """Where cluster DNS can listen so that pods reach it; "" where they cannot."""
        ...

    async def opened(self) -> None:
        """Returns when something can listen on ``resolver_address``, and isolations can be put in force."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether no pod has an address of it."""
        ...

    async def release(self) -> None:
        """Ends what lives in this process; what pods that go on running need stays."""
        ...

    async def close(self) -> None:
        """Removes everything it made."""
        ...


def uses_host_network(pod: Object) -> bool:
    """Whether a pod stays on the machine's network whatever the driver."""
    spec = pod.get("spec") or {}
    if spec.get("hostNetwork"):
        return True
    containers = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    is_step = WORKFLOW in ((pod.get("metadata") or {}).get("labels") or {})
    return is_step and not any(container.get("ports") for container in containers)


class HostNetwork:
    """Pods have the machine's address; Services are not forwarded."""

    name = "host"
    why = "pods share the machine's network"
    services = IPv4Network("10.96.0.0/16")
    resolver_address = ""
    unenforced = "pods share the machine's network"

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address

    async def attach(self, uid: str, pod: Object, known: str = "") -> Attachment:
        return Attachment(self.address)

    async def retire(self, uid: str) -> None:
        return

    async def detach(self, uid: str) -> None:
        return

    async def forward(self, forwards: Sequence[Forward]) -> None:
        return

    async def isolate(self, isolations: Sequence[Isolation]) -> None:
        return

    async def opened(self) -> None:
        return

    @property
    def is_empty(self) -> bool:
        return True

    async def release(self) -> None:
        return

    async def close(self) -> None:
        return


class Addresses:
    """Gives out the addresses of a network, each once; lately returned ones come last."""

    def __init__(self, network: IPv4Network, reserved: Iterable[str] = ()) -> None:
        self.network = network
        self._taken = set(reserved)
        self._next = int(network.network_address) + 1

    def take(self, wanted: str = "") -> str:
        """The wanted address if it is free and of this network, else the next.

        Raises NetworkError when all are taken.
        """
        if wanted and wanted not in self._taken and IPv4Address(wanted) in self.network:
            self._taken.add(wanted)
            return wanted
        first, last = int(self.network.network_address) + 1, int(self.network.broadcast_address) - 1
        for _ in range(last - first + 1):
            address = str(IPv4Address(self._next))
            self._next = first if self._next >= last else self._next + 1
            if address not in self._taken:
                self._taken.add(address)
                return address
        raise NetworkError(f"no address is left in {self.network}")

    def give_back(self, address: str) -> None:
        self._taken.discard(address)


class Loopback:
    """Addresses of the loopback network and a proxy of our own. Programs that listen on every address meet each
    other's ports: two replicas of one cannot run side by side unless they listen on ``$POD_IP``."""

    name = "loopback"
    why = "every pod has a loopback address; programs that listen on all addresses share the machine's ports"
    resolver_address = ""
    unenforced = "nothing stands between the loopback addresses of pods; the network driver bridge enforces policies"

    def __init__(
        self, clock: Clock, number: int = 0, lock: socket.socket | None = None, host: str = "127.0.0.1"
    ) -> None:
        """``number`` tells the clusters of a machine apart; the socket ``lock`` holds it."""
        self.host = host
        self._lock = lock
        self.services = IPv4Network(f"127.{96 + number}.0.0/16")
        self.pods = IPv4Network(f"127.{50 - number}.0.0/16")
        self._addresses = Addresses(self.pods)
        self._given: dict[str, str] = {}
        self._proxy = Proxy(clock)
        self._forwarding = Forwarding(self._proxy.update)

    async def attach(self, uid: str, pod: Object, known: str = "") -> Attachment:
        if uses_host_network(pod):
            return Attachment(self.host)
        if uid not in self._given:
            self._given[uid] = self._addresses.take(known)
            self._forwarding.welcome(self._given[uid])
        return Attachment(self._given[uid])

    async def retire(self, uid: str) -> None:
        if uid in self._given:
            await self._forwarding.leave_out(self._given[uid])

    async def detach(self, uid: str) -> None:
        address = self._given.pop(uid, "")
        if address:
            self._addresses.give_back(address)

    async def forward(self, forwards: Sequence[Forward]) -> None:
        await self._forwarding.want(forwards)

    async def isolate(self, isolations: Sequence[Isolation]) -> None:
        return

    async def opened(self) -> None:
        return

    @property
    def is_empty(self) -> bool:
        return not self._given

    async def release(self) -> None:
        await self._proxy.close()
        if self._lock is not None:
            self._lock.close()

    async def close(self) -> None:
        await self.release()


class Bridge:
    """A bridge with a namespace per pod; the kernel rewrites the addresses of Services (``nftables``).

    Pods reach each other through the bridge's address (each is alone on its network of one), so that all of their
    traffic is forwarded by the kernel and passes the rules of policies.

    Node ports and addresses of load balancers listen on loopback, through our own proxy. The bridge is made when the
    first pod or Service needs it, so that clusters which only run workflows leave the machine's network alone.
    """

    name = "bridge"
    why = "every pod has a network namespace and an address of its own"
    unenforced = ""

    def __init__(self, clock: Clock, owner: Path, number: int = 0, lock: int = -1, host: str = "127.0.0.1") -> None:
        """``number`` tells the clusters of a machine apart: each has a bridge and ranges of addresses of its own.

        ``lock`` is the descriptor that holds the number, -1 for none; it is closed in the end.
        """
        self.host = host
        self._lock = lock
        self.services = IPv4Network(f"10.{96 + number}.0.0/16")
        self.pods = IPv4Network(f"10.{244 - number}.0.0/16")
        self._bridge = f"tiphys{number}"
        self._owner = _mark(owner)
        self._proxy = Proxy(clock)
        self._addresses = Addresses(self.pods)
        self._given: dict[str, str] = {}
        self._forwarding = Forwarding(self._carry_out)
        self._isolated: PolicyRules | None = None
        """What the kernel has of policies, None where that is not known."""
        self._opening = asyncio.Lock()
        self._open_now = asyncio.Event()

    @property
    def resolver_address(self) -> str:
        return str(self.pods[1])

    async def probe(self) -> None:
        """Raises NetworkError where bridges and rules cannot be made here."""
        if os.geteuid() != 0:
            raise NetworkError("it needs root")
        await _batch("link add tiphysprobe type bridge", "link delete tiphysprobe")
        await _run(["nft", "-c", "-f", "-"], rule_set("tiphysprobe", (), self.pods, "tiphysprobe"))

    async def _open(self) -> None:
        async with self._opening:
            if not self._open_now.is_set():
                await self._take_bridge()
                self._open_now.set()

    async def opened(self) -> None:
        await self._open_now.wait()

    async def _take_bridge(self) -> None:
        """Makes the bridge, or takes the one that an earlier life of this owner left with its pods.

        Raises NetworkError where that cannot be.
        """
        if self._bridge not in await self._own_bridges():
            await self._make()
        self._addresses = Addresses(self.pods, [str(self.pods[1])])
        await asyncio.to_thread(_allow_forwarding)
        await self._rewrite(())

    async def _make(self) -> None:
        """Makes the bridge; one that a cluster left whose pods are gone is made anew.

        It gets a hardware address of its own: else it has that of one of its ports, and with every pod that comes or
        goes it may be another, while all the others send to the one they know.
        """
        octets = ":".join(re.findall("..", self._owner))
        made = ["link", "add", self._bridge, "address", f"02:74:{octets}", "type", "bridge"]
        try:
            await _run(["ip", *made])
        except NetworkError as err:
            if "File exists" not in str(err):
                raise
            if not await asyncio.to_thread(_is_free, self._bridge, self._owner):
                raise NetworkError(f"{self._bridge} has pods of another cluster") from err
            await _batch(f"link delete {self._bridge}", " ".join(made))
        await _batch(
            f"link set {self._bridge} alias tiphys-{self._owner}-{os.getpid()}",
            f"addr add {self.pods[1]}/{self.pods.prefixlen} dev {self._bridge}",
            f"link set {self._bridge} up",
        )

    async def attach(self, uid: str, pod: Object, known: str = "") -> Attachment:
        if uses_host_network(pod):
            return Attachment(self.host)
        await self._open()
        name = self._namespace(uid)
        place = str(_NAMESPACES / name)
        if uid not in self._given:
            is_there = bool(known) and await asyncio.to_thread(os.path.exists, place)
            self._given[uid] = self._addresses.take(known)
            self._forwarding.welcome(self._given[uid])
            if not is_there or self._given[uid] != known:
                await self._join(uid, name, self._given[uid])
        return Attachment(self._given[uid], place)

    async def _join(self, uid: str, name: str, address: str) -> None:
        outside = f"tv{name[-10:]}"
        try:
            await _batch(
                f"netns add {name}",
                f"link add {outside} type veth peer name eth0 netns {name}",
                f"link set {outside} master {self._bridge} up",
                # where the machine filters bridged traffic, a pod's way to itself leaves by the port it came in
                f"link set {outside} type bridge_slave hairpin on",
            )
            await _batch(
                "link set lo up",
                f"addr add {address}/32 dev eth0",
                "link set eth0 up",
                f"route add {self.pods[1]} dev eth0",
                f"route add default via {self.pods[1]}",
                namespace=name,
            )
        except NetworkError:
            await self.detach(uid)
            raise

    async def detach(self, uid: str) -> None:
        address = self._given.pop(uid, "")
        if address:
            # the pair of interfaces goes with its namespace
            with contextlib.suppress(NetworkError):
                await _run(["ip", "netns", "delete", self._namespace(uid)])
            self._addresses.give_back(address)

    async def retire(self, uid: str) -> None:
        if uid in self._given:
            await self._forwarding.leave_out(self._given[uid])

    async def forward(self, forwards: Sequence[Forward]) -> None:
        await self._forwarding.want(forwards)

    async def _carry_out(self, forwards: Sequence[Forward]) -> None:
        inside = [one for one in forwards if self._is_inside(one.address)]
        if any(one.endpoints and one.endpoints[0].address != self.resolver_address for one in inside):
            await self._open()
        if self._open_now.is_set():
            await self._rewrite(inside)
        listening = [one for one in forwards if one not in inside]
        await self._proxy.update(
            [one for one in listening if self._open_now.is_set() or one.address != self.resolver_address]
        )

    def _is_inside(self, address: str) -> bool:
        """Whether the kernel forwards it; else it is an address of the machine that we listen on ourselves."""
        return address not in ("", self.resolver_address) and not IPv4Address(address).is_loopback

    async def _rewrite(self, forwards: Sequence[Forward]) -> None:
        """The table has the bridge's name, so that nothing is left of who had the number before."""
        await _run(["nft", "-f", "-"], rule_set(self._bridge, forwards, self.pods, self._bridge))

    async def isolate(self, isolations: Sequence[Isolation]) -> None:
        """A server that comes back finds the rules of its earlier life in force, and replaces them as a whole."""
        wanted = policy_rules(isolations)
        text = script(self._policies, self._isolated, wanted)
        if text:
            self._isolated = None
            await _run(["nft", "-f", "-"], text)
        self._isolated = wanted

    @property
    def _policies(self) -> str:
        return f"{self._bridge}-policies"

    @property
    def is_empty(self) -> bool:
        return not self._given

    async def release(self) -> None:
        await self._proxy.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def close(self) -> None:
        await self.release()
        for uid in list(self._given):
            await self.detach(uid)
        for name in await asyncio.to_thread(_namespaces, f"tiphys-{self._owner}-"):
            with contextlib.suppress(NetworkError):
                await _run(["ip", "netns", "delete", name])
        for table in (self._bridge, self._policies):
            with contextlib.suppress(NetworkError):
                await _run(["nft", "delete", "table", "ip", table])
        self._isolated = None
        for name in await self._own_bridges():
            await _run(["ip", "link", "delete", name])
        self._open_now.clear()

    def _namespace(self, uid: str) -> str:
        return f"tiphys-{self._owner}-{hashlib.sha256(uid.encode()).hexdigest()[:10]}"

    async def _own_bridges(self) -> list[str]:
        lines = (await _run(["ip", "-o", "link", "show", "type", "bridge"])).splitlines()
        own = (line for line in lines if f"alias tiphys-{self._owner}-" in line)
        return [found[1] for found in (re.match(r"\d+: (tiphys\d+):", line) for line in own) if found]


def _namespaces(prefix: str) -> list[str]:
    try:
        return [name for name in os.listdir(_NAMESPACES) if name.startswith(prefix)]
    except FileNotFoundError:
        return []


def _allow_forwarding() -> None:
    """The machine passes packets between the bridge and the outside. Raises NetworkError where that is forbidden."""
    place = Path("/proc/sys/net/ipv4/ip_forward")
    try:
        if place.read_text().strip() != "1":
            place.write_text("1")
    except OSError as err:
        raise NetworkError(f"forwarding cannot be switched on: {err.strerror}") from err


async def _batch(*lines: str, namespace: str = "") -> None:
    inside = ["-n", namespace] if namespace else []
    await _run(["ip", *inside, "-batch", "-"], "\n".join(lines) + "\n")


async def _run(argv: Sequence[str], given: str = "") -> str:
    """Runs a program to its end. Raises NetworkError with what it said."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as err:
        raise NetworkError(f"{argv[0]} cannot be run: {err.strerror}") from err
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            output, errors = await process.communicate(given.encode() if given else None)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NetworkError(f"{' '.join(argv[:4])} did not end") from None
    if process.returncode:
        raise NetworkError(f"{' '.join(argv[:4])} failed: {errors.decode(errors='replace').strip()}")
    return output.decode(errors="replace")


async def choose(wanted: str, clock: Clock, owner: Path) -> PodNetwork:
    """The driver that is wanted, or for ``auto`` the best that really works here. Raises NetworkError."""
    if wanted == "host":
        return HostNetwork()
    if wanted != "loopback":
        try:
            bridge = Bridge(clock, owner, *await asyncio.to_thread(_take_number, _mark(owner)))
            await bridge.probe()
        except NetworkError as err:
            if wanted == "bridge":
                raise
            loopback = _loopback(clock)
            loopback.why += f" (no bridge: {err})"
            return loopback
        return bridge
    return _loopback(clock)


def _loopback(clock: Clock) -> Loopback:
    """With the lowest number that no other cluster has, held by a socket's name: it goes with the process.

    Raises NetworkError.
    """
    for number in range(_CLUSTERS_MAX):
        lock = socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0tiphys-loopback-{number}")
        except OSError:
            lock.close()
        else:
            return Loopback(clock, number, lock)
    raise NetworkError(f"{_CLUSTERS_MAX} clusters are on the loopback network already")


def _mark(owner: Path) -> str:
    """What tells the bridges and namespaces of one cluster from those of others."""
    return hashlib.sha256(os.fspath(owner.absolute()).encode()).hexdigest()[:8]


def _take_number(mark: str) -> tuple[int, int]:
    """The number of the bridge that this cluster has from an earlier life, else the lowest that is free; and the
    descriptor by which it is ours.

    Raises NetworkError.
    """
    numbers = [number for number in range(_CLUSTERS_MAX) if _is_free(f"tiphys{number}", mark)]
    for number in sorted(numbers, key=lambda number: _maker(f"tiphys{number}")[0] != mark):
        try:
            lock = os.open(f"/run/tiphys-bridge-{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise NetworkError(f"/run cannot be written: {err.strerror}") from err
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return number, lock
    raise NetworkError(f"{_CLUSTERS_MAX} clusters have a bridge already")


def _maker(bridge: str) -> tuple[str, str]:
    """The mark of the cluster that made a bridge, and the number of its process; both "" where there is none."""
    try:
        alias = (_INTERFACES / bridge / "ifalias").read_text()
    except OSError:
        return "", ""
    found = re.match(r"tiphys-([0-9a-f]+)-(\d+)", alias)
    return (found[1], found[2]) if found else ("", "")


def _is_free(bridge: str, mark: str) -> bool:
    """Whether a cluster can have this bridge: nobody made it, it did itself, or its maker is gone and so are the pods.

    The pods of a server that was killed go on running until it comes back; their bridge waits for it.
    """
    if not (_INTERFACES / bridge).exists() or _maker(bridge)[0] == mark:
        return True
    process = _maker(bridge)[1]
    if not process or os.path.exists(f"/proc/{process}"):
        return False
    return not os.listdir(_INTERFACES / bridge / "brif")
