"""The loop that learns a network: which epoch is kept, when it ends, and going on after a stop."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nets import SIDE, config_of, equal, make_material, weights_of
from sharpeye.core.metrics import log_loss
from sharpeye.errors import DataError, DivergedError
from sharpeye.learn.heads.logistic import softmax
from sharpeye.learn.nets import checkpoint, loop
from sharpeye.learn.nets.augment import Augment
from sharpeye.learn.nets.batches import EpochBatches
from sharpeye.learn.nets.checkpoint import load_arrays
from sharpeye.learn.nets.from_scratch import fit_from_scratch
from sharpeye.learn.nets.loop import FittedNetwork, Row
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.models.registry import get_spec

# Everything random that there is: dropout, changes of the images, their order.
RANDOM = {"net.dense_layers": 1, "net.dropout": 0.4, "augment.cutout": 20, "augment.mixup": 0.3}


class Stop(Exception):
    """Raised by a test to stop a training."""


def learn(
    changes: dict[str, Any] | None = None, material: TrainingArrays | None = None, **more: Any
) -> FittedNetwork:
    config = config_of(changes)
    return fit_from_scratch(
        get_spec(config.model.name), config, material or make_material(), **more
    )


def rows_of(net: FittedNetwork) -> list[dict[str, Any]]:
    """The history without what differs from run to run."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in net.history]


