"""Whether models may bring code: the endpoint says, and a refusal says what to use instead."""

from __future__ import annotations

import pytest

from modelplex.runtime.model import load_failure
from modelplex.toolkit import trust
from modelplex.toolkit.errors import GenericInferenceToolkitError

INFERENCE = """
    def model_fn(model_dir): return 1
    def transform_fn(model, data, content_type, accept): return "ran"
"""


@pytest.mark.parametrize("value", [None, "", "allow", "yes"])
def test_code_is_allowed_unless_it_is_refused(monkeypatch, make_model, value):
    """As everywhere in SageMaker."""
    monkeypatch.delenv(trust.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(trust.VARIABLE, value)
    trust.require("The pickle")
    assert make_model(INFERENCE).ask() == "ran"


def test_refused_code_does_not_run(monkeypatch, make_model, capsys):
    """The load fails with a status of the client's, and names what can be used."""
    monkeypatch.setenv(trust.VARIABLE, "Refuse")
    with pytest.raises(GenericInferenceToolkitError, match="403 The folder code/") as raised:
        make_model(INFERENCE)
    status, message = load_failure(raised.value)
    assert status == 403
    for word in ("skops", "safetensors", "ONNX", "TorchScript", "allow it"):
        assert word in message


def test_pickles_are_refused_by_name(monkeypatch):
    """Handlers of frameworks ask before they unpickle."""
    monkeypatch.setenv(trust.VARIABLE, "refuse")
    with pytest.raises(GenericInferenceToolkitError, match=r"The pickle model\.pkl would run"):
        trust.require("The pickle model.pkl")
