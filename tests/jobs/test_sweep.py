"""Sweeps: plans, trials, results, and what a stop leaves behind.

Formulas stand in for networks; the queue and the files are real, and where a test is about
processes, so are these.
"""

import contextlib
import hashlib
import logging
import math
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runner import SIGKILL, hard_photos, one_line
from sharpeye.cli import app
from sharpeye.core import processes
from sharpeye.core.config import CONFIG_MARK, Config, load_toml
from sharpeye.core.storage import FileLock
from sharpeye.core.tables import read_table
from sharpeye.core.types import SampleSet
from sharpeye.errors import BusyError, DataError, DivergedError, EnvironmentFault, UsageError
from sharpeye.jobs.sweep import sweep as job
from sharpeye.jobs.sweep import worker_pool
from sharpeye.jobs.sweep.plan import Plan, Range, make_plan
from sharpeye.jobs.sweep.plan_text import (
    parse_grid,
    parse_ranges,
    plan_command,
    plan_to_toml,
    read_plan,
)
from sharpeye.jobs.sweep.study import Study
from sharpeye.jobs.sweep.worker import run_trials
from sharpeye.runs.run_directory import Run

CNN = {"conv_layers": [1, 2, 3], "layer_size": [32, 64, 128], "dense_layers": [0, 1, 2]}
SMALL = {"layer_size": [8, 16], "dense_layers": [0, 1]}

# `python -m sharpeye.jobs.sweep.worker` with a formula instead of a network.
WORKER_CODE = """
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from sharpeye.errors import DivergedError
from sharpeye.jobs.sweep import worker

def train(config, on_epoch):
    folder = Path(sys.argv[1])
    with (folder / "fits.txt").open("a") as file:
        print(config.net.layer_size, config.net.dense_layers, os.environ["SHARPEYE_CORES"],
              file=file)
    {trouble}
    for epoch in range(1, config.train.epochs + 1):
        net = config.net
        value = 1 / net.conv_layers + 8 / net.layer_size + 0.1 * net.dense_layers + 1 / epoch
        on_epoch({{"stage": "train", "epoch": epoch, "log_loss": value, "accuracy": 0.5,
                  "validation_log_loss": value, "validation_accuracy": 1 / (1 + value),
                  "learning_rate": 0.1, "seconds": 0.01}})
    def save_checkpoint(folder):
        folder.mkdir()
        (folder / "file").write_bytes(b"weights")

    return SimpleNamespace(save_checkpoint=save_checkpoint)

worker._NetworkTrainer = lambda: train
sys.exit(worker.main())
"""

StartWorkers = Callable[..., None]
EnqueuePlan = Callable[[Plan], Study]


def epoch_row(epoch: int, loss: float) -> dict[str, Any]:
    scores = {"validation_log_loss": loss, "validation_accuracy": 1 / (1 + loss)}
    return {"stage": "train", "epoch": epoch, "log_loss": loss, "accuracy": 0.5, **scores}


class Weights:
    def save_checkpoint(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "file").write_bytes(b"weights")


def train_formula(config: Config, on_epoch: Callable[[dict[str, Any]], None]) -> Weights:
    """A network that is the better the more and the larger layers it has."""
    net = config.net
    for epoch in range(1, config.train.epochs + 1):
        loss = 1 / net.conv_layers + 8 / net.layer_size + 0.1 * net.dense_layers + 1 / epoch
        on_epoch(epoch_row(epoch, loss))
    return Weights()


@pytest.fixture
def no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps decode no images."""
    samples = SampleSet(Path("x"), (), ("a", "b"))
    monkeypatch.setattr(job, "load_arrays", lambda *_: (samples, None))
    monkeypatch.setattr(job, "_POLL_SECONDS", 0.05)


@pytest.fixture
def start_workers(no_images: None, monkeypatch: pytest.MonkeyPatch) -> StartWorkers:
    """`start_workers(trouble="")`: processes with a formula, which run a statement before it."""

    def use(trouble: str = "") -> None:
        code = WORKER_CODE.format(trouble=trouble or "pass")
        monkeypatch.setattr(
            processes, "module_command", lambda _, *words: [sys.executable, "-c", code, *words]
        )

    return use


def test_images_are_decoded_once_as_the_trials_need_them(
    start_workers: StartWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parent, with the configuration that the workers resolve."""
    start_workers()
    listed: list[Config] = []
    samples = SampleSet(Path("x"), (), ("a", "b"))

    def load(config: Config, *_: object) -> tuple[SampleSet, None]:
        listed.append(config)
        return samples, None

    monkeypatch.setattr(job, "load_arrays", load)
    job.sweep(
        tmp_path / "x", grid={"batch_size": [8]}, model__name="lenet5", output=tmp_path / "sweep"
    )
    assert [(c.model.name, c.model.fit, c.model.weights) for c in listed] == [
        ("lenet5", "pad", "none")
    ]


