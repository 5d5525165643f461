"""What may be wished for."""

from __future__ import annotations

from typing import Any

import pytest

from modelplex.control import rules
from modelplex.control.records import Kind, Record, Records


def test_a_rule_gets_all_its_members() -> None:
    """What was not said is said by the defaults, so that a document explains itself."""
    (rule,) = rules.checked({"rules": [{"pattern": "a*", "pinned": True}]})
    assert rule == {
        "pattern": "a*",
        "pinned": True,
        "weight": 1.0,
        "residency_min_s": 0.0,
        "queue_max": 0,
        "refresh": False,
    }


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "Value 'None' at 'rules' failed"),
        ({"rules": {}}, "must be a list"),
        ({"rules": [{"pattern": "a"}] * 101}, "at most 100"),
        ({"rules": [{"pattern": "a"}, {"pattern": "a"}]}, "Each pattern may have one rule"),
        ({"rules": ["a"]}, "'rules.1.member' failed to satisfy constraint: Member must be an obj"),
        ({"rules": [{"weight": 1}]}, "'rules.1.member.pattern'"),
        ({"rules": [{"pattern": ""}]}, "1 to 1024 printable"),
        ({"rules": [{"pattern": "a\nb"}]}, "1 to 1024 printable"),
        ({"rules": [{"pattern": "a", "weight": 0}]}, "between 0.01 and 1000"),
        ({"rules": [{"pattern": "a", "weight": float("nan")}]}, "between 0.01 and 1000"),
        ({"rules": [{"pattern": "a", "queue_max": 1.5}]}, "between 0 and 1e+06"),
        ({"rules": [{"pattern": "a", "pinned": 1}]}, "Value '1' at 'rules.1.member.pinned'"),
        ({"rules": [{"pattern": "a", "colour": "red"}]}, "Member must be one of pattern, pinned"),
    ],
)
def test_an_impossible_document_is_refused_in_the_services_words(document: Any, said: str) -> None:
    """The place, the value, and what it may be."""
    with pytest.raises(rules.BadRules, match="1 validation error detected") as refused:
        rules.checked(document)
    assert said in str(refused.value)


def test_rejected_versions_are_noted_once_and_not_without_end() -> None:
    """The newest are kept; rules that change leave them alone."""
    records = Records(":memory:")
    arn = "arn:aws:sagemaker:us-west-2:123456789012:endpoint/e"
    records.put(Record(Kind.ENDPOINT, "e", arn, {}, 1.0, 1.0))
    for number in (1, 2, 1):
        rules.reject(records, arn, "m", f"v{number}")
    kept = rules.replace(records, arn, {"rules": [{"pattern": "m"}]})
    assert [each["version"] for each in kept["rejected"]] == ["v2", "v1"]
    records.set_rules(arn, {**kept, "rejected": [kept["rejected"][0]] * rules.REJECTED_MAX})
    assert len(rules.reject(records, arn, "m", "v3")["rejected"]) == rules.REJECTED_MAX
    records.delete(arn)
    assert rules.of(records, arn) == rules.NONE
