"""A localizer from end to end, by each of the three ways: what the run directory holds."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import sharpeye
from localizer import LABELS, scene, scenes
from plain_keras import keras_answers
from runner import FILES, call, one_line, share_backbones, start, temporaries
from sharpeye.artefact.parity import BOX_PARITY_LIMIT
from sharpeye.cli.app import run
from sharpeye.core.config import load_toml
from sharpeye.core.inference import Backbone
from sharpeye.core.types import InputSpec
from sharpeye.errors import UsageError
from sharpeye.images.boxes import iou
from sharpeye.images.resize import load_image
from sharpeye.jobs.evaluate import evaluate
from sharpeye.learn.nets.loop import monitored_loss

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

EDGES = ("xmin", "ymin", "xmax", "ymax")
BOX_METRICS = ("mean_iou", "accuracy_at_iou50", "accuracy_at_iou75")
FROZEN: dict[str, Any] = {
    "model": "mobilenet_v2_0.35_96",
    "model__weights": "random",
    "model__image_size": 64,
    "localize__epochs": 4,
    "localize__box_views": 2,
    "localize__batch_size": 16,
    "localize__channels": 8,
}
TUNED = FROZEN | {"finetune__epochs": 1, "train__keep_checkpoints": 1}
SCRATCH: dict[str, Any] = {
    "model": "cnn",
    "model__image_size": 24,
    "net__conv_layers": 2,
    "net__layer_size": 12,
    "train__epochs": 8,
    "train__batch_size": 8,
    "train__learning_rate": 3e-3,
}
WAYS = {"frozen": FROZEN, "tuned": TUNED, "scratch": SCRATCH}


def train(data: Path, output: Path, **knobs: Any) -> sharpeye.Run:
    return sharpeye.train(data, output=output, task="localize", **knobs)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, session_cache: Path, maps_backbone: Backbone
) -> Path:
    """A folder with `scenes/` and a cache that holds the small backbone with maps."""
    folder = tmp_path_factory.mktemp("localizers")
    share_backbones(session_cache, folder / "cache")
    scenes(folder / "scenes", per_class=12)
    return folder


@pytest.fixture(
    scope="module",
    params=["frozen", pytest.param("tuned", marks=pytest.mark.slow), "scratch"],
)
def done(request: pytest.FixtureRequest, place: Path) -> sharpeye.Run:
    """A finished run of each way; fine-tuning helped. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHARPEYE_CACHE", str(place / "cache"))
        scored_so = iter((2.0, 1.0))  # before and after: whatever it did, it helped
        patch.setattr(
            "sharpeye.jobs.train.finetune._validation_loss", lambda *_, **__: next(scored_so)
        )
        return train(place / "scenes", place / request.param, **WAYS[request.param])


def boxes_of(rows: list[dict[str, str]], prefix: str = "") -> np.ndarray[Any, Any]:
    return np.array([[float(row[prefix + edge]) for edge in EDGES] for row in rows])


# --- the run directory ---------------------------------------------------------------------------


def test_a_run_leaves_every_file_and_nothing_else(done: sharpeye.Run, place: Path) -> None:
    whole = done.path.name != "frozen"  # the network itself was trained
    expected = [*FILES, *(["model.keras"] if whole else [])]
    if done.path.name == "tuned":
        expected += ["checkpoints", "last.keras"]
        kept = [path.name for path in (done.path / "checkpoints").iterdir()]
        assert kept == ["epoch-000001.npz"]
    assert sorted(path.name for path in done.path.iterdir()) == sorted(expected)
    assert temporaries(done.path) == temporaries(place / "cache") == []
    config = load_toml(done.path / "config.toml")
    assert config.task == "localize" and config.model.fit == "stretch"


