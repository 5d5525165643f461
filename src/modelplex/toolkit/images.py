"""Pictures in request bodies to arrays, as networks want them.

    decode(body, Preprocess(size=(224, 224)))  ->  float32, shape (1, 3, 224, 224)

What has to be done to a picture is part of a model, and its `preprocess.json` may say so: `read`.
Pillow and NumPy are the image's; they are imported when the first picture comes.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from modelplex.toolkit import content_types
from modelplex.toolkit.errors import GenericInferenceToolkitError, MalformedInputError

FILE = "preprocess.json"  # in a model's folder
X_IMAGE = "application/x-image"
# Others that Pillow can read are left out: they are rare, and more code for a stranger to break.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
PIXELS_MAX = 50_000_000  # of one picture; a body of some KB can claim to have any number
SIDE_MAX = 8192  # of what a picture is resized to
LAYOUTS = ("NCHW", "NHWC")  # N pictures, C colours, H rows, W columns
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_ORDERS = {"RGB": 3, "BGR": 3, "L": 1}  # and how many colours that is


@dataclass(frozen=True)
class Preprocess:
    """What is done to a picture: resized, cropped, `(value / divisor - mean) / std`, laid out.

    The mean and deviation are per colour in `order`, or one number for all. Those of ImageNet, with
    a divisor of 255, are what networks from torchvision and most of the ONNX zoo are trained with.
    """

    size: tuple[int, int]  # height and width that come out
    crop: float | None = 0.875  # of the shorter side, kept in the middle; None: all, stretched
    divisor: float = 255.0  # 1: values from 0 to 255
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    order: str = "RGB"  # or BGR, as OpenCV has it, or L: grey
    layout: str = "NCHW"  # or NHWC
    antialias: bool = True  # False: bilinear between the next four pixels, as OpenCV and MXNet do


def raw(size: tuple[int, int]) -> Preprocess:
    """Resized and nothing else: the values of the picture, 0 to 255."""
    return Preprocess(size, divisor=1.0, mean=(0.0,), std=(1.0,))


def grey(preprocess: Preprocess) -> Preprocess:
    """The same for one colour: its mean and deviation are the average of the three."""
    mean, std = ((sum(each) / len(each),) for each in (preprocess.mean, preprocess.std))
    return replace(preprocess, order="L", mean=mean, std=std)


def is_image(content_type: str | None) -> bool:
    """Whether a content type announces a picture."""
    name = content_types.media_type(content_type)
    return name == X_IMAGE or name.startswith("image/")


def read(model_dir: str, default: Preprocess) -> Preprocess:
    """`default`, changed by the model's `preprocess.json` if it has one.

    Raises ValueError with a sentence where that file is not what it should be.
    """
    try:
        with open(os.path.join(model_dir, FILE), encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise ValueError(f"{FILE} is no JSON: {error}") from error
    return parse(document, default)


def parse(document: Any, default: Preprocess) -> Preprocess:
    """`default`, changed by the entries of a document. Raises ValueError."""
    if not isinstance(document, dict):
        raise ValueError(f"{FILE} must be an object of settings, not a {type(document).__name__}")
    if unknown := sorted(set(document) - set(_CHECKS)):
        raise ValueError(f"{FILE}: unknown entry {unknown[0]!r}; known: {', '.join(_CHECKS)}")
    for name, value in document.items():
        wanted, check = _CHECKS[name]
        if not check(value):
            raise ValueError(f"{FILE}: {name} = {json.dumps(value)} must be {wanted}")
    changes = {name: _value(name, value) for name, value in document.items()}
    result = replace(default, **changes)
    for name in ("mean", "std"):
        count, colours = len(getattr(result, name)), _ORDERS[result.order]
        if count not in {1, colours}:
            raise ValueError(f"{FILE}: {name} has {count} numbers, and {result.order} {colours}")
    return result


def decode(body: Any, preprocess: Preprocess) -> Any:
    """The picture in a body as float32 of shape (1, C, H, W), or (1, H, W, C).

    Raises MalformedInputError for what is no picture or too large a one, and
    GenericInferenceToolkitError where Pillow or NumPy is missing.
    """
    pillow, numpy = _package("PIL.Image"), _package("numpy")
    try:
        picture = _open(pillow, body, preprocess.order)
        picture = _resize(pillow, picture, preprocess)
    except (MalformedInputError, MemoryError):
        raise
    except Exception as error:  # Pillow raises anything at broken files, SyntaxError too
        known = ", ".join(FORMATS)
        why = "" if isinstance(error, pillow.UnidentifiedImageError) else f": {error}"
        text = f"The body is no picture that can be read ({known}){why}"
        raise MalformedInputError(text) from error
    pixels = numpy.asarray(picture, dtype=numpy.float32)
    pixels = pixels.reshape(*preprocess.size, _ORDERS[preprocess.order])
    if preprocess.order == "BGR":
        pixels = pixels[:, :, ::-1]
    mean, std = (numpy.array(each, numpy.float32) for each in (preprocess.mean, preprocess.std))
    pixels = (pixels / numpy.float32(preprocess.divisor) - mean) / std
    if preprocess.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
    return numpy.ascontiguousarray(pixels[numpy.newaxis])


def _open(pillow: Any, body: Any, order: str) -> Any:
    """The upright picture, in its colours. The size is looked at before anything is unpacked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pillow.DecompressionBombWarning)  # our limit is lower
        try:
            picture = pillow.open(io.BytesIO(body), formats=FORMATS)
        except pillow.DecompressionBombError as error:
            raise _too_large(str(error)) from error
    width, height = picture.size
    if width * height > PIXELS_MAX:
        raise _too_large(f"it has {width} x {height} pixels")
    upright = _package("PIL.ImageOps").exif_transpose(picture)
    return upright.convert("L" if order == "L" else "RGB")


