"""Networks that MXNet makes, and what it says to them: what our own conversion is held against.

    python networks.py FOLDER zoo resnet18_v1 vgg11_bn ...
    python networks.py FOLDER operators

Runs in an environment with MXNet 1.9.1 and needs nothing else of ours. For each network it writes
a checkpoint, `NAME-shapes.json`, and `NAME.npz` with an `input` of two rows and its `output`. All
weights are random, and so are the means, variances, gammas and betas of BatchNorm: with those that
a new network has, a conversion that leaves BatchNorm out would be right too.
"""

import json
import sys
import warnings
import zlib
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet.gluon.model_zoo import vision

sym = mx.sym
ROWS = 2
LABELS = 1000
NO_WEIGHTS = ("data", "softmax_label")


def zoo(folder, name):
    """A network of `gluon.model_zoo.vision`, exported as users export theirs."""
    side = 299 if name == "inceptionv3" else 224
    shape = (1, 3, side, side)
    mx.random.seed(zlib.crc32(name.encode()))
    net = vision.get_model(name, classes=LABELS)
    net.initialize(mx.init.Xavier(factor_type="in", magnitude=2))
    net(mx.nd.zeros(shape))
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    for key, parameter in net.collect_params().items():
        if (values := statistics(draw, key, parameter.shape)) is not None:
            parameter.set_data(mx.nd.array(values))
    net.hybridize()
    given = draw.normal(size=(ROWS, *shape[1:])).astype("float32")
    found = net(mx.nd.array(given)).asnumpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.export(str(folder / name))
    write(folder, name, shape, given, found)


def statistics(draw, key, shape):
    """Random values for all that is not a weight, or None for a weight."""
    if key.endswith(("mean", "beta", "bias")):
        return draw.normal(0, 0.2, shape)
    if key.endswith(("var", "gamma")):
        return draw.uniform(0.5, 1.5, shape)
    return None


def write(folder, name, shape, given, found):
    """The signature, and what was asked and answered."""
    signature = [{"name": "data", "shape": list(shape)}]
    (folder / f"{name}-shapes.json").write_text(json.dumps(signature))
    np.savez(folder / f"{name}.npz", input=given, output=found)


def symbol(folder, name, make, shape):
    """One symbol with random parameters, bound and saved as the Module API does it."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    network = make(sym.Variable("data"))
    bound = network.simple_bind(mx.cpu(), grad_req="null", data=(ROWS, *shape))
    for key, value in {**bound.arg_dict, **bound.aux_dict}.items():
        values = statistics(draw, key, value.shape)
        value[:] = draw.normal(0, 0.3, value.shape) if values is None else values
    given = draw.normal(size=(ROWS, *shape)).astype("float32")
    found = bound.forward(is_train=False, data=mx.nd.array(given))[0].asnumpy()
    weights = {key: one for key, one in bound.arg_dict.items() if key not in NO_WEIGHTS}
    mx.model.save_checkpoint(str(folder / name), 0, network, weights, bound.aux_dict)
    write(folder, name, (1, *shape), given, found)


def trained(x):
    """As training scripts of the Module API end, with a gamma that has to be taken for 1."""
    x = sym.Convolution(x, kernel=(3, 3), num_filter=4, no_bias=True)
    x = sym.BatchNorm(x, fix_gamma=True, eps=2e-5)
    x = sym.Pooling(sym.Activation(x, act_type="relu"), global_pool=True, kernel=(1, 1))
    x = sym.FullyConnected(sym.Flatten(x), num_hidden=5)
    return sym.SoftmaxOutput(x, name="softmax")


def face(x):
    """The parts of face recognition's networks."""
    x = (x - 127.5) * 0.0078125
    x = sym.Convolution(x, kernel=(3, 3), num_filter=4, no_bias=True, pad=(1, 1))
    x = sym.LeakyReLU(sym.BatchNorm(x, fix_gamma=False), act_type="prelu")
    x = sym.FullyConnected(sym.Dropout(x, p=0.4), num_hidden=6)
    return sym.BatchNorm(x, fix_gamma=True, eps=2e-5)


def shuffled(x):
    """Channels of two groups mixed."""
    x = sym.reshape(x, shape=(0, -4, 2, -1, -2))
    return sym.reshape(sym.SwapAxis(x, dim1=1, dim2=2), shape=(0, -3, -2))


def windows(**options):
    """A symbol of one pooling."""
    return lambda x: sym.Pooling(x, **options)


def leaky(kind):
    """A symbol of one of LeakyReLU's kinds."""
    return lambda x: sym.LeakyReLU(x, act_type=kind)


