"""What a pod's containers are told and who they are: host files, services, identities, messages, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tiphys.cluster.node import envfiles, hostfiles, messages, refusals, services
from tiphys.cluster.node.accounts import parse_accounts
from tiphys.cluster.node.hostfiles import NodeNetwork, Resolver
from tiphys.cluster.node.identity import capabilities, identity_of
from tiphys.cluster.node.runtime import ConfigError

DOMAIN = "cluster.local"
NETWORK = NodeNetwork("node-1", "10.96.0.10", resolver=Resolver(("9.9.9.9",), ("example",), ("timeout:1",)))


def a_pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": "u"}
    return {"metadata": meta, "spec": {"containers": [{"name": "c"}], **spec}}


# Names and resolvers.


@pytest.mark.parametrize(
    ("spec", "host", "full"),
    [
        ({}, "p", "p"),
        ({"hostname": "h"}, "h", "h"),
        ({"subdomain": "s"}, "p", "p.s.ns.svc.cluster.local"),
        ({"hostname": "h", "subdomain": "s"}, "h", "h.s.ns.svc.cluster.local"),
        ({"hostNetwork": True, "subdomain": "s"}, "node-1", "node-1"),
        ({"hostnameOverride": "o.x", "subdomain": "s"}, "o.x", "o.x"),
    ],
)
def test_names(spec: dict[str, Any], host: str, full: str) -> None:
    names = hostfiles.names_of(a_pod(**spec), NETWORK)
    assert (names.host, names.full) == (host, full)


def test_a_long_name_is_cut_to_what_a_host_may_be_called() -> None:
    assert hostfiles.names_of(a_pod("a" * 62 + "-b"), NETWORK).host == "a" * 62


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, f"search ns.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN} example\nnameserver 10.96.0.10\noptions ndots:5\n"),
        ({"dnsPolicy": "Default"}, "search example\nnameserver 9.9.9.9\noptions timeout:1\n"),
        ({"hostNetwork": True}, "search example\nnameserver 9.9.9.9\noptions timeout:1\n"),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}, "nameserver 1.1.1.1\n"),
        (
            {"dnsPolicy": "Default", "dnsConfig": {"searches": ["x"], "options": [{"name": "timeout", "value": "9"}]}},
            "search example x\nnameserver 9.9.9.9\noptions timeout:9\n",
        ),
    ],
)
def test_resolv_conf(spec: dict[str, Any], text: str) -> None:
    assert hostfiles.resolv_conf(hostfiles.resolver_of(a_pod(**spec), NETWORK)) == text


def test_a_resolv_conf_is_read_as_the_resolver_reads_it() -> None:
    text = "# c\nnameserver 1.1.1.1 ; x\ndomain old\nsearch a b.\noptions ndots:2 edns0\n\nnonsense\n"
    assert hostfiles.parse_resolv_conf(text) == Resolver(("1.1.1.1",), ("a", "b"), ("ndots:2", "edns0"))


# Services.


def a_service(name: str, namespace: str, address: str = "10.0.0.1", *ports: dict[str, Any]) -> dict[str, Any]:
    spec = {"clusterIP": address, "ports": list(ports) or [{"port": 80}]}
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def test_services_of_the_namespace_and_the_api() -> None:
    known = [
        a_service("web", "ns"),
        a_service("kubernetes", "default"),
        a_service("web", "other"),
        a_service("h", "ns", "None"),
    ]
    assert {name.partition("_SERVICE_HOST")[0] for name in services.variables(a_pod(), known) if "HOST" in name} == {
        "WEB",
        "KUBERNETES",
    }
    assert "WEB_SERVICE_HOST" not in services.variables(a_pod(enableServiceLinks=False), known)


def test_the_variables_of_a_service() -> None:
    ports = ({"name": "dns-x", "port": 53, "protocol": "UDP"},)
    found = services.variables(a_pod(), [a_service("my-db", "ns", "10.0.0.9", *ports)])
    assert found == {
        "MY_DB_SERVICE_HOST": "10.0.0.9",
        "MY_DB_SERVICE_PORT": "53",
        "MY_DB_SERVICE_PORT_DNS_X": "53",
        "MY_DB_PORT": "udp://10.0.0.9:53",
        "MY_DB_PORT_53_UDP": "udp://10.0.0.9:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.0.0.9",
    }


# Identities.

ACCOUNTS = parse_accounts("root:x:0:0::/:\napp:x:1000:1001::/:\nbroken\n", "root:x:0:\nextra:x:3000:app,other\n")


@pytest.mark.parametrize(
    ("whole", "own", "user", "expected"),
    [
        ({}, {}, "", (0, 0, (0,))),
        ({}, {}, "app", (1000, 1001, (1001, 3000))),
        ({}, {}, "1000:5", (1000, 5, (5, 3000))),
        ({}, {}, "app:extra", (1000, 3000, (3000,))),
        ({"runAsUser": 1000}, {}, "", (1000, 1001, (1001, 3000))),
        ({"runAsUser": 1}, {"runAsUser": 2, "runAsGroup": 3}, "", (2, 3, (3,))),
        ({"supplementalGroups": [9], "fsGroup": 8}, {}, "", (0, 0, (0, 8, 9))),
        ({"runAsUser": 1000, "supplementalGroupsPolicy": "Strict"}, {}, "", (1000, 1001, (1001,))),
    ],
)
def test_identities(whole: Any, own: Any, user: str, expected: tuple[int, int, tuple[int, ...]]) -> None:
    who = identity_of({"name": "c", "securityContext": own}, a_pod(securityContext=whole), user, ACCOUNTS)
    assert (who.uid, who.gid, who.groups) == expected


@pytest.mark.parametrize(
    ("whole", "user", "words"),
    [
        ({"runAsNonRoot": True}, "", "image will run as root"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "", "breaks non-root policy"),
        ({"runAsNonRoot": True}, "app", "non-numeric user (app)"),
        ({}, "nobody-knows", "no matching entries in passwd file"),
    ],
)
def test_identities_that_are_refused(whole: Any, user: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        identity_of({"name": "c"}, a_pod(securityContext=whole), user, ACCOUNTS)
    assert words in str(caught.value)


def test_capabilities() -> None:
    assert capabilities({}) is None
    assert capabilities({"drop": ["ALL"]}) == ()
    assert capabilities({"drop": ["all"], "add": ["CAP_NET_ADMIN"]}) == ("NET_ADMIN",)
    assert capabilities({"add": ["NOT_A_CAP"]}) == capabilities({"drop": ["NOT_ONE"]})


# Variables in files.


def test_variables_in_files(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("# note\nA='it = x'\nB=plain \nA='last'\nbroken\n")
    places = {"v": tmp_path}
    assert envfiles.value_of({"volumeName": "v", "path": "e", "key": "A"}, places) == "last"
    assert envfiles.value_of({"volumeName": "v", "path": "e", "key": "N", "optional": True}, places) is None
    for path in ("../e", "/etc/passwd", "none"):
        with pytest.raises(ConfigError):
            envfiles.value_of({"volumeName": "v", "path": path, "key": "A"}, places)


def test_a_link_does_not_lead_out_of_the_volume(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("A=1")
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "e").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="leads out of its volume"):
        envfiles.value_of({"volumeName": "v", "path": "e", "key": "A"}, {"v": tmp_path / "v"})


# Messages.


def test_the_end_of_a_long_message_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "m"
    file.write_text("x" * 5000 + "end")
    assert messages.last_bytes(file, 4096) == "x" * 4093 + "end"


def test_only_a_regular_file_is_a_message(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    (tmp_path / "link").symlink_to(secret)
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "none"):
        assert messages.last_bytes(tmp_path / name, 10) == ""
    assert messages.last_bytes(tmp_path, 10) == ""


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{n:09}\n" for n in range(600)))
    assert messages.last_lines([log]).splitlines() == [f"{n:09}" for n in range(520, 600)]


# Refusals.


def needs(cpu: str = "0", memory: str = "0", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return a_pod(**{"containers": [container], **spec})


def test_room_on_the_node() -> None:
    capacity = {"cpu": "2", "memory": "1Gi"}
    assert refusals.no_room(needs("1"), [needs("1")], capacity) is None
    reason, message = refusals.no_room(needs("1"), [needs("1500m")], capacity) or ("", "")
    assert reason == "OutOfcpu"
    assert message == "Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    assert (refusals.no_room(needs(memory="2Gi"), [], capacity) or ("",))[0] == "OutOfmemory"


def test_init_containers_need_room_one_at_a_time_sidecars_beside_the_rest() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": "x", "resources": {"requests": {"cpu": cpu}}, **more}

    init = [container("100m", restartPolicy="Always"), container("900m"), container("300m")]
    assert refusals.requested(a_pod(containers=[container("200m")], initContainers=init), "cpu") == 1000
    assert refusals.requested(a_pod(containers=[container("2")], initContainers=init), "cpu") == 2100


def test_a_host_port_is_given_once() -> None:
    pod = a_pod(containers=[{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}])
    assert (refusals.no_room(pod, [pod], {}) or ("",))[0] == "NodePorts"


def test_kernel_parameters_that_a_pod_may_not_have() -> None:
    asked = {
        "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}, {"name": "net.core.somaxconn", "value": "1"}]
    }
    assert refusals.forbidden_sysctl(a_pod(securityContext=asked)) == (
        "SysctlForbidden",
        'forbidden sysctl: "net.core.somaxconn" not allowlisted',
    )
