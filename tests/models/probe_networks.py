"""Looks at networks as classifiers, in a process of its own. Run by `test_networks.py`.

    python probe_networks.py FOLDER

Writes one JSON object to stdout, a key a look.
"""

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
from keras import layers

from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Graph
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.learn.heads.head import SMOOTHING, square_root
from sharpeye.models.backbone import BackboneConfig, weight_loader
from sharpeye.models.blocks import BatchNormalization, Bias, conv_relu
from sharpeye.models.classifier import build_classifier, head_of
from sharpeye.models.keras_to_onnx import randomize
from sharpeye.models.onnx_emitter import emit_onnx
from sharpeye.models.registry import get_spec

# name, side or 0 for the model's own, channels, classes, knobs
LOOKS = {
    "lenet5": ("lenet5", 0, 3, 10, {}),
    "lenet5 grey": ("lenet5", 28, 1, 4, {"dropout": 0.5}),
    "cnn": ("cnn", 0, 3, 10, {}),
    "cnn grey pair": ("cnn", 0, 1, 2, {"dense_layers": 2, "layer_size": 16}),
    "resnet_cifar": ("resnet_cifar", 0, 3, 10, {"width": 8}),
    "alexnet": ("alexnet", 67, 3, 5, {"dropout": 0.5}),
    "mobilenet_v2_0.35_96": ("mobilenet_v2_0.35_96", 0, 3, 5, {"dropout": 0.2}),
    "lenet5 with a box": ("lenet5", 0, 3, 10, {"boxes": 8}),
    "mobilenet_v2_0.35_96 with a box": ("mobilenet_v2_0.35_96", 75, 3, 5, {"boxes": 8}),
}
RANDOM = np.random.default_rng(0)


def make(
    name: str, side: int = 0, channels: int = 3, classes: int = 10, boxes: int = 0, **knobs: Any
) -> Any:
    spec = get_spec(name)
    side = side or spec.input.width
    size = replace(spec.input, height=side, width=side, channels=channels)
    scale = (1 / 64, 1 / 50, 1 / 70)[:channels]
    offset = (-2.0, -1.8, -1.6)[:channels]
    return build_classifier(spec, size, classes, NetConfig(**knobs), scale, offset, boxes=boxes)


def count_macs(model: Any) -> float:
    macs = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            macs += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense):
            macs += math.prod(layer.kernel.shape)
    return macs / 1e6


