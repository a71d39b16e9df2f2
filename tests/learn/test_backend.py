"""The engine: what a training step does, and that steps may be grouped in any way."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nets import (
    CLASSES,
    SIDE,
    make_loss,
    make_model_and_engine,
    make_step_batches,
    same_arrays,
    tiny_config,
    weights_of,
)
from sharpeye.core.config import Config
from sharpeye.errors import MissingExtra, UsageError
from sharpeye.learn.nets import backend
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.backend import computing, is_mixed, load_backend
from sharpeye.learn.nets.engine import Engine, EpochTotals, StepBatches

NO_AUGMENTATION = {"augment.flip": False, "augment.shift": 0}
AUGMENTATION = {
    "augment.flip": True,
    "augment.shift": 10,
    "augment.brightness": 10,
    "augment.cutout": 20,
}


def augmented_batches(config: Config, **options: Any) -> StepBatches:
    augmentation = Augmentation(config.augment, SIDE, SIDE, fill=128.0)
    return make_step_batches(augment=augmentation.draw, **options)


def assert_close(first: list[Any], second: list[Any], tolerance: float) -> None:
    for array, other in zip(first, second, strict=True):
        np.testing.assert_allclose(array, other, rtol=tolerance, atol=tolerance)


# --- averages, other optimizers, other losses ----------------------------------------------------


def test_the_averaged_weights_predict() -> None:
    config = tiny_config({"train.ema": 0.9, "net.width": 8})
    model, engine = make_model_and_engine(config)
    floats = [v for v in model.variables if "float" in str(v.dtype)]
    averages = [np.array(v) for v in floats]
    batches = make_step_batches(steps=40, rate=0.05)
    for step in range(1, 41):
        engine.train(batches.part(step - 1, step))
        if step % 8 == 0:
            kept = min(0.9, (1 + step) / (10 + step)) ** 8
            averages = [
                np.array(v) + (a - np.array(v)) * kept
                for v, a in zip(floats, averages, strict=True)
            ]
    assert_close(engine._averages, averages, 1e-5)
    assert any(abs(np.array(v) - a).max() > 1e-3 for v, a in zip(floats, averages, strict=True))
    images = make_step_batches(steps=1).images[0]
    predicted = engine.predict(images)["logits"]
    for variable, average in zip(floats, averages, strict=True):
        variable.assign(average)
    expected = np.asarray(model(images.astype(np.float32), training=False)["logits"])
    np.testing.assert_allclose(predicted, expected, atol=1e-4)


def test_weights_are_averaged_while_gradients_are_accumulated() -> None:
    changes = {"train.ema": 0.9, "train.accumulate": 2}
    _, engine = make_model_and_engine(tiny_config(changes))
    before = [np.array(average) for average in engine._averages]
    engine.train(make_step_batches(steps=16, rate=0.05))
    assert any(
        abs(np.array(a) - b).max() > 1e-3 for a, b in zip(engine._averages, before, strict=True)
    )


def test_before_the_first_average_the_weights_themselves_predict() -> None:
    model, engine = make_model_and_engine(tiny_config({"train.ema": 0.9}))
    engine.train(make_step_batches(steps=7, rate=0.05))
    images = make_step_batches(steps=1).images[0]
    expected = np.asarray(model(images.astype(np.float32), training=False)["logits"])
    np.testing.assert_allclose(engine.predict(images)["logits"], expected, atol=1e-4)


def test_averages_are_a_part_of_the_state() -> None:
    _, engine = make_model_and_engine(tiny_config({"train.ema": 0.9}))
    batches = make_step_batches(steps=16, rate=0.05)
    engine.train(batches)
    state = engine.state()
    before = [np.array(average) for average in engine._averages]
    engine.train(batches)
    assert any(
        abs(np.array(a) - b).max() > 1e-4 for a, b in zip(engine._averages, before, strict=True)
    )
    engine.restore(state)
    assert_close(engine._averages, before, 0)


def test_gradients_are_accumulated_over_steps() -> None:
    model, engine = make_model_and_engine(tiny_config({"train.accumulate": 2}))
    batches = make_step_batches(steps=2, rate=0.1)
    before = [np.array(v) for v in model.trainable_variables]
    engine.train(batches.part(0, 1))
    assert_close(model.trainable_variables, before, 0)
    engine.train(batches.part(1, 2))
    assert any(
        abs(np.array(v) - b).max() > 1e-4
        for v, b in zip(model.trainable_variables, before, strict=True)
    )


def test_lion_takes_steps_of_full_length() -> None:
    config = tiny_config({"train.optimizer": "lion", "train.weight_decay": 0.0})
    model, engine = make_model_and_engine(config)
    before = [np.array(v) for v in model.trainable_variables]
    engine.train(make_step_batches(steps=1, rate=0.01))
    for variable, array in zip(model.trainable_variables, before, strict=True):
        moved = abs(np.array(variable) - array)
        np.testing.assert_allclose(moved[moved > 1e-4], 0.01, rtol=1e-3)


# --- replicas and groups of steps ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "replicas", "task"),
    [
        ("adamw", 3, "classify"),
        pytest.param("sgd", 2, "localize", marks=pytest.mark.slow),
        pytest.param("sgd", 2, "classify", marks=pytest.mark.slow),
        pytest.param("adamw", 3, "localize", marks=pytest.mark.slow),
    ],
)
def test_replicas_together_take_the_step_of_the_complete_batch(
    optimizer: str, replicas: int, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_backend()
    from sharpeye.learn.nets import engine_tensorflow

    changes = {"train.optimizer": optimizer, "train.clip_norm": 0.5, "task": task}
    config, boxes = tiny_config(changes | AUGMENTATION), task == "localize"
    weights = np.linspace(0.5, 1.5, 8)
    batches = augmented_batches(config, steps=3, batch=8, weights=weights, boxes=boxes)
    results = []
    for count in (1, replicas):
        monkeypatch.setattr(engine_tensorflow, "count_replicas", lambda _, count=count: count)
        model, engine = make_model_and_engine(config)
        totals = engine.train(batches)
        outputs = list(engine.predict(batches.images[0]).values())
        results.append((dataclasses.astuple(totals), weights_of(model), outputs))
    (totals, weights, outputs), (all_totals, all_weights, all_outputs) = results
    # Adam divides by the gradients' size: rounding in gradients near 0 shows at the rate's scale.
    assert_close(weights, all_weights, 1e-5 if optimizer == "sgd" else 2e-4)
    assert_close(outputs, all_outputs, 1e-4 if optimizer == "sgd" else 2e-3)
    assert_close(totals, all_totals, 1e-4)


def test_no_slice_of_a_batch_is_too_small_for_a_batch_norm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_backend()
    from sharpeye.learn.nets import engine_tensorflow

    threading = engine_tensorflow.tf.config.threading
    monkeypatch.setattr(threading, "get_intra_op_parallelism_threads", lambda: 1)
    monkeypatch.setattr(threading, "get_inter_op_parallelism_threads", lambda: 16)
    counts = {size: engine_tensorflow.count_replicas(size) for size in (1, 8, 16, 64, 256)}
    assert counts == {1: 1, 8: 1, 16: 2, 64: 8, 256: 16}


def test_steps_may_be_taken_together_or_one_by_one() -> None:
    config = tiny_config(AUGMENTATION)
    batches = augmented_batches(config, steps=4)
    model, engine = make_model_and_engine(config)
    other_model, other_engine = make_model_and_engine(config)
    totals = engine.train(batches)
    sum_of_totals = EpochTotals()
    for i in range(4):
        sum_of_totals += other_engine.train(batches.part(i, i + 1))
    assert_close(weights_of(model), weights_of(other_model), 1e-6)
    assert sum_of_totals.images == totals.images == 32
    assert sum_of_totals.correct == totals.correct
    assert sum_of_totals.loss == pytest.approx(totals.loss, rel=1e-5)
    assert sum_of_totals.log_loss == pytest.approx(totals.log_loss, rel=1e-5)


def test_any_number_of_steps_may_follow_any_other() -> None:
    model, engine = make_model_and_engine(tiny_config(NO_AUGMENTATION))
    for steps in (3, 1, 2, 3):
        assert engine.train(make_step_batches(steps=steps)).images == 8 * steps
    assert all(np.isfinite(array).all() for array in weights_of(model))


# --- one step ------------------------------------------------------------------------------------


def sgd_config(**changes: Any) -> Config:
    """Plain gradient descent: a step changes the weights by the rate times the gradient."""
    plain = {"train.optimizer": "sgd", "train.momentum": 0.0, "train.weight_decay": 0.0}
    plain |= {"train.label_smoothing": 0.0}
    more = {key.replace("__", "."): value for key, value in changes.items()}
    return tiny_config(NO_AUGMENTATION | plain | more)


def weight_changes(config: Config, *batches: StepBatches) -> list[list[Any]]:
    """How each of the batches changes the initial weights."""
    model, engine = make_model_and_engine(config)
    start, before = engine.state(), weights_of(model)
    changes = []
    for batch in batches:
        engine.restore(start)
        engine.train(batch)
        changes.append([new - old for new, old in zip(weights_of(model), before, strict=True)])
    return changes


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_learning_rate_of_0_changes_nothing(optimizer: str) -> None:
    still, moved = weight_changes(
        tiny_config({"train.optimizer": optimizer} | NO_AUGMENTATION),
        make_step_batches(rate=0.0),
        make_step_batches(rate=0.01),
    )
    assert all(not change.any() for change in still)
    assert all(change.any() for change in moved)


def test_each_step_has_its_own_learning_rate() -> None:
    step, steps = make_step_batches(steps=1, rate=0.01), make_step_batches(steps=3)
    single, double, first, first_of_three = weight_changes(
        sgd_config(),
        step,
        dataclasses.replace(step, learning_rates=np.full(1, 0.02, np.float32)),
        steps.part(0, 1),
        dataclasses.replace(steps, learning_rates=np.array([0.01, 0, 0], np.float32)),
    )
    assert_close([2 * change for change in single], double, 1e-6)
    assert_close(first_of_three, first, 1e-7)


def test_a_step_follows_the_gradient_of_the_mean_loss() -> None:
    """The gradient of the last layer's bias is known in closed form."""
    batches = make_step_batches(steps=1, rate=0.1, weights=np.linspace(0, 2, 8))
    model, engine = make_model_and_engine(sgd_config(train__label_smoothing=0.2))
    logits = engine.predict(batches.images[0])["logits"].astype(np.float64)
    before = model.get_layer("classifier").get_weights()[1]
    engine.train(batches)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.eye(CLASSES)[batches.targets["label"][0]] * 0.8 + 0.2 / CLASSES
    gradient = ((probs - targets) * batches.targets["weight"][0][:, None]).mean(axis=0)
    after = model.get_layer("classifier").get_weights()[1]
    np.testing.assert_allclose(after - before, -0.1 * gradient, atol=1e-6)


