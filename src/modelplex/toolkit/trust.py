"""Whether a model may bring code: its own functions and packages, and formats that run code when
they are read (pickle, joblib).

The platform's setting `model_code`, or the endpoint's own variable in CreateModel's Environment.
"""

from __future__ import annotations

import os

from modelplex.toolkit.errors import GenericInferenceToolkitError

VARIABLE = "MODELPLEX_MODEL_CODE"
REFUSE = "refuse"  # anything else allows


def refused() -> bool:
    """Whether code of models must not run here."""
    return os.environ.get(VARIABLE, "").strip().lower() == REFUSE


def require(what: str) -> None:
    """To be called before `what` (a noun: "The pickle model.pkl") is run or unpickled.

    Raises GenericInferenceToolkitError with status 403 where code is refused.
    """
    if refused():
        raise GenericInferenceToolkitError(
            403,
            f"{what} would run code of the model, which this endpoint refuses ({VARIABLE}="
            f"{REFUSE}). Use a format without code: skops, safetensors, ONNX, TorchScript, "
            "XGBoost's JSON, LightGBM's text; or allow it where you trust whoever makes models.",
            "Forbidden",
        )