def learn(model: Any, pixels: Any) -> dict[str, Any]:
    """One step of AdamW."""
    truth = np.arange(len(pixels)) % model.output["logits"].shape[-1]
    before = [np.asarray(weight).copy() for weight in model.trainable_weights]
    optimizer = keras.optimizers.AdamW(1e-3)
    with tf.GradientTape() as tape:
        answers = model(pixels, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(truth, answers["logits"])
        loss = tf.reduce_mean(losses)
        if "box" in answers:
            loss += tf.reduce_mean(tf.square(answers["box"] - [0.1, 0.2, 0.4, 0.9]))
    optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
    pairs = zip(before, model.trainable_weights, strict=True)
    same = [w.path for old, w in pairs if np.array_equal(old, np.asarray(w))]
    return {"loss": float(loss), "same": same}


def scramble(model: Any) -> None:
    """Biases and batch norms as no training step leaves them: every second one turns signs."""
    randomize(model)
    norms = 0
    for layer in model.layers:
        if isinstance(layer, Bias):
            layer.set_weights([RANDOM.normal(0, 0.5, layer.bias.shape)])
        elif isinstance(layer, layers.BatchNormalization):
            norms += 1
            wide = layer.gamma.shape
            sign = 1 if norms % 2 else RANDOM.choice([-1, 1], wide)
            centre, spread = RANDOM.normal(0, 0.3, wide), RANDOM.uniform(0.5, 2, wide)
            layer.set_weights(
                [sign * RANDOM.uniform(0.5, 1.5, wide), RANDOM.normal(0, 0.3, wide), centre, spread]
            )


def parity(model: Any, pixels: Any, folder: Path) -> dict[str, Any]:
    """Largest differences, as shares of the largest value."""
    expected = {key: np.asarray(value) for key, value in model(pixels, training=False).items()}
    file = folder / "features.onnx"
    wanted = [name for name in ("features", "box") if name in expected]
    backbone = keras.Model(model.input, {name: model.output[name] for name in wanted})
    onnx.save(emit_onnx(backbone, "image"), file)
    graph = Graph(file)
    whole = pixels.astype(np.uint8)
    together, singly = graph.run(whole), [graph.run(one[None]) for one in whole]
    weights, bias = head_of(model)
    pairs = [(together[name], expected[name]) for name in wanted]
    pairs += [
        *((np.concatenate([one[name] for one in singly]), expected[name]) for name in wanted),
        (together["features"] @ weights + bias, expected["logits"]),
        (expected["features"] @ weights + bias, expected["logits"]),
    ]
    model.save(folder / "model.keras")
    again = keras.models.load_model(folder / "model.keras")(pixels, training=False)
    pairs += [(np.asarray(again[key]), expected[key]) for key in expected]
    return {
        "gaps": [float(np.abs(a - b).max() / max(1, np.abs(b).max())) for a, b in pairs],
        "spread": min(float(expected[name].std(axis=0).max()) for name in expected),
        "kinds": sorted({node.op_type for node in onnx.load(file).graph.node}),
        "head": [list(weights.shape), list(bias.shape)],
    }


def look(folder: Path, name: str, side: int, channels: int, classes: int, knobs: Any) -> Any:
    model = make(name, side, channels, classes, **knobs)
    shape = (7, *model.input.shape[1:])
    pixels = RANDOM.integers(0, 256, shape).astype("float32")
    found = {"shapes": {key: value.shape[1:] for key, value in model.output.items()}}
    found |= learn(model, pixels)
    scramble(model)
    return found | parity(model, pixels, folder)


def counts() -> dict[str, Any]:
    """Weights, millions of multiply-accumulates, and features."""
    found: dict[str, Any] = {}
    for name, classes in (("lenet5", 10), ("cnn", 10), ("resnet_cifar", 10), ("alexnet", 3)):
        model = make(name, classes=classes)
        features = model.output["features"]
        found[name] = [model.count_params(), count_macs(model), features.shape[-1]]
    grey = {"side": 50, "channels": 1, "classes": 2}
    found["64x3x0"] = make("cnn", **grey).count_params()
    found["64x2x0"] = make("cnn", conv_layers=2, **grey).count_params()
    found["alexnet with boxes"] = make("alexnet", classes=3, boxes=64).count_params()
    return found


def operations(layer: Any, x: Any) -> set[str]:
    run = tf.function(lambda value: layer(value, training=True)).get_concrete_function(x)
    return {operation.type for operation in run.graph.get_operations()}


def batch_norm(dtype: str) -> dict[str, float]:
    """Ours against Keras': the largest differences."""
    x = tf.constant(RANDOM.normal(1, 2, (4, 5, 6, 8)), dtype)
    up = tf.constant(RANDOM.normal(0, 1, x.shape), dtype)
    policy = "mixed_float16" if dtype == "float16" else dtype
    options: dict[str, Any] = {"momentum": 0.9, "dtype": policy}
    ours, theirs = BatchNormalization(**options), layers.BatchNormalization(**options)
    seen = []
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.set_weights([np.linspace(-1, 2, 8), np.linspace(-1, 1, 8), *np.ones((2, 8))])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            total = tf.reduce_sum(y * up)
        gradients = tape.gradient(total, [x, *layer.trainable_weights])
        moving = [np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)]
        seen.append(([np.asarray(v, np.float64) for v in (y, *gradients)], moving, y.dtype.name))
    (values, (mean, variance), kind), (expected, (mean_2, variance_2), kind_2) = seen
    batch, batch_2 = (variance - 0.9) / 0.1, (variance_2 - 0.9) / 0.1
    ours.trainable = False
    still = np.asarray(ours(x, training=True), np.float64)
    inference = np.asarray(theirs(x, training=False), np.float64)
    when_frozen = operations(ours, x)
    ours.trainable = True
    return {
        "values": max(float(np.abs(a - b).max()) for a, b in zip(values, expected, strict=True)),
        "mean": float(np.abs(mean - mean_2).max()),
        "bessel": float(np.abs(batch / batch_2 - 120 / 119).max()),
        "frozen": float(np.abs(still - inference).max()),
        "same kind": kind == kind_2 == dtype,
        "fused": "FusedBatchNormV3" in operations(ours, x),
        "fused when frozen": "FusedBatchNormV3" in when_frozen,
    }


