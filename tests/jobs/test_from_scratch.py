"""A network learned from scratch: what the run directory holds, and what survives a stop."""

import json
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharpeye
from plain_keras import keras_answers
from runner import FILES, SIGKILL, TINY, call, hard_photos, one_line, start, temporaries, tree
from sharpeye.artefact import parity
from sharpeye.cli.app import run
from sharpeye.cli.signals import Signalled
from sharpeye.core.config import load_toml
from sharpeye.core.types import InputSpec
from sharpeye.errors import DataError, DivergedError, GateError, ModelError, UsageError
from sharpeye.images.resize import load_image

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ALL = sorted((*FILES, "model.keras"))
FLAGS = [f"--set={key.replace('__', '.')}={value}" for key, value in TINY.items()]


def train(data: Path, output: Path, **knobs: Any) -> sharpeye.Run:
    knobs = TINY | knobs
    if knobs["model__name"] != "cnn":
        knobs = {k: v for k, v in knobs.items() if k not in ("net__conv_layers", "net__layer_size")}
    return sharpeye.train(data, output=output, **knobs)


def arrays_of(run_dir: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Everything that was learned, as it lies in `model.onnx`."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(run_dir / "model.onnx").graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def same_arrays(one: Path, other: Path) -> None:
    """Fail unless two runs learned the same, to the last bit."""
    first, second = arrays_of(one), arrays_of(other)
    assert first.keys() == second.keys() and len(first) > 3
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def same_history(one: Path, other: Path) -> None:
    def rows(run_dir: Path) -> list[dict[str, str]]:
        result = sharpeye.Run(run_dir).table("history.csv")
        return [{k: v for k, v in row.items() if k != "seconds"} for row in result]

    assert rows(one) == rows(other)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def photos(place: Path) -> Path:
    """3 classes of 12 images that are hard to tell apart. Not to be changed."""
    return hard_photos(place / "hard")


def _trained(place: Path, photos: Path, name: str, **knobs: Any) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(place / "cache"))
        return train(photos, place / name, **knobs).path


@pytest.fixture(scope="module")
def lenet(place: Path, photos: Path) -> Path:
    """LeNet-5 on the images. Not to be changed."""
    return _trained(place, photos, "lenet", model__name="lenet5", model__image_size=32)


