"""Decoding a manifest into its type: normal form, unknown fields, and the messages of Go's decoders."""

from typing import Any

import pytest

from tiphys.api import decode


def workflow(**spec: Any) -> dict[str, Any]:
    return {"kind": "Workflow", "metadata": {"name": "w"}, "spec": spec}


def template(**fields: Any) -> dict[str, Any]:
    return workflow(templates=[{"name": "t", **fields}])


def test_normal_form_has_gos_order_and_gos_empty_structs() -> None:
    value = decode.decode(
        "Workflow", workflow(entrypoint="a", templates=[{"container": {"image": "x"}, "name": "a"}])
    ).value
    assert list(value["spec"]) == ["templates", "entrypoint", "arguments"]
    assert value["spec"]["templates"][0] == {
        "name": "a",
        "inputs": {},
        "outputs": {},
        "metadata": {},
        "container": {"name": "", "image": "x", "resources": {}},
    }


def test_parameter_values_become_text_and_lists_become_empty() -> None:
    given = [{"name": "a", "value": 1.50}, {"name": "b", "value": True}, {"name": "c", "value": [1]}]
    read = decode.decode("Workflow", workflow(arguments={"parameters": [*given, {"name": "d", "value": 1e21}]})).value
    values = [parameter["value"] for parameter in read["spec"]["arguments"]["parameters"]]
    assert values == ["1.5", "true", "", "1000000000000000000000"]


def test_lenient_mode_ignores_case_and_unknown_fields() -> None:
    value = decode.decode("Workflow", {"SPEC": {"EntryPoint": "a", "nope": 1}}).value
    assert value["spec"]["entrypoint"] == "a"


def test_strict_mode_lists_unknown_fields_with_their_places() -> None:
    found = decode.decode("Workflow", template(Container={}, script={"imagee": 1}), strict=True).unknown
    assert list(map(str, found)) == [
        'unknown field "spec.templates[0].Container"',
        'unknown field "spec.templates[0].script.imagee"',
    ]


@pytest.mark.parametrize(
    ("manifest", "message", "path"),
    [
        (
            workflow(entrypoint=[]),
            "json: cannot unmarshal array into Go struct field WorkflowSpec.spec.entrypoint of type string",
            "spec.entrypoint",
        ),
        (
            workflow(priority=1.5),
            "json: cannot unmarshal number 1.5 into Go struct field WorkflowSpec.spec.priority of type int32",
            "spec.priority",
        ),
        (
            template(steps=[{}]),
            "json: cannot unmarshal object into Go struct field Template.spec.templates.steps "
            "of type []map[string]interface {}",
            "spec.templates[0].steps[0]",
        ),
        (
            template(steps=[[{"withItems": "x"}]]),
            "json: cannot unmarshal string into Go struct field Template.spec.templates.steps.withItems "
            "of type []v1alpha1.Item",
            "spec.templates[0].steps[0][0].withItems",
        ),
        (template(steps=[[{"templat": "x"}]]), 'json: unknown field "templat"', "spec.templates[0].steps[0][0]"),
        (
            template(containerSet={"containers": [{"image": True}]}),
            "json: cannot unmarshal bool into Go struct field "
            "ContainerNode.spec.templates.containerSet.containers.Container.image of type string",
            "spec.templates[0].containerSet.containers[0].image",
        ),
        (template(plugin={}), "expected exactly one key, got 0", "spec.templates[0].plugin"),
    ],
)
def test_wrong_types_are_told_as_go_tells_them(manifest: dict[str, Any], message: str, path: str) -> None:
    with pytest.raises(decode.DecodeError) as caught:
        decode.decode("Workflow", manifest)
    assert (str(caught.value), caught.value.path) == (message, path)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("core.v1.Pod", {"spec": {"restartPolicy": 3}}, "PodSpec.spec.restartPolicy of type v1.RestartPolicy"),
        ("core.v1.Namespace", {"spec": {"finalizers": [1]}}, "NamespaceSpec.spec.finalizers of type v1.FinalizerName"),
        ("core.v1.Pod", {"metadata": {"uid": 1}}, "ObjectMeta.metadata.uid of type types.UID"),
        (
            "autoscaling.v2.HorizontalPodAutoscaler",
            {"spec": {"metrics": [{"resource": {"name": 1}}]}},
            "ResourceMetricSource.spec.metrics.resource.name of type v1.ResourceName",
        ),
    ],
)
def test_named_strings_are_told_by_their_names(kind: str, value: dict[str, Any], message: str) -> None:
    with pytest.raises(decode.DecodeError, match=f"cannot unmarshal number into Go struct field {message}"):
        decode.decode(f"k8s.io.api.{kind}", value, strict=True)


def test_deep_nesting_is_refused() -> None:
    inner: dict[str, Any] = {"name": "x"}
    for _ in range(2000):
        inner = {"name": "x", "steps": [[{"name": "s", "inline": inner}]]}
    with pytest.raises(decode.DecodeError, match="max depth"):
        decode.decode("Workflow", workflow(templates=[inner]))


def test_pruned_drops_what_marshalling_drops() -> None:
    value = decode.decode("Workflow", template(steps=[], container={"args": []})).value["spec"]["templates"][0]
    assert value["steps"] == [] and value["container"]["args"] == []
    pruned = decode.pruned("workflow.v1alpha1.Template", value)
    assert "steps" not in pruned and "args" not in pruned["container"]
