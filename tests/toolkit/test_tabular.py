"""Rows of numbers out of bodies, and what is said to those that hold none."""

from __future__ import annotations

import io
import math

import pytest

from modelplex.toolkit import tabular
from modelplex.toolkit.errors import BaseInferenceToolkitError, MalformedInputError
from modelplex.toolkit.tabular import Layout

np = pytest.importorskip("numpy")
LAYOUT = Layout("float64")
LINES = "application/jsonlines"


def rows(body, content_type, layout=LAYOUT):
    """The rows as lists, None for NaN."""
    found = tabular.rows(body, content_type, layout)
    return [[None if math.isnan(value) else value for value in row] for row in found.tolist()]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"1,2\n3,4\n", "text/csv"),
        (b"1, 2\r\n3, 4", "Text/CSV; charset=utf-8"),
        ("1;2\n3;4", "csv"),
        ("1\t2\n\n3\t4", "text/csv"),
        ("1 2\n3 4", "text/csv"),
        ("[[1, 2], [3, 4]]", "application/json"),
        ([[1, 2], [3, 4]], "application/json"),
        ('{"instances": [[1, 2], [3, 4]]}', "application/json"),
        ('{"inputs": [[1, 2], [3, 4]]}', "application/json"),
        ('{"data": [[1, 2], {"features": [3, 4]}]}', "application/json"),
        ('{"instances": [{"features": [1, 2]}, {"features": [3, 4]}]}', "application/json"),
        (
            '{"instances": [{"data": {"features": {"values": [1, 2]}}}, [3, "4"]]}',
            "application/json",
        ),
        ("[1, 2]\n[3, 4]\n", LINES),
        (b'{"features": [1, 2]}\n\n{"data": {"features": {"values": [3, 4]}}}', LINES),
        ("0:1 1:2\n0:3 1:4", "text/libsvm"),
        ("1 1:1 2:2 # first\n-1 qid:7 1:3 2:4", "text/x-libsvm"),
    ],
)
def test_every_form_gives_the_same_rows(body, content_type):
    """Two rows of two numbers."""
    assert rows(body, content_type) == [[1, 2], [3, 4]]


def test_arrays_keep_their_type():
    """One dimension is one row."""
    out = io.BytesIO()
    np.save(out, np.arange(3, dtype="int16"))
    found = tabular.rows(out.getvalue(), "application/x-npy", LAYOUT)
    assert found.dtype == np.int16
    assert found.shape == (1, 3)


def test_sparse_matrices_stay_sparse():
    """As SciPy writes them."""
    sparse = pytest.importorskip("scipy.sparse")
    out = io.BytesIO()
    sparse.save_npz(out, sparse.csr_matrix([[0, 1], [2, 0]]))
    found = tabular.rows(out.getvalue(), "application/x-npz", LAYOUT)
    assert found.toarray().tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("1,,3\n, ,3", "text/csv"), ("[[1, null, 3], [null, null, 3]]", "application/json")],
)
def test_what_is_missing_is_not_a_number(body, content_type):
    """NaN, in the type asked for."""
    assert rows(body, content_type) == [[1, None, 3], [None, None, 3]]
    assert tabular.rows(body, content_type, Layout("float32")).dtype == np.float32


def test_libsvm_is_as_wide_as_the_model():
    """What is not named is what the layout says, and more than the model knows is refused."""
    assert rows("0:1\n2:3", "text/libsvm", Layout("float32", 4)) == [[1, 0, 0, 0], [0, 0, 3, 0]]
    assert rows("2:5", "libsvm", Layout("float32", 3, math.nan)) == [[None, 5, None]]
    with pytest.raises(MalformedInputError, match=r"a feature 3, .*trained with 3 \(counted from"):
        rows("0:1 3:1", "text/libsvm", Layout("float32", 3))


def test_the_first_index_can_be_told(monkeypatch):
    """Else it is 1 where no index of the body is 0."""
    layout = Layout("float32", 3)
    assert rows("1:5", "text/libsvm", layout) == [[5, 0, 0]]
    monkeypatch.setenv("MODELPLEX_LIBSVM_INDEX", "0")
    assert rows("1:5", "text/libsvm", layout) == [[0, 5, 0]]
    monkeypatch.setenv("MODELPLEX_LIBSVM_INDEX", "1")
    with pytest.raises(MalformedInputError, match="a feature 0, and MODELPLEX_LIBSVM_INDEX is 1"):
        rows("0:5", "text/libsvm", layout)


