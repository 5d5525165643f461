"""Bodies and answers of networks."""

from __future__ import annotations

import io
import json

import pytest

from modelplex.toolkit import content_types, tensors
from modelplex.toolkit.errors import GenericInferenceToolkitError, MalformedInputError

np = pytest.importorskip("numpy")
JSON = "application/json"


def listed(found):
    """Arrays as lists, to compare."""
    if isinstance(found, dict):
        return {name: array.tolist() for name, array in found.items()}
    return found.tolist()


@pytest.mark.parametrize(
    "body",
    [b"[[1,2],[3,4]]", b'{"inputs":[[1,2],[3,4]]}', b'{"instances":[[1,2],[3,4]]}'],
)
def test_an_array_has_three_spellings(body):
    """A list, or one under the names that other servers use."""
    assert listed(tensors.decode(body, JSON)) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "body",
    [
        {"ids": [[1], [2]], "mask": [0, 1]},
        {"inputs": {"ids": [[1], [2]], "mask": [0, 1]}},
        {"instances": [{"ids": [1], "mask": 0}, {"ids": [2], "mask": 1}]},
    ],
)
def test_several_arrays_come_by_name(body):
    """Whole, or row by row."""
    found = tensors.decode(json.dumps(body).encode(), JSON)
    assert listed(found) == {"ids": [[1], [2]], "mask": [0, 1]}


def test_a_network_may_call_its_input_inputs():
    """Then it is meant by name."""
    found = tensors.decode(b'{"inputs": [1]}', JSON, ["inputs", "state"])
    assert listed(found) == {"inputs": [1]}


def test_json_lines_are_rows():
    """Lists, or objects with equal names."""
    assert listed(tensors.decode(b"[1,2]\n\n[3,4]\n", content_types.JSON_LINES)) == [[1, 2], [3, 4]]
    found = tensors.decode(b'{"a":1}\n{"a":2}', "application/jsonlines; charset=utf-8")
    assert listed(found) == {"a": [1, 2]}


def test_csv_always_has_two_dimensions():
    """Also one line, and one column."""
    assert listed(tensors.decode(b"1,2.5", "text/csv")) == [[1, 2.5]]
    assert listed(tensors.decode("1\n2", "text/csv")) == [[1], [2]]


def test_numpys_own_formats():
    """One array, or several by name."""
    one, several = io.BytesIO(), io.BytesIO()
    np.save(one, np.arange(3))
    np.savez(several, a=np.arange(2), b=np.ones(1))
    assert listed(tensors.decode(one.getvalue(), "application/x-npy")) == [0, 1, 2]
    found = tensors.decode(several.getvalue(), "application/x-npz")
    assert listed(found) == {"a": [0, 1], "b": [1]}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b""),
        (JSON, b"{}"),
        (JSON, b"[[1,2],[3]]"),
        (JSON, b"[null]"),
        (JSON, b'[{"a":1}]'),
        (JSON, b'{"instances":[]}'),
        (JSON, b'{"instances":3}'),
        (JSON, b'{"instances":[{"a":1},{"b":1}]}'),
        (JSON, b"[" * 100_000),
        (JSON, b"\xff"),
        (content_types.JSON_LINES, b""),
        (content_types.JSON_LINES, b"[1]\n[1,2]"),
        ("text/csv", b" \n"),
        ("text/csv", b"1,2\n3"),
        ("text/csv", b"1,x"),
        ("application/x-npy", b"\x93NUMPY"),
    ],
)
def test_a_broken_body_is_the_clients_fault(content_type, body):
    """400, with the content type that it is not."""
    with pytest.raises(MalformedInputError, match="The body is"):
        tensors.decode(body, content_type)


def test_an_unknown_content_type_is_told_what_is_known():
    """Of the image that was asked."""
    with pytest.raises(
        GenericInferenceToolkitError, match=r"'text/x' .* send JSON, or kno"
    ) as told:
        tensors.decode(b"", "text/x", known="JSON, or knots")
    assert told.value.status_code == 415


