"""Many requests predicted at once, and each its own answer."""

from __future__ import annotations

import pytest

from modelplex.toolkit import batching, errors
from modelplex.toolkit.batching import Failed
from modelplex.toolkit.default_handler_service import DefaultHandlerService
from modelplex.toolkit.default_inference_handler import DefaultInferenceHandler
from modelplex.toolkit.transformer import Transformer

np = pytest.importorskip("numpy")


def test_inputs_of_one_form_are_predicted_together():
    """Of one type and with equally long rows; the others as they come."""
    sizes = []

    def predict(rows):
        sizes.append(len(rows))
        return rows * 2

    inputs = [np.ones((1, 2)), np.ones((2, 2)), np.ones((1, 3)), [5], np.ones((3, 2), "float32")]
    outcomes = batching.predict(inputs, predict)
    assert sizes == [3, 1, 1, 3]
    assert [np.shape(one) for one in outcomes] == [(1, 2), (2, 2), (1, 3), (2,), (3, 2)]


def test_arrays_by_name_and_several_outputs_are_taken_apart():
    """A dict of arrays in, and any nest of arrays out."""
    inputs = [{"a": np.full((n, 1), n), "b": np.zeros(n)} for n in (1, 2)]

    def predict(rows):
        return {"y": [rows["a"], rows["b"]], "z": (rows["a"],)}

    first, second = batching.predict(inputs, predict)
    assert first["y"][0].tolist() == [[1]]
    assert second["z"][0].tolist() == [[2], [2]]
    uneven = [{"a": np.zeros(1), "b": np.zeros(2)}] * 2
    assert batching.groups(uneven) == [[0], [1]]


@pytest.mark.parametrize("answer", [lambda rows: 1, lambda rows: np.zeros(1), lambda rows: "text"])
def test_what_cannot_be_taken_apart_is_predicted_one_by_one(answer):
    """A prediction that has not a place for each row."""
    assert len(batching.predict([np.zeros((1, 1))] * 3, answer)) == 3


def test_one_failure_is_not_the_others():
    """The joint call fails, and then only the row at fault does."""

    def predict(rows):
        if rows.max() > 1:
            raise ValueError("too much")
        return rows

    broken = Failed(TypeError())
    outcomes = batching.predict([np.ones(1), broken, np.full(1, 2)], predict)
    assert outcomes[0].tolist() == [1]
    assert outcomes[1] is broken
    assert str(outcomes[2].error) == "too much"


def test_rows_are_joined_up_to_a_size(monkeypatch):
    """Beyond it, another group begins."""
    monkeypatch.setattr(batching, "JOINED_BYTES_MAX", 20)
    assert batching.groups([np.zeros(1)] * 5) == [[0, 1], [2, 3], [4]]
    assert batching.groups([np.zeros(9), np.zeros(1)]) == [[0], [1]]


class Doubler(DefaultInferenceHandler):
    """Predicts for many at once, and notes for how many."""

    batches = True

    def __init__(self):
        self.calls = []

    def default_model_fn(self, model_dir):
        return 2

    def default_predict_fn(self, data, model):
        self.calls.append(len(data))
        if data.max() > 100:
            raise errors.MalformedInputError("too large")
        return data * model


def ask_three(model):
    """The answers to three requests, the second of them broken."""
    bodies = ("[[1]]", "[", "[[2], [3]]")
    return model.ask_all(*((body, {"Content-Type": "application/json"}) for body in bodies))


def test_the_default_functions_predict_for_a_batch_at_once(make_model):
    """And each request has its own status, accepted type and error."""
    handler = Doubler()
    model = make_model("", service=DefaultHandlerService(Transformer(handler)))
    first, second, third = ask_three(model)
    assert handler.calls == [3]
    assert (first, third) == ("[[2]]", "[[4], [6]]")
    assert "no valid application/json" in second
    assert {index: status for index, (status, _) in model.context.statuses.items()} == {1: 400}
    assert model.context.content_types[2] == "application/json"
    large = model.ask_all(*(("[[1000]]", {"Content-Type": "application/json"}),) * 2)
    assert large == ["too large"] * 2


@pytest.mark.parametrize(
    "own", ["def predict_fn(data, model): return data + 1", "def input_fn(body, kind): return [7]"]
)
def test_the_users_functions_get_one_request_each(make_model, own):
    """Nobody has told them of batches."""
    handler = Doubler()
    handler.default_predict_fn = lambda data, model: data
    model = make_model(own, service=DefaultHandlerService(Transformer(handler)))
    assert len(ask_three(model)) == 3
    assert handler.calls == []


def test_a_handler_may_read_rows_for_itself(make_model):
    """`default_rows_fn` stands in for input_fn where no function is the user's."""

    class Rows(Doubler):
        def default_rows_fn(self, body, content_type):
            return np.array([[42]])

    model = make_model("", service=DefaultHandlerService(Transformer(Rows())))
    assert ask_three(model) == ["[[84]]"] * 3
    assert model.ask("x") == "[[84]]"
    text = "def output_fn(prediction, accept): return prediction.tolist()"
    mine = make_model(text, service=DefaultHandlerService(Transformer(Rows())), name="n")
    assert mine.ask("[[1]]", Content_Type="application/json") == [[2]]


def test_a_lack_of_memory_fails_the_batch(make_model):
    """So that the platform makes room."""
    handler = Doubler()
    model = make_model("", service=DefaultHandlerService(Transformer(handler)))

    def predict(data, model):
        raise MemoryError

    model.service._service._predict_fn = predict
    with pytest.raises(MemoryError):
        ask_three(model)