def stop_after(epoch: int) -> Callable[[Row], None]:
    def on_epoch(row: Row) -> None:
        if row["epoch"] == epoch:
            raise Stop

    return on_epoch


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each checkpoint is written, however long the one before took."""
    monkeypatch.setattr(checkpoint, "_SHARE", float("inf"))


# --- the same again ------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_and_another_others() -> None:
    one, again = learn(RANDOM), learn(RANDOM)
    assert equal(weights_of(one.model), weights_of(again.model))
    assert rows_of(one) == rows_of(again)
    other = learn(RANDOM | {"seed": 1})
    assert not equal(weights_of(one.model), weights_of(other.model))


def test_each_epoch_is_told_as_it_ends() -> None:
    told: list[Row] = []
    net = learn({"train.epochs": 3}, on_epoch=told.append)
    assert told == list(net.history)
    assert [row["epoch"] for row in told] == [1, 2, 3]
    assert list(told[0]) == [
        "stage",
        "epoch",
        "log_loss",
        "accuracy",
        "validation_log_loss",
        "validation_accuracy",
        "learning_rate",
        "seconds",
    ]
    assert all(row["stage"] == "train" and row["seconds"] > 0 for row in told)
    assert all(0 <= row["accuracy"] <= 1 and row["log_loss"] > 0 for row in told)


def test_it_learns() -> None:
    material = make_material(train=240, validation=60)
    net = learn({"train.epochs": 12, "augment.flip": False, "augment.shift": 0}, material)
    first, best = net.history[0], net.best
    assert best["validation_log_loss"] < 0.6 * first["validation_log_loss"]
    assert best["validation_accuracy"] > 0.75  # one in three by chance


# --- the epoch that is kept ----------------------------------------------------------------------


def test_the_weights_of_the_best_epoch_are_kept(tmp_path: Path, every: None) -> None:
    """At such a rate that later epochs are worse; each is checked against what it had learned."""
    states: dict[int, list[Any]] = {}

    def on_epoch(row: Row) -> None:
        file = tmp_path / f"epoch-{row['epoch']:06}.npz"
        states[row["epoch"]] = load_arrays(file)[1]["state"]

    changes = {"train.epochs": 6, "train.schedule": "constant", "train.learning_rate": 0.05}
    material = make_material(train=32)
    net = learn(changes, material, checkpoints=tmp_path, on_epoch=on_epoch)
    losses = [row["validation_log_loss"] for row in net.history]
    best = losses.index(min(losses)) + 1
    assert 1 <= best < 6 and len({round(loss, 9) for loss in losses}) == 6
    assert net.best["epoch"] == best
    variables = weights_of(net.model)
    assert equal(variables, states[best][: len(variables)])
    assert not equal(variables, states[6][: len(variables)])
    answers = net.engine.predict(material.pixels[material.indices["validation"]])
    logits = answers["logits"].astype(np.float64)
    truth = material.targets["validation"]
    assert log_loss(truth, softmax(logits)) == pytest.approx(min(losses), rel=1e-6)
    assert net.best["validation_accuracy"] == (logits.argmax(axis=1) == truth).mean()


def test_patience_ends_it_after_so_many_worse_epochs() -> None:
    changes = {"train.epochs": 30, "train.schedule": "constant", "train.learning_rate": 0.05}
    net = learn(changes | {"train.patience": 2})
    assert net.best["epoch"] == len(net.history) - 2 < 28
    longer = learn(changes | {"train.patience": 3, "train.epochs": 8})
    assert rows_of(longer)[: len(net.history)] == rows_of(net)[: len(longer.history)]


def test_the_weights_can_be_saved(tmp_path: Path) -> None:
    net = learn({"train.epochs": 1})
    net.save(tmp_path / "weights.npz")
    about, arrays = load_arrays(tmp_path / "weights.npz")
    assert about["best"] == net.best
    assert equal(arrays["weights"], weights_of(net.model))


# --- stopped and gone on with --------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "stops"), [("adamw", (2, 5)), ("sgd", (3,))])
def test_stopped_and_resumed_is_as_if_never_stopped(
    optimizer: str, stops: tuple[int, ...], tmp_path: Path, every: None
) -> None:
    changes = RANDOM | {"train.epochs": 5, "train.optimizer": optimizer}
    undisturbed = learn(changes)
    for epoch in stops:
        folder = tmp_path / str(epoch)
        with pytest.raises(Stop):
            learn(changes, checkpoints=folder, on_epoch=stop_after(epoch))
        told: list[Row] = []
        net = learn(changes, checkpoints=folder, resume=True, on_epoch=told.append)
        assert [row["epoch"] for row in told] == list(range(epoch + 1, 6))
        assert equal(weights_of(net.model), weights_of(undisturbed.model))
        assert rows_of(net) == rows_of(undisturbed)


def test_stopped_twice_and_between_two_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = RANDOM | {"train.epochs": 4}
    undisturbed = learn(changes)
    monkeypatch.setattr(checkpoint, "_SHARE", 1e-9)  # no second one in the same process
    with pytest.raises(Stop):
        learn(changes, checkpoints=tmp_path, on_epoch=stop_after(3))
    assert [f.name for f in tmp_path.iterdir()] == ["epoch-000001.npz"]
    with pytest.raises(Stop):
        learn(changes, checkpoints=tmp_path, resume=True, on_epoch=stop_after(2))
    net = learn(changes, checkpoints=tmp_path, resume=True)
    assert equal(weights_of(net.model), weights_of(undisturbed.model))
    assert rows_of(net) == rows_of(undisturbed)


def test_a_damaged_checkpoint_costs_one_epoch(
    tmp_path: Path, every: None, caplog: pytest.LogCaptureFixture
) -> None:
    changes = RANDOM | {"train.epochs": 4}
    undisturbed = learn(changes)
    with pytest.raises(Stop):
        learn(changes, checkpoints=tmp_path, on_epoch=stop_after(3))
    newest = tmp_path / "epoch-000003.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    told: list[Row] = []
    net = learn(changes, checkpoints=tmp_path, resume=True, on_epoch=told.append)
    assert "epoch-000003.npz is damaged" in caplog.text
    assert [row["epoch"] for row in told] == [3, 4]
    assert equal(weights_of(net.model), weights_of(undisturbed.model))


def test_patience_counts_on_after_a_stop(tmp_path: Path, every: None) -> None:
    changes = {"train.epochs": 30, "train.schedule": "constant", "train.learning_rate": 0.05}
    changes |= {"train.patience": 2}
    undisturbed = learn(changes)
    last = len(undisturbed.history)
    with pytest.raises(Stop):
        learn(changes, checkpoints=tmp_path, on_epoch=stop_after(last))
    net = learn(changes, checkpoints=tmp_path, resume=True)
    assert rows_of(net) == rows_of(undisturbed)
    assert equal(weights_of(net.model), weights_of(undisturbed.model))


def test_without_a_checkpoint_it_begins(tmp_path: Path) -> None:
    net = learn({"train.epochs": 1}, checkpoints=tmp_path / "none", resume=True)
    assert [row["epoch"] for row in net.history] == [1]


def test_old_checkpoints_are_gone_when_it_begins_anew(tmp_path: Path, every: None) -> None:
    learn({"train.epochs": 4}, checkpoints=tmp_path)
    with pytest.raises(Stop):
        learn({"train.epochs": 4, "seed": 1}, checkpoints=tmp_path, on_epoch=stop_after(1))
    assert [f.name for f in tmp_path.iterdir()] == ["epoch-000001.npz"]


@pytest.mark.parametrize(
    "other", [{"net.layer_size": 6}, {"train.optimizer": "sgd"}, {"net.dense_layers": 1}]
)
def test_a_checkpoint_of_another_network_is_refused(
    other: dict[str, Any], tmp_path: Path, every: None
) -> None:
    learn({"train.epochs": 1}, checkpoints=tmp_path)
    with pytest.raises(DataError, match="checkpoint is of another network") as caught:
        learn({"train.epochs": 2} | other, checkpoints=tmp_path, resume=True)
    assert "--output" in str(caught.value)


# --- a limit of time -----------------------------------------------------------------------------


def with_epochs_of(
    seconds: Callable[[int], float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FittedNetwork]:
    """`learn` by a clock on which epoch number N takes `seconds(N)`, and nothing else any."""
    now, learn_epoch = [0.0], loop._learn

    def slow(engine: Any, feed: Any, number: int, *rest: Any) -> Any:
        found = learn_epoch(engine, feed, number, *rest)
        now[0] += seconds(number)
        return found

    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(loop, "_learn", slow)
    return learn


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_a_time_limit_runs_the_epochs_that_fit_and_ends_the_schedule_with_them(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).uniform(0.98, 1.02, 100)
    timed = with_epochs_of(lambda number: 2.0 * noise[number], monkeypatch)
    net = timed({"train.epochs": 100, "train.time_limit": 21.0, "train.schedule": schedule})
    seconds = sum(row["seconds"] for row in net.history)
    assert 9 <= len(net.history) <= 10 and seconds <= 21
    rates = [row["learning_rate"] for row in net.history]
    assert rates[-1] < 0.15 * max(rates)
    assert rates[-1] == min(rates[2:])


def test_epochs_that_become_slower_shorten_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = with_epochs_of(lambda number: 1.0 if number < 4 else 3.0, monkeypatch)
    net = timed({"train.epochs": 100, "train.time_limit": 30.0})
    assert sum(row["seconds"] for row in net.history) <= 31
    assert len(net.history) < 15
    rates = [row["learning_rate"] for row in net.history]
    assert rates[-1] < 0.25 * max(rates)


def test_a_time_limit_that_all_epochs_fit_into_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = learn({"train.epochs": 3})
    timed = with_epochs_of(lambda _: 1.0, monkeypatch)
    net = timed({"train.epochs": 3, "train.time_limit": 1000.0})
    assert equal(weights_of(plain.model), weights_of(net.model))


def test_one_epoch_is_run_however_short_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = with_epochs_of(lambda _: 5.0, monkeypatch)
    assert len(timed({"train.epochs": 9, "train.time_limit": 0.5}).history) == 1


def test_making_the_graph_is_not_taken_for_the_length_of_an_epoch() -> None:
    """By the real clock: the graph takes a second or so, an epoch a hundredth of one."""
    net = learn({"train.epochs": 40, "train.time_limit": 10.0})
    assert len(net.history) == 40


# --- divergence ----------------------------------------------------------------------------------


def test_what_is_not_a_number_any_more_is_an_error_with_a_hint() -> None:
    config = config_of({"train.optimizer": "sgd", "train.schedule": "constant"})
    config = config.replace({"train.epochs": 20, "train.learning_rate": 100.0})
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        fit_from_scratch(get_spec("cnn"), config, make_material())
    message = str(caught.value)
    assert caught.value.exit_code == 8
    assert "diverged in epoch" in message and "--set train.learning_rate=20" in message
    assert "\n" not in message


def test_answers_that_are_not_numbers_are_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of an epoch may be the one that does it: its loss was still a number."""
    from sharpeye.learn.nets.engine_tensorflow import TensorFlowEngine

    monkeypatch.setattr(
        TensorFlowEngine,
        "predict",
        lambda _, pixels, rows: {"logits": np.full((len(rows), 3), np.nan, np.float32)},
    )
    with pytest.raises(DivergedError, match=r"answers are not numbers.*train.learning_rate="):
        learn({"train.epochs": 1})


