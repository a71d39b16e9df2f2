"""Networks as classifiers: their sizes, that they train, and that ONNX computes the same."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpeye.core.config import NetConfig
from sharpeye.core.inference import Graph
from sharpeye.core.numerics import softmax
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.learn.heads.head import SMOOTHING, square_root
from sharpeye.models.backbone import BackboneConfig, load_backbone, weight_loader
from sharpeye.models.classifier import build_classifier, head_of
from sharpeye.models.from_scratch_networks import max_convolutions
from sharpeye.models.keras_to_onnx import randomize
from sharpeye.models.plain_network import to_plain_network
from sharpeye.models.registry import get_spec, list_models

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.usefixtures("keras")

SMALL = {"lenet5", "cnn", "resnet_cifar", "alexnet", "resnet18", "resnet50"}


@dataclass(frozen=True)
class Case:
    """A network to build, with 0 for its own input size, and the expected number of features."""

    name: str
    side: int
    channels: int
    classes: int
    features: int
    options: dict[str, Any] = field(default_factory=dict)
    box_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


CASES = {
    "lenet5": Case("lenet5", 0, 3, 10, 84),
    "lenet5 grey": Case("lenet5", 28, 1, 4, 84, {"dropout": 0.5}),
    "cnn": Case("cnn", 0, 3, 10, 1024),
    "cnn grey binary": Case("cnn", 0, 1, 2, 16, {"dense_layers": 2, "layer_size": 16}),
    "resnet_cifar": Case("resnet_cifar", 0, 3, 10, 64, {"width": 8}),
    "resnet_cifar with mirror images": Case(
        *("resnet_cifar", 0, 3, 10, 64), {"width": 8, "flip_tta": True}
    ),
    "lenet5 grey with mirror images": Case("lenet5", 28, 1, 2, 84, {"flip_tta": True}),
    "alexnet": Case("alexnet", 67, 3, 5, 4096, {"dropout": 0.5}),
    "resnet18": Case("resnet18", 32, 3, 4, 512),
    "resnet18 large": Case("resnet18", 96, 3, 4, 512),
    "resnet50": Case("resnet50", 32, 3, 4, 2048),
    "mobilenet grey": Case("mobilenet_0.25_128", 64, 1, 3, 256),
    "lenet5 with a box": Case("lenet5", 0, 3, 10, 84, {"boxes": 8}, {"box": (4,)}),
    # Of the proposals: the cells of the fine map, and the numbers of each.
    "mobilenet_v2 with a box": Case(
        *("mobilenet_v2_0.35_96", 75, 3, 5, 1280),
        {"boxes": 8, "dropout": 0.2},
        {"box": (4,), "proposals": (25, 7)},
    ),
}


def build(
    name: str, side: int = 0, channels: int = 3, classes: int = 10, boxes: int = 0, **knobs: Any
) -> Any:
    spec = get_spec(name)
    side = side or spec.input.width
    size = replace(spec.input, height=side, width=side, channels=channels)
    scale, offset = (1 / 64, 1 / 50, 1 / 70)[:channels], (-2.0, -1.8, -1.6)[:channels]
    return build_classifier(
        spec, size, classes, net=NetConfig(**knobs), scale=scale, offset=offset, boxes=boxes
    )


def count_macs(model: Any) -> float:
    """Multiply-accumulates per image, in millions."""
    from keras import layers

    macs = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            macs += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense):
            macs += math.prod(layer.kernel.shape)
    return macs / 1e6


def arrays_of(tensors: dict[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}


def largest_difference(first: Array, second: Array) -> float:
    """As a share of the largest value."""
    return float(np.abs(first - second).max() / max(1, np.abs(second).max()))


def take_step(model: Any, pixels: Array) -> tuple[float, list[str]]:
    """One step of AdamW; returns the loss and the names of unchanged weights."""
    import keras
    import tensorflow as tf

    targets = np.arange(len(pixels)) % model.output["logits"].shape[-1]
    before = [np.asarray(weight).copy() for weight in model.trainable_weights]
    optimizer = keras.optimizers.AdamW(1e-3)
    with tf.GradientTape() as tape:
        outputs = model(pixels, training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs["logits"])
        loss = tf.reduce_mean(losses)
        if "box" in outputs:
            loss += tf.reduce_mean(tf.square(outputs["box"] - [0.1, 0.2, 0.4, 0.9]))
    optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
    pairs = zip(before, model.trainable_weights, strict=True)
    return float(loss), [w.path for old, w in pairs if np.array_equal(old, np.asarray(w))]


def scramble(model: Any, random: np.random.Generator) -> None:
    """Give biases and batch norms values far from their initial ones, some of them negative."""
    from keras import layers

    from sharpeye.models.blocks import Bias

    randomize(model)
    norms = 0
    for layer in model.layers:
        if isinstance(layer, Bias):
            layer.set_weights([random.normal(0, 0.5, layer.bias.shape)])
        elif isinstance(layer, layers.BatchNormalization):
            norms += 1
            shape = layer.gamma.shape
            sign = 1 if norms % 2 else random.choice([-1, 1], shape)
            mean, variance = random.normal(0, 0.3, shape), random.uniform(0.5, 2, shape)
            gamma, beta = sign * random.uniform(0.5, 1.5, shape), random.normal(0, 0.3, shape)
            layer.set_weights([gamma, beta, mean, variance])


# --- one network after the other -----------------------------------------------------------------


# The largest of them take as long as all others.
SLOW_CASES = {"alexnet", "mobilenet_v2 with a box", "resnet50", "resnet18 large"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_CASES else []) for name in CASES
    ],
)
def network(request: pytest.FixtureRequest, keras: Any) -> Iterator[tuple[Case, Any, Array]]:
    """A case, its untrained model, and 7 images for it."""
    case = CASES[request.param]
    model = build(case.name, case.side, case.channels, case.classes, **case.options)
    shape = (7, *model.input.shape[1:])
    yield case, model, np.random.default_rng(0).integers(0, 256, shape).astype("float32")
    keras.backend.clear_session()


def test_a_step_changes_every_weight(network: tuple[Case, Any, Array]) -> None:
    case, model, pixels = network
    if case.name.startswith("resnet1") or case.name.startswith("resnet5"):
        take_step(model, pixels)  # Factors of 0 keep the first gradients from the layers before.
    loss, unchanged = take_step(model, pixels)
    assert math.isfinite(loss)
    assert unchanged == []


def test_onnx_and_the_head_and_the_saved_model_compute_what_keras_computes(
    network: tuple[Case, Any, Array], keras: Any, tmp_path: Path
) -> None:
    import onnx

    from sharpeye.models.onnx_emitter import emit_onnx

    case, model, pixels = network
    scramble(model, np.random.default_rng(1))
    expected = arrays_of(model(pixels, training=False))
    shapes = {"features": (case.features,), "logits": (case.classes,)} | case.box_shapes
    assert {name: array.shape[1:] for name, array in expected.items()} == shapes
    assert min(array.std(axis=0).max() for array in expected.values()) > 1e-3  # Images differ.

    names = [name for name in ("features", "box") if name in expected]
    backbone = keras.Model(model.input, {name: model.output[name] for name in names})
    proto = emit_onnx(backbone, "image")
    onnx.save(proto, tmp_path / "features.onnx")
    graph, images = Graph(tmp_path / "features.onnx"), pixels.astype(np.uint8)
    batch, single = graph.run(images), [graph.run(image[None]) for image in images]
    for name in names:
        assert largest_difference(batch[name], expected[name]) < 1e-3
        alone = np.concatenate([outputs[name] for outputs in single])
        assert largest_difference(alone, expected[name]) < 1e-3
    if case is CASES["cnn"]:  # Biases cost nothing in ONNX.
        assert {node.op_type for node in proto.graph.node} == {
            *("Add", "Cast", "Conv", "Flatten", "Identity", "MaxPool", "Mul", "Relu", "Transpose")
        }

    weights, bias = head_of(model)
    assert (weights.shape, bias.shape) == ((case.features, case.classes), (case.classes,))
    for features in (batch["features"], expected["features"]):
        assert largest_difference(features @ weights + bias, expected["logits"]) < 1e-3

    plain = to_plain_network(model, 1.5)
    outputs = plain(pixels, training=False)
    outputs = outputs if isinstance(outputs, dict) else {"probs": outputs}
    probs = softmax(expected["logits"].astype(np.float64) / 1.5)
    np.testing.assert_allclose(np.asarray(outputs["probs"]), probs, atol=1e-4)
    if "box" in expected:
        assert largest_difference(np.asarray(outputs["box"]), expected["box"]) < 1e-3

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")(pixels, training=False)
    for name, array in arrays_of(loaded).items():
        assert largest_difference(array, expected[name]) < 1e-3


# --- sizes ---------------------------------------------------------------------------------------


def test_every_small_network_is_a_case() -> None:
    assert {spec.name for spec in list_models() if spec.body} == SMALL
    assert {case.name for case in CASES.values()} > SMALL
    for spec in list_models():
        assert (spec.build is None) == (spec.imagenet is None) == (spec.body is not None)


@pytest.mark.slow
def test_sizes_are_those_of_the_spec_and_published(keras: Any) -> None:
    parameters = {}
    for name in sorted(SMALL - {"alexnet"}):
        model, spec = build(name), get_spec(name)
        parameters[name] = model.count_params()
        assert parameters[name] == spec.parameters, name
        assert round(count_macs(model), 0 if spec.macs > 1 else 2) == spec.macs, name
        assert model.output["features"].shape[-1] == spec.features, name
    assert parameters["lenet5"] == 62_006
    grey: dict[str, Any] = {"side": 50, "channels": 1, "classes": 2}
    assert build("cnn", **grey).count_params() == 75_521
    assert build("cnn", conv_layers=2, **grey).count_params() == 45_313

    model, spec = build("alexnet", classes=3, boxes=64), get_spec("alexnet")
    box_layer = model.get_layer("box_corners")
    without_box = model.count_params() - box_layer.count_params()
    assert (without_box, model.count_params()) == (58_293_635, 58_310_023)
    assert without_box == spec.parameters - 7 * (spec.features + 1)  # The spec has ten classes.
    assert round(count_macs(model) - box_layer.kernel.shape[0] * 4 / 1e6) == spec.macs
    assert model.output["features"].shape[-1] == spec.features
    keras.backend.clear_session()


def test_as_many_convolutions_as_fit() -> None:
    assert [max_convolutions(side) for side in (3, 4, 9, 10, 22, 50)] == [0, 1, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "cnn", "conv_layers": 5},
            r"net.conv_layers must be from 1 to 4 for images of 50x50 .*Received: 5; take fewer",
        ),
        (
            {"name": "lenet5", "side": 15},
            r"model.image_size of lenet5 must be 0 or at least 16. Received: 15$",
        ),
        (
            {"name": "alexnet", "side": 66},
            r"model.image_size of alexnet must be 0 or at least 67. Received: 66$",
        ),
    ],
)
def test_a_network_that_cannot_be_built_is_refused_in_one_line(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        build(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weights", ["imagenet", "random", "mine.h5"])
def test_a_small_network_is_never_frozen(weights: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"lenet5 has no ImageNet.*none.*Received: {weights}"):
        load_backbone(BackboneConfig("lenet5", weights), root=tmp_path)
    assert not list(tmp_path.iterdir())


# --- layers --------------------------------------------------------------------------------------


def test_initial_kernels_have_the_configured_deviation() -> None:
    deviations = []
    for name in ("cnn", "mobilenet_v2_0.35_96"):
        model = build(name, init_stddev=0.05)
        kernels = [np.asarray(w) for w in model.trainable_weights if "kernel" in w.name]
        deviations += [float(kernel.std()) for kernel in kernels if kernel.size > 250]
    assert len(deviations) > 50
    assert all(0.035 < deviation < 0.05 for deviation in deviations)  # truncated at two


def test_outputs_are_float32_under_mixed_precision(keras: Any) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        dtypes = {
            output.dtype
            for name in ("lenet5", "cnn", "resnet_cifar", "mobilenet_v2_0.35_96")
            for output in build(name, classes=2, width=8).output.values()
        }
    finally:
        keras.config.set_dtype_policy(before)
    assert dtypes == {"float32"}


def operations(layer: Any, x: Any) -> set[str]:
    """The TensorFlow operations of a layer in training."""
    import tensorflow as tf

    run = tf.function(lambda value: layer(value, training=True)).get_concrete_function(x)
    return {operation.type for operation in run.graph.get_operations()}


@pytest.mark.parametrize(("dtype", "limit"), [("float32", 1e-4), ("float16", 0.05)])
def test_batch_norm_is_keras_own_in_one_kernel(dtype: str, limit: float) -> None:
    import tensorflow as tf
    from keras import layers

    from sharpeye.models.blocks import BatchNormalization

    random = np.random.default_rng(0)
    x = tf.constant(random.normal(1, 2, (4, 5, 6, 8)), dtype)
    factors = tf.constant(random.normal(0, 1, x.shape), dtype)
    policy = "mixed_float16" if dtype == "float16" else dtype
    ours, theirs = (
        kind(momentum=0.9, dtype=policy) for kind in (BatchNormalization, layers.BatchNormalization)
    )
    results = []
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.set_weights([np.linspace(-1, 2, 8), np.linspace(-1, 1, 8), *np.ones((2, 8))])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
            total = tf.reduce_sum(y * factors)
        gradients = tape.gradient(total, [x, *layer.trainable_weights])
        assert y.dtype.name == dtype
        results.append([np.asarray(value, np.float64) for value in (y, *gradients)])
    for array, expected in zip(*results, strict=True):
        assert np.abs(array - expected).max() < limit
    assert np.abs(np.asarray(ours.moving_mean) - np.asarray(theirs.moving_mean)).max() < 1e-3
    # Bessel's correction: ours averages the unbiased variance of the 120 values of a channel.
    variances = [(np.asarray(layer.moving_variance) - 0.9) / 0.1 for layer in (ours, theirs)]
    assert np.abs(variances[0] / variances[1] - 120 / 119).max() < 1e-3
    assert "FusedBatchNormV3" in operations(ours, x)
    if dtype == "float32":  # Frozen, it uses its moving averages.
        ours.trainable = False
        assert "FusedBatchNormV3" not in operations(ours, x)
        frozen = np.asarray(ours(x, training=True))
        assert np.abs(frozen - np.asarray(theirs(x, training=False))).max() < 0.02


@pytest.mark.parametrize("pool", [2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling_first_changes_nothing(pool: int, padding: str, keras: Any) -> None:
    """Convolution, pooling, bias, ReLU against convolution, bias, ReLU, pooling."""
    from keras import layers

    from sharpeye.models.blocks import conv_relu

    random, image = np.random.default_rng(0), keras.Input((15, 14, 3))
    options: dict[str, Any] = {"padding": padding, "pool": pool}
    ours = keras.Model(image, conv_relu(image, 8, 3, net=NetConfig(), name="conv", **options))
    usual = layers.Conv2D(8, 3, padding=padding, activation="relu")
    theirs = keras.Model(image, layers.MaxPooling2D(pool, 2)(usual(image)))
    weights = [random.normal(0, 1, (3, 3, 3, 8)), random.normal(0, 2, 8)]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = random.normal(0, 1, (4, 15, 14, 3)).astype("float32")
    np.testing.assert_allclose(ours(x), theirs(x), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_classifier_has_the_imagenet_weights_and_finite_gradients() -> None:
    """The square roots of features that are 0 do not spoil the gradient."""
    name = "efficientnet_lite0"
    spec, load = get_spec(name), weight_loader(BackboneConfig(name))
    size, ones, zeros = InputSpec(64, 64), (1.0,) * 3, (0.0,) * 3
    model = build_classifier(
        spec,
        size,
        3,
        net=NetConfig(),
        scale=ones,
        offset=zeros,
        load=load,
        root_smoothing=SMOOTHING,
    )
    backbone = spec.build(64, 64)  # type: ignore[misc]
    load(backbone)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    outputs, expected = arrays_of(model(pixels)), arrays_of(backbone(pixels))
    weights, bias = head_of(model)
    logits = square_root(outputs["features"]) @ weights + bias
    np.testing.assert_allclose(outputs["features"], expected["features"], rtol=0, atol=1e-3)
    np.testing.assert_allclose(logits, outputs["logits"], rtol=0, atol=1e-3)
    assert (outputs["features"] == 0).any()
    loss, _ = take_step(model, pixels)
    assert math.isfinite(loss)
    assert all(np.isfinite(array).all() for array in model.get_weights())


def test_a_network_with_own_scaling_is_scaled_as_the_images_are(keras: Any) -> None:
    """Without ImageNet weights; the constants of the batch norms are the configuration's."""
    model = build("mobilenet_v2_0.35_96", 64, channels=1, classes=2, batch_norm_momentum=0.75)
    first = next(layer for layer in model.layers if layer.input is model.input)
    pixels = np.full((1, 64, 64, 1), 100.0, np.float32)
    np.testing.assert_allclose(np.asarray(first(pixels)), 100 / 64 - 2, rtol=1e-6)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {0.75}


