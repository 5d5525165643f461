"""Makes the notebook's three models where the pretrained ones cannot be downloaded.

Runs in an environment with MXNet 1.9.1: models.py starts it in the image's. It writes what the
notebook downloads: networks of the same kind and size from MXNet's model zoo, with random weights,
so that the answers mean nothing while sizes, times and shapes are the real ones. Files that are
there already are left alone: put the pretrained ones in their place to use those.
"""

import sys
import warnings
from pathlib import Path

import mxnet as mx
from mxnet.gluon.model_zoo import vision

SHAPE = (1, 3, 224, 224)
LABELS = 1000
NETWORKS = {  # folder -> name in it, and the network
    "resnet_18": ("resnet-18", vision.resnet18_v1),
    "resnet_152": ("resnet-152", vision.resnet152_v1),
    "squeezenet_v1.0": ("squeezenet_v1.0", vision.squeezenet1_0),
}
SPREAD = 4.0  # standard deviation of the scores: some labels are then likelier than others


def make(folder, name, network, seed):
    """Export one network to `folder`, unless somebody has put one there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / (name + "-0000.params")).exists():
        mx.random.seed(seed)
        net = network(classes=LABELS)
        net.initialize(mx.init.Xavier(factor_type="in", magnitude=2))
        net.hybridize()
        spread_scores(net)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net.export(str(folder / name))
    synset = folder / "synset.txt"
    if not synset.exists():
        synset.write_text("".join(f"n{number:08} label {number}\n" for number in range(LABELS)))


def spread_scores(net):
    """Scale the last layer so that pictures of 0 to 255 give scores softmax can tell apart."""
    scores = net(mx.nd.random.uniform(0, 255, SHAPE))
    last = next(iter(net.output.collect_params().values()))
    last.set_data(last.data() * (SPREAD / scores.asnumpy().std()))


def main():
    """Make all three under the folder of the first argument."""
    out = Path(sys.argv[1])
    for seed, (folder, (name, network)) in enumerate(NETWORKS.items()):
        make(out / folder, name, network, seed)
        print("ready:", out / folder, flush=True)


if __name__ == "__main__":
    main()