@pytest.fixture(scope="module")
def grey(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tutorials' network on grey images of two classes. Not to be changed."""
    data = hard_photos(place / "two")
    shutil.rmtree(data / "cedar")
    return _trained(place, data, "grey", net__color="grey", net__conv_layers=2)


@pytest.fixture(params=["lenet", "grey"])
def done(request: pytest.FixtureRequest) -> Path:
    """A finished run of either network."""
    result: Path = request.getfixturevalue(request.param)
    return result


# --- the run directory ---------------------------------------------------------------------------


def test_a_run_leaves_every_file_and_nothing_else(done: Path) -> None:
    assert sorted(path.name for path in done.iterdir()) == ALL
    assert sorted(path.name for path in (done / "tensorboard").iterdir() if path.is_dir()) == [
        "train",
        "validation",
    ]
    assert temporaries(done) == []
    assert temporaries(done.parent / "cache") == []


def test_the_configuration_is_resolved_and_can_be_read_again(lenet: Path, grey: Path) -> None:
    config = load_toml(lenet / "config.toml")
    assert (config.model.name, config.model.weights) == ("lenet5", "none")
    assert config.train.learning_rate == pytest.approx(0.003)
    assert load_toml(grey / "config.toml").net.color == "grey"


def test_the_history_has_a_row_an_epoch(done: Path) -> None:
    rows = sharpeye.Run(done).table("history.csv")
    assert [(row["stage"], row["epoch"]) for row in rows] == [("train", str(i)) for i in (1, 2, 3)]
    for row in rows:
        assert 0 <= float(row["accuracy"]) <= 1 and 0 <= float(row["validation_accuracy"]) <= 1
        assert float(row["log_loss"]) > 0 and float(row["validation_log_loss"]) > 0
        assert float(row["learning_rate"]) > 0 and float(row["seconds"]) > 0
    assert float(rows[-1]["learning_rate"]) < float(rows[0]["learning_rate"])


def test_tensorboard_reads_curves_images_and_the_graph(done: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = sharpeye.Run(done).table("history.csv")
    columns = {
        "train": {"log_loss": "log_loss", "accuracy": "accuracy", "learning_rate": "learning_rate"},
        "validation": {"log_loss": "validation_log_loss", "accuracy": "validation_accuracy"},
    }
    for part, curves in columns.items():
        events = EventAccumulator(str(done / "tensorboard" / part), {"images": 0})
        events.Reload()
        assert sorted(events.Tags()["scalars"]) == sorted(f"epoch/{tag}" for tag in curves)
        for tag, column in curves.items():
            points = events.Scalars(f"epoch/{tag}")
            assert [point.step for point in points] == [1, 2, 3]
            assert [point.value for point in points] == pytest.approx(
                [float(row[column]) for row in history], rel=1e-4
            )
        if part == "validation":
            assert not events.Tags()["graph"] and not events.Tags()["images"]
            continue
        assert events.Tags()["graph"]
        assert "Conv2D" in {node.op for node in events.Graph().node}
        assert len(events.Tags()["images"]) == 16
        (image,) = events.Images(events.Tags()["images"][0])
        size = load_toml(done / "config.toml").model.image_size
        assert (image.width, image.height) == (size, size)
        assert image.encoded_image_string.startswith(b"\x89PNG")


def test_the_keras_model_answers_like_the_shipped_one(done: Path, tmp_path: Path) -> None:
    config = load_toml(done / "config.toml")
    size, channels = config.model.image_size, 1 if config.net.color == "grey" else 3
    spec = InputSpec(size, size, channels=channels)
    assert json.loads((done / "bundle.json").read_text())["input"]["channels"] == channels
    final, labels = sharpeye.load(done), sharpeye.Run(done).labels
    files = [
        Path(config.data.folder) / r["path"] for r in sharpeye.Run(done).table("predictions.csv")
    ]
    predictions = [dict(final.predict(file, top=len(labels)).top) for file in files]
    expected = [[prediction[label] for label in labels] for prediction in predictions]
    images = np.stack([load_image(file, str(file), spec) for file in files])
    answers = keras_answers(done / "model.keras", images, tmp_path, train=True)
    np.testing.assert_allclose(answers["probs"], expected, atol=1e-3)
    assert answers["moved"] > 0


def test_an_image_is_answered_as_the_table_says(done: Path) -> None:
    data = Path(load_toml(done / "config.toml").data.folder)
    model = sharpeye.load(done)
    for row in sharpeye.Run(done).table("predictions.csv"):
        label, score = model.predict(data / row["path"]).top[0]
        assert label == row["predicted"]
        assert score == pytest.approx(float(row["score"]), abs=1e-3)


def test_the_report_has_the_learning_curves(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2
    assert "epoch" in page.lower() and "validation" in page.lower()
    assert 'src="http' not in page


def test_metrics_and_the_card_know_of_it(lenet: Path, grey: Path) -> None:
    metrics = sharpeye.Run(lenet).metrics
    assert {"scan", "digests", "pictures", "training", "report", "total"} <= set(metrics["seconds"])
    assert metrics["test"]["count"] + metrics["validation"]["count"] < 36
    bundle = json.loads((lenet / "bundle.json").read_text())
    assert bundle["parity"]["max_difference"] <= 1e-3
    card = (lenet / "README.md").read_text(encoding="utf-8")
    assert "lenet5; licence of its weights: none (all were learned from these images)" in card
    counts = Counter(row["part"] for row in sharpeye.Run(lenet).table("split.csv"))
    used = ", ".join(f"{counts[part]} {part}" for part in ("train", "validation", "test"))
    assert f"| images | {used} |" in card and "grey" not in card
    assert ", as grey levels |" in (grey / "README.md").read_text(encoding="utf-8")


def test_evaluate_finds_the_same_accuracy(
    lenet: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tested = tmp_path / "tested"
    for row in sharpeye.Run(lenet).table("predictions.csv"):
        (tested / row["label"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / row["path"], tested / row["label"])
    assert run(["evaluate", str(lenet), str(tested), "-o", str(tmp_path / "scores")]) == 0
    result = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    accuracy = sharpeye.Run(lenet).metrics["test"]["accuracy"]
    assert result["test"]["accuracy"] == pytest.approx(accuracy)
    assert capsys.readouterr().out


# --- what can be asked for -----------------------------------------------------------------------


@pytest.mark.slow
def test_int8_is_measured(photos: Path, tmp_path: Path) -> None:
    done = train(
        photos, tmp_path / "run", model__int8=True, model__name="lenet5", model__image_size=32
    )
    cost = done.metrics["quantization"]
    assert cost["int8_bytes"] < cost["float_bytes"]
    assert abs(cost["drop"]) <= 0.5
    prediction = sharpeye.load(done.path).predict(next((photos / "ash").iterdir()))
    assert prediction.top[0][0] in done.labels
    assert temporaries(done.path) == []


def test_a_missed_gate_is_an_error_after_everything_was_written(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(GateError, match="below the 1 that was asked"):
        train(photos, tmp_path / "run", min_accuracy=1.0, train__epochs=1)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ALL


def test_a_broken_image_is_left_out_and_named_once(tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "data")
    (data / "ash" / "page.jpg").write_text("<html>404</html>")
    before = tree(data)
    done = train(data, tmp_path / "run", train__epochs=1)
    (rejected,) = done.table("quarantine.csv")
    assert rejected["path"] == "ash/page.jpg" and "web page" in rejected["reason"]
    assert len(done.table("split.csv")) == 36
    assert tree(data) == before


def test_strict_refuses_it(tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "data")
    (data / "ash" / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(sharpeye.SharpEyeError, match=r"ash/page.jpg") as caught:
        train(data, tmp_path / "run", data__strict=True)
    assert caught.value.exit_code == 3
    assert (tmp_path / "run" / "quarantine.csv").is_file()


@pytest.mark.parametrize(
    "balance",
    [
        "oversample",
        pytest.param("none", marks=pytest.mark.slow),
        pytest.param("undersample", marks=pytest.mark.slow),
    ],
)
def test_classes_of_other_sizes_can_be_balanced(balance: str, tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "data")
    for file in sorted((data / "ash").iterdir())[6:]:
        file.unlink()
    done = train(data, tmp_path / "run", data__balance=balance, train__epochs=1)
    assert len(done.table("split.csv")) == 30
    assert done.metrics["test"]["count"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "balance",
    [
        "undersample",
        pytest.param("none", marks=pytest.mark.slow),
        pytest.param("oversample", marks=pytest.mark.slow),
    ],
)
def test_they_can_be_with_a_frozen_network_too(balance: str, tmp_path: Path, warm: Path) -> None:
    data = hard_photos(tmp_path / "data")
    for file in sorted((data / "ash").iterdir())[6:]:
        file.unlink()
    heads = []
    for name, wanted in (("one", balance), ("weights", "weights")):
        output = tmp_path / name
        done = sharpeye.train(data, output=output, model__image_size=64, data__balance=wanted)
        assert len(done.table("split.csv")) == 30
        heads.append(arrays_of(done.path)["head_weights"])
    # To take images more often is to weigh them more, where the optimum is found.
    assert np.allclose(heads[0], heads[1]) == (balance == "oversample")


@pytest.mark.slow
def test_two_runs_are_the_same_but_for_the_time(lenet: Path, photos: Path, tmp_path: Path) -> None:
    again = train(photos, tmp_path / "run", model__name="lenet5", model__image_size=32)
    same_arrays(lenet, again.path)
    same_history(lenet, again.path)
    for name in ("split.csv", "predictions.csv"):
        assert (lenet / name).read_bytes() == (again.path / name).read_bytes()


@pytest.mark.slow
def test_its_own_config_runs_it_again(grey: Path, tmp_path: Path) -> None:
    config = str(grey / "config.toml")
    assert run(["train", "--config", config, "-o", str(tmp_path / "run"), "--quiet"]) == 0
    same_arrays(grey, tmp_path / "run")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "lenet5", "--weights", "imagenet"], "lenet5 has no pretrained weights"),
        (["--model", "lenet5", "--weights", "random"], "lenet5 has no pretrained weights"),
        (["--model", "lenet5", "--fine-tune", "3"], "--fine-tune needs pretrained weights"),
        (["--weights", "none", "--fine-tune", "3"], "--fine-tune needs pretrained weights"),
        (["--model", "lenet5", "--epochs", "0"], "train.epochs must be from 1"),
        (["--model", "lenet5", "--time-limit", "soon"], "with s, m or h, such as 10m"),
        (["--model", "lenet5", "--balance", "waits"], "Did you mean weights?"),
        (["--model", "lenet", "--epochs", "1"], "Did you mean lenet5?"),
        (["--model", "lenet5", "--set", "model.image_size=8"], "at least 16"),
        (["--model", "cnn", "--set", "net.conv_layers=8"], "net.conv_layers must be from 1 to"),
        (["--model", "cnn", "--resume"], "there is no unfinished run"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_leaves_nothing(
    options: list[str],
    words: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["train", str(photos), "-o", str(tmp_path / "run"), "--quiet", *options]
    assert run(arguments) == 2
    assert words in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_settings_that_a_frozen_network_does_not_use_are_named(
    photos: Path, tmp_path: Path, warm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(photos), "-o", str(tmp_path / "run"), "--set=model.image_size=64"]
    assert run([*arguments, "--quiet", "--epochs", "5"]) == 0
    line = one_line(capsys.readouterr().err)
    assert line.startswith("warning: train.epochs (--epochs) is not used: efficientnet_lite0")


def test_a_run_that_diverges_in_its_first_epoch_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sharpeye.learn.nets import loop

    lost = {"validation_log_loss": float("nan"), "validation_accuracy": 0.0}
    monkeypatch.setattr(loop, "_metrics", lambda *_: lost)
    with pytest.raises(DivergedError, match=r"learning_rate=0\.5"):
        train(photos, tmp_path / "runs" / "run", train__learning_rate=1.0)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_diverges_later_keeps_the_history_and_frees_its_name(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sharpeye.learn.nets import loop

    whole = loop._metrics

    def diverge(totals: Any, engine: Any, arrays: Any) -> Any:
        row = whole(totals, engine, arrays)
        seen.append(row)
        return row | ({"validation_log_loss": float("nan")} if len(seen) == 3 else {})

    seen: list[Any] = []
    output = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_metrics", diverge)
        with pytest.raises(DivergedError, match=r"epoch 3: .*epochs before are in .*history\.csv"):
            train(photos, output, train__epochs=5)
    rows = (output / "history.csv").read_text().splitlines()
    assert len(rows) == 3 and not (output / "checkpoints").exists()
    assert (output / "tensorboard").is_dir()
    # Nothing can be resumed, so the same name may simply be taken again.
    assert train(photos, output).path == output


# --- stopped, and gone on with -------------------------------------------------------------------


def epochs_in(output: Path) -> int:
    """How many epochs `history.csv` tells of so far."""
    try:
        return len((output / "history.csv").read_text().splitlines()) - 1
    except OSError:
        return 0


def stop_in_epoch(
    epoch: int, number: int, data: Path, output: Path, cache: Path, *flags: str
) -> "subprocess.CompletedProcess[str]":
    """Train in a process of its own, and send it a signal once so many epochs are over."""
    process = start("train", data, "-o", output, *FLAGS, *flags, cache=cache)
    end = time.monotonic() + 90
    while epochs_in(output) < epoch and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def stopped(photos: Path, tmp_path: Path, cache: Path) -> Callable[..., Path]:
    """Leaves an unfinished run behind, as a stop at any moment between epochs does."""
    from sharpeye.jobs.train import progress_log

    class Cut(Exception):
        pass

    def make(name: str = "run", epoch: int = 2, **knobs: Any) -> Path:
        whole = progress_log.ProgressLog.epoch

        def cut(self: Any, row: Any) -> None:
            whole(self, row)
            if row["epoch"] == epoch:
                raise Cut

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sharpeye.learn.nets.checkpoint._MAX_TIME_SHARE", float("inf"))
            patch.setattr(progress_log.ProgressLog, "epoch", cut)
            knobs = {"train__epochs": 6} | knobs
            with pytest.raises(Cut):
                train(photos, tmp_path / name, **knobs)
        return tmp_path / name

    return make


EPOCHS = 100
LONG = ("--epochs", str(EPOCHS), "--set=net.dropout=0.3", "--set=net.dense_layers=1")


@pytest.fixture(scope="module")
def undisturbed(photos: Path, place: Path) -> Path:
    """Training in a process of its own that nothing happened to. Not to be changed."""
    flags = (*FLAGS, *LONG, "--quiet")
    done = call("train", photos, "-o", place / "whole", *flags, cache=place / "own-cache")
    assert (done.returncode, done.stderr) == (0, "")
    return place / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("number", [SIGKILL, signal.SIGINT])
def test_stopped_by_a_signal_and_resumed_it_ends_as_if_nothing_had_been(
    number: signal.Signals, photos: Path, undisturbed: Path, tmp_path: Path, cache: Path
) -> None:
    output = tmp_path / "run"
    gone = stop_in_epoch(3, number, photos, output, cache, *LONG)
    if number == signal.SIGINT:
        assert gone.returncode == 130, gone.stderr
        assert "its checkpoint is kept; go on with: sharpeye train --resume" in gone.stderr
        assert "--resume" in gone.stderr
        assert not (output / ".lock").exists()
    else:
        assert gone.returncode == -SIGKILL, gone.stderr
    assert 3 <= epochs_in(output) < EPOCHS
    assert not (output / "bundle.json").exists()
    assert list((output / "checkpoints").glob("epoch-*.npz"))
    again = call("train", photos, "-o", output, "--resume", cache=cache)
    assert again.returncode == 0, again.stderr
    assert "going on after epoch" in again.stderr
    assert sorted(path.name for path in output.iterdir()) == ALL
    assert temporaries(tmp_path) == []
    same_arrays(output, undisturbed)
    same_history(output, undisturbed)


@pytest.mark.slow
def test_the_advice_names_the_folder_in_which_the_stopped_run_is_kept(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from sharpeye.jobs.train import progress_log

    def stop(*options: str, epoch: int) -> str:
        whole = progress_log.ProgressLog.epoch

        def stopped(self: Any, row: Any) -> None:
            whole(self, row)
            if row["epoch"] == epoch:
                raise Signalled(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(progress_log.ProgressLog, "epoch", stopped)
            assert run(["train", *options, "--quiet"]) == 130
        return capsys.readouterr().err.partition("go on with: ")[2].rstrip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sharpeye.learn.nets.checkpoint._MAX_TIME_SHARE", float("inf"))
    begun, folder = [str(photos), *FLAGS], f"runs/{photos.name}-cnn"
    assert run(["train", *begun, "--keep-checkpoints", "2", "--quiet"]) == 0
    # The default name is taken; the second run should have replaced a finished one.
    longer = ["--resume", "--output", folder, "--epochs", "6"]
    for number, options, epoch in ((2, begun, 2), (3, longer, 5)):
        command = stop(*options, epoch=epoch)
        assert command == f"sharpeye train --resume --output {folder}-{number}"
        assert run([*shlex.split(command)[1:], "--quiet"]) == 0
    assert len(sharpeye.Run(f"{folder}-3").table("history.csv")) == 6


@pytest.mark.slow
def test_a_stopped_run_keeps_its_files_and_goes_on(
    stopped: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    output = stopped(epoch=3)
    assert epochs_in(output) == 3
    with pytest.raises(sharpeye.SharpEyeError):
        sharpeye.load(output)
    done = train(photos, output, train__epochs=6, resume=True)
    assert done.path == output
    whole = train(photos, tmp_path / "whole", train__epochs=6)
    same_arrays(output, whole.path)
    same_history(output, whole.path)
    assert sorted(path.name for path in output.iterdir()) == ALL


@pytest.mark.slow
def test_a_damaged_checkpoint_does_not_matter(
    stopped: Callable[..., Path], photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = stopped(epoch=4)
    newest = max((output / "checkpoints").iterdir())
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 64
    newest.write_bytes(content)
    done = train(photos, output, train__epochs=6, resume=True)
    assert f"{newest.name} is damaged" in caplog.text
    same_arrays(done.path, train(photos, tmp_path / "whole", train__epochs=6).path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--epochs", "9"], "begun with train.epochs = 6, now it is 9"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (["--seed", "1"], "begun with seed = 0, now it is 1"),
                (["--set", "train.optimizer=sgd"], 'begun with train.optimizer = "adamw"'),
                (["--set", "model.filter=bilinear"], 'begun with model.filter = "bicubic"'),
            )
        ),
    ],
)
def test_other_settings_are_refused_by_their_key(
    options: list[str],
    words: str,
    stopped: Callable[..., Path],
    photos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = stopped()
    before = tree(output)
    capsys.readouterr()
    arguments = ["train", str(photos), "-o", str(output), "--resume", "--quiet", *options]
    assert run(arguments) == 2
    assert words in one_line(capsys.readouterr().err)
    assert tree(output) == before


def test_other_images_are_refused(
    stopped: Callable[..., Path], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = stopped()
    other = hard_photos(place / "other", seed=3)
    capsys.readouterr()
    assert run(["train", str(other), "-o", str(output), "--resume", "--quiet"]) == 2
    assert "data.folder = " in one_line(capsys.readouterr().err)


@pytest.mark.slow
def test_images_that_changed_meanwhile_are_refused(
    stopped: Callable[..., Path], photos: Path
) -> None:
    output = stopped()
    before = tree(output)
    moved = (photos / "ash" / "ash0.png").rename(photos / "birch" / "moved.png")
    try:
        with pytest.raises(DataError, match=r"2 differ, such as ash/ash0\.png; bring them back"):
            train(photos, output, train__epochs=6, resume=True)
    finally:
        moved.rename(photos / "ash" / "ash0.png")
    after = tree(output)
    for name in ("split.csv", "labels.txt", "checkpoints/epoch-000002.npz"):
        assert after[name] == before[name]
    assert train(photos, output, train__epochs=6, resume=True).path == output


def test_a_finished_run_cannot_be_gone_on_with(
    grey: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_toml(grey / "config.toml").data.folder
    before = tree(grey)
    assert run(["train", data, "-o", str(grey), "--resume", "--quiet"]) == 2
    assert "is finished, after 3 epochs; to go on, give more: --epochs 6" in one_line(
        capsys.readouterr().err
    )
    assert tree(grey) == before


@pytest.mark.slow
def test_without_resume_it_begins_anew_if_it_is_asked_to(
    stopped: Callable[..., Path], photos: Path, tmp_path: Path
) -> None:
    output = stopped()
    with pytest.raises(UsageError, match="holds an unfinished run"):
        train(photos, output, train__epochs=2)
    done = sharpeye.train(photos, output=output, overwrite=True, **TINY | {"train__epochs": 2})
    assert done.path == output
    assert [row["epoch"] for row in done.table("history.csv")] == ["1", "2"]
    assert sorted(path.name for path in output.iterdir()) == ALL
    same_arrays(output, train(photos, tmp_path / "whole", train__epochs=2).path)


@pytest.mark.slow
def test_a_resumed_run_that_fails_is_kept(stopped: Callable[..., Path], photos: Path) -> None:
    output = stopped(epoch=2)
    moved = photos.rename(photos.with_name("away"))
    try:
        with pytest.raises(sharpeye.SharpEyeError):
            train(photos, output, train__epochs=6, resume=True)
    finally:
        moved.rename(photos)
    assert epochs_in(output) == 2
    assert train(photos, output, train__epochs=6, resume=True).path == output


def test_by_python_too_another_setting_is_refused(
    stopped: Callable[..., Path], photos: Path
) -> None:
    with pytest.raises(UsageError, match=r"train.batch_size = 8, now it is 4"):
        train(photos, stopped(), train__epochs=6, train__batch_size=4, resume=True)


# --- a model file that answers otherwise than training -------------------------------------------


def test_training_in_16_bits_answers_and_ships_in_32(photo_folder: Path, tmp_path: Path) -> None:
    done = train(photo_folder, tmp_path / "mixed", train__precision="mixed", train__epochs=6)
    bundle = json.loads((done.path / "bundle.json").read_text())
    assert bundle["parity"]["max_difference"] < 1e-5


@pytest.mark.parametrize("network", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_run_whose_model_file_is_not_proven_keeps_what_it_learned(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: bool
) -> None:
    path, knobs = tmp_path / "run", TINY if network else {"model__weights": "random"}
    with monkeypatch.context() as patched:
        patched.setattr(parity, "PARITY_LIMIT", -1.0)
        with pytest.raises(ModelError, match=r"a probability differs by .*--resume --output"):
            sharpeye.train(photo_folder, output=path, **knobs)
        # The same name is not taken again unasked, neither by default nor by name.
        with pytest.raises(UsageError, match="holds an unfinished run"):
            sharpeye.train(photo_folder, output=path, **knobs)
    reason = (path / "unproven.txt").read_text()
    assert "a probability differs" in reason and not (path / "bundle.json").exists()
    assert reason.strip() in (path / "report.html").read_text()
    kept = {"history.csv", "metrics.json", "predictions.csv", *(["model.keras"] if network else [])}
    assert kept <= {entry.name for entry in path.iterdir()}
    with pytest.raises(DataError, match="no finished run directory"):
        sharpeye.Run(path)

    done = sharpeye.train(photo_folder, output=path, resume=True, **knobs)
    assert not (path / "unproven.txt").exists() and not (path / "checkpoints").exists()
    assert "Do not use this model" not in (done.path / "report.html").read_text()


@pytest.mark.slow
def test_an_unproven_run_that_should_replace_another_lies_beside_it(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(train(photo_folder, tmp_path / "run").path)
    monkeypatch.setattr(parity, "PARITY_LIMIT", -1.0)
    with pytest.raises(ModelError, match=f"are kept in {tmp_path / 'run-2'}"):
        train(photo_folder, tmp_path / "run", overwrite=True)
    assert tree(tmp_path / "run") == before
    assert (tmp_path / "run-2" / "unproven.txt").exists()
    assert not temporaries(tmp_path)
