"""The contract with the user's functions."""

from __future__ import annotations

import logging

import pytest

from modelplex.toolkit import errors
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.transformer import Transformer

THREE = """
    def model_fn(model_dir):
        return "M"

    def input_fn(data, content_type):
        return f"{content_type}:{data}"

    def predict_fn(data, model):
        return f"{model}({data})"

    def output_fn(prediction, accept):
        return f"{prediction} as {accept}"
"""
ECHO = """
    def model_fn(model_dir):
        return None

    def transform_fn(model, data, content_type, accept):
        return data
"""


def raising(what: str, function: str = "transform_fn(model, data, content_type, accept)") -> str:
    """A model that raises this in that function."""
    text = ECHO.replace("return data", "return b''")
    return f"{text}\n    def {function}:\n        {what}\n"


def test_the_three_functions_make_the_answer(make_model):
    """JSON comes as text; the answer's content type is the one accepted."""
    model = make_model(THREE)
    answer = model.ask(b"[1]", Content_Type="application/json", Accept="text/x")
    assert answer == "M(application/json:[1]) as text/x"
    assert model.content_type == "text/x"
    assert model.status is None


def test_functions_may_take_the_context(make_model):
    """One argument more is the context, in any of them."""
    model = make_model("""
        def pre_model_fn(model_dir, context):
            assert context.system_properties["model_dir"] == model_dir

        def model_fn(model_dir, context):
            return context.system_properties

        def transform_fn(model, data, content_type, accept, context):
            return [model is context.system_properties, len(context.headers)]
    """)
    assert model.ask() == [True, 1]


def test_a_context_of_every_request(make_model):
    """Not the one that was there when the model was loaded."""
    model = make_model("""
        def model_fn(model_dir): return None
        def transform_fn(model, data, content_type, accept, context): return context.number
    """)
    model.context.number = 1
    assert model.ask() == 1
    model.context = type(model.context)(".")
    model.context.number = 2
    assert model.ask() == 2


def test_hooks_run_around_the_load(make_model):
    """pre_model_fn before model_fn, model_warmup_fn with the model after it."""
    model = make_model("""
        steps = []
        def pre_model_fn(model_dir): steps.append("pre")
        def model_fn(model_dir): steps.append("load"); return steps
        def model_warmup_fn(model_dir, model): model.append("warm")
        def transform_fn(model, data, content_type, accept): return model
    """)
    assert model.ask() == ["pre", "load", "warm"]


def test_transform_fn_excludes_the_three(make_model):
    """The load fails and says which are there."""
    with pytest.raises(ValueError, match="either transform_fn or input_fn, output_fn, not both"):
        make_model(ECHO + "\n    def input_fn(a, b): 1\n    def output_fn(a, b): 1\n")


def test_a_function_of_another_form_fails_the_load(make_model):
    """Rather than each request."""
    with pytest.raises(TypeError, match="predict_fn takes 1 arguments: it must take 2, or one"):
        make_model(THREE + "\n    def predict_fn(data): 1\n")


def test_a_tuple_brings_its_content_type(make_model):
    """Whatever was accepted."""
    model = make_model(ECHO.replace("return data", "return b'x', 'image/png'"))
    assert model.ask(Accept="text/csv") == b"x"
    assert model.content_type == "image/png"