# --- how much there is ---------------------------------------------------------------------------


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    material = make_material(train=5, validation=2, test=1)
    net = learn({"train.batch_size": 64, "train.epochs": 2}, material)
    assert len(net.history) == 2
    assert all(math.isfinite(row["log_loss"]) for row in net.history)


def test_more_steps_than_fit_into_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stretches of 1, of 2 and a rest, and of all steps come to the same weights but for rounding.

    Random changes of the images are off: they are drawn a stretch at a time.
    """
    changes = {"augment.flip": False, "augment.shift": 0, "train.batch_size": 8}
    changes |= {"train.optimizer": "sgd", "train.learning_rate": 0.01}
    found = []
    for steps in (128, 1, 4):
        monkeypatch.setattr(loop, "_STRETCH_STEPS", steps)
        found.append(learn(changes, make_material(train=60)))
    for other in found[1:]:
        assert [r["learning_rate"] for r in other.history] == [
            r["learning_rate"] for r in found[0].history
        ]
        for one, two in zip(weights_of(found[0].model), weights_of(other.model), strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_the_feed_hands_out_what_order_and_augment_say() -> None:
    config = config_of({"train.batch_size": 8, "data.balance": "weights"})
    material = make_material(train=31)
    order = EpochBatches(material.targets["train"], 3, 8, "weights", seed=0)
    augment = Augment(config.augment, SIDE, SIDE, 0.0)
    feed = loop._BatchLoader(material, order, augment, config, peak=0.5)
    feed._steps = 2
    stretches = list(feed.epoch(1, planned=4))
    assert [len(stretch.learning_rates) for stretch in stretches] == [2, 1]
    batches = order.epoch(1)
    images = np.concatenate([stretch.images for stretch in stretches])
    np.testing.assert_array_equal(images, material.pixels[material.indices["train"][batches]])
    labels = np.concatenate([stretch.targets["label"] for stretch in stretches])
    np.testing.assert_array_equal(labels, material.targets["train"][batches])
    weights = np.concatenate([stretch.targets["weight"] for stretch in stretches])
    np.testing.assert_array_equal(weights, order.weights[batches])
    again = list(feed.epoch(1, planned=4))
    other = list(feed.epoch(2, planned=4))
    for name, drawn in stretches[1].draws.items():
        assert drawn.shape[:2] == (1, 8)
        np.testing.assert_array_equal(drawn, again[1].draws[name])
    assert any((drawn != other[1].draws[name]).any() for name, drawn in stretches[1].draws.items())


def test_an_error_while_a_stretch_is_made_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("the file of pixels is gone")

    monkeypatch.setattr(Augment, "draw", broken)
    with pytest.raises(OSError, match="file of pixels"):
        learn()


def test_nothing_is_said_that_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        learn({"train.epochs": 1})
    assert caplog.text == ""
