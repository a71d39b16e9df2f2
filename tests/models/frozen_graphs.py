"""Write the frozen graphs of MobileNet v1 and Inception v3 with TensorFlow, under the names in the
original's archives, with the features that TensorFlow computes. Run it in a process of its own.

    python frozen_graphs.py FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow

tf = tensorflow.compat.v1

# Stride and channels at width 1.0: slim/nets/mobilenet_v1.py.
BLOCKS = (
    *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
    *((1, 512),) * 5,
    *((2, 1024), (1, 1024)),
)
WIDTH, SIDE = 0.25, 128


class Weights:
    """Random constants that keep the scale of activations."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def kernel(self, name: str, *shape: int, inputs: int) -> Any:
        values = self._random.normal(0, np.sqrt(2 / inputs), shape)
        return tf.constant(values.astype(np.float32), name=name)

    def vector(self, name: str, low: float, high: float, size: int) -> Any:
        return tf.constant(self._random.uniform(low, high, size).astype(np.float32), name=name)


def batch_norm(x: Any, weights: Weights, name: str, scope: str, form: str) -> Any:
    """A batch norm as `fused`, `plain` arithmetic, or `folded` into a bias."""
    size = x.shape[-1]
    if form == "folded":
        return tf.nn.bias_add(x, weights.vector(f"{scope}_bn_offset", -0.3, 0.3, size))
    gamma = weights.vector(f"{name}/BatchNorm/gamma", 0.5, 1.5, size)
    beta = weights.vector(f"{name}/BatchNorm/beta", -0.3, 0.3, size)
    mean = weights.vector(f"{name}/BatchNorm/moving_mean", -0.3, 0.3, size)
    variance = weights.vector(f"{name}/BatchNorm/moving_variance", 0.5, 2.0, size)
    if form == "plain":
        with tf.name_scope(f"{scope}/BatchNorm/batchnorm/"):
            return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 0.001)
    return tf.nn.fused_batch_norm(
        x, gamma, beta, mean, variance, 0.001, is_training=False, name=f"{scope}/BatchNorm/Fused"
    )[0]


def mobilenet(form: str) -> None:
    weights, inner = Weights(), "MobilenetV1/MobilenetV1"
    x = tf.placeholder(tf.float32, [None, SIDE, SIDE, 3], "input")
    channels = int(32 * WIDTH)
    kernel = weights.kernel("MobilenetV1/Conv2d_0/weights", 3, 3, 3, channels, inputs=27)
    x = tf.nn.conv2d(x, kernel, [1, 2, 2, 1], "SAME", name=f"{inner}/Conv2d_0/convolution")
    x = batch_norm(x, weights, "MobilenetV1/Conv2d_0", f"{inner}/Conv2d_0", form)
    x = tf.nn.relu6(x, f"{inner}/Conv2d_0/Relu6")
    for number, (stride, out) in enumerate(BLOCKS, 1):
        name = f"Conv2d_{number}_depthwise"
        kernel = weights.kernel(
            f"MobilenetV1/{name}/depthwise_weights", 3, 3, channels, 1, inputs=9
        )
        strides = [1, stride, stride, 1]
        x = tf.nn.depthwise_conv2d_native(
            x, tf.identity(kernel), strides, "SAME", name=f"{inner}/{name}/depthwise"
        )
        x = batch_norm(x, weights, f"MobilenetV1/{name}", f"{inner}/{name}", form)
        x = tf.nn.relu6(x, f"{inner}/{name}/Relu6")
        name, out_channels = f"Conv2d_{number}_pointwise", int(out * WIDTH)
        kernel = weights.kernel(
            f"MobilenetV1/{name}/weights", 1, 1, channels, out_channels, inputs=channels
        )
        channels = out_channels
        x = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME", name=f"{inner}/{name}/convolution")
        x = batch_norm(x, weights, f"MobilenetV1/{name}", f"{inner}/{name}", form)
        x = tf.nn.relu6(x, f"{inner}/{name}/Relu6")
    side = SIDE // 32
    x = tf.nn.avg_pool(
        x, [1, side, side, 1], [1, 1, 1, 1], "VALID", name="MobilenetV1/Logits/AvgPool_1a/AvgPool"
    )
    x = tf.identity(x, "MobilenetV1/Logits/Dropout_1b/Identity")
    name = "MobilenetV1/Logits/Conv2d_1c_1x1"
    kernel = weights.kernel(f"{name}/weights", 1, 1, channels, 1001, inputs=channels)
    x = tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME", name=f"{name}/convolution")
    x = tf.nn.bias_add(x, weights.vector(f"{name}/biases", -1, 1, 1001))
    x = tf.squeeze(x, [1, 2], name="MobilenetV1/Logits/SpatialSqueeze")
    x = tf.nn.softmax(tf.reshape(x, [-1, 1001], "MobilenetV1/Predictions/Reshape"))
    tf.reshape(x, [-1, 1001], "MobilenetV1/Predictions/Reshape_1")