@pytest.mark.parametrize("kind", ["sigmoid", "silu", "softplus", "tanh", "leaky", "gate"])
def test_layers_of_own_networks_compute_in_onnx_what_they_do_in_keras(
    kind: str, keras: Any, tmp_path: Path
) -> None:
    import onnx
    from keras import layers

    from sharpeye.models.onnx_emitter import emit_onnx

    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    if kind == "leaky":
        x = layers.LeakyReLU(0.2)(x)
    elif kind == "gate":
        factor = layers.GlobalAveragePooling2D(keepdims=True)(x)
        factor = layers.Conv2D(4, 1, activation="sigmoid")(factor)
        x = layers.Add()([layers.Multiply()([x, factor]), x, layers.Identity()(x)])
    else:
        x = layers.Activation(kind)(x)
    model = keras.Model(image, {"features": layers.GlobalAveragePooling2D()(x)})
    pixels = np.random.default_rng(0).integers(0, 3, (5, 8, 8, 3)).astype(np.uint8)
    expected = np.asarray(model(pixels.astype(np.float32))["features"])
    onnx.save(emit_onnx(model, "image"), tmp_path / "model.onnx")
    np.testing.assert_allclose(
        Graph(tmp_path / "model.onnx").run(pixels)["features"], expected, atol=1e-4
    )


def test_mirror_images_are_averaged_but_not_in_training() -> None:
    plain, averaged = (build("resnet_cifar", width=8, flip_tta=both) for both in (False, True))
    averaged.set_weights(plain.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    features = [np.asarray(plain(images)["features"]) for images in (pixels, mirrored)]
    assert largest_difference(*features) > 0.01
    outputs = [arrays_of(averaged(images)) for images in (pixels, mirrored)]
    np.testing.assert_allclose(outputs[0]["features"], np.mean(features, axis=0), atol=1e-5)
    np.testing.assert_allclose(outputs[0]["logits"], outputs[1]["logits"], atol=1e-5)
    for network in (plain, averaged):
        network.trainable = False  # so that batch norms do not move
    trained = [np.asarray(net(pixels, training=True)["features"]) for net in (plain, averaged)]
    np.testing.assert_allclose(*trained, atol=1e-5)
