"""The steps of training: what one step does, and that it does not matter how steps are cut up."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from nets import (
    CLASSES,
    SIDE,
    config_of,
    equal,
    make_net,
    make_stretch,
    weights_of,
)
from sharpeye.errors import MissingExtra, UsageError
from sharpeye.learn.nets import backend as engines
from sharpeye.learn.nets.augment import Augment
from sharpeye.learn.nets.backend import load_backend, precision
from sharpeye.learn.nets.engine import Engine, EpochTotals, StepBatches
from sharpeye.learn.nets.loss import Loss

PLAIN = {"augment.flip": False, "augment.shift": 0}
ALL_CHANGES = {
    "augment.flip": True,
    "augment.shift": 10,
    "augment.brightness": 10,
    "augment.cutout": 20,
}


def stretch_of(config: Any, **options: Any) -> StepBatches:
    return make_stretch(augment=Augment(config.augment, SIDE, SIDE, 128.0).draw, **options)


def close(one: list[Any], other: list[Any], tolerance: float) -> None:
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)


def answers_of(engine: Engine, stretch: StepBatches) -> list[Any]:
    return list(engine.predict(stretch.images[0]).values())


def piece(stretch: StepBatches, first: int, last: int) -> StepBatches:
    def cut(arrays: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value[first:last] for name, value in arrays.items()}

    return StepBatches(
        stretch.images[first:last],
        cut(stretch.targets),
        stretch.learning_rates[first:last],
        cut(stretch.draws),
    )


# --- how steps are cut up ------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["classify", "localize"])
@pytest.mark.parametrize(("optimizer", "towers"), [("sgd", 2), ("adamw", 3)])
def test_towers_together_take_the_step_of_the_whole_batch(
    optimizer: str, towers: int, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_backend()
    from sharpeye.learn.nets import engine_tensorflow

    changes = {"train.optimizer": optimizer, "train.clip_norm": 0.5, "task": task}
    config, boxes = config_of(changes | ALL_CHANGES), task == "localize"
    weights = np.linspace(0.5, 1.5, 8)
    stretch = stretch_of(config, steps=3, batch=8, weights=weights, boxes=boxes)
    found = []
    for count in (1, towers):
        monkeypatch.setattr(engine_tensorflow, "count_replicas", lambda _, count=count: count)
        model, engine = make_net(config)
        found.append((engine.train(stretch), weights_of(model), answers_of(engine, stretch)))
    (one, one_weights, one_answer), (many, many_weights, many_answer) = found
    # Adam divides by the gradients' size: rounding in gradients near 0 shows at the rate's scale.
    close(one_weights, many_weights, 1e-5 if optimizer == "sgd" else 2e-4)
    close(one_answer, many_answer, 1e-4 if optimizer == "sgd" else 2e-3)
    close(*([dataclasses.astuple(t) for t in (one, many)]), 1e-4)


def test_a_stretch_is_as_good_as_its_steps_one_by_one() -> None:
    config = config_of(ALL_CHANGES)
    stretch = stretch_of(config, steps=4)
    whole_model, whole = make_net(config)
    parts_model, parts = make_net(config)
    tally = whole.train(stretch)
    pieces = EpochTotals()
    for i in range(4):
        pieces += parts.train(piece(stretch, i, i + 1))
    close(weights_of(whole_model), weights_of(parts_model), 1e-6)
    assert pieces.images == tally.images == 32
    assert pieces.hits == tally.hits
    assert pieces.loss == pytest.approx(tally.loss, rel=1e-5)
    assert pieces.log_loss == pytest.approx(tally.log_loss, rel=1e-5)


def test_stretches_of_other_lengths_follow_each_other() -> None:
    model, engine = make_net(config_of(PLAIN))
    for steps in (3, 1, 2, 3):
        assert engine.train(make_stretch(steps=steps)).images == 8 * steps
    assert all(np.isfinite(value).all() for value in weights_of(model))


# --- what a step does ----------------------------------------------------------------------------


def sgd_config(**changes: Any) -> Any:
    """Plain gradient descent: a step moves the weights by the rate times the gradient."""
    plain = {"train.optimizer": "sgd", "train.momentum": 0.0, "train.weight_decay": 0.0}
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return config_of(PLAIN | plain | {"train.label_smoothing": 0.0} | given)


def moved(config: Any, stretch: StepBatches) -> list[Any]:
    model, engine = make_net(config)
    before = weights_of(model)
    engine.train(stretch)
    return [after - old for after, old in zip(weights_of(model), before, strict=True)]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_rate_of_0_moves_nothing(optimizer: str) -> None:
    changes = moved(config_of({"train.optimizer": optimizer}), make_stretch(rate=0.0))
    assert all(not change.any() for change in changes)
    changes = moved(config_of({"train.optimizer": optimizer}), make_stretch(rate=0.01))
    assert all(change.any() for change in changes)


def test_each_step_goes_at_its_own_rate() -> None:
    stretch = make_stretch(steps=1, rate=0.01)
    single, double = (
        moved(
            sgd_config(), dataclasses.replace(stretch, learning_rates=np.full(1, rate, np.float32))
        )
        for rate in (0.01, 0.02)
    )
    close([2 * change for change in single], double, 1e-6)
    steps = make_stretch(steps=3)
    first_only = dataclasses.replace(steps, learning_rates=np.array([0.01, 0, 0], np.float32))
    close(moved(sgd_config(), first_only), moved(sgd_config(), piece(steps, 0, 1)), 1e-7)


def test_a_step_goes_down_the_gradient_of_the_mean_loss() -> None:
    """Along the bias of the last layer, where the gradient can be written down."""
    stretch = make_stretch(steps=1, rate=0.1, weights=np.linspace(0, 2, 8))
    model, engine = make_net(sgd_config(train__label_smoothing=0.2))
    logits = engine.predict(stretch.images[0])["logits"].astype(np.float64)
    before = model.get_layer("classifier").get_weights()[1]
    engine.train(stretch)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.eye(CLASSES)[stretch.targets["label"][0]] * 0.8 + 0.2 / CLASSES
    gradient = ((probs - targets) * stretch.targets["weight"][0][:, None]).mean(axis=0)
    after = model.get_layer("classifier").get_weights()[1]
    np.testing.assert_allclose(after - before, -0.1 * gradient, atol=1e-6)


def test_weights_of_images_scale_their_loss() -> None:
    once, twice = (
        make_stretch(steps=1, weights=np.array(weights)) for weights in (np.ones(8), np.full(8, 2))
    )
    close([2 * change for change in moved(sgd_config(), once)], moved(sgd_config(), twice), 1e-6)
    tallies = [make_net(sgd_config())[1].train(stretch) for stretch in (once, twice)]
    assert tallies[1].loss == pytest.approx(2 * tallies[0].loss, rel=1e-5)
    # What the history shows is not weighted.
    assert tallies[1].log_loss == pytest.approx(tallies[0].log_loss, rel=1e-5)


def test_an_image_of_weight_0_teaches_nothing() -> None:
    some = make_stretch(steps=1, weights=np.array([1, 1, 1, 1, 0, 0, 0, 0]))
    images = some.images.copy()
    images[:, 4:] = 255 - images[:, 4:]
    other = dataclasses.replace(some, images=images)
    close(moved(sgd_config(), some), moved(sgd_config(), other), 1e-7)


def test_long_gradients_are_shortened() -> None:
    stretch = make_stretch(steps=1, rate=1.0)
    changes = moved(sgd_config(train__clip_norm=0.001), stretch)
    length = np.sqrt(sum(float(np.square(change, dtype=np.float64).sum()) for change in changes))
    assert length == pytest.approx(0.001, rel=1e-3)


def test_the_tally_is_of_what_the_network_answered() -> None:
    stretch = make_stretch(steps=1, rate=0.0)
    _, engine = make_net(sgd_config())
    tally = engine.train(stretch)
    logits = engine.predict(stretch.images[0])["logits"].astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -logs[np.arange(8), stretch.targets["label"][0]].sum()
    assert tally.log_loss == pytest.approx(expected, rel=1e-4)
    assert tally.loss == pytest.approx(expected, rel=1e-4)
    assert tally.hits == (logits.argmax(axis=1) == stretch.targets["label"][0]).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing: float) -> None:
    load_backend()
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, (6, 4)).astype(np.float32)
    labels = random.integers(0, 4, 6).astype(np.int32)
    weights = random.uniform(0, 2, 6).astype(np.float32)
    targets = random.dirichlet(np.ones(4), 6).astype(np.float32)
    truth = {"label": labels, "weight": weights}
    sums = Loss(smoothing).sums({"logits": logits}, targets, truth)
    loss, plain, hits, overlap = sums
    assert float(overlap) == 0
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smooth = targets * (1 - smoothing) + smoothing / 4
    assert float(loss) == pytest.approx((-(smooth * logs).sum(axis=1) * weights).sum(), rel=1e-5)
    assert float(plain) == pytest.approx(-logs[np.arange(6), labels].sum(), rel=1e-5)
    assert float(hits) == (logits.argmax(axis=1) == labels).sum()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_kernels_decay(optimizer: str) -> None:
    config = config_of(
        PLAIN
        | {
            "train.optimizer": optimizer,
            "train.momentum": 0.0,
            "train.weight_decay": 0.5,
            "net.width": 8,  # with a batch norm
        }
    )
    model, engine = make_net(config)
    before = {v.path: np.asarray(v).copy() for v in model.trainable_variables}
    # Nothing to learn: only decay moves the weights. It takes rate x decay in each step.
    engine.train(make_stretch(steps=2, rate=0.1, weights=0.0))
    kinds = set()
    for variable in model.trainable_variables:
        factor = (1 - 0.1 * 0.5) ** 2 if len(variable.shape) >= 2 else 1.0
        kinds.add(variable.path.rpartition("/")[2])
        np.testing.assert_allclose(np.asarray(variable), before[variable.path] * factor, rtol=1e-5)
    assert kinds == {"kernel", "bias", "gamma", "beta"}


def test_adam_does_not_decay() -> None:
    config = config_of(PLAIN | {"train.optimizer": "adam", "train.weight_decay": 0.5})
    changes = moved(config, make_stretch(rate=0.1, weights=0.0))
    assert all(not change.any() for change in changes)


# --- answers -------------------------------------------------------------------------------------


def test_answers_are_the_models_for_any_number_of_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_backend()
    from sharpeye.learn.nets.engine_tensorflow import TensorFlowEngine

    monkeypatch.setattr(TensorFlowEngine, "answer_batch", 16)
    model, engine = make_net(config_of({"net.dropout": 0.5, "net.width": 8}))
    engine.train(make_stretch())
    images = np.random.default_rng(5).integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)
    expected = np.asarray(model(images.astype(np.float32), training=False)["logits"])
    for count in (1, 3, 15, 16, 17, 40):
        found = engine.predict(images[:count])["logits"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected[:count], rtol=1e-4, atol=1e-5)


def test_answering_changes_nothing() -> None:
    model, engine = make_net(config_of({"net.dropout": 0.5, "net.width": 8}))
    engine.train(make_stretch())
    before = engine.state()
    engine.predict(make_stretch().images[0])
    assert equal(before, engine.state())
    assert model.variables


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_what_is_put_back_goes_on_as_if_it_had_not_stopped(optimizer: str) -> None:
    config = config_of({"train.optimizer": optimizer, "net.dropout": 0.4, "net.width": 8})
    first, second = make_stretch(seed=1), make_stretch(seed=2)
    _, engine = make_net(config)
    engine.train(first)
    between = engine.state()
    kept = [array.copy() for array in between]
    engine.train(second)
    end = engine.state()
    assert equal(between, kept)  # a copy, not a view of what goes on changing
    assert not equal(between, end)
    _, other = make_net(config.replace({"seed": 9}))
    other.restore(between)
    other.train(second)
    assert equal(other.state(), end)


def test_the_state_of_another_network_is_refused() -> None:
    _, engine = make_net(config_of())
    _, larger = make_net(config_of(), classes=CLASSES + 1)
    _, normed = make_net(config_of({"net.width": 8}))
    for other in (larger, normed):
        with pytest.raises(ValueError):
            engine.restore(other.state())


# --- backends ------------------------------------------------------------------------------------


def test_a_backend_without_an_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(UsageError, match=r"one of tensorflow, jax. Received: torch"):
        load_backend()


def test_a_missing_backend_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    load_backend()
    from sharpeye.learn.nets import engine_tensorflow

    monkeypatch.setattr(engine_tensorflow, "use_replicas", none)
    with pytest.raises(MissingExtra, match=r"needs tensorflow.*sharpeye\[train\]"):
        load_backend()


def test_mixed_precision_is_asked_for_while_a_model_is_built() -> None:
    load_backend()
    import keras

    def policy(wanted: str) -> str:
        with precision(wanted):
            return str(keras.config.dtype_policy().name)

    before = keras.config.dtype_policy().name
    assert policy("mixed") == "mixed_bfloat16"
    assert policy("float32") == "float32"
    assert policy("auto") == ("mixed_bfloat16" if engines._has_gpu() else "float32")
    assert keras.config.dtype_policy().name == before


def test_the_graph_is_one_that_tensorflow_reads() -> None:
    import tensorflow as tf

    _, engine = make_net(config_of())
    graph = tf.compat.v1.GraphDef.FromString(engine.graph())
    assert {"Conv2D", "MatMul"} <= {node.op for node in graph.node}