def test_weights_of_images_scale_their_loss() -> None:
    single, double = (
        make_step_batches(steps=1, weights=weights) for weights in (np.ones(8), np.full(8, 2))
    )
    change, double_change = weight_changes(sgd_config(), single, double)
    assert_close([2 * array for array in change], double_change, 1e-6)
    _, engine = make_model_and_engine(sgd_config())
    start = engine.state()
    totals = engine.train(single)
    engine.restore(start)
    double_totals = engine.train(double)
    assert double_totals.loss == pytest.approx(2 * totals.loss, rel=1e-5)
    # The history's log loss is not weighted.
    assert double_totals.log_loss == pytest.approx(totals.log_loss, rel=1e-5)


def test_an_image_of_weight_0_has_no_effect() -> None:
    batches = make_step_batches(steps=1, weights=np.array([1, 1, 1, 1, 0, 0, 0, 0]))
    images = batches.images.copy()
    images[:, 4:] = 255 - images[:, 4:]
    other = dataclasses.replace(batches, images=images)
    assert_close(*weight_changes(sgd_config(), batches, other), 1e-7)


def test_long_gradients_are_clipped() -> None:
    config = sgd_config(train__clip_norm=0.001)
    (changes,) = weight_changes(config, make_step_batches(steps=1, rate=1.0))
    norm = np.sqrt(sum(float(np.square(change, dtype=np.float64).sum()) for change in changes))
    assert norm == pytest.approx(0.001, rel=1e-3)


