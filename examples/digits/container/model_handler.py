"""Says which digit a picture shows, with the scikit-learn classifier in the model's folder.

Written for Multi Model Server: `handle(data, context)` is called once with `data=None` when the
model is loaded, then once per request. Each model has a process of its own, with the model's folder
as its working directory: module globals belong to one model, and `model.joblib` is found by name.
"""

from __future__ import annotations

import io
import json
from http import HTTPStatus
from pathlib import Path

import joblib
import numpy as np
from PIL import Image, UnidentifiedImageError

SIDE = 8  # the classifiers know pictures of 8 x 8 points with values from 0 (paper) to 16 (ink)
INK = 16

_model = {}


def handle(data, context):
    """Load the model (`data` is None), or answer one request with JSON."""
    if data is None:
        _model["classifier"] = joblib.load("model.joblib")
        _model["about"] = json.loads(Path("model.json").read_text())
        return None
    try:
        points = read_picture(bytes(data[0]["body"]))
    except UnidentifiedImageError:
        return refuse(context, "the body is no picture: send a PNG, JPEG or GIF of a digit")
    context.set_response_content_type(0, "application/json")
    return [json.dumps({**classify(points), "model": _model["about"]["name"]})]


def read_picture(body):
    """The picture as one row of the training data, whatever its format and size."""
    picture = Image.open(io.BytesIO(body)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.rint(np.asarray(picture, dtype=float) * INK / 255).reshape(1, -1)


def classify(points):
    """The digit, and how sure the classifier is of it, where it can tell."""
    classifier = _model["classifier"]
    answer = {"digit": int(classifier.predict(points)[0])}
    if hasattr(classifier, "predict_proba"):
        answer["probability"] = round(float(classifier.predict_proba(points).max()), 4)
    return answer


def refuse(context, reason):
    """The caller's fault: InvokeEndpoint raises ModelError with OriginalStatusCode 400."""
    status = HTTPStatus.BAD_REQUEST
    context.set_response_status(status.value, status.phrase, 0)
    return [json.dumps({"error": reason})]
