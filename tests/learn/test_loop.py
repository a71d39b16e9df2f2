"""The training loop: which epoch is kept, when training ends, and resuming after a stop."""

import logging
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from nets import CLASSES, SIDE, make_arrays, same_arrays, tiny_config, weights_of
from sharpeye.core.metrics import log_loss
from sharpeye.core.numerics import softmax
from sharpeye.errors import DataError, DivergedError, UsageError
from sharpeye.learn.nets import checkpoint, loop
from sharpeye.learn.nets.augmentation import Augmentation
from sharpeye.learn.nets.batches import BatchLoader, EpochBatches
from sharpeye.learn.nets.checkpoint import load_arrays
from sharpeye.learn.nets.engine import Engine, StepBatches
from sharpeye.learn.nets.loop import EpochRow, FittedNetwork, fit_network
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.learn.nets.training_arrays import TrainingArrays
from sharpeye.models.classifier import build_classifier
from sharpeye.models.registry import get_spec

# All sources of randomness: dropout, augmentation, and the order of the images.
RANDOM = {"net.dense_layers": 1, "net.dropout": 0.4, "augment.cutout": 20, "augment.mixup": 0.3}
RANDOM |= {"train.epochs": 5}
# Later epochs become worse.
TOO_FAST = {"train.epochs": 30, "train.schedule": "constant", "train.learning_rate": 0.05}
NO_AUGMENTATION = {"augment.flip": False, "augment.shift": 0}


class Stop(Exception):
    """Raised by a test to stop a training."""


def fit(
    changes: dict[str, Any] | None = None, arrays: TrainingArrays | None = None, **options: Any
) -> FittedNetwork:
    """Train the small `cnn` as a configuration says."""
    config, data = tiny_config(changes), arrays or make_arrays()
    spec = get_spec(config.model.name)

    def build() -> Any:
        classes = len(data.class_names)
        return build_classifier(
            spec, data.input, classes, net=config.net, scale=(1 / 58,) * 3, offset=(-1.75,) * 3
        )

    default = spec.learning_rate * (50 if config.train.optimizer == "sgd" else 1)
    settings = FitSettings.from_config(config, config.train.learning_rate or default)
    return fit_network(build, data, settings, **options)


def rows_of(net: FittedNetwork) -> list[EpochRow]:
    """The history without `seconds`, which differ from run to run."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in net.history]


def same_training(first: FittedNetwork, second: FittedNetwork) -> bool:
    same_weights = same_arrays(weights_of(first.model), weights_of(second.model))
    return same_weights and rows_of(first) == rows_of(second)


def stop_after(epoch: int) -> Callable[[EpochRow], None]:
    def on_epoch(row: EpochRow) -> None:
        if row["epoch"] == epoch:
            raise Stop

    return on_epoch


@pytest.fixture
def save_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint is written, however long the last one took."""
    monkeypatch.setattr(checkpoint, "_MAX_TIME_SHARE", float("inf"))


