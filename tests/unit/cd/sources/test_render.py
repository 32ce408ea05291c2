"""Renders with the tools of this machine: example charts and kustomizations of our own, no fakes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tiphys.cd.sources.render import render
from tiphys.cd.sources.request import Rendered, RenderError, Request
from tiphys.cd.sources.tools import Programs, Toolbox

needs_kubectl = pytest.mark.skipif(
    not (shutil.which("kubectl") or shutil.which("kustomize")), reason="neither kubectl nor kustomize is installed"
)

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: demo\nversion: 1.2.3\n",
    "values.yaml": "image: {tag: one}\nnames: [a]\n",
    "templates/map.yaml": """apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}
data: {tag: {{ .Values.image.tag | quote }}, kube: {{ .Capabilities.KubeVersion.Version | quote }}}
""",
    "templates/tests/test.yaml": """apiVersion: v1
kind: Pod
metadata: {name: t, annotations: {helm.sh/hook: test}}
""",
    "templates/NOTES.txt": "thanks",
    "crds/crd.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a.x}\n",
    "values.schema.json": '{"properties": {"image": {"type": "object"}}}',
}
KUSTOMIZATION = {
    "kustomization.yaml": "resources: [map.yaml]\n",
    "map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\n",
    "deployment.yaml": """apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  template:
    spec: {containers: [{name: c, image: nginx}]}
""",
}


def rendered(root: Path, files: Mapping[str, str], source: dict[str, Any], **more: Any) -> Rendered:
    for name, text in files.items():
        (root / "app" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "app" / name).write_text(text)
    request = Request(app="web", source={"path": "app", **source}, root=root, namespace="prod", **more)
    return render(request, Toolbox())


def by_kind(found: Rendered) -> dict[str, Any]:
    return {manifest["kind"]: manifest for manifest in found.manifests}


def test_a_chart_with_values_from_everywhere(tmp_path: Path) -> None:
    helm = {
        "valuesObject": {"image": {"tag": "two"}},
        "parameters": [{"name": "image.tag", "value": "$ARGOCD_APP_NAME"}],
    }
    found = by_kind(rendered(tmp_path, CHART, {"helm": helm}, kube_version="v1.30.2-vendor"))
    assert set(found) == {"ConfigMap", "Pod", "CustomResourceDefinition"}
    assert found["ConfigMap"]["metadata"] == {"name": "web", "namespace": "prod"}
    assert found["ConfigMap"]["data"] == {"tag": "web", "kube": "v1.30.2"}


def test_what_a_chart_may_leave_out(tmp_path: Path) -> None:
    found = rendered(tmp_path, CHART, {"helm": {"skipCrds": True, "skipTests": True}})
    assert [manifest["kind"] for manifest in found.manifests] == ["ConfigMap"]


def test_the_schema_is_held_unless_it_is_skipped(tmp_path: Path) -> None:
    wrong = {"values": "image: 5\n"}
    with pytest.raises(RenderError, match="image"):
        rendered(tmp_path, CHART, {"helm": wrong})
    with pytest.raises(RenderError, match=r"map\.yaml"):
        rendered(tmp_path, CHART, {"helm": {**wrong, "skipSchemaValidation": True}})


def test_a_dependency_beside_the_chart_is_fetched(tmp_path: Path) -> None:
    library = tmp_path / "library"
    (library / "templates").mkdir(parents=True)
    (library / "Chart.yaml").write_text("apiVersion: v2\nname: library\nversion: 0.1.0\n")
    (library / "templates/secret.yaml").write_text("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n")
    dependency = "dependencies: [{name: library, version: 0.1.0, repository: 'file://../library'}]\n"
    found = rendered(tmp_path, {**CHART, "Chart.yaml": CHART["Chart.yaml"] + dependency}, {})
    assert "Secret" in by_kind(found)


@needs_kubectl
def test_a_kustomization_with_every_override(tmp_path: Path) -> None:
    (tmp_path / "component").mkdir()
    (tmp_path / "component/kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nnameSuffix: -more\n"
    )
    kustomize = {
        "namePrefix": "p-",
        "nameSuffix": "-s",
        "images": ["nginx=example.com:5000/web:2"],
        "replicas": [{"name": "d", "count": "3"}],
        "commonLabels": {"team": "$ARGOCD_APP_NAME"},
        "labelWithoutSelector": True,
        "commonAnnotations": {"note": "x"},
        "namespace": "space",
        "patches": [{"patch": "- {op: add, path: /data, value: {k: v}}", "target": {"kind": "ConfigMap"}}],
        "components": ["../component", "../missing"],
        "ignoreMissingComponents": True,
    }
    files = {**KUSTOMIZATION, "kustomization.yaml": "resources: [map.yaml, deployment.yaml]\n"}
    found = by_kind(rendered(tmp_path, files, {"kustomize": kustomize}))
    metadata = found["ConfigMap"]["metadata"]
    assert metadata["name"].startswith("p-m") and metadata["name"].endswith("-s")
    assert metadata["namespace"] == "space" and metadata["labels"] == {"team": "web"}
    assert found["ConfigMap"]["data"] == {"k": "v"}
    deployment = found["Deployment"]["spec"]
    assert deployment["replicas"] == 3
    assert deployment["template"]["spec"]["containers"][0]["image"] == "example.com:5000/web:2"


@needs_kubectl
def test_a_kustomization_may_not_read_outside_its_root(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match=r"kustom"):
        rendered(tmp_path, {"kustomization.yaml": "resources: [/etc/hostname]\n"}, {})


def test_a_jsonnet_import_may_not_leave_the_repository(tmp_path: Path) -> None:
    (tmp_path / "secret.libsonnet").write_text("{}")
    with pytest.raises(RenderError, match="leads out of the repository"):
        rendered(tmp_path / "repository", {"a.jsonnet": "import '../../secret.libsonnet'"}, {})


@pytest.mark.parametrize(
    "code",
    [
        "import 'gone.libsonnet'",
        "local text = importstr 'gone.libsonnet'; {kind: 'A', apiVersion: 'v1', metadata: {name: text}}",
        "[import 'gone.libsonnet', import 'other.libsonnet']",
        "local lazy = import 'other.libsonnet'; [import 'gone.libsonnet', lazy]",
    ],
)
def test_a_jsonnet_import_that_is_not_there_is_told_as_it_is(tmp_path: Path, code: str) -> None:
    with pytest.raises(RenderError) as told:
        rendered(tmp_path, {"a.jsonnet": code}, {})
    said = str(told.value)
    assert 'RUNTIME ERROR: couldn\'t open import "gone.libsonnet": no match locally' in said
    assert "refused" not in said and said.isascii()


def test_jsonnet_imports_that_nobody_evaluates_are_no_error(tmp_path: Path) -> None:
    code = "local gone = import 'gone.libsonnet'; {kind: 'A', apiVersion: 'v1', metadata: {name: 'a'}}"
    assert "A" in by_kind(rendered(tmp_path, {"a.jsonnet": code}, {}))


def test_a_program_that_does_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="failed timeout after"):
        Programs(deadline=0.2).run(["sh", "-c", "sleep 60 & wait"], tmp_path, {})


def test_a_program_sees_none_of_our_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hush")
    assert "hush" not in Programs().run(["env"], tmp_path, {"GIVEN": "x"})