class InProcessPool(worker_pool.WorkerPool):
    """Runs the trials in this process."""

    trained: int
    train = staticmethod(train_formula)

    def supervise(self) -> bool:
        def counting(config: Config, on_epoch: Callable[[dict[str, Any]], None]) -> Weights:
            InProcessPool.trained += 1
            return InProcessPool.train(config, on_epoch)

        run_trials(self._folder, train=counting)
        return False


@pytest.fixture
def in_process(no_images: None, monkeypatch: pytest.MonkeyPatch) -> type[InProcessPool]:
    """Sweeps run in this process; `in_process.trained` counts their trials."""
    monkeypatch.setattr(job, "WorkerPool", InProcessPool)
    monkeypatch.setattr(InProcessPool, "trained", 0, raising=False)
    return InProcessPool


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_cnn_plan(**options: Any) -> Plan:
    base = Config().replace({"model.name": "cnn", "train.epochs": options.pop("epochs", 4)})
    return make_plan(base, options.pop("grid", CNN), options.pop("ranges", {}), **options)


@pytest.fixture
def enqueue(tmp_path: Path) -> Iterator[EnqueuePlan]:
    """`enqueue(plan)`: the study of a sweep in `tmp_path` with all trials in its queue."""
    opened: list[Study] = []

    def use(plan: Plan) -> Study:
        (tmp_path / "sweep.toml").write_text(plan_to_toml(plan))
        opened.append(Study(tmp_path, plan))
        opened[-1].enqueue_plan()
        return opened[-1]

    yield use
    for study in opened:
        study.__exit__()


def read_leaderboard(folder: Path) -> list[dict[str, str]]:
    return read_table(folder / "leaderboard.csv")


# --- what is tried -------------------------------------------------------------------------------


def test_the_grid_has_every_combination_under_the_names_of_the_reference() -> None:
    plan = make_cnn_plan()
    names = [plan.trial_name(params) for params in plan.combinations()]
    assert plan.count == len(set(names)) == 27
    assert names[:2] == ["1-conv-32-nodes-0-dense", "1-conv-32-nodes-1-dense"]
    assert names[-1] == "3-conv-128-nodes-2-dense"
    config = plan.base.replace({"net.conv_layers": 2, "net.layer_size": 128, "net.dense_layers": 1})
    assert (config.net.conv_layers, config.net.layer_size, config.net.dense_layers) == (2, 128, 1)


def test_other_trials_are_named_by_what_differs() -> None:
    plan = make_cnn_plan(grid={"optimizer": ["sgd"], "finetune.learning_rate": [0.12345678]})
    (params,) = plan.combinations()
    assert plan.trial_name(params) == "optimizer=sgd,finetune.learning_rate=0.1235"
    assert plan.trial_name({"model.weights": "../../a b"}) == "weights=.._.._a_b"