class Undisturbed(NamedTuple):
    """A training with `RANDOM` that never stopped.

    Attributes:
        rows: those that `on_epoch` was called with.
        checkpoints: by epoch, a copy of the folder of checkpoints as it was after that epoch.
    """

    net: FittedNetwork
    rows: list[EpochRow]
    checkpoints: dict[int, Path]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder, rows = tmp_path_factory.mktemp("checkpoints"), list[EpochRow]()

    def on_epoch(row: EpochRow) -> None:
        rows.append(row)
        shutil.copytree(folder / "now", folder / str(row["epoch"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_MAX_TIME_SHARE", float("inf"))
        net = fit(RANDOM, checkpoints=folder / "now", on_epoch=on_epoch)
    return Undisturbed(net, rows, {row["epoch"]: folder / str(row["epoch"]) for row in rows})


# --- reproducibility -----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(
    undisturbed: Undisturbed,
) -> None:
    net = undisturbed.net
    assert same_training(net, fit(RANDOM))  # also without checkpoints
    other = fit(RANDOM | {"seed": 1})
    assert not same_arrays(weights_of(net.model), weights_of(other.model))


def test_on_epoch_is_called_after_each_epoch(undisturbed: Undisturbed) -> None:
    rows = undisturbed.rows
    assert rows == list(undisturbed.net.history)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert list(rows[0]) == [
        "stage",
        "epoch",
        "log_loss",
        "accuracy",
        "validation_log_loss",
        "validation_accuracy",
        "learning_rate",
        "seconds",
    ]
    assert all(row["stage"] == "train" and row["seconds"] > 0 for row in rows)
    assert all(0 <= row["accuracy"] <= 1 and row["log_loss"] > 0 for row in rows)


def test_the_network_learns_and_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    arrays = make_arrays(train=240, validation=60)
    with caplog.at_level(logging.WARNING):
        net = fit({"train.epochs": 12} | NO_AUGMENTATION, arrays)
    assert caplog.text == ""
    first, best = net.history[0], net.best_row
    assert best["validation_log_loss"] < 0.6 * first["validation_log_loss"]
    assert best["validation_accuracy"] > 0.75  # one in three by chance


# --- the best epoch ------------------------------------------------------------------------------


def test_the_weights_of_the_best_epoch_are_returned(tmp_path: Path, save_always: None) -> None:
    states: dict[int, list[Any]] = {}

    def on_epoch(row: EpochRow) -> None:
        file = tmp_path / f"epoch-{row['epoch']:06}.npz"
        states[row["epoch"]] = load_arrays(file)[1]["state"]

    arrays = make_arrays(train=32)
    net = fit(TOO_FAST | {"train.epochs": 6}, arrays, checkpoints=tmp_path, on_epoch=on_epoch)
    losses = [row["validation_log_loss"] for row in net.history]
    best = losses.index(min(losses)) + 1
    assert 1 <= best < 6 and len({round(loss, 9) for loss in losses}) == 6
    assert net.best_row["epoch"] == best
    weights = weights_of(net.model)
    assert same_arrays(weights, states[best][: len(weights)])
    assert not same_arrays(weights, states[6][: len(weights)])
    outputs = net.engine.predict(arrays.pixels[arrays.indices["validation"]])
    logits = outputs["logits"].astype(np.float64)
    targets = arrays.targets["validation"]
    assert log_loss(targets, softmax(logits)) == pytest.approx(min(losses), rel=1e-6)
    assert net.best_row["validation_accuracy"] == (logits.argmax(axis=1) == targets).mean()


@pytest.mark.slow
def test_patience_ends_training_also_after_a_stop(tmp_path: Path, save_always: None) -> None:
    patient = TOO_FAST | {"train.patience": 2}
    net = fit(patient)
    epochs = len(net.history)
    assert net.best_row["epoch"] == epochs - 2 < 28
    longer = fit(TOO_FAST | {"train.patience": 3, "train.epochs": 8})
    assert rows_of(longer)[:epochs] == rows_of(net)[: len(longer.history)]
    with pytest.raises(Stop):
        fit(patient, checkpoints=tmp_path, on_epoch=stop_after(epochs))
    assert same_training(fit(patient, checkpoints=tmp_path, resume=True), net)


def test_a_finished_training_can_be_resumed_without_an_epoch_left(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    net = undisturbed.net
    net.save_checkpoint(tmp_path)
    assert same_training(fit(RANDOM, checkpoints=tmp_path, resume=True), net)


# --- stop and resume -----------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [2, 5])
def test_a_resumed_training_equals_one_that_never_stopped(
    epoch: int, undisturbed: Undisturbed, tmp_path: Path, save_always: None
) -> None:
    shutil.copytree(undisturbed.checkpoints[epoch], tmp_path, dirs_exist_ok=True)
    rows: list[EpochRow] = []
    net = fit(RANDOM, checkpoints=tmp_path, resume=True, on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == list(range(epoch + 1, 6))
    assert same_training(net, undisturbed.net)


@pytest.mark.slow
def test_sgd_resumes_too(tmp_path: Path, save_always: None) -> None:
    changes = RANDOM | {"train.optimizer": "sgd", "train.epochs": 3}
    with pytest.raises(Stop):
        fit(changes, checkpoints=tmp_path, on_epoch=stop_after(2))
    net = fit(changes, checkpoints=tmp_path, resume=True)
    assert same_training(net, fit(changes))


@pytest.mark.slow
def test_two_stops_between_two_checkpoints(
    undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_MAX_TIME_SHARE", 1e-9)  # only one per process
    with pytest.raises(Stop):
        fit(RANDOM, checkpoints=tmp_path, on_epoch=stop_after(3))
    assert [f.name for f in tmp_path.iterdir()] == ["epoch-000001.npz"]
    with pytest.raises(Stop):
        fit(RANDOM, checkpoints=tmp_path, resume=True, on_epoch=stop_after(2))
    assert same_training(fit(RANDOM, checkpoints=tmp_path, resume=True), undisturbed.net)


def test_a_damaged_checkpoint_costs_one_epoch(
    undisturbed: Undisturbed,
    tmp_path: Path,
    save_always: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shutil.copytree(undisturbed.checkpoints[3], tmp_path, dirs_exist_ok=True)
    newest = tmp_path / "epoch-000003.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    rows: list[EpochRow] = []
    net = fit(RANDOM, checkpoints=tmp_path, resume=True, on_epoch=rows.append)
    assert "epoch-000003.npz is damaged" in caplog.text
    assert [row["epoch"] for row in rows] == [3, 4, 5]
    assert same_arrays(weights_of(net.model), weights_of(undisturbed.net.model))


def test_without_a_checkpoint_training_starts(tmp_path: Path) -> None:
    net = fit({"train.epochs": 1}, checkpoints=tmp_path / "none", resume=True)
    assert [row["epoch"] for row in net.history] == [1]


def test_a_new_training_deletes_old_checkpoints(
    undisturbed: Undisturbed, tmp_path: Path, save_always: None
) -> None:
    shutil.copytree(undisturbed.checkpoints[4], tmp_path, dirs_exist_ok=True)
    with pytest.raises(Stop):
        fit({"seed": 1}, checkpoints=tmp_path, on_epoch=stop_after(1))
    assert [f.name for f in tmp_path.iterdir()] == ["epoch-000001.npz"]


@pytest.mark.parametrize(
    "other", [{"net.layer_size": 6}, {"train.optimizer": "sgd"}, {"net.dense_layers": 0}]
)
def test_a_checkpoint_of_another_network_is_refused(
    other: dict[str, Any], undisturbed: Undisturbed
) -> None:
    with pytest.raises(DataError, match="checkpoint is of another network") as caught:
        fit(RANDOM | other, checkpoints=undisturbed.checkpoints[1], resume=True)
    assert "--output" in str(caught.value)


# --- time limit ----------------------------------------------------------------------------------


def fit_by_clock(
    seconds: Callable[[int], float], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FittedNetwork]:
    """`fit` by a clock on which epoch N, from 0, takes `seconds(N)`, and nothing else any time."""
    now, epoch = [0.0], BatchLoader.epoch

    def slow(loader: BatchLoader, number: int, planned_epochs: int) -> Iterator[StepBatches]:
        yield from epoch(loader, number, planned_epochs)
        now[0] += seconds(number)

    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(BatchLoader, "epoch", slow)
    return fit


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_as_many_epochs_as_fit_are_run_and_the_schedule_ends_with_them(
    schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).uniform(0.98, 1.02, 100)
    timed = fit_by_clock(lambda epoch: 2.0 * noise[epoch], monkeypatch)
    net = timed({"train.epochs": 100, "train.time_limit": 21.0, "train.schedule": schedule})
    seconds = sum(row["seconds"] for row in net.history)
    assert 9 <= len(net.history) <= 10 and seconds <= 21
    rates = [row["learning_rate"] for row in net.history]
    assert rates[-1] < 0.15 * max(rates)
    assert rates[-1] == min(rates[2:])


def test_slower_epochs_shorten_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = fit_by_clock(lambda epoch: 1.0 if epoch < 4 else 3.0, monkeypatch)
    net = timed({"train.epochs": 100, "train.time_limit": 30.0})
    assert sum(row["seconds"] for row in net.history) <= 31
    assert len(net.history) < 15
    rates = [row["learning_rate"] for row in net.history]
    assert rates[-1] < 0.25 * max(rates)


def test_epochs_of_an_earlier_training_do_not_tell_the_time_of_the_next_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = fit_by_clock(lambda _: 1.0, monkeypatch)
    earlier = timed({"train.epochs": 2}).history
    slow = [row | {"seconds": 100.0} for row in earlier]
    net = timed({"train.epochs": 12, "train.time_limit": 30.0}, earlier=slow)
    assert len(net.history) == 12


def test_a_sufficient_time_limit_changes_nothing(
    undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = fit_by_clock(lambda _: 1.0, monkeypatch)
    net = timed(RANDOM | {"train.time_limit": 1000.0})
    assert same_arrays(weights_of(net.model), weights_of(undisturbed.net.model))


def test_one_epoch_is_run_however_short_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = fit_by_clock(lambda _: 5.0, monkeypatch)
    assert len(timed({"train.epochs": 9, "train.time_limit": 0.5}).history) == 1


def test_building_the_graph_does_not_count_as_epoch_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call of the engine takes 5 s, any other 0.1 s."""
    now, train = [0.0], Engine.train

    def slow_at_first(engine: Engine, batches: Any) -> Any:
        now[0] += 0.1 if now[0] else 5.0
        return train(engine, batches)

    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Engine, "train", slow_at_first)
    net = fit({"train.epochs": 20, "train.time_limit": 10.0})
    assert len(net.history) == 20


# --- divergence ----------------------------------------------------------------------------------


def test_an_infinite_loss_is_an_error_with_advice() -> None:
    changes = {"train.optimizer": "sgd", "train.schedule": "constant", "train.learning_rate": 100.0}
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as caught:
        fit(changes | {"train.epochs": 20})
    message = str(caught.value)
    assert caught.value.exit_code == 8
    assert "diverged in epoch" in message and "--set train.learning_rate=50" in message
    assert "\n" not in message


def test_predictions_that_are_not_finite_are_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last step of an epoch can diverge: the loss before it was still finite."""
    monkeypatch.setattr(
        Engine,
        "predict",
        lambda _, pixels, indices: {"logits": np.full((len(indices), 3), np.nan, np.float32)},
    )
    with pytest.raises(DivergedError, match=r"answers are not numbers.*train.learning_rate="):
        fit({"train.epochs": 1})


# --- batches and blocks of steps -----------------------------------------------------------------


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    arrays = make_arrays(train=5, validation=2, test=1)
    net = fit({"train.batch_size": 64, "train.epochs": 2}, arrays)
    assert len(net.history) == 2
    assert all(math.isfinite(row["log_loss"]) for row in net.history)


@pytest.mark.slow
def test_the_length_of_the_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of all steps, of 1, and of 4 and a rest give the same weights except for rounding.

    Without augmentation, which is drawn for one block at a time.
    """
    changes = {"train.batch_size": 8, "train.optimizer": "sgd", "train.learning_rate": 0.01}
    nets = []
    for steps in (128, 1, 4):
        monkeypatch.setattr("sharpeye.learn.nets.batches._MAX_BLOCK_STEPS", steps)
        nets.append(fit(changes | NO_AUGMENTATION, make_arrays(train=60)))
    rates = [[row["learning_rate"] for row in net.history] for net in nets]
    assert rates[0] == rates[1] == rates[2]
    for net in nets[1:]:
        for array, expected in zip(weights_of(net.model), weights_of(nets[0].model), strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5)


def test_the_loader_follows_the_batches_and_the_augmentation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config({"train.batch_size": 8})
    arrays = make_arrays(train=31)
    batches = EpochBatches(
        arrays.targets["train"], 3, batch_size=8, balance="weights", seed=config.seed
    )
    augmentation = Augmentation(config.augment, SIDE, SIDE, fill=0.0)
    monkeypatch.setattr("sharpeye.learn.nets.batches._MAX_BLOCK_STEPS", 2)
    loader = BatchLoader(
        arrays, batches, augmentation, settings=FitSettings.from_config(config, 0.5)
    )
    blocks = list(loader.epoch(1, planned_epochs=4))
    assert [len(block.learning_rates) for block in blocks] == [2, 1]
    indices = batches.epoch(1)
    images = np.concatenate([block.images for block in blocks])
    np.testing.assert_array_equal(images, arrays.pixels[arrays.indices["train"][indices]])
    labels = np.concatenate([block.targets["label"] for block in blocks])
    np.testing.assert_array_equal(labels, arrays.targets["train"][indices])
    weights = np.concatenate([block.targets["weight"] for block in blocks])
    np.testing.assert_array_equal(weights, batches.weights[indices])
    again = list(loader.epoch(1, planned_epochs=4))
    other = list(loader.epoch(2, planned_epochs=4))
    for name, draws in blocks[1].draws.items():
        assert draws.shape[:2] == (1, 8)
        np.testing.assert_array_equal(draws, again[1].draws[name])
    assert any((draws != other[1].draws[name]).any() for name, draws in blocks[1].draws.items())


def test_the_warm_up_has_every_length_that_an_epoch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharpeye.learn.nets.batches._MAX_BLOCK_STEPS", 2)
    config, arrays = tiny_config({"train.batch_size": 8}), make_arrays(train=43)
    settings = FitSettings.from_config(config, 0.1)
    targets = arrays.targets["train"]
    batches = EpochBatches(targets, CLASSES, batch_size=8, balance="none", seed=0)
    augmentation = Augmentation(settings.augment, SIDE, SIDE, fill=0.0)
    loader = BatchLoader(arrays, batches, augmentation, settings=settings)
    assert [len(block.learning_rates) for block in loader.epoch(0, 1)] == [2, 2, 1]
    blocks = [block.learning_rates.tolist() for block in loader.warm_up(each_length=True)]
    assert blocks == [[0.0], [0.0, 0.0]]
    assert [len(b.learning_rates) for b in loader.warm_up(each_length=False)] == [1]


def test_an_error_in_the_loader_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("the file of pixels is gone")

    monkeypatch.setattr(Augmentation, "draw", broken)
    with pytest.raises(OSError, match="file of pixels"):
        fit()


def test_more_accumulated_steps_than_there_are_is_an_error() -> None:
    changes = {"train.epochs": 2, "train.batch_size": 16, "train.accumulate": 7}
    with pytest.raises(UsageError, match=r"at most 6, the steps of this training.*Received: 7"):
        fit(changes)