def pool_first(pool: int, padding: str) -> float:
    """Convolution, pooling, bias, ReLU against convolution, bias, ReLU, pooling."""
    image = keras.Input((15, 14, 3))
    options: dict[str, Any] = {"padding": padding, "pool": pool}
    ours = keras.Model(image, conv_relu(image, 8, 3, NetConfig(), "conv", **options))
    usual = layers.Conv2D(8, 3, padding=padding, activation="relu")
    theirs = keras.Model(image, layers.MaxPooling2D(pool, 2)(usual(image)))
    weights = [RANDOM.normal(0, 1, (3, 3, 3, 8)), RANDOM.normal(0, 2, 8)]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = RANDOM.normal(0, 1, (4, 15, 14, 3)).astype("float32")
    return float(np.abs(np.asarray(ours(x)) - np.asarray(theirs(x))).max())


def pretrained() -> dict[str, Any]:
    """A network with ImageNet weights against the backbone that it was made from."""
    spec, load = get_spec("efficientnet_lite0"), weight_loader(BackboneConfig("efficientnet_lite0"))
    size, ones, zeros = InputSpec(64, 64), (1.0,) * 3, (0.0,) * 3
    model = build_classifier(spec, size, 3, NetConfig(), ones, zeros, load, root=SMOOTHING)
    backbone = spec.build(64, 64)
    load(backbone)
    pixels = RANDOM.integers(0, 256, (2, 64, 64, 3)).astype("float32")
    got = {key: np.asarray(value) for key, value in model(pixels).items()}
    weights, bias = head_of(model)
    pairs = [
        (got["features"], np.asarray(backbone(pixels)["features"])),
        (got["logits"], square_root(got["features"]) @ weights + bias),
    ]
    return {
        "gaps": [float(np.abs(a - b).max()) for a, b in pairs],
        "zeros": int((got["features"] == 0).sum()),
        **learn(model, pixels),
        "finite": all(np.isfinite(w).all() for w in model.get_weights()),
    }


def deviations(name: str) -> list[float]:
    model = make(name, init_stddev=0.05)
    kernels = [np.asarray(w) for w in model.trainable_weights if "kernel" in w.name]
    return [float(kernel.std()) for kernel in kernels if kernel.size > 250]


def mixed() -> list[str]:
    """Under 16 bits what leaves the network has 32."""
    keras.config.set_dtype_policy("mixed_float16")
    found = [
        value.dtype
        for name in ("lenet5", "cnn", "resnet_cifar", "mobilenet_v2_0.35_96")
        for value in make(name, classes=2, width=8).output.values()
    ]
    keras.config.set_dtype_policy("float32")
    return found


def refusal(name: str, **how: Any) -> str:
    try:
        make(name, **how)
    except UsageError as error:
        return str(error)
    return "nothing"


def main() -> None:
    folder = Path(sys.argv[1])
    found: dict[str, Any] = {key: look(folder, *how) for key, how in LOOKS.items()}
    found["counts"] = counts()
    found["batch norm"] = {dtype: batch_norm(dtype) for dtype in ("float32", "float16")}
    found["pool first"] = [pool_first(p, how) for p in (2, 3) for how in ("valid", "same")]
    found["pretrained"] = pretrained()
    found["deviations"] = [*deviations("cnn"), *deviations("mobilenet_v2_0.35_96")]
    found["mixed"] = mixed()
    found["refusals"] = [
        refusal("cnn", conv_layers=5),
        refusal("lenet5", side=15),
        refusal("alexnet", side=66),
        refusal("mobilenet_v2", channels=1),
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