def test_the_totals_are_those_of_the_predictions() -> None:
    batches = make_step_batches(steps=1, rate=0.0)
    _, engine = make_model_and_engine(sgd_config())
    totals = engine.train(batches)
    logits = engine.predict(batches.images[0])["logits"].astype(np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = -log_probs[np.arange(8), batches.targets["label"][0]].sum()
    assert totals.log_loss == pytest.approx(expected, rel=1e-4)
    assert totals.loss == pytest.approx(expected, rel=1e-4)
    assert totals.correct == (logits.argmax(axis=1) == batches.targets["label"][0]).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_the_smoothed_cross_entropy(smoothing: float) -> None:
    load_backend()
    random = np.random.default_rng(1)
    logits = random.normal(0, 3, (6, 4)).astype(np.float32)
    labels = random.integers(0, 4, 6).astype(np.int32)
    weights = random.uniform(0, 2, 6).astype(np.float32)
    label_probs = random.dirichlet(np.ones(4), 6).astype(np.float32)
    targets = {"label": labels, "weight": weights}
    sums = make_loss(label_smoothing=smoothing).sums({"logits": logits}, label_probs, targets)
    loss, log_loss, correct, iou = (float(value) for value in sums)
    assert iou == 0
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    smoothed = label_probs * (1 - smoothing) + smoothing / 4
    assert loss == pytest.approx((-(smoothed * log_probs).sum(axis=1) * weights).sum(), rel=1e-5)
    assert log_loss == pytest.approx(-log_probs[np.arange(6), labels].sum(), rel=1e-5)
    assert correct == (logits.argmax(axis=1) == labels).sum()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_kernels_decay(optimizer: str) -> None:
    decaying = {"train.optimizer": optimizer, "train.momentum": 0.0, "train.weight_decay": 0.5}
    batch_norm = {"net.width": 8}
    model, engine = make_model_and_engine(tiny_config(NO_AUGMENTATION | decaying | batch_norm))
    before = {v.path: np.asarray(v).copy() for v in model.trainable_variables}
    # With weights of 0 there is no gradient: each step only takes off rate x decay.
    engine.train(make_step_batches(steps=2, rate=0.1, weights=0.0))
    kinds = set()
    for variable in model.trainable_variables:
        factor = (1 - 0.1 * 0.5) ** 2 if len(variable.shape) >= 2 else 1.0
        kinds.add(variable.path.rpartition("/")[2])
        np.testing.assert_allclose(np.asarray(variable), before[variable.path] * factor, rtol=1e-5)
    assert kinds == {"kernel", "bias", "gamma", "beta"}


def test_adam_does_not_decay() -> None:
    changes = NO_AUGMENTATION | {"train.optimizer": "adam", "train.weight_decay": 0.5}
    (moved,) = weight_changes(tiny_config(changes), make_step_batches(rate=0.1, weights=0.0))
    assert all(not change.any() for change in moved)


# --- predictions ---------------------------------------------------------------------------------


def test_predictions_are_the_models_for_any_number_of_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Engine, "prediction_batch_size", 16)
    model, engine = make_model_and_engine(tiny_config({"net.dropout": 0.5, "net.width": 8}))
    engine.train(make_step_batches())
    before = engine.state()
    images = np.random.default_rng(5).integers(0, 256, (40, SIDE, SIDE, 3), np.uint8)
    expected = np.asarray(model(images.astype(np.float32), training=False)["logits"])
    for count in (1, 3, 15, 16, 17, 40):
        logits = engine.predict(images[:count])["logits"]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, expected[:count], rtol=1e-4, atol=1e-5)
    assert same_arrays(before, engine.state())  # Predicting changes nothing.
    assert model.variables


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_restored_engine_continues_as_if_it_had_not_stopped(optimizer: str) -> None:
    config = tiny_config({"train.optimizer": optimizer, "net.dropout": 0.4, "net.width": 8})
    first, second = make_step_batches(seed=1), make_step_batches(seed=2)
    _, engine = make_model_and_engine(config)
    engine.train(first)
    middle = engine.state()
    copy = [array.copy() for array in middle]
    engine.train(second)
    end = engine.state()
    assert same_arrays(middle, copy)  # `state` gave a copy, not a view of the variables.
    assert not same_arrays(middle, end)
    _, other = make_model_and_engine(config.replace({"seed": 9}))
    other.restore(middle)
    other.train(second)
    assert same_arrays(other.state(), end)


