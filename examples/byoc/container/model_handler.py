"""A handler for Multi Model Server in plain Python: linear classifiers of very different sizes.

A model's folder holds `shape.json`: how many classes and features it has, and the seed that its
weights are drawn from. So the archive is a few bytes whatever the model takes in memory, and nobody
can tell from the outside what a load will cost: only the container knows, and says when it is too
much. A request is `{"features": [...]}`, of which those that are missing count as zero.
"""

import array
import json
import random

BLOCK = 4096  # weights drawn at random, of which the others are repetitions: loading stays quick

loaded = {}


class Classifier:
    """Scores are the products of the features and one row of weights for each class."""

    def __init__(self, classes, features, seed):
        draw = random.Random(seed)
        block = array.array("d", (draw.gauss(0.0, 1.0) for _ in range(BLOCK)))
        starts = [draw.randrange(BLOCK) for _ in range(classes)]
        self.rows = [row_of(block, start, features) for start in starts]  # MemoryError: no room

    def predict(self, features):
        """The number of the likeliest class."""
        scores = [sum(x * w for x, w in zip(features, row, strict=False)) for row in self.rows]
        return scores.index(max(scores))

    def taken(self):
        """Bytes of the weights."""
        return sum(row.itemsize * len(row) for row in self.rows)


def row_of(block, start, length):
    """A row of that length, which repeats the block from `start` on."""
    turned = block[start:] + block[:start]
    return (turned * (length // len(block) + 1))[:length]


def handle(data, context):
    """Called once with data=None when the model is loaded, then once for each request."""
    if data is None:
        with open("shape.json") as file:
            loaded["model"] = Classifier(**json.load(file))
        return None
    return [answer(row["body"], context, index) for index, row in enumerate(data)]


def answer(body, context, index):
    """One answer; a body that is not what it should be is the caller's fault."""
    try:
        features = [float(x) for x in json.loads(bytes(body))["features"]]
    except (ValueError, TypeError, KeyError):
        context.set_response_status(400, "Bad Request", index)
        return 'The body is no features: send {"features": [1.0, 2.5]} as application/json.'
    model = loaded["model"]
    return {"class": model.predict(features), "weights_bytes": model.taken()}
