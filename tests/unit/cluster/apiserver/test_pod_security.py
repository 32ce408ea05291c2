"""Pod Security Standards: the wording of every control, levels and versions, and what namespaces are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.cluster.apiserver.admission.standards import LATEST, violations
from tiphys.cluster.apiserver.server import ApiServer
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.verbs import Writer
from tiphys.machinery.errors import Forbidden, Invalid
from tiphys.machinery.resources import NAMESPACES, PODS, ObjectKey, Resource
from tiphys.runtime.clock import SystemClock
from tiphys.runtime.ids import SystemIds

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", True)
GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec_of(*contexts: Any, **more: Any) -> dict[str, Any]:
    names = "abcdef"
    containers = [{"name": names[n], "image": "x", "securityContext": each} for n, each in enumerate(contexts)]
    return {"containers": containers or [{"name": "a", "image": "x"}], **more}


def said(level: str, spec: dict[str, Any], version: int = LATEST, annotations: dict[str, str] | None = None) -> str:
    return ", ".join(map(str, violations(level, version, {"annotations": annotations or {}}, spec)))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (spec_of(hostNetwork=True, hostPID=True), "host namespaces (hostNetwork=true, hostPID=true)"),
        (
            spec_of({"privileged": True}, {}, {"privileged": True}),
            'privileged (containers "a", "c" must not set securityContext.privileged=true)',
        ),
        (
            spec_of({"capabilities": {"add": ["FOO", "BAR"]}}, {"capabilities": {"add": ["BAR", "BAZ"]}}),
            'non-default capabilities (containers "a", "b" must not include "BAR", "BAZ", "FOO" in'
            " securityContext.capabilities.add)",
        ),
        (spec_of(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), 'hostPath volumes (volume "v")'),
        (
            {"containers": [{"name": "a", "ports": [{"hostPort": 12}, {"hostPort": 34}]}]},
            'hostPort (container "a" uses hostPorts 12, 34)',
        ),
        (
            {"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]},
            'probe or lifecycle host (container "a" uses probe or lifecycle host "h")',
        ),
        (
            spec_of({"procMount": "Unmasked"}),
            'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
        ),
        (
            spec_of(
                {"seLinuxOptions": {"type": "foo", "user": "u"}}, securityContext={"seLinuxOptions": {"role": "r"}}
            ),
            'seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "foo"; user may'
            " not be set; role may not be set)",
        ),
        (
            spec_of({"seccompProfile": {"type": "Unconfined"}}),
            'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
        (spec_of(securityContext={"sysctls": [{"name": "a.b"}, {"name": "c"}]}), "forbidden sysctls (a.b, c)"),
        (
            spec_of({"appArmorProfile": {"type": "Unconfined"}}),
            'forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")',
        ),
        (
            spec_of(securityContext={"windowsOptions": {"hostProcess": True}}),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ],
)
def test_baseline(spec: dict[str, Any], expected: str) -> None:
    assert said("baseline", spec) == expected
    assert said("privileged", spec) == ""


def test_restricted_says_everything_in_order() -> None:
    assert said("restricted", spec_of({})) == (
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false),'
        ' unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot !='
        ' true (pod or container "a" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "a"'
        ' must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    )
    assert said("restricted", spec_of(GOOD)) == ""
    assert (
        said("restricted", spec_of(GOOD | {"runAsUser": 0})) == 'runAsUser=0 (container "a" must not set runAsUser=0)'
    )
    volumes = [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "nfs": {"path": "/"}}]
    assert said("restricted", spec_of(GOOD, volumes=volumes)) == (
        'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")'
    )


def test_versions_are_as_they_were() -> None:
    sysctl = spec_of(securityContext={"sysctls": [{"name": "net.ipv4.tcp_rmem"}]})
    assert said("baseline", sysctl, 31) == "forbidden sysctls (net.ipv4.tcp_rmem)"
    assert said("baseline", sysctl, 32) == ""
    own_users = spec_of(GOOD | {"runAsNonRoot": False}, hostUsers=False)
    assert "runAsNonRoot" in said("restricted", own_users, 34)
    assert said("restricted", own_users, 35) == ""
    windows = spec_of({"runAsNonRoot": True}, os={"name": "windows"})
    assert said("restricted", windows) == ""
    assert "seccompProfile" in said("restricted", windows, 24)


def test_annotations_of_old() -> None:
    profile = {"container.apparmor.security.beta.kubernetes.io/a": "unconfined"}
    assert said("baseline", spec_of(), annotations=profile).startswith(
        "forbidden AppArmor profile (annotation must not set"
    )
    seccomp = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    expected = 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    assert said("baseline", spec_of(), 18, seccomp) == expected


# In a cluster


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    made = await ApiServer.start(Store(), SystemClock(), SystemIds(), ("none",))
    yield made
    await made.close()


def namespace(**labels: str) -> dict[str, Any]:
    marks = {f"pod-security.kubernetes.io/{key.replace('_', '-')}": value for key, value in labels.items()}
    return {"metadata": {"name": "n", "labels": marks}}


def pod(spec: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n"}, "spec": spec}


async def warned(server: ApiServer, verb: Any, resource: Resource, body: Any, name: str | None = None) -> list[str]:
    writer = Writer("test", trusted=False)
    place = None if resource == NAMESPACES else "n"
    kind = "application/merge-patch+json"
    await server.answer(Request(verb, resource, place, name, body=body, content_type=kind), writer)
    return writer.warnings


async def test_pods_are_refused_and_templates_warned_of(server: ApiServer) -> None:
    client = Client(server.transport())
    await client.create(NAMESPACES, namespace(enforce="baseline", warn="restricted", warn_version="v1.24"))
    with pytest.raises(
        Forbidden, match=r'pods "p" is forbidden: violates PodSecurity "baseline:latest": privileged \('
    ):
        await client.create(PODS, pod(spec_of({"privileged": True})))
    warnings = await warned(server, "create", PODS, pod(spec_of({})))
    assert warnings[0].startswith('would violate PodSecurity "restricted:v1.24": allowPrivilegeEscalation != false')
    template = {"metadata": {"labels": {"a": "b"}}, "spec": spec_of({"privileged": True})}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    warnings = await warned(server, "create", DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec})
    assert "privileged" in warnings[0]


async def test_namespaces_are_told_and_their_labels_checked(server: ApiServer) -> None:
    client = Client(server.transport())
    with pytest.raises(Invalid, match="must be one of privileged, baseline, restricted"):
        await client.create(NAMESPACES, namespace(enforce="strict"))
    with pytest.raises(Invalid, match=r'enforce-version\]: Invalid value: "1\.2": must be "latest" or "v1\.x"'):
        await client.create(NAMESPACES, namespace(enforce_version="1.2"))
    await client.create(NAMESPACES, namespace())
    for name in ("x", "y"):
        await client.create(PODS, pod(spec_of({"privileged": True}), name))
    await client.create(PODS, pod(spec_of(hostNetwork=True), "z"))
    patch = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    assert await warned(server, "patch", NAMESPACES, patch, "n") == [
        'existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest"',
        "x (and 1 other pod): privileged",
        "z: host namespaces",
    ]
    key = ObjectKey("n", "x")
    await client.patch(PODS, key, {"metadata": {"labels": {"still": "here"}}})
