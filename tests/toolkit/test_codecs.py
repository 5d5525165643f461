"""What the default codecs read and write."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile

import pytest

from modelplex.toolkit import content_types, decoder
from modelplex.toolkit.decoder import decode
from modelplex.toolkit.encoder import encode
from modelplex.toolkit.errors import (
    GenericInferenceToolkitError,
    MalformedInputError,
    UnsupportedFormatError,
)

TRAP = {"sprung": False}


class Trap:
    """Unpickling it would be noticed."""

    def __reduce__(self):
        return (TRAP.__setitem__, ("sprung", True))


@pytest.fixture
def numpy():
    """NumPy, where the tests have it."""
    return pytest.importorskip("numpy")


@pytest.fixture
def bare(monkeypatch):
    """An image without NumPy."""
    monkeypatch.setitem(sys.modules, "numpy", None)


@pytest.mark.usefixtures("bare")
def test_json_needs_no_numpy():
    """It stays what it is then."""
    assert decode(b'{"a": [1, 2.5]}', "application/json") == {"a": [1, 2.5]}


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("content_type", ["text/csv", "application/x-npy", "application/x-npz"])
def test_other_types_say_that_they_need_it(content_type):
    """A failure of the image, not of the client."""
    with pytest.raises(GenericInferenceToolkitError, match="needs numpy") as failed:
        decode(b"1", content_type)
    assert failed.value.status_code == 500


def test_json_and_csv_become_arrays(numpy):
    """Parameters of the content type do not matter."""
    assert decode("[[1, 2], [3, 4]]", "application/json; charset=utf-8").shape == (2, 2)
    assert decode(b"1,2\n3,4\n", "text/csv").tolist() == [[1, 2], [3, 4]]
    assert decode("a,b\n", "Text/CSV").tolist() == ["a", "b"]
    assert decode("[1, 2]\n\n[3, 4]\n", content_types.JSON_LINES).tolist() == [[1, 2], [3, 4]]
    assert decode([1, 2], "application/json").tolist() == [1, 2]


def test_npy_becomes_an_array(numpy):
    """From any kind of bytes."""
    array = numpy.arange(6.0).reshape(2, 3)
    body = encode(array, "application/x-npy")
    for kind in (bytes, bytearray, memoryview):
        assert (decode(kind(body), "application/x-npy") == array).all()


def test_npz_becomes_a_sparse_matrix_or_arrays(numpy):
    """Sparse where SciPy has written it."""
    sparse = pytest.importorskip("scipy.sparse")
    out = io.BytesIO()
    sparse.save_npz(out, sparse.csr_matrix([[0, 1], [2, 0]]))
    assert decode(out.getvalue(), "application/x-npz").toarray().tolist() == [[0, 1], [2, 0]]
    out = io.BytesIO()
    numpy.savez_compressed(out, a=numpy.ones(3), b=numpy.zeros(1))
    assert {name: one.shape for name, one in decode(out.getvalue(), content_types.NPZ).items()} == {
        "a": (3,),
        "b": (1,),
    }


def test_nothing_is_unpickled(numpy):
    """Not as NPY, not inside NPZ, not as a bare pickle."""
    trap = numpy.array([Trap()], dtype=object)
    npy, npz = io.BytesIO(), io.BytesIO()
    numpy.save(npy, trap, allow_pickle=True)
    numpy.savez(npz, data=trap)
    for body, content_type in (
        (npy.getvalue(), content_types.NPY),
        (npz.getvalue(), content_types.NPZ),
        (pickle.dumps(Trap()), content_types.NPY),
    ):
        with pytest.raises(MalformedInputError):
            decode(body, content_type)
    assert not TRAP["sprung"]


def lying_npy(length: int) -> bytes:
    """A header that promises many numbers, and none of them."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({length},)}}".encode()
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