def test_the_history_tells_of_every_epoch(done: sharpeye.Run) -> None:
    rows = [row for row in done.table("history.csv") if row["epoch"]]
    expected = {
        "frozen": ["box"] * 4,
        "tuned": ["box"] * 4 + ["fine-tune"],
        "scratch": ["train"] * 8,
    }
    assert [row["stage"] for row in rows] == expected[done.path.name]
    for row in rows:
        iou = float(row["validation_mean_iou"])
        loss = 0.0 if row["stage"] == "box" else float(row["validation_log_loss"])
        assert monitored_loss(row) == pytest.approx(loss + 2 * (1 - iou), rel=1e-5)
        assert 0 <= float(row["mean_iou"]) <= 1 and float(row["loss"]) > 0


def test_tensorboard_reads_curves_of_boxes(done: sharpeye.Run) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = [row for row in done.table("history.csv") if row["epoch"]]
    for part, prefix in (("train", ""), ("validation", "validation_")):
        events = EventAccumulator(str(done.path / "tensorboard" / part)).Reload()
        curves = {"box" if row["stage"] == "box" else "epoch" for row in rows}
        for curve in curves:
            own = [row for row in rows if (row["stage"] == "box") == (curve == "box")]
            result = [event.value for event in events.Scalars(f"{curve}/mean_iou")]
            expected = [float(row[f"{prefix}mean_iou"]) for row in own]
            np.testing.assert_allclose(result, expected, rtol=1e-4)
    events = EventAccumulator(str(done.path / "tensorboard")).Reload()
    (reports,) = events.Scalars("test/mean_iou")
    assert reports.value == pytest.approx(done.metrics["test"]["mean_iou"], rel=1e-5)


def test_a_box_has_a_score_where_its_head_makes_proposals(done: sharpeye.Run) -> None:
    model = sharpeye.load(done.path)
    parity = json.loads((done.path / "bundle.json").read_text())["parity"]
    prediction = model.predict(np.zeros((40, 60, 3), np.uint8))
    if done.path.name == "scratch":  # one dense layer gives its box
        assert prediction.box_score is None
        assert "box_score" not in prediction.to_dict()
        return
    assert 0 <= parity["max_box_score_difference"] <= 0.02
    assert prediction.box_score is not None
    assert 0 <= prediction.box_score <= 1
    assert prediction.to_dict()["box_score"] == round(prediction.box_score, 6)


def test_scores_of_boxes_are_those_of_the_table(done: sharpeye.Run) -> None:
    rows = done.table("predictions.csv")
    true, result = boxes_of(rows, "true_"), boxes_of(rows)
    assert ((result >= 0) & (result <= 1)).all()
    ious = iou(true, result)
    np.testing.assert_allclose([float(row["iou"]) for row in rows], ious, atol=1e-4)
    right = np.array([row["label"] == row["predicted"] for row in rows])
    test = done.metrics["test"]
    assert test["count"] == len(rows)
    assert test["mean_iou"] == pytest.approx(ious.mean(), abs=1e-4)
    assert test["accuracy_at_iou50"] == pytest.approx((right & (ious >= 0.5)).mean())
    assert test["accuracy_at_iou75"] == pytest.approx((right & (ious >= 0.75)).mean())
    for part in ("validation", "test"):
        scores = done.metrics[part]
        for name in BOX_METRICS:
            low, high = scores[f"{name}_ci95"]
            assert 0 <= low <= scores[name] <= high <= 1
        assert set(scores["per_class"]) == set(LABELS)
        for own in scores["per_class"].values():
            assert set(BOX_METRICS) <= set(own)


def test_boxes_in_the_table_are_those_of_the_annotations(done: sharpeye.Run, place: Path) -> None:
    for row in done.table("predictions.csv"):
        with Image.open(place / "scenes" / row["path"]) as image:
            inside = np.asarray(image).max(axis=-1) > 100
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        height, width = inside.shape
        edges = [columns[0] / width, rows[0] / height]
        edges += [(columns[-1] + 1) / width, (rows[-1] + 1) / height]
        np.testing.assert_allclose(boxes_of([row], "true_")[0], edges, atol=1e-5)


