"""The label of multi-model images."""

from __future__ import annotations

from modelplex.engine import missing_label
from modelplex.engine.images import MULTI_MODEL_LABEL


def test_the_sentence_is_sagemakers() -> None:
    """As CreateModel of the real thing has it."""
    assert missing_label("a/b:1", {}) == (
        "Your Ecr Image a/b:1 does not contain required "
        "com.amazonaws.sagemaker.capabilities.multi-models=true Docker label(s)."
    )


def test_only_true_is_true() -> None:
    """Whatever its case."""
    assert missing_label("a", {MULTI_MODEL_LABEL: "True"}) == ""
    assert missing_label("a", {MULTI_MODEL_LABEL: "false"})
