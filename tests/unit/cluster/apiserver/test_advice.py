"""Warnings about what is taken all the same."""

from typing import Any

import pytest

from tiphys.cluster.apiserver.advice import warnings_of


def told(key: str, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return list(warnings_of(key, {"metadata": {"name": "x"}, **obj}, old))


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "c", "image": "a"}], **spec}}


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (
            pod(volumes=[{"name": "v", "gitRepo": {"repository": "r"}}]),
            "spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+",
        ),
        (
            pod(nodeSelector={"beta.kubernetes.io/os": "linux"}),
            'spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead',
        ),
        (
            pod(containers=[{"name": "c", "env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}]),
            'spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply',
        ),
        (
            pod(volumes=[{"name": "v", "configMap": {"name": "m", "items": [{"path": "a"}, {"path": "a/b"}]}}]),
            'volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"',
        ),
    ],
)
def test_a_pod_is_taken_with_a_warning(obj: dict[str, Any], text: str) -> None:
    assert told("pods", obj) == [text]


def test_a_plain_pod_needs_none() -> None:
    assert told("pods", pod()) == []


def test_a_tls_secret_without_a_certificate() -> None:
    assert told("secrets", {"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}}) == [
        "tls: failed to find any PEM data in certificate input"
    ]