@pytest.mark.parametrize(("old", "new"), [("scaling", "scalmng"), ("epochs = ", "epochs = -")])
def test_a_damaged_plan_is_refused_by_its_name(old: str, new: str, tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    text = plan_to_toml(make_plan(Config(), {"layer_size": [8, 16]}, {}))
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_plan(file)
    assert str(caught.value).startswith(f"{file} is not the plan of a sweep: ")


def test_a_damaged_study_is_refused_by_its_name(tmp_path: Path) -> None:
    plan = make_plan(Config(), {"layer_size": [8, 16]}, {})
    with Study(tmp_path, plan) as study:
        study.enqueue_plan()
    file = tmp_path / "study.db"
    data = file.read_bytes()
    file.write_bytes(data.replace(b'{"net.layer_size": ', b'{"net.layer_size"; '))
    with (
        pytest.raises(DataError, match=r"study\.db is damaged: .*begins the sweep anew"),
        Study(tmp_path, plan) as study,
    ):
        study.rows()


def test_a_result_that_was_changed_is_refused_by_its_name(tmp_path: Path) -> None:
    plan = make_plan(Config(), {"layer_size": [8, 16]}, {})
    row = {"epoch": 1, "validation_log_loss": 0.5, "validation_accuracy": 0.75}
    with Study(tmp_path, plan) as study:
        study.enqueue_plan()
        running = study.next_trial(worker=0)
        assert running is not None
        study.report_epoch(running, row, row)
        study.complete(running, row)
        assert study.rows()[0].log_loss == 0.5
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute("UPDATE trial_intermediate_values SET intermediate_value = 0.25")
        database.commit()
    with (
        pytest.raises(DataError, match=r"study\.db is damaged: trial 0 is not as it was written"),
        Study(tmp_path, plan) as study,
    ):
        study.rows()


def test_a_plan_comes_back_from_its_file_and_from_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = Config().replace(
        {"model.name": "cnn", "data.folder": "my photos", "seed": 3, "net.color": "grey"}
    )
    plan = make_plan(
        base,
        {"optimizer": ["sgd", "adamw"], "augment.flip": [True, False], "dropout": [0, 0.5]},
        {"learning_rate": "1e-4..1e-2:log", "layer_size": "16..128:16", "shift": Range(0, 20)},
        trials=9,
        prune=False,
        rank_by="accuracy",
    )
    (tmp_path / "sweep.toml").write_text(plan_to_toml(plan))
    assert read_plan(tmp_path / "sweep.toml") == plan
    given: dict[str, Any] = {}

    def sweep(data: str, **options: Any) -> Any:
        given.update(options, data=data)
        raise UsageError("enough")

    monkeypatch.setattr(job, "sweep", sweep)
    monkeypatch.setitem(app.COMMANDS, "sweep", "")
    assert app.run(shlex.split(plan_command(plan, Path("out")))[1:]) == 2
    again = make_plan(
        given["config"].replace({"data.folder": given["data"], "model.name": given["model"]}),
        given["grid"],
        given["ranges"],
        **{name: given[name] for name in ("trials", "prune", "rank_by")},
    )
    assert again == plan
    assert given["output"] == Path("out")


@pytest.mark.parametrize(
    ("grid", "ranges", "options", "message"),
    [
        ({"layer_sise": [1]}, {}, {}, "unknown key layer_sise"),
        ({"layer_size": [0]}, {}, {}, "net.layer_size must be from 1"),
        ({"layer_size": ["big"]}, {}, {}, "must be a whole number"),
        ({"layer_size": [8, 8]}, {}, {}, "each once"),
        ({"layer_size": []}, {}, {}, "needs one value or more"),
        ({"split.test": [0.2, 0.85]}, {}, {}, "at most 0.9"),
        ({"data.folder": ["a", "b"]}, {}, {}, "data.folder and split.seed not at all"),
        ({"split.seed": [1, 2]}, {}, {}, "data.folder and split.seed not at all"),
        ({"width": [8, 16]}, {}, {}, "cnn has the knobs net.conv_layers.*Received: net.width"),
        ({"layer_size": [8]}, {"net.layer_size": "8..16"}, {"trials": 2}, "swept once"),
        ({}, {}, {}, "values to try"),
        ({}, {"layer_size": "8..16"}, {}, "needs --trials"),
        ({}, {"layer_size": "8..9000"}, {"trials": 2}, "net.layer_size must be from 1"),
        ({}, {"layer_size": "16..8"}, {"trials": 2}, "low below high"),
        ({}, {"layer_size": "8..16:0.5"}, {"trials": 2}, "a range is"),
        ({}, {"dropout": "0..0.5:log"}, {"trials": 2}, "above 0 for log"),
        ({}, {"dropout": "0-0.5"}, {"trials": 2}, "a range is LOW..HIGH"),
        ({}, {"optimizer": "adam..sgd"}, {"trials": 2}, "a range is LOW..HIGH"),
        ({"layer_size": [8]}, {}, {"rank_by": "luck"}, "one of loss, accuracy"),
        ({"seed": range(20_000)}, {}, {}, "20,000"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_anything_starts(
    grid: Any, ranges: Any, options: Any, message: str, here: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        job.sweep("photos", grid=grid, ranges=ranges, output="out", **options)
    assert list(here.iterdir()) == []


def test_entries_are_read_as_they_are_typed() -> None:
    assert parse_grid(["conv_layers=1,2", "color=grey"]) == {
        "net.conv_layers": [1, 2],
        "net.color": ["grey"],
    }
    assert parse_ranges(["dropout=0..0.5"]) == {"net.dropout": "0..0.5"}
    for wrong in ("conv_layers", "=1", "conv_layers="):
        with pytest.raises(UsageError, match=r"KEY=VALUES.*Received"):
            parse_grid([wrong])
    with pytest.raises(UsageError, match="twice"):
        parse_grid(["conv_layers=1", "net.conv_layers=2"])


# --- trials --------------------------------------------------------------------------------------


def test_every_trial_of_a_grid_is_run_once_and_ranked(tmp_path: Path, enqueue: EnqueuePlan) -> None:
    study = enqueue(
        make_cnn_plan(prune=False, epochs=2, grid={"conv_layers": [1, 3], "layer_size": [32, 128]})
    )
    study.enqueue_plan()
    run_trials(tmp_path, train=train_formula)
    rows = study.rows()
    assert len(rows) == len({r.name for r in rows}) == 4
    assert {r.state for r in rows} == {"complete"}
    assert [r.log_loss for r in rows] == sorted(r.log_loss for r in rows)
    assert rows[0].name == "conv_layers=3,layer_size=128"
    assert rows[0].log_loss == pytest.approx(1 / 3 + 8 / 128 + 1 / 2)
    assert (rows[0].best_epoch, rows[0].epochs, len(rows[0].curve)) == (2, 2, 2)


def test_the_best_epoch_counts_and_not_the_last(tmp_path: Path, enqueue: EnqueuePlan) -> None:
    def overfit(config: Config, on_epoch: Any) -> Weights:
        for epoch, loss in enumerate((0.9, 0.3, 0.5, 0.7), start=1):
            on_epoch(epoch_row(epoch, loss))
        return Weights()

    study = enqueue(make_cnn_plan(grid={"conv_layers": [1]}))
    run_trials(tmp_path, train=overfit)
    (found,) = study.rows()
    assert (found.log_loss, found.best_epoch, found.epochs) == (0.3, 2, 4)


def test_ranking_by_accuracy_turns_the_order(tmp_path: Path, enqueue: EnqueuePlan) -> None:
    def confident_but_wrong(config: Config, on_epoch: Any) -> Weights:
        scores = {"validation_log_loss": config.net.conv_layers, "validation_accuracy": 0.2}
        scores["validation_accuracy"] *= config.net.conv_layers  # worse loss, better accuracy
        on_epoch(epoch_row(1, 1.0) | scores)
        return Weights()

    study = enqueue(make_cnn_plan(grid={"conv_layers": [1, 2, 3]}, rank_by="accuracy", prune=False))
    run_trials(tmp_path, train=confident_but_wrong)
    assert [r.params["net.conv_layers"] for r in study.rows()] == [3, 2, 1]


def test_a_trial_that_falls_behind_is_ended_after_two_epochs_at_least(
    tmp_path: Path, enqueue: EnqueuePlan
) -> None:
    study = enqueue(make_cnn_plan(epochs=9, grid={"conv_layers": [3, 1, 2]}))
    run_trials(tmp_path, train=train_formula)
    best, *behind = study.rows()
    assert (best.state, best.epochs, best.params) == ("complete", 9, {"net.conv_layers": 3})
    assert [(r.state, r.epochs) for r in behind] == [("pruned", 2), ("pruned", 2)]
    assert behind[0].log_loss < behind[1].log_loss
    assert not (tmp_path / "trials" / behind[0].name / "checkpoints").exists()


def test_a_trial_that_fails_does_not_end_the_others(tmp_path: Path, enqueue: EnqueuePlan) -> None:
    def diverge(config: Config, on_epoch: Any) -> Weights:
        if config.net.conv_layers == 1:
            raise DivergedError("the loss is not a number")
        if config.net.conv_layers == 2:
            raise RuntimeError("out\nof luck")
        return train_formula(config, on_epoch)

    study = enqueue(make_cnn_plan(grid={"conv_layers": [1, 2, 3]}))
    run_trials(tmp_path, train=diverge)
    rows = {r.params["net.conv_layers"]: r for r in study.rows()}
    assert {number: r.state for number, r in rows.items()} == {
        1: "failed",
        2: "failed",
        3: "complete",
    }
    assert rows[1].reason == "the loss is not a number"
    assert rows[2].reason == "RuntimeError: out of luck"
    assert math.isnan(rows[1].log_loss)


def test_a_full_disk_ends_the_worker_and_leaves_its_trial_to_be_taken_up(
    tmp_path: Path, enqueue: EnqueuePlan
) -> None:
    def full(config: Config, on_epoch: Any) -> Weights:
        raise EnvironmentFault("no space left")

    study = enqueue(make_cnn_plan(grid={"conv_layers": [1, 2]}, prune=False))
    with pytest.raises(EnvironmentFault):
        run_trials(tmp_path, train=full)
    assert sorted(r.state for r in study.rows()) == ["running", "waiting"]
    assert study.enqueue_interrupted() == 1
    run_trials(tmp_path, train=train_formula)
    assert [r.state for r in study.rows()] == ["complete", "complete"]


def test_a_search_stays_in_its_ranges_and_draws_nothing_twice(
    tmp_path: Path, enqueue: EnqueuePlan
) -> None:
    study = enqueue(
        make_cnn_plan(
            grid={"optimizer": ["sgd", "adamw"]},
            ranges={"learning_rate": "1e-4..1e-2:log", "layer_size": "16..128:16"},
            trials=12,
            prune=False,
            epochs=1,
        )
    )
    run_trials(tmp_path, train=train_formula)
    rows = study.rows()
    assert len(rows) == len({r.name for r in rows}) == 12
    drawn = [r.params for r in rows]
    assert {p["train.optimizer"] for p in drawn} == {"sgd", "adamw"}
    assert all(1e-4 <= p["train.learning_rate"] <= 1e-2 for p in drawn)
    assert {p["net.layer_size"] % 16 for p in drawn} == {0}
    assert len({p["train.learning_rate"] for p in drawn}) == 12


def test_a_search_over_few_choices_tries_each_once(tmp_path: Path, enqueue: EnqueuePlan) -> None:
    study = enqueue(make_cnn_plan(grid={"conv_layers": [1, 2, 3]}, trials=3, epochs=1, prune=False))
    run_trials(tmp_path, train=train_formula)
    tried = [r.params["net.conv_layers"] for r in study.rows() if r.params]
    assert len(tried) == len(set(tried)) >= 2


def test_what_a_trial_leaves_behind(tmp_path: Path, enqueue: EnqueuePlan) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    enqueue(make_cnn_plan(grid={"conv_layers": [2], "color": ["grey"]}))
    run_trials(tmp_path, train=train_formula)
    name = "conv_layers=2,color=grey"
    history = read_table(tmp_path / "trials" / name / "history.csv")
    assert [r["epoch"] for r in history] == ["1", "2", "3", "4"]
    assert (tmp_path / "trials" / name / "checkpoints" / "file").read_bytes() == b"weights"
    config = load_toml(tmp_path / "trials" / name / "config.toml")
    assert (config.net.conv_layers, config.net.color, config.from_scratch) == (2, "grey", True)
    read = EventAccumulator(str(tmp_path / "tensorboard" / name)).Reload()
    assert [p.step for p in read.Scalars("epoch/validation_log_loss")] == [1, 2, 3, 4]
    (best,) = read.Scalars("best/validation_log_loss")
    assert (best.step, best.value) == (4, pytest.approx(0.5 + 8 / 64 + 1 / 4))
    assert len(read.PluginTagToContent("hparams")) == 3


# --- sweeps --------------------------------------------------------------------------------------


def test_a_sweep_leaves_its_files_and_shares_the_cores(
    here: Path,
    start_workers: StartWorkers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    start_workers()
    caplog.set_level(logging.INFO, "sharpeye")
    monkeypatch.setattr(worker_pool, "available_cores", lambda: 8)
    reported: list[tuple[str, int, int]] = []
    result = job.sweep(
        "photos",
        grid=SMALL,
        prune=False,
        keep=2,
        workers=2,
        progress=lambda *step: reported.append(step),
        train__epochs=3,
    )
    assert result.path == Path("runs/photos-cnn-sweep")
    assert "0 images in 2 classes" in caplog.messages  # what `here` lets the decoder return
    names = {path.name for path in result.path.iterdir() if not path.name.startswith(".")}
    assert names == {
        "fits.txt", "leaderboard.csv", "report.html", "study.db", "sweep.toml", "tensorboard",
        "trials", "winner.toml",
    }  # fmt: skip
    cores = {line.split()[2] for line in (result.path / "fits.txt").read_text().splitlines()}
    assert cores == {"4"}
    rows = read_leaderboard(result.path)
    assert [r["rank"] for r in rows] == ["1", "2", "3", "4"]
    assert rows[0]["name"] == "layer_size=16,dense_layers=0" == result.leaderboard[0].name
    assert float(rows[0]["validation_log_loss"]) == pytest.approx(1 / 3 + 0.5 + 1 / 3, abs=1e-5)
    assert (rows[0]["net.layer_size"], rows[0]["state"], rows[0]["epochs"]) == (
        "16",
        "complete",
        "3",
    )
    remaining = {path.parent.name for path in result.path.glob("trials/*/checkpoints")}
    assert remaining == {r["name"] for r in rows[:2]}
    text = (result.path / "winner.toml").read_text()
    assert text.startswith(CONFIG_MARK)
    winner = load_toml(result.path / "winner.toml")
    assert winner == result.winner
    assert (winner.net.layer_size, winner.net.dense_layers, winner.train.epochs) == (16, 0, 3)
    assert winner.data.folder == "photos"
    assert reported[-1] == ("trials", 4, 4)
    assert job.summary(result)["next"] == f"sharpeye train --config {result.path}/winner.toml"
    page = (result.path / "report.html").read_text()
    assert "layer_size=16, dense_layers=0 is the best of 4" in page.replace("\u00a0", " ")


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_the_command_of_the_reference_runs_all_27(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(app.COMMANDS, "sweep", "")
    (here / "photos").mkdir()
    line = (
        "sweep photos --model cnn --grid conv_layers=1,2,3 layer_size=32,64,128 dense_layers=0,1,2"
    )
    assert app.run([*line.split(), "--epochs", "2", "--no-prune"]) == 0
    rows = read_leaderboard(here / "runs/photos-cnn-sweep")
    assert len({r["name"] for r in rows}) == 27
    assert {r["state"] for r in rows} == {"complete"}
    out = capsys.readouterr()
    assert out.out.startswith("best:     3-conv-128-nodes-0-dense")
    assert "Warning" not in out.err and "[I " not in out.err


def test_a_finished_sweep_is_not_run_again_and_other_settings_are_named(
    here: Path, in_process: type[InProcessPool]
) -> None:
    options: dict[str, Any] = {"output": "out", "prune": False, "train__epochs": 2}
    first = job.sweep("photos", grid=SMALL, **options)
    again = job.sweep("photos", grid=SMALL, keep=1, **options)
    assert [r.name for r in again.leaderboard] == [r.name for r in first.leaderboard]
    assert in_process.trained == 4
    assert len(list((here / "out").glob("trials/*/checkpoints"))) == 1
    with pytest.raises(UsageError, match=r"layer_size \(8,16, not 8,32\); --rank-by \(loss, not"):
        job.sweep("photos", grid=SMALL | {"layer_size": [8, 32]}, rank_by="accuracy", **options)
    with pytest.raises(UsageError, match=r"train.epochs \(2, not 5\)"):
        job.sweep("photos", grid=SMALL, **options | {"train__epochs": 5})
    with FileLock(here / "out/.lock"), pytest.raises(BusyError):
        job.sweep(output="out", resume=True)


def test_a_sweep_with_other_settings_is_deleted_only_by_overwrite(
    here: Path, in_process: type[InProcessPool]
) -> None:
    options: dict[str, Any] = {"output": "out", "prune": False}
    job.sweep("photos", grid=SMALL, train__epochs=2, **options)
    with pytest.raises(UsageError, match="--overwrite deletes it; or choose another --output"):
        job.sweep("photos", grid=SMALL, train__epochs=3, **options)
    (here / "out/thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"deletes only sweeps, and out holds thesis\.tex"):
        job.sweep("photos", grid=SMALL, train__epochs=3, overwrite=True, **options)
    (here / "out/thesis.tex").unlink()
    before = in_process.trained
    job.sweep("photos", grid={"layer_size": [8]}, train__epochs=3, overwrite=True, **options)
    assert in_process.trained == before + 1
    assert [path.name for path in (here / "out/trials").iterdir()] == ["layer_size=8"]
    with pytest.raises(UsageError, match="give one"):
        job.sweep(output="out", resume=True, overwrite=True)


def test_only_the_default_name_of_a_sweep_is_numbered(
    here: Path, in_process: type[InProcessPool]
) -> None:
    for epochs in (2, 3, 2):
        job.sweep("photos", grid={"layer_size": [8]}, train__epochs=epochs)
    assert sorted(path.name for path in (here / "runs").iterdir()) == [
        "photos-cnn-sweep",
        "photos-cnn-sweep-2",
    ]
    assert in_process.trained == 2


@pytest.mark.usefixtures("no_images")
def test_a_folder_that_is_no_sweep_is_left_alone(here: Path) -> None:
    (here / "out").mkdir()
    (here / "out/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is no sweep"):
        job.sweep("photos", grid=SMALL, output="out")
    with pytest.raises(UsageError, match="no sweep in"):
        job.sweep(output="out", resume=True)
    assert [path.name for path in (here / "out").iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_trial_whose_worker_dies_is_run_twice_at_most(
    here: Path, start_workers: StartWorkers
) -> None:
    start_workers(
        "size, mark = config.net.layer_size, folder / 'died'\n"
        "    size == 8 and os._exit(9)\n"
        "    size == 16 and not mark.exists() and (mark.touch(), os._exit(9))"
    )
    result = job.sweep(
        "photos", grid={"layer_size": [8, 16, 32]}, output="out", workers=1, train__epochs=2
    )
    finished = {r.params["net.layer_size"] for r in result.leaderboard if r.state != "failed"}
    assert finished == {16, 32}
    failed = result.leaderboard[-1]
    assert failed.state == "failed" and "died twice, with status 9" in failed.reason
    fits = [line.split()[0] for line in (here / "out/fits.txt").read_text().splitlines()]
    assert sorted(fits) == ["16", "16", "32", "8", "8"]


@pytest.mark.usefixtures("no_images")
def test_a_worker_that_cannot_start_ends_the_sweep(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-c", "import nothing_there"]
    monkeypatch.setattr(processes, "module_command", lambda *_: command)
    with pytest.raises(EnvironmentFault, match="No module named 'nothing_there'"):
        job.sweep("photos", grid=SMALL, output="out")


def test_a_sweep_without_any_result_says_why(
    here: Path, in_process: type[InProcessPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object) -> Weights:
        raise DivergedError("the loss is not a number")

    monkeypatch.setattr(in_process, "train", staticmethod(diverge))
    with pytest.raises(DivergedError, match="the first: the loss is not a number"):
        job.sweep("photos", grid=SMALL, output="out")
    assert {r["state"] for r in read_leaderboard(here / "out")} == {"failed"}
    assert not (here / "out/winner.toml").exists()


def test_a_sweep_goes_on_with_the_own_code_that_it_began_with(
    no_images: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(*_: Any, **__: Any) -> int:
        raise Stop

    monkeypatch.setattr(job, "_run_trials", stop)
    monkeypatch.delenv("SHARPEYE_OWN_CODE", raising=False)
    code, output = tmp_path / "net.py", tmp_path / "sweep"
    code.write_text("def build(image):\n    return image\n")
    options: Any = {"model": f"{code}:build", "output": output, "grid": {"batch_size": [4, 8]}}
    with pytest.raises(Stop):
        job.sweep("photos", **options)
    recorded = read_plan(output / "sweep.toml").base.model.code_sha256
    assert recorded == hashlib.sha256(code.read_bytes()).hexdigest()
    with pytest.raises(Stop):
        job.sweep("photos", **options)
    code.write_text("def build(image):\n    return image + 0\n")
    with pytest.raises(UsageError, match=r"holds a sweep with other settings: model\.code_sha256"):
        job.sweep("photos", **options)
    with pytest.raises(UsageError, match=r"own code has changed.*anew with --overwrite"):
        job.sweep("photos", model=f"{code}:build", output=output, resume=True)


def test_a_time_limit_before_the_first_epoch_is_named(
    start_workers: StartWorkers, tmp_path: Path
) -> None:
    start_workers("time.sleep(60)")
    options: Any = {"grid": {"layer_size": [8, 16]}, "output": tmp_path / "s"}
    with pytest.raises(UsageError, match=r"time limit came before any trial.*--time-limit 0\.2s"):
        job.sweep("photos", time_limit=0.2, **options)


@pytest.mark.slow
def test_the_time_limit_stops_and_the_same_command_goes_on(
    here: Path, start_workers: StartWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_workers("config.net.layer_size == 16 and time.sleep(60)")

    def monotonic() -> float:
        """The time limit is over as soon as the third trial, which hangs, has begun."""
        file = here / "out/fits.txt"
        return 100.0 if file.exists() and len(file.read_text().splitlines()) == 3 else 0.0

    options: dict[str, Any] = {"output": "out", "prune": False, "train__epochs": 2}
    options |= {"grid": SMALL, "workers": 1}
    started = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(job, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
        result = job.sweep("photos", time_limit=10, **options)
    assert time.monotonic() - started < 40
    assert sorted(r.state for r in result.leaderboard) == [
        "complete",
        "complete",
        "stopped",
        "waiting",
    ]
    assert result.unfinished == 2 and result.winner.net.layer_size == 8
    assert [r["state"] for r in read_leaderboard(here / "out")][2:] == ["stopped", "waiting"]
    monkeypatch.setattr(job, "WorkerPool", InProcessPool)
    monkeypatch.setattr(InProcessPool, "trained", 0, raising=False)
    result = job.sweep("photos", **options)
    assert {r.state for r in result.leaderboard} == {"complete"}
    assert result.winner.net.layer_size == 16
    assert InProcessPool.trained == 2


PARENT_CODE = """
import sys
from pathlib import Path
from sharpeye.cli import app
from sharpeye.jobs.sweep import sweep
from sharpeye.core import processes
from sharpeye.core.types import SampleSet
app.COMMANDS["sweep"] = ""
sweep.load_arrays = lambda *_: (SampleSet(Path("x"), (), ("a", "b")), None)
processes.module_command = lambda _, *words: [sys.executable, "-c", sys.argv[1], *words]
sys.exit(app.run(sys.argv[2:]))
"""


def processes_with(text: str) -> list[str]:
    """Numbers of other processes with this text in their command lines."""
    numbers = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            numbers += [file.parent.name] * (text.encode() in file.read_bytes())
        except OSError:
            continue
    return [number for number in numbers if int(number) != os.getpid()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux' /proc")
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_sweep_that_is_stopped_takes_its_workers_along_and_can_be_resumed(
    number: signal.Signals, here: Path, in_process: type[InProcessPool]
) -> None:
    slow = WORKER_CODE.format(trouble="config.net.layer_size == 16 and time.sleep(60)")
    out = here / "out"
    line = (
        f"sweep photos --grid layer_size=8,16 --no-prune --epochs 2 --workers 2 -q --output {out}"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT_CODE, slow, *line.split()],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "fits.txt").exists() or len((out / "fits.txt").read_text().split()) < 6:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=30)
    if number != SIGKILL:
        assert parent.returncode == 128 + number
        assert "stopped" in one_line(err)
    while processes_with(str(out)):
        assert time.monotonic() < deadline, "a worker outlives its sweep"
        time.sleep(0.1)
    result = job.sweep(output=out, resume=True)
    assert [r.state for r in result.leaderboard] == ["complete", "complete"]
    assert len({r.name for r in result.leaderboard}) == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras itself
def test_real_networks_are_swept_retrained_and_tested_once(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(app.COMMANDS, "sweep", "")
    hard_photos(here / "hard", per_class=20)
    line = "sweep hard --grid conv_layers=1,2 layer_size=8,16 --epochs 3 --set image_size=32"
    assert app.run([*line.split(), "--retrain", "--keep", "1", "-o", "out"]) == 0
    rows = read_leaderboard(here / "out")
    assert len(rows) == 4 and "complete" in {r["state"] for r in rows}
    (checkpoints,) = (here / "out").glob("trials/*/checkpoints")
    trial = checkpoints.parent
    assert (here / "out/best/bundle.json").exists()
    assert "of 9 test images" in capsys.readouterr().out
    assert app.run(["predict", "out/best", "hard/ash/ash1.png"]) == 0
    # Nothing is trained a second time.
    before = (here / "out/best/bundle.json").stat().st_mtime_ns
    assert app.run([*line.split(), "--retrain", "-o", "out"]) == 0
    assert (here / "out/best/bundle.json").stat().st_mtime_ns == before
    # A kept trial is a run that was stopped after its last epoch.
    history = read_table(trial / "history.csv")
    assert app.run(["train", "--resume", "--output", str(trial), "-q"]) == 0
    assert [row["epoch"] for row in read_table(trial / "history.csv")] == ["1", "2", "3"]
    best = min(float(row["validation_log_loss"]) for row in history)
    assert float(Run(trial).metrics["validation"]["accuracy"]) >= 0
    assert best == pytest.approx(
        min(float(row["validation_log_loss"]) for row in Run(trial).table("history.csv"))
    )
    assert app.run(["predict", str(trial), "hard/ash/ash1.png"]) == 0
    # The seeds of the networks differ, the images of the splits do not.
    assert (
        app.run([*line.replace("conv_layers=1,2 layer_size=8,16", "seed=0,1").split(), "-q"]) == 0
    )
    configs = [load_toml(file) for file in here.glob("runs/*-sweep/trials/*/config.toml")]
    assert sorted((c.seed, c.split_seed) for c in configs) == [(0, 0), (1, 0)]