# --- the model -----------------------------------------------------------------------------------


def test_the_model_is_proven_equal_with_its_boxes(done: sharpeye.Run, place: Path) -> None:
    record = json.loads((done.path / "bundle.json").read_text())
    assert record["task"] == "localize"
    assert 0 <= record["parity"]["max_box_difference"] <= BOX_PARITY_LIMIT
    session = onnxruntime.InferenceSession(done.path / "model.onnx")
    outputs = {output.name: output.shape for output in session.get_outputs()}
    assert (outputs["probs"], outputs["box"]) == (["N", 3], ["N", 4])
    spec = InputSpec.from_dict(record["input"])
    row = done.table("predictions.csv")[0]
    pixels = load_image(place / "scenes" / row["path"], row["path"], spec)
    probs, box = session.run(["probs", "box"], {"image": np.stack([pixels, pixels])})
    assert probs.max() == pytest.approx(float(row["score"]), abs=1e-3)
    # The input is the stretched image: shares of the one are those of the other.
    np.testing.assert_allclose(box.clip(0, 1), boxes_of([row, row]), atol=BOX_PARITY_LIMIT)


def test_predictions_are_those_of_the_table_in_pixels(done: sharpeye.Run, place: Path) -> None:
    model = sharpeye.load(done.path)
    assert model.task == "localize" and model.localizes
    for row in done.table("predictions.csv"):
        result = model.predict(place / "scenes" / row["path"])
        width, height = result.size or (0, 0)
        assert result.label == row["predicted"] and result.box is not None
        pixels = boxes_of([row])[0] * [width, height, width, height]
        np.testing.assert_allclose(result.box, pixels, atol=BOX_PARITY_LIMIT * 72)


def test_evaluating_the_same_folder_gives_the_same_answers(done: sharpeye.Run, place: Path) -> None:
    scored, samples, _ = evaluate(done.path, place / "scenes")
    assert len(samples) == 36 and scored.boxes is not None and scored.ious is not None
    index = {sample.path: i for i, sample in enumerate(scored.samples)}
    rows = done.table("predictions.csv")
    chosen = [index[row["path"]] for row in rows]
    np.testing.assert_allclose(scored.boxes[chosen], boxes_of(rows), atol=BOX_PARITY_LIMIT)
    mean = scored.ious[chosen].mean()
    assert mean == pytest.approx(done.metrics["test"]["mean_iou"], abs=0.02)
    assert [scored.class_names[i] for i in scored.probs[chosen].argmax(axis=1)] == [
        row["predicted"] for row in rows
    ]


def test_the_report_shows_boxes(done: sharpeye.Run) -> None:
    page = (done.path / "report.html").read_text()
    assert "Boxes, worst first" in page and 'class="frames"' in page
    assert f"{done.metrics['test']['mean_iou']:.2f}" in page


def test_a_network_that_was_trained_can_be_loaded_by_keras(
    done: sharpeye.Run, place: Path, tmp_path: Path
) -> None:
    if done.path.name == "frozen":
        pytest.skip("only its heads were trained")
    spec = sharpeye.load(done.path).input
    rows = done.table("predictions.csv")
    images = [load_image(place / "scenes" / row["path"], row["path"], spec) for row in rows]
    answers = keras_answers(done.path / "model.keras", np.stack(images), tmp_path)
    np.testing.assert_allclose(answers["box"].clip(0, 1), boxes_of(rows), atol=BOX_PARITY_LIMIT)
    labels = [done.labels[index] for index in answers["probs"].argmax(axis=1)]
    assert labels == [row["predicted"] for row in rows]


def test_fine_tuning_trains_boxes_on(done: sharpeye.Run) -> None:
    if done.path.name != "tuned":
        pytest.skip("it was not fine-tuned")
    page = (done.path / "report.html").read_text()
    reports = "validation loss of classes and boxes 2.0000 before, 1.0000 after"
    assert f"Fine-tuning helped: {reports}" in page


