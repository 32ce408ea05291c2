import pytest

from tiphys.machinery import resource_conditions
from tiphys.machinery.resource_conditions import ConditionError

JOB = '{"status": {"succeeded": 1, "phase": "Done", "conditions": [{"type": "Complete"}]}}'


@pytest.mark.parametrize(
    ("success", "failure", "result"),
    [
        ("status.succeeded > 0", "", "success"),
        ("status.succeeded > 1", "", "waiting"),
        ("status.phase in (Done, Over), status.conditions.0.type == Complete", "status.failed > 0", "success"),
        ("status.succeeded > 0", "status.phase == Done", "failure"),
        ("status.failed != 1", "", "success"),
        ("", "status.failed", "success"),
    ],
)
def test_outcomes(success: str, failure: str, result: str) -> None:
    assert resource_conditions.evaluate(resource_conditions.parse(success, failure), JOB).result == result


@pytest.mark.parametrize("text", ["a >= 1", "a > x", 'a == "b"', "a &&", "status.conditions.#"])
def test_wrong_conditions_are_named(text: str) -> None:
    with pytest.raises(ConditionError, match=r"success condition .* failed to parse") as refused:
        resource_conditions.parse(text)
    assert refused.value.is_syntax


def test_no_json_is_not_retried() -> None:
    with pytest.raises(ConditionError, match="Will not be retried"):
        resource_conditions.evaluate(resource_conditions.parse("a"), "oops")