def inception() -> None:
    """A short network with the ends and the operations of inception-2015-12-05."""
    weights = Weights()
    data = tf.placeholder(tf.string, name="DecodeJpeg/contents")
    image = tf.cast(tf.image.decode_jpeg(data, channels=3), tf.float32)
    image = tf.image.resize_bilinear(tf.expand_dims(image, 0), [299, 299])
    x = tf.multiply(tf.subtract(image, 128.0), 1 / 128, name="Mul")

    def conv(x: Any, name: str, side: int, out: int, stride: int, padding: str = "SAME") -> Any:
        channels = int(x.shape[-1])
        kernel = weights.kernel(
            f"{name}/conv2d_params", side, side, channels, out, inputs=side * side * channels
        )
        strides = [1, stride, stride, 1]
        y = tf.nn.conv2d(x, kernel, strides, padding, name=f"{name}/Conv2D")
        y = batch_norm(y, weights, name, name, "fused")
        return tf.nn.relu(tf.check_numerics(y, "not finite"), f"{name}")

    x = conv(x, "conv", 3, 6, 2, "VALID")
    x = tf.nn.max_pool(x, [1, 3, 3, 1], [1, 2, 2, 1], "SAME", name="pool")
    x = conv(x, "conv_1", 3, 8, 2)
    x = conv(x, "conv_2", 3, 12, 2)
    x = conv(x, "conv_3", 1, 16, 2)
    pooled = tf.nn.avg_pool(x, [1, 3, 3, 1], [1, 1, 1, 1], "SAME", name="mixed/tower/pool")
    towers = [conv(x, "mixed/conv", 1, 32, 1), conv(pooled, "mixed/tower/conv", 1, 32, 1)]
    x = tf.concat(towers, 3, name="mixed/join")
    x = conv(x, "mixed_10", 3, 2048, 1, "VALID")
    x = tf.nn.avg_pool(x, [1, 8, 8, 1], [1, 1, 1, 1], "VALID", name="pool_3")
    x = tf.reshape(x, [1, 2048], name="pool_3/_reshape")
    kernel = weights.kernel("softmax/weights", 2048, 1008, inputs=2048)
    tf.nn.softmax(tf.matmul(x, kernel), name="softmax")


def with_old_batch_norms(definition: Any) -> Any:
    """A graph of 2015: TensorFlow reads its kind of batch norms, but makes no new ones."""
    for number, node in enumerate(definition.node):
        if node.op.startswith("FusedBatchNorm"):
            x, gamma, beta, mean, variance = node.input
            node.ClearField("attr")
            node.op = "BatchNormWithGlobalNormalization"
            node.input[:] = [x, mean, variance, beta, gamma]
            node.attr["T"].type = 1
            node.attr["variance_epsilon"].f = 0.001
            node.attr["scale_after_normalization"].b = number % 2 == 0
        for key in ("dilations", "explicit_paddings", "use_cudnn_on_gpu"):
            node.attr.pop(key, None)
    definition.versions.producer = 8
    return definition


def write(folder: Path, name: str, build: Any, fed: str, features: str, scale: Any) -> None:
    """Write a graph, an image in its size, and its features."""
    mean, std, side = scale
    pixels = np.random.default_rng(1).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    with tf.Graph().as_default() as graph:
        build()
        definition = graph.as_graph_def()
    if name == "inception":
        definition = with_old_batch_norms(definition)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(definition, name="")
        scaled = (pixels.astype(np.float32) - mean) / std
        values = session.run(f"{features}:0", {f"{fed}:0": scaled})
    (folder / f"{name}.pb").write_bytes(definition.SerializeToString())
    np.savez(folder / f"{name}.npz", pixels=pixels, features=values.reshape(1, -1))


def main(folder: Path) -> None:
    pooled = "MobilenetV1/Logits/AvgPool_1a/AvgPool"
    for form in ("fused", "plain", "folded"):
        scale = (127.5, 127.5, SIDE)
        write(folder, form, lambda form=form: mobilenet(form), "input", pooled, scale)
    write(folder, "inception", inception, "Mul", "pool_3/_reshape", (128.0, 128.0, 299))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