# --- what is refused -----------------------------------------------------------------------------


def test_a_folder_without_annotations_is_refused_in_one_line(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    arguments = ["train", str(photo_folder), "-o", str(output), "--task", "localize", "--quiet"]
    assert run(arguments) == 3
    line = one_line(capsys.readouterr().err)
    assert line.startswith("error: ") and "xml" in line.lower()
    assert not output.exists()


@pytest.mark.parametrize("key", ["model.int8", "net.flip_tta"])
def test_what_boxes_cannot_have_is_refused(key: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"{key} must be false where boxes are learned"):
        train(place / "scenes", tmp_path / "run", **(FROZEN | {key.replace(".", "__"): True}))
    assert list(tmp_path.iterdir()) == []


# --- stopped, and gone on with -------------------------------------------------------------------


def box_epochs_in(output: Path) -> int:
    try:
        return (output / "history.csv").read_text().count("\nbox,")
    except OSError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_box_heads_epochs_and_resumed_it_ends_as_if_nothing_had_been(
    number: signal.Signals, place: Path, tmp_path: Path
) -> None:
    knobs = FROZEN | {"localize__epochs": 60}
    flags = [f"--set={k.replace('__', '.')}={v}" for k, v in knobs.items() if k != "model"]
    flags += ["--model", FROZEN["model"], "--task", "localize"]
    data, cache = place / "scenes", place / "cache"
    whole, output = tmp_path / "whole", tmp_path / "run"
    done = call("train", data, "-o", whole, *flags, cache=cache, timeout=600)
    assert done.returncode == 0, done.stderr
    process = start("train", data, "-o", output, *flags, cache=cache)
    end = time.monotonic() + 600
    while box_epochs_in(output) < 5 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -signal.SIGKILL), err
    assert 5 <= box_epochs_in(output) < 60
    assert not (output / "bundle.json").exists()
    again = call("train", data, "-o", output, *flags, "--resume", cache=cache, timeout=600)
    assert again.returncode == 0, again.stderr
    assert "going on after epoch" in again.stderr
    assert sorted(path.name for path in output.iterdir()) == sorted(FILES)
    assert temporaries(tmp_path) == []
    for name, array in arrays_of(whole).items():
        np.testing.assert_array_equal(arrays_of(output)[name], array, err_msg=name)
    tables = [(path / "predictions.csv").read_text() for path in (whole, output)]
    assert tables[0] == tables[1]


def arrays_of(run_dir: Path) -> dict[str, Any]:
    """Everything that was learned, as it lies in `model.onnx`."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(run_dir / "model.onnx").graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


# --- how good it is ------------------------------------------------------------------------------


@pytest.mark.slow
def test_drawn_shapes_are_found_by_the_default_model(
    tmp_path: Path, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", str(session_cache))
    assert run(["sample", "shapes", str(tmp_path / "shapes")]) == 0
    result = sharpeye.train(tmp_path / "shapes", task="localize", output=tmp_path / "run")
    test = result.metrics["test"]
    assert test["mean_iou"] >= 0.80
    assert test["accuracy_at_iou50"] >= 0.85


def test_an_image_alone_is_answered_with_its_box(
    done: sharpeye.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = scene(tmp_path / "large.png", "green", (640, 480), (200, 100, 500, 400))
    assert run(["predict", str(done.path), str(file), "--format", "jsonl"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    edges = json.loads(line)["box"]
    assert len(edges) == 4
    low_x, low_y, high_x, high_y = edges.values() if isinstance(edges, dict) else edges
    assert 0 <= low_x <= high_x <= 640 and 0 <= low_y <= high_y <= 480
    assert max(high_x - low_x, high_y - low_y) > 72  # pixels of this image, not of the input