IMAGE = (4, 9, 11)
SYMBOLS = {
    "trained": (trained, (3, 8, 8)),
    "face": (face, (3, 8, 8)),
    "shuffled": (shuffled, IMAGE),
    "convolution": (
        lambda x: sym.Convolution(
            x, kernel=(3, 2), stride=(2, 1), dilate=(1, 2), pad=(1, 0), num_filter=6, num_group=2
        ),
        IMAGE,
    ),
    "convolution1d": (lambda x: sym.Convolution(x, kernel=(3,), num_filter=2), (4, 9)),
    "deconvolution": (
        lambda x: sym.Deconvolution(
            x, kernel=(4, 4), stride=(2, 2), pad=(1, 1), adj=(1, 1), num_filter=6, num_group=2
        ),
        IMAGE,
    ),
    "dense": (lambda x: sym.FullyConnected(x, num_hidden=5, flatten=False), (3, 7)),
    "norm_last": (lambda x: sym.BatchNorm(x, axis=-1, fix_gamma=False, eps=1e-5), (3, 7)),
    "instance_norm": (sym.InstanceNorm, IMAGE),
    "layer_norm": (sym.LayerNorm, (3, 7)),
    "l2_instance": (lambda x: sym.L2Normalization(x, mode="instance"), IMAGE),
    "l2_channel": (lambda x: sym.L2Normalization(x, mode="channel"), IMAGE),
    "lrn": (lambda x: sym.LRN(x, nsize=5, alpha=1e-2), (8, 5, 5)),
    "leaky": (leaky("leaky"), IMAGE),
    "elu": (leaky("elu"), IMAGE),
    "selu": (leaky("selu"), IMAGE),
    "gelu": (leaky("gelu"), IMAGE),
    "softrelu": (lambda x: sym.Activation(x, act_type="softrelu"), IMAGE),
    "softsign": (lambda x: sym.Activation(x, act_type="softsign"), IMAGE),
    "pool_max": (windows(kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max"), IMAGE),
    "pool_avg": (windows(kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg"), IMAGE),
    "pool_avg_inside": (
        windows(kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", count_include_pad=False),
        IMAGE,
    ),
    "pool_max_full": (
        windows(kernel=(3, 2), stride=(2, 2), pool_type="max", pooling_convention="full"),
        (4, 10, 11),
    ),
    "pool_avg_full": (
        windows(kernel=(3, 2), stride=(2, 2), pool_type="avg", pooling_convention="full"),
        (4, 10, 11),
    ),
    "pool_avg_full_pad": (
        windows(
            kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="avg", pooling_convention="full"
        ),
        (4, 10, 12),
    ),
    "pool_avg_full_inside": (
        windows(
            kernel=(3, 3),
            stride=(2, 2),
            pad=(1, 1),
            pool_type="avg",
            pooling_convention="full",
            count_include_pad=False,
        ),
        (4, 10, 12),
    ),
    "softmax_axis": (lambda x: sym.softmax(x, axis=1, temperature=2.0), IMAGE),
    "log_softmax": (sym.log_softmax, (7,)),
    "softmax_multi": (lambda x: sym.SoftmaxOutput(x, multi_output=True, name="softmax"), IMAGE),
    "softmax_rows": (lambda x: sym.SoftmaxOutput(x, name="softmax"), (3, 4)),
    "softmax_activation": (lambda x: sym.SoftmaxActivation(x, mode="channel"), IMAGE),
    "upsampling": (lambda x: sym.UpSampling(x, scale=2, sample_type="nearest"), IMAGE),
    "pad": (
        lambda x: sym.Pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 3, 0), constant_value=2),
        IMAGE,
    ),
    "reflect": (lambda x: sym.Pad(x, mode="reflect", pad_width=(0, 0, 0, 0, 1, 2, 3, 0)), IMAGE),
    "reshape_keep": (lambda x: sym.reshape(x, shape=(0, -1, 11)), IMAGE),
    "transpose": (lambda x: sym.transpose(x, axes=(0, 2, 3, 1)), IMAGE),
    "slice_axis": (lambda x: sym.slice_axis(x, axis=-1, begin=-5, end=None), IMAGE),
    "slice": (lambda x: sym.slice(x, begin=(None, 1), end=(None, 3)), IMAGE),
    "split": (lambda x: sym.Group(list(sym.split(x, axis=1, num_outputs=2)))[1], IMAGE),
    "squeezed": (
        lambda x: sym.squeeze(sym.expand_dims(sym.mean(x, axis=1), axis=1), axis=(1,)),
        IMAGE,
    ),
    "mean_others": (lambda x: sym.mean(x, axis=(0, 1), exclude=True, keepdims=True), IMAGE),
    "sum_last": (lambda x: sym.sum(x, axis=-1), IMAGE),
    "arithmetic": (
        lambda x: sym.broadcast_mul(1.0 - x, sym.sigmoid(sym.mean(x, axis=1, keepdims=True))),
        IMAGE,
    ),
    "scalars": (lambda x: sym.sqrt(sym.abs(2.0 / (x**2 + 0.5))) - 3.0, IMAGE),
    "clipped": (lambda x: sym.clip(sym.stack(x, x * 2, axis=1), a_min=-0.5, a_max=0.5), IMAGE),
    "joined": (lambda x: sym.Concat(x, sym.relu(x), sym.BlockGrad(x), dim=1), IMAGE),
    "add_n": (lambda x: sym.add_n(x, sym.tanh(x), sym.exp(x)), IMAGE),
    "dot": (lambda x: sym.batch_dot(x, x, transpose_b=True), (3, 7)),
    "dot_weights": (
        lambda x: sym.dot(x, sym.Variable("other_weight", shape=(7, 3)), name="other"),
        (7,),
    ),
    "hard_sigmoid": (sym.hard_sigmoid, IMAGE),
}


def main():
    """As the first lines of this file say."""
    folder, what, names = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    for name in names if what == "zoo" else SYMBOLS:
        if what == "zoo":
            zoo(folder, name)
        else:
            symbol(folder, name, *SYMBOLS[name])


if __name__ == "__main__":
    main()
