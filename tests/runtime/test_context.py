"""The context has what Multi Model Server's has."""

from __future__ import annotations

import importlib

import pytest

from modelplex.runtime import standin
from modelplex.runtime.context import Context
from modelplex.runtime.inputs import Request


@pytest.fixture
def context() -> Context:
    """A context with one request begun."""
    context = Context("m", "/models/m", {"model": {}})
    meta = b"\0".join([b"", b"r-1", b"content-type", b"text/csv", b"accept", b"*/*"])
    context.begin([Request(bytearray(meta), 7, {"body": "text/csv"})])
    return context


def test_what_is_known_of_the_model(context):
    """Names, folder and server, as handlers read them."""
    assert context.system_properties == {
        "model_dir": "/models/m",
        "gpu_id": None,
        "batch_size": 1,
        "server_name": "MMS",
        "server_version": "1.1.11",
    }
    assert (context.model_name, context.manifest) == ("m", {"model": {}})


def test_request_headers_are_found_in_any_case(context):
    """Singly, all together, and through the request processor, as toolkits do it."""
    assert context.get_request_header(0, "content-type") == "text/csv"
    assert context.get_request_header(0, "ACCEPT") == "*/*"
    assert context.get_request_header(0, "x-none") is None
    headers = context.get_all_request_header(0)
    assert "Content-Type" in headers
    assert headers["CONTENT-TYPE"] == "text/csv"
    assert dict(headers) == {
        "content-type": "text/csv",
        "accept": "*/*",
        "body": {"content-type": "text/csv"},
    }
    assert context.request_processor[0].get_request_properties() is headers
    assert context.get_request_id() == "r-1"


def test_the_answers_status_and_headers(context):
    """Are read back as they were set, by either name."""
    assert context.get_response_status(0) == (200, None)
    context.set_response_status(404, "no such label", 0)
    assert context.get_response_status(0) == (404, "no such label")
    context.set_all_response_status(500, "oh")
    assert context.get_response_status(0) == (500, "oh")
    context.set_response_content_type(0, "text/plain")
    context.set_response_header(0, "x", "y")
    assert context.get_response_content_type(0) == "text/plain"
    assert context.get_response_headers(0) == {"content-type": "text/plain", "x": "y"}
    assert context.request_processor[0].get_response_header("x") == "y"


def test_during_the_load_there_is_no_request():
    """A status is ignored, as by MMS; a header is an error that says why."""
    context = Context("m", "/models/m")
    context.set_response_status(500)
    context.set_all_response_status(500)
    assert context.get_request_id() is None
    with pytest.raises(RuntimeError, match="while the model is being loaded"):
        context.get_request_header(0, "accept")


def test_the_stand_in_offers_what_handlers_import():
    """When the image has no real `mms`; other names of it stay unknown."""
    standin.offer()
    service = importlib.import_module("mms.service")
    error = service.PredictionException("bad", 422)
    assert (str(error), error.message, error.error_code) == ("bad : 422", "bad", 422)
    dimension = importlib.import_module("mms.metrics.dimension").Dimension("a", 1)
    assert dimension.to_dict() == {"Name": "a", "Value": 1}
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mms.no_such_module")