def test_an_array_is_cast_where_nothing_is_lost():
    """Whole numbers to fractions, and fractions to whole numbers if they are."""
    assert tensors.cast(np.array([1, 2]), "float32", "x").dtype == np.float32
    assert tensors.cast(np.array([1.0, 2.0]), "int64", "x").tolist() == [1, 2]
    assert tensors.cast(np.array(["a"]), object, "x").tolist() == ["a"]


@pytest.mark.parametrize(
    ("values", "dtype", "complaint"),
    [
        ([0.5], "int64", "x takes int64, and the body has other values"),
        ([300], "uint8", "x takes uint8, and the body has other values"),
        ([float("nan")], "int64", "other values"),
        (["a"], "float32", "x takes float32, and the body has texts"),
        ([1], object, "x takes texts, and the body has int64"),
        ([1j], "float32", "the body has complex128"),
    ],
)
def test_values_are_never_bent(values, dtype, complaint):
    """The client hears what is taken."""
    with pytest.raises(MalformedInputError, match=complaint):
        tensors.cast(np.array(values), dtype, "x")


ONE = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
TWO = {"a": ONE, "b": np.array([5, 6])}


@pytest.mark.parametrize(
    ("prediction", "accept", "body", "content_type"),
    [
        (ONE, JSON, "[[1.0, 2.0], [3.0, 4.0]]", JSON),
        (TWO, JSON, '{"a": [[1.0, 2.0], [3.0, 4.0]], "b": [5, 6]}', JSON),
        (ONE, "text/csv", "1.0,2.0\n3.0,4.0\n", "text/csv"),
        (ONE, content_types.JSON_LINES, "[1.0, 2.0]\n[3.0, 4.0]\n", content_types.JSON_LINES),
        (
            TWO,
            content_types.JSON_LINES,
            '{"a": [1.0, 2.0], "b": 5}\n{"a": [3.0, 4.0], "b": 6}\n',
            content_types.JSON_LINES,
        ),
        (ONE, "image/png;q=0.9, text/*;q=0.5", "1.0,2.0\n3.0,4.0\n", "text/csv"),
        (ONE, "image/png, */*", "[[1.0, 2.0], [3.0, 4.0]]", JSON),
        (
            TWO,
            "text/csv, application/json;q=0.1",
            json.dumps({k: v.tolist() for k, v in TWO.items()}),
            JSON,
        ),
    ],
)
def test_the_best_content_type_that_can_express_it(prediction, accept, body, content_type):
    """Several outputs have names."""
    assert tensors.encode(prediction, accept) == (body, content_type)


def test_answers_in_numpys_formats():
    """They come back as they were."""
    body, _ = tensors.encode(ONE, "application/x-npy")
    assert np.array_equal(np.load(io.BytesIO(body)), ONE)
    body, _ = tensors.encode(TWO, "application/x-npz")
    assert listed(dict(np.load(io.BytesIO(body)))) == listed(TWO)
    body, _ = tensors.encode(ONE, "application/x-npz")
    assert list(np.load(io.BytesIO(body))) == ["output"]


@pytest.mark.parametrize(
    ("prediction", "accept", "complaint"),
    [
        (ONE, "image/png", "'image/png' cannot be written: accept application/json"),
        (TWO, "text/csv", r"the model has 2 outputs, and text/csv holds one\): accept"),
        (np.ones((2, 2, 2)), "text/csv", "3 dimensions"),
        ({"a": np.float32(1)}, content_types.JSON_LINES, "no rows"),
        ({"a": ONE, "b": ONE[:1]}, content_types.JSON_LINES, "different numbers of rows"),
        ([{"a": 1}], "application/x-npz", "NPZ holds numbers"),
    ],
)
def test_what_cannot_be_expressed_is_refused(prediction, accept, complaint):
    """406, with the reason and what can be had."""
    with pytest.raises(GenericInferenceToolkitError, match=complaint) as refused:
        tensors.encode(prediction, accept)
    assert refused.value.status_code == 406