def _too_large(why: str) -> MalformedInputError:
    text = f"The picture is too large ({why}), at most {PIXELS_MAX:,} pixels: send a smaller one."
    return MalformedInputError(text)


def _resize(pillow: Any, picture: Any, preprocess: Preprocess) -> Any:
    """The part that is kept, in the size that is wanted, in one step."""
    height, width = preprocess.size
    box = _box(picture.size, (width, height), preprocess.crop)
    if preprocess.antialias:
        return picture.resize((width, height), pillow.Resampling.BILINEAR, box=box)
    left, top, right, bottom = box
    matrix = ((right - left) / width, 0, left, 0, (bottom - top) / height, top)
    return picture.transform(
        (width, height), pillow.Transform.AFFINE, matrix, pillow.Resampling.BILINEAR
    )


def _box(
    have: tuple[int, int], want: tuple[int, int], crop: float | None
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what is kept; sizes are width and height."""
    if crop is None:
        return 0.0, 0.0, float(have[0]), float(have[1])
    scale = min(have[0] / want[0], have[1] / want[1]) * crop
    width, height = want[0] * scale, want[1] * scale
    left, top = (have[0] - width) / 2, (have[1] - height) / 2
    return left, top, left + width, top + height


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        needed = "Pillow" if name.startswith("PIL") else name
        text = f"Pictures need {needed}, which the image does not have: install it."
        raise GenericInferenceToolkitError(500, text, "Internal Server Error") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list) and len(value) == 2 else [None]
    return all(type(side) is int and 0 < side <= SIDE_MAX for side in sides)


def _are_numbers(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(map(_is_number, values))


def _are_divisors(value: Any) -> bool:
    return _are_numbers(value) and 0 not in (value if isinstance(value, list) else [value])


def _value(name: str, value: Any) -> Any:
    """An entry of JSON as the field has it."""
    if name in {"mean", "std"} and not isinstance(value, list):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


# Entry -> what it must be, in words and as a check.
_CHECKS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "size": (f"[height, width], each from 1 to {SIDE_MAX}", _is_size),
    "crop": (
        "a number above 0 up to 1, or null",
        lambda value: value is None or (_is_number(value) and 0 < value <= 1),
    ),
    "divisor": ("a number above 0", lambda value: _is_number(value) and value > 0),
    "mean": ("a number, or a list of one per colour", _are_numbers),
    "std": ("a number other than 0, or a list of one per colour", _are_divisors),
    "order": (f"one of {', '.join(_ORDERS)}", lambda value: value in list(_ORDERS)),
    "layout": (f"one of {', '.join(LAYOUTS)}", lambda value: value in LAYOUTS),
    "antialias": ("true or false", lambda value: isinstance(value, bool)),
}
assert set(_CHECKS) == {field.name for field in fields(Preprocess)}