@pytest.mark.parametrize(
    ("body", "content_type", "complaint"),
    [
        ("", "text/csv", "The body is empty: send one row or more as text/csv"),
        (" \n", "text/libsvm", "The body is empty"),
        (b"\xff\xfe1", "text/csv", "not UTF-8"),
        ("a,b\n1,2", "text/csv", r"row 1, column 1: 'a' is no number \(a header is not taken\)"),
        ("1,2\n3,x", "text/csv", "row 2, column 2: 'x' is no number"),
        ("1,2\n3", "text/csv", "row 2 has 1 values, and row 1 has 2"),
        ("[1", "application/json", "no valid application/json: "),
        ("7", "application/json", "send a list of rows"),
        ("[]", "application/json", r"of the shape \(1, 0\)"),
        ("[[]]", "application/json", r"of the shape \(1, 0\)"),
        ('{"rows": [[1]]}', "application/json", "an object without 'instances' or 'inputs'"),
        ('[{"x": 1}]', "application/json", "an object without 'features'"),
        ("[[1], 2]", "application/json", "a row is 2, and not a list"),
        ("[[[1]]]", "application/json", r"row 1, column 1: '\[1\]' is no number"),
        ("[1, 2]\nx", LINES, "no valid application/jsonlines"),
        ("3\n4", "text/libsvm", "no index:value"),
        ("0:1 x:2", "text/libsvm", "line 1: 'x:2' is no index:value"),
        ("0:one", "text/libsvm", "could not convert"),
        (b"\x93NUMPY", "application/x-npy", "no valid application/x-npy"),
    ],
)
def test_the_client_is_told_what_is_wrong(body, content_type, complaint):
    """400, with the place of it."""
    with pytest.raises(MalformedInputError, match=complaint) as failed:
        rows(body, content_type)
    assert failed.value.status_code == 400


@pytest.mark.parametrize("array", [np.array(["a"]), np.zeros((1, 1, 1)), np.array(1.0)])
def test_arrays_of_another_form_are_refused(array):
    """Texts, and what has not two dimensions."""
    out = io.BytesIO()
    np.save(out, array)
    with pytest.raises(MalformedInputError, match=r"numbers in rows|of the shape"):
        tabular.rows(out.getvalue(), "application/x-npy", LAYOUT)


@pytest.mark.parametrize(
    ("body", "content_type", "layout"),
    [("0:1 999999999:1", "text/libsvm", LAYOUT), ("0:1\n" * 9, "libsvm", Layout("float32", 10**8))],
)
def test_a_few_bytes_cannot_ask_for_much_memory(body, content_type, layout):
    """LIBSVM is sparse, and rows are not."""
    with pytest.raises(MalformedInputError, match="more than 67108864: send fewer rows"):
        tabular.rows(body, content_type, layout)


@pytest.mark.parametrize(
    ("content_type", "complaint"),
    [
        ("image/png", "'image/png' cannot be read: send text/csv, text/libsvm"),
        (None, "of no content type cannot be read"),
        ("application/x-recordio-protobuf", "RecordIO-protobuf .* is not read here"),
    ],
)
def test_other_content_types_are_unsupported(content_type, complaint):
    """415, with what can be sent."""
    with pytest.raises(BaseInferenceToolkitError, match=complaint) as failed:
        tabular.rows(b"x", content_type, LAYOUT)
    assert failed.value.status_code == 415


def test_columns_are_compared_with_the_models():
    """Both numbers are told."""
    tabular.check_columns(np.zeros((1, 3)), None)
    tabular.check_columns(np.zeros((1, 3)), 3)
    with pytest.raises(MalformedInputError, match=r"have 3 features, and .* trained with 4"):
        tabular.check_columns(np.zeros((1, 3)), 4)


def test_threads_are_for_many_rows(monkeypatch):
    """One for a thousand, as many as the instance has vCPUs at most."""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert [tabular.threads(count) for count in (1, 1999, 3000, 10**6)] == [1, 1, 3, 4]
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert tabular.threads(10**6) == 1
