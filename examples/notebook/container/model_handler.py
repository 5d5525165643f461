"""Classifies pictures with any MXNet checkpoint: the notebook's handler for Multi Model Server.

A model's folder holds `NAME-symbol.json` and `NAME-0000.params` (the network and its weights),
`NAME-shapes.json` (its input) and `synset.txt` (a label per line). The server calls
`handle(data, context)`: once with `data=None` when the model is loaded, then for each request.
"""

import contextlib
import glob
import json
import re

import mxnet as mx
from mxnet.base import MXNetError

TOP = 5
NO_MEMORY = re.compile(r"failed to allocate .*memory|bad_alloc|out of memory", re.IGNORECASE)


class ModelHandler:
    """One loaded model; the server makes a process for each, so state is never shared."""

    def __init__(self):
        self.initialized = False
        self.network = None
        self.input_shape = None
        self.is_probability = False
        self.labels = []

    def initialize(self, context):
        """Load the checkpoint in the working directory, which is the model's folder."""
        gpu = context.system_properties.get("gpu_id")
        device = mx.cpu() if gpu is None else mx.gpu(gpu)
        prefix = find_prefix()
        with open(prefix + "-shapes.json") as file:
            described = json.load(file)[0]
        self.input_shape = tuple(described["shape"])
        with open("synset.txt") as file:
            self.labels = [line.strip() for line in file]
        with memory_errors():
            self.network = load_network(prefix, described["name"], self.input_shape, device)
        self.is_probability = ends_in_softmax(self.network.symbol)
        self.initialized = True

    def preprocess(self, request):
        """The pictures of a batch as one array: RGB, resized, colours before rows."""
        pictures = [self.read_picture(item["body"]) for item in request]
        return mx.nd.stack(*pictures)

    def read_picture(self, encoded):
        """One JPEG or PNG as the network wants it."""
        height, width = self.input_shape[2:]
        picture = mx.image.imresize(mx.image.imdecode(bytes(encoded)), width, height)
        return picture.astype("float32").transpose((2, 0, 1))

    def inference(self, batch):
        """One forward pass; probabilities, one row for each picture."""
        self.network.forward(mx.io.DataBatch([batch]), is_train=False)
        scores = self.network.get_outputs()[0]
        return scores if self.is_probability else mx.nd.softmax(scores)

    def postprocess(self, probabilities):
        """The likeliest labels of each picture, with their probabilities, likeliest first."""
        best = mx.nd.topk(probabilities, k=TOP, ret_typ="indices").asnumpy().astype(int)
        rows = zip(best, probabilities.asnumpy(), strict=True)
        return [[self.describe(index, row[index]) for index in chosen] for chosen, row in rows]

    def describe(self, index, probability):
        """One line of the answer."""
        return f"probability={probability:f}, class={self.labels[index]}"

    def handle(self, data, context):
        """Answer one batch of requests; an unreadable picture is the caller's fault."""
        try:
            with memory_errors():
                batch = self.preprocess(data)
        except (MXNetError, ValueError):
            context.set_response_status(400, "Bad Request", 0)
            return ["The body is not a picture: send a JPEG or PNG as application/x-image."]
        with memory_errors():
            return self.postprocess(self.inference(batch))


@contextlib.contextmanager
def memory_errors():
    """MXNet's ways to say that there is no memory, as the MemoryError that servers understand.

    It makes the platform unload another model and try again.
    """
    try:
        yield
    except (MXNetError, RuntimeError) as problem:
        if NO_MEMORY.search(str(problem)):
            raise MemoryError(str(problem)) from problem
        raise


def find_prefix():
    """NAME of the only `NAME-symbol.json` here."""
    found = glob.glob("*-symbol.json")
    if len(found) != 1:
        raise ValueError(f"the model must have one file NAME-symbol.json at its top, not {found}")
    return found[0][: -len("-symbol.json")]


def load_network(prefix, input_name, input_shape, device):
    """The checkpoint, ready for forward passes."""
    symbol, arguments, auxiliary = mx.model.load_checkpoint(prefix, 0)
    network = mx.mod.Module(symbol, data_names=[input_name], label_names=None, context=device)
    network.bind(data_shapes=[(input_name, input_shape)], for_training=False)
    # Checkpoints made for training have an input for the label, which prediction leaves out.
    network.set_params(arguments, auxiliary, allow_missing=True)
    # One pass with an empty picture, so that all memory it takes is asked for now, not by a caller.
    network.forward(mx.io.DataBatch([mx.nd.zeros(input_shape, device)]), is_train=False)
    network.get_outputs()[0].wait_to_read()
    return network


def ends_in_softmax(symbol):
    """Whether the network answers with probabilities itself, as the published checkpoints do."""
    last = json.loads(symbol.tojson())["nodes"][-1]["op"]
    return last.lower().startswith("softmax")


_service = ModelHandler()


def handle(data, context):
    """What the server calls."""
    if not _service.initialized:
        _service.initialize(context)
    if data is None:
        return None
    return _service.handle(data, context)