def test_the_state_of_another_network_is_refused() -> None:
    _, engine = make_model_and_engine(tiny_config())
    _, larger = make_model_and_engine(tiny_config(), classes=CLASSES + 1)
    _, normed = make_model_and_engine(tiny_config({"net.width": 8}))
    for other in (larger, normed):
        with pytest.raises(ValueError):
            engine.restore(other.state())


# --- backends ------------------------------------------------------------------------------------


def test_a_backend_without_an_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(UsageError, match=r"KERAS_BACKEND=tensorflow or jax.*Received: torch"):
        load_backend()


def test_a_missing_backend_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    load_backend()
    from sharpeye.learn.nets import engine_tensorflow

    monkeypatch.setattr(engine_tensorflow, "use_replicas", missing)
    with pytest.raises(MissingExtra, match=r"needs tensorflow.*sharpeye\[train\]"):
        load_backend()


@pytest.mark.parametrize(("gpu", "bfloat16"), [(False, False), (False, True), (True, False)])
def test_auto_computes_in_16_bits_where_that_is_faster(
    gpu: bool, bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_backend()
    import keras

    monkeypatch.setattr(backend, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(backend, "_multiplies_bfloat16", lambda: bfloat16)
    image = keras.Input((8, 8, 3))
    plain = keras.Model(image, keras.layers.Conv2D(4, 3)(image))
    depthwise = keras.Model(image, keras.layers.DepthwiseConv2D(3)(image))
    for model in (plain, depthwise):
        assert is_mixed("mixed", model) and not is_mixed("float32", model)
    assert is_mixed("auto", plain) == (gpu or bfloat16)
    assert is_mixed("auto", depthwise) == gpu


def test_the_processor_is_asked_for_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_backend()
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(backend, "Path", lambda name: file)
    assert not backend._multiplies_bfloat16()
    for flags, known in (("sse avx512f", False), ("avx512f avx512_bf16", True), ("amx_bf16", True)):
        file.write_text(f"processor : 0\nflags : {flags}\n")
        assert backend._multiplies_bfloat16() is known


def test_precision_sets_the_policy_while_a_model_is_built() -> None:
    load_backend()
    import keras

    before = keras.config.dtype_policy().name
    for mixed, policy in ((True, "mixed_bfloat16"), (False, "float32")):
        with computing(mixed=mixed):
            assert keras.config.dtype_policy().name == policy
    assert keras.config.dtype_policy().name == before


def test_tensorflow_reads_the_graph() -> None:
    import tensorflow as tf

    _, engine = make_model_and_engine(tiny_config())
    graph = tf.compat.v1.GraphDef.FromString(engine.graph())
    assert {"Conv2D", "MatMul"} <= {node.op for node in graph.node}