@pytest.mark.usefixtures("numpy")
def test_a_header_cannot_make_it_allocate():
    """It is read before anything is allocated: no MemoryError, which would unload other models."""
    with pytest.raises(MalformedInputError, match="its header claims 8000000000000 bytes"):
        decode(lying_npy(10**12), content_types.NPY)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("data.npy", lying_npy(10**12))
    with pytest.raises(MalformedInputError, match="its header claims"):
        decode(out.getvalue(), content_types.NPZ)


def test_what_unpacks_to_too_much_is_refused(numpy, monkeypatch):
    """Before it is unpacked."""
    monkeypatch.setattr(decoder, "NPZ_BYTES_MAX", 1000)
    out = io.BytesIO()
    numpy.savez_compressed(out, a=numpy.zeros(1000))
    with pytest.raises(MalformedInputError, match="more than 1000 bytes"):
        decode(out.getvalue(), content_types.NPZ)


def test_a_sparse_matrix_with_indices_outside_is_refused(numpy):
    """Computing with it would read foreign memory."""
    pytest.importorskip("scipy.sparse")
    out = io.BytesIO()
    parts = {"data": [1.0], "indices": [99], "indptr": [0, 1], "shape": [1, 2], "format": b"csr"}
    numpy.savez(out, **{name: numpy.array(value) for name, value in parts.items()})
    with pytest.raises(MalformedInputError):
        decode(out.getvalue(), content_types.NPZ)


@pytest.mark.usefixtures("numpy")
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1, [2]]", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"[1]\n[", "application/jsonlines"),
        (b" ", "application/jsonlines"),
        (b"1,2\n3\n", "text/csv"),
        (b" ", "text/csv"),
        (b"\x93NUMPY\x01\x00", "application/x-npy"),
        (b"PK\x03\x04", "application/x-npz"),
    ],
)
def test_malformed_bodies_are_the_clients_fault(body, content_type):
    """400, with the parser's words."""
    with pytest.raises(MalformedInputError, match=f"no valid {content_type}: ."):
        decode(body, content_type)


def test_other_content_types_are_refused():
    """415 for reading, 406 for writing."""
    for content_type in (None, "image/png"):
        with pytest.raises(UnsupportedFormatError) as failed:
            decode(b"", content_type)
        assert failed.value.status_code == 415
    with pytest.raises(UnsupportedFormatError) as failed:
        encode([], "image/png")
    assert failed.value.status_code == 406


@pytest.mark.parametrize(
    ("prediction", "text"),
    [
        ([[1, 2.5], [3, "a,b"]], '1,2.5\n3,"a,b"\n'),
        ([1, 2], "1\n2\n"),
        (7, "7\n"),
        ("word", "word\n"),
    ],
)
def test_csv_is_written_without_numpy(prediction, text):
    """A line for each row, or each element."""
    assert encode(prediction, "text/csv") == text


def test_arrays_are_written(numpy):
    """As CSV with the digits of their type, as JSON as lists."""
    array = numpy.array([[0.1, 2]], dtype="float32")
    assert encode(array, "text/csv") == "0.1,2.0\n"
    assert encode(numpy.float64(0.5), "text/csv") == "0.5\n"
    assert encode(numpy.ones((2, 1)), content_types.JSON_LINES) == "[1.0]\n[1.0]\n"
    assert encode({"a": [1]}, content_types.JSON_LINES) == '{"a": [1]}\n'
    assert encode({"a": numpy.arange(2), "b": numpy.int64(3)}, "application/json") == (
        '{"a": [0, 1], "b": 3}'
    )
    assert decode(encode([1, 2], "application/x-npy"), "application/x-npy").tolist() == [1, 2]


def test_what_cannot_be_expressed_is_refused(numpy):
    """Objects are not pickled."""
    with pytest.raises(TypeError, match="with a set cannot be written as JSON"):
        encode({1}, "application/json")
    with pytest.raises(ValueError, match="3 dimensions"):
        encode(numpy.zeros((1, 1, 1)), "text/csv")
    with pytest.raises(ValueError, match="allow_pickle"):
        encode(numpy.array([{}], dtype=object), "application/x-npy")
