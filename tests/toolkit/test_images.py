"""Pictures to arrays."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib

import pytest

from modelplex.toolkit import images
from modelplex.toolkit.errors import GenericInferenceToolkitError, MalformedInputError
from modelplex.toolkit.images import Preprocess, decode, raw

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")


def encoded(pixels, form="PNG", **options):
    """An array of rows of pixels as a file's bytes."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, form, **options)
    return out.getvalue()


def claiming(width, height):
    """A PNG of a few bytes that says it has that size."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n" + chunks + b"\0\0\0\0IEND\xaeB`\x82"


RED = encoded([[[255, 0, 0]] * 10] * 4)  # ten wide, four high


def test_a_picture_is_normalised_as_imagenets_are():
    """Colours first, one picture in the batch."""
    pixels = decode(RED, Preprocess((2, 3)))
    assert pixels.shape == (1, 3, 2, 3)
    assert pixels.dtype == np.float32
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert np.allclose(pixels[0, :, 1, 2], expected)


@pytest.mark.parametrize(
    ("order", "expected"), [("RGB", [255, 0, 0]), ("BGR", [0, 0, 255]), ("L", [76])]
)
def test_colours_come_in_the_order_that_the_model_takes(order, expected):
    """And with the colours behind where it wants them there."""
    wanted = images.parse({"order": order, "layout": "NHWC"}, raw((2, 2)))
    assert decode(RED, wanted)[0, 0, 0].tolist() == expected


def test_the_middle_is_kept_in_the_models_proportions():
    """Of the shorter side as much as `crop` says; all of it is stretched without."""
    columns = encoded([[[value] * 3 for value in (0, 0, 100, 100, 200, 200)]] * 2)
    whole = images.parse({"crop": 1}, raw((2, 2)))
    assert decode(columns, whole)[0, 0].tolist() == [[100, 100], [100, 100]]
    stretched = images.parse({"crop": None, "antialias": False}, raw((1, 3)))
    assert decode(columns, stretched)[0, 0].tolist() == [[0, 100, 200]]
    assert images._box((640, 480), (224, 224), 0.875) == (110, 30, 530, 450)


def test_without_antialias_only_the_next_pixels_count():
    """As OpenCV resizes: between the two in the middle of four."""
    row = encoded([[[value] * 3 for value in (0, 100, 140, 0)]] * 4)
    wanted = images.parse({"crop": None, "antialias": False}, raw((1, 1)))
    assert decode(row, wanted)[0, 0, 0, 0] == 120


@pytest.mark.parametrize(
    "body",
    [
        encoded([[7, 7], [7, 7]]),
        encoded([[[7, 7, 7, 0]] * 2] * 2),
        encoded([[[7, 7, 7]] * 2] * 2, "JPEG"),
        encoded([[[7, 7, 7]] * 2] * 2, "GIF"),
        encoded([[[7, 7, 7]] * 2] * 2, "WEBP", lossless=True),
    ],
    ids=["grey", "alpha", "jpeg", "gif", "webp"],
)
def test_other_pictures_become_three_colours(body):
    """Grey, transparent, with a palette, and of every format."""
    pixels = decode(body, raw((2, 2)))
    assert pixels.shape == (1, 3, 2, 2)
    assert np.allclose(pixels, 7)


def test_a_camera_held_upright_is_seen():
    """Exif says how the picture is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter clockwise
    halves = np.repeat([[[0] * 3] * 16, [[255] * 3] * 16], 8, axis=0)
    body = encoded(halves, "JPEG", exif=exif, quality=100)
    wanted = images.parse({"crop": None}, raw((2, 2)))
    assert decode(body, wanted)[0, 0].round(-2).tolist() == [[200, 0], [200, 0]]


@pytest.mark.parametrize(
    "body", [b"", b"no picture", RED[:40], RED[:-25], b"%!PS-Adobe-3.0 EPSF-3.0"]
)
def test_what_is_no_picture_is_refused_with_a_sentence(body):
    """Cut off, empty, or of a format that only invites trouble."""
    with pytest.raises(MalformedInputError, match="no picture that can be read") as refused:
        decode(body, raw((2, 2)))
    assert "0x" not in refused.value.message


def test_a_picture_that_claims_to_be_huge_is_refused_before_it_is_unpacked():
    """A hundred bytes can claim gigabytes."""
    for width, height in ((100_000, 100_000), (12_000, 8_000), (10_000, 5_001)):
        with pytest.raises(MalformedInputError, match=r"pixels.*: send a smaller one"):
            decode(claiming(width, height), raw((2, 2)))


def test_an_image_without_pillow_says_so(monkeypatch):
    """A failure of the image, not of the client."""
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(GenericInferenceToolkitError, match="need Pillow") as failed:
        decode(RED, raw((2, 2)))
    assert failed.value.status_code == 500


def test_a_model_brings_its_own_preprocessing(tmp_path):
    """What its file does not say stays as the model's input says."""
    default = Preprocess((224, 224))
    assert images.read(str(tmp_path), default) is default
    document = {"size": [32, 16], "mean": 0.5, "std": [0.5, 0.5, 0.25], "divisor": 1}
    (tmp_path / images.FILE).write_text(json.dumps(document))
    expected = Preprocess((32, 16), divisor=1, mean=(0.5,), std=(0.5, 0.5, 0.25))
    assert images.read(str(tmp_path), default) == expected


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ([], "an object of settings, not a list"),
        ({"scale": 1}, "unknown entry 'scale'; known: size,"),
        ({"size": [0, 3]}, r"size = \[0, 3\] must be \[height, width\]"),
        ({"size": 3}, "size = 3 must be"),
        ({"crop": 0}, "crop = 0 must be a number above 0"),
        ({"divisor": True}, "divisor = true must be"),
        ({"std": [1, 0, 1]}, "std = .* must be a number other than 0"),
        ({"mean": [1, 2]}, "mean has 2 numbers, and RGB 3"),
        ({"order": ["RGB"]}, "order = .* must be one of RGB, BGR, L"),
        ({"layout": "CHW"}, 'layout = "CHW" must be one of NCHW, NHWC'),
        ({"antialias": 1}, "antialias = 1 must be true or false"),
    ],
)
def test_a_wrong_preprocessing_says_what_is_wrong(document, complaint):
    """With the entry and what it must be."""
    with pytest.raises(ValueError, match=complaint):
        images.parse(document, Preprocess((2, 2)))


def test_a_file_that_is_no_json_says_so(tmp_path):
    """It is the model's owner who reads this."""
    (tmp_path / images.FILE).write_text("size: 3")
    with pytest.raises(ValueError, match=r"preprocess.json is no JSON"):
        images.read(str(tmp_path), Preprocess((2, 2)))


def test_one_colour_takes_the_average():
    """For networks that see grey."""
    grey = images.grey(Preprocess((2, 2)))
    assert grey.order == "L"
    assert grey.mean == pytest.approx((0.449,))
    assert decode(RED, grey).shape == (1, 1, 2, 2)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [("application/x-image", True), ("Image/JPEG; q=1", True), ("text/csv", False), (None, False)],
)
def test_pictures_are_told_by_their_content_type(content_type, expected):
    """Whatever the kind of picture."""
    assert images.is_image(content_type) is expected