@pytest.mark.parametrize("accept", [None, "*/*", ""])
def test_without_a_wish_the_default_is_accepted(make_model, monkeypatch, accept):
    """SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT, which is JSON if unset."""
    headers = {} if accept is None else {"Accept": accept}
    text = ECHO.replace("return data", "return accept")
    assert make_model(text).ask(**headers) == "application/json"
    monkeypatch.setenv("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    assert make_model(text, name="n").ask(**headers) == "text/csv"


def test_requests_of_a_batch_are_apart(make_model):
    """Each has its headers, content type and status; one that fails hurts no other."""
    model = make_model("""
        def model_fn(model_dir): return None
        def transform_fn(model, data, content_type, accept):
            return {"ok": ("fine", "text/a")}[data], accept
    """)
    answers = model.ask_all(
        ("ok", {"Accept": "text/one"}), ("no", {"Accept": "text/two"}), ("ok", {"accept": "c/d"})
    )
    assert answers == [("fine", "text/a"), "KeyError: 'no'", ("fine", "text/a")]
    assert model.context.statuses == {1: (500, "Internal Server Error")}
    assert model.context.content_types[0] == "text/one"
    assert model.context.content_types[2] == "c/d"


def test_an_exception_is_told_without_its_stack(make_model, caplog):
    """500 with type and message; the trace is in the log."""
    model = make_model(raising("raise KeyError('secret place')"))
    assert model.ask() == "KeyError: 'secret place'"
    assert model.status == (500, "Internal Server Error")
    assert model.content_type == "text/plain; charset=utf-8"
    assert caplog.records[-1].exc_info is not None


def test_the_stack_is_told_where_it_is_asked_for(make_model, monkeypatch):
    """MODELPLEX_TOOLKIT_TRACEBACKS=true."""
    monkeypatch.setenv("MODELPLEX_TOOLKIT_TRACEBACKS", "true")
    answer = make_model(raising("raise KeyError(1)")).ask()
    assert answer.startswith("KeyError: 1\nTraceback")


def test_errors_with_a_status_set_it(make_model, caplog):
    """Message and phrase too; what is the client's fault needs no trace in the log."""
    model = make_model(
        "from modelplex.toolkit.errors import GenericInferenceToolkitError as Error"
        + raising("raise Error(418, 'a\\nb')").replace("\n    ", "\n")
    )
    with caplog.at_level(logging.ERROR):
        assert model.ask() == "a\nb"
    assert model.status == (418, "a b")
    assert not caplog.records[-1].exc_info


def test_a_prediction_exception_keeps_its_code(make_model):
    """Of Multi Model Server's package, or of what stands in for it."""
    model = make_model(
        raising("raise PredictionException()")
        + """
    class PredictionException(Exception):
        message, error_code = "not today", 499
    """
    )
    assert (model.ask(), model.status) == ("not today", (499, "not today"))


@pytest.mark.parametrize("what", ["MemoryError()", "RuntimeError('CUDA out of memory. Tried')"])
def test_a_lack_of_memory_is_a_memory_error(make_model, what):
    """For predicting and for loading: servers answer that with 507."""
    model = make_model(raising(f"raise {what}"))
    with pytest.raises(MemoryError):
        model.ask()
    with pytest.raises(MemoryError):
        make_model(raising(f"raise {what}", "model_fn(model_dir)"), name="n")


def test_what_loading_raises_fails_the_load(make_model):
    """Nothing is swallowed."""
    with pytest.raises(OSError, match="gone"):
        make_model(raising("raise OSError('gone')", "model_fn(model_dir)"))


def test_a_model_without_model_fn_is_told_where_it_belongs(make_model):
    """The sentence has the file."""
    with pytest.raises(
        NotImplementedError, match=r"model_fn implementation in .*code/inference.py"
    ):
        make_model("")


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff", {"Content_Type": "text/csv"}, 400),
        (b"{", {"Content_Type": "application/json"}, 400),
        (b"", {"Content_Type": "image/png"}, 415),
        (b"", {}, 415),
        (b"1", {"Content_Type": "application/json; charset=utf-8", "Accept": "image/png"}, 406),
    ],
)
def test_what_the_codecs_refuse(make_model, body, headers, status):
    """With a status of its own and a sentence."""
    model = make_model("""
        def model_fn(model_dir): return None
        def predict_fn(data, model): return data
    """)
    assert model.ask(body, **headers).endswith((".", "(char 1)", "start byte"))
    assert model.status[0] == status


@pytest.mark.parametrize(
    ("accept", "content_type", "answer"),
    [
        ("image/png, text/csv;q=0.5, application/json", "application/json", "[1, 2]"),
        ("image/*, text/*;q=0.1", "text/csv", "1\n2\n"),
        ("image/png, */*;q=0.1", "application/json", "[1, 2]"),
    ],
)
def test_the_best_known_content_type_is_written(make_model, accept, content_type, answer):
    """Wildcards count, the default comes for */*."""
    model = make_model("""
        def model_fn(model_dir): return None
        def input_fn(data, content_type): return None
        def predict_fn(data, model): return [1, 2]
    """)
    assert model.ask(Accept=accept) == answer
    assert model.content_type == content_type


def test_entry_points_subclass_service_and_defaults(make_model):
    """As the framework containers do: own defaults, the user's functions before them."""

    class Defaults(DefaultInferenceHandler):
        def default_model_fn(self, model_dir, context=None):
            return "default model"

        def default_input_fn(self, input_data, content_type):
            return input_data

        def default_predict_fn(self, data, model, context=None):
            return f"{model}: {data}"

    class HandlerService(DefaultHandlerService):
        def __init__(self):
            super().__init__(transformer=Transformer(default_inference_handler=Defaults()))

    text = "def output_fn(prediction, accept): return prediction.upper()"
    assert make_model(text, service=HandlerService()).ask("x") == "DEFAULT MODEL: X"


def test_the_program_may_have_another_name(make_model, monkeypatch):
    """SAGEMAKER_PROGRAM, in a folder of `code/` too."""
    monkeypatch.setenv("SAGEMAKER_PROGRAM", "serving/main.py")
    model = make_model("raise SystemExit", {"code/serving/main.py": ECHO})
    assert model.ask("x") == "x"


def test_a_form_comes_as_its_fields(make_model):
    """There is no body then."""
    model = make_model(ECHO)
    model.context.headers = [{}]
    assert model.service.handle([{"a": b"1", "b": b"2"}], model.context) == [{"a": b"1", "b": b"2"}]


def test_errors_have_status_message_and_phrase():
    """The base's arguments are all needed, the generic one's message is its phrase."""
    base = errors.BaseInferenceToolkitError(500, "m", "p")
    assert (base.status_code, base.message, base.phrase) == (500, "m", "p")
    generic = errors.GenericInferenceToolkitError(400)
    assert (generic.message, generic.phrase) == ("Invalid Request", "Invalid Request")
    assert issubclass(errors.UnsupportedAcceptError, errors.UnsupportedFormatError)
