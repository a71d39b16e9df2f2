"""`sharpeye evaluate` of a localizer: boxes where the folder has them; its tables either way."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from localizer import LABELS, SIDE, scene, write_localizer
from runner import one_line
from sharpeye.artefact.manifest import Manifest
from sharpeye.cli.app import run
from sharpeye.core.config import Config
from sharpeye.core.inference import Backbone
from sharpeye.core.tables import read_table
from sharpeye.core.types import InputSpec
from sharpeye.images.boxes import iou
from sharpeye.jobs.evaluate import evaluate
from sharpeye.jobs.train.context import TrainContext, TrainedModel
from sharpeye.jobs.train.results import RunSummary, write_results
from sharpeye.jobs.train.write_artefact import WrittenModel
from sharpeye.learn.heads.head import FittedHead, Head
from sharpeye.runs.run_directory import RunWriter

SIZE = (200, 120)
EDGES = {"red": (20, 30, 100, 90), "green": (60, 10, 180, 110), "blue": (0, 0, 80, 50)}
HEADER = "path,label,predicted,score,margin"
BOXES = ",true_xmin,true_ymin,true_xmax,true_ymax,xmin,ymin,xmax,ymax,iou"


@pytest.fixture
def localizer(tmp_path: Path) -> Path:
    return write_localizer(tmp_path / "model.onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image a class in one folder, each with its annotation."""
    for label, edges in EDGES.items():
        scene(tmp_path / "scenes" / f"{label}_1.png", label, SIZE, edges, xml=True)
    return tmp_path / "scenes"


def json_scores(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments), "--json"]) == 0
    parsed: dict[str, object] = json.loads(capsys.readouterr().out)
    return parsed


def test_boxes_are_scored_in_the_image_not_in_the_input(localizer: Path, folder: Path) -> None:
    evaluation, samples, _ = evaluate(localizer, folder)
    assert len(samples) == 3
    assert evaluation.class_names == LABELS
    assert evaluation.boxes is not None and evaluation.ious is not None
    for prediction in evaluation.predictions:
        expected = np.array(EDGES[prediction.label]) / np.tile(SIZE, 2)
        assert prediction.box == pytest.approx(expected, abs=1.5 * max(SIZE) / SIDE / min(SIZE))
        assert prediction.sample.box == pytest.approx(expected)
    assert evaluation.ious.min() > 0.8
    assert evaluation.metrics["accuracy_at_iou75"] == 1.0


def test_the_command_writes_tables_and_a_page_with_boxes(
    localizer: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A green one that its annotation calls red, and a box far off.
    shutil.copy(folder / "green_1.png", folder / "red_2.png")
    scene(folder / "red_3.png", "red", SIZE, (150, 70, 200, 120), xml=True)
    scene(folder / "red_3.png", "red", SIZE, (0, 0, 60, 60))
    text = (folder / "green_1.xml").read_text().replace("green_1.png", "red_2.png")
    (folder / "red_2.xml").write_text(text.replace("green", "red"))
    out = tmp_path / "scores"
    assert run(["evaluate", str(localizer), str(folder), "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    metrics = json.loads((out / "metrics.json").read_text())["test"]
    low, high = metrics["mean_iou_ci95"]
    assert lines[0].startswith("accuracy: 80.0% of 5 images")
    assert lines[1] == (
        f"boxes:    mean IoU {metrics['mean_iou']:.2f} ({low:.2f} to {high:.2f}), "
        "right class and IoU >= 0.5: 60.0%"
    )
    assert metrics["per_class"]["red"]["accuracy_at_iou50"] == pytest.approx(1 / 3)
    assert (out / "predictions.csv").read_text().splitlines()[0] == HEADER + BOXES
    assert (out / "misclassified.csv").read_text().splitlines()[0] == HEADER + BOXES
    rows = {row["path"]: row for row in read_table(out / "predictions.csv")}
    assert rows["green_1.png"]["true_xmin"] == "0.300000"
    for row in rows.values():
        edges = ("xmin", "ymin", "xmax", "ymax")
        true = np.array([float(row[f"true_{edge}"]) for edge in edges])
        box = np.array([float(row[edge]) for edge in edges])
        assert float(row["iou"]) == pytest.approx(float(iou(true, box)), abs=1e-4)
    assert float(rows["red_3.png"]["iou"]) == 0.0
    assert [row["path"] for row in read_table(out / "misclassified.csv")] == ["red_2.png"]
    page = (out / "report.html").read_text()
    assert "Boxes, worst first" in page
    assert page.count('class="frames"') == 1 + 5


def test_plain_class_folders_give_scores_of_classes_and_a_note(
    localizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, edges in EDGES.items():
        scene(tmp_path / "plain" / label / "1.png", label, SIZE, edges)
    out = tmp_path / "scores"
    assert run(["evaluate", str(localizer), str(tmp_path / "plain"), "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert "The images have no boxes" in captured.err
    assert "boxes:" not in captured.out
    metrics = json.loads((out / "metrics.json").read_text())["test"]
    assert metrics["accuracy"] == 1.0
    assert not [name for name in metrics if "iou" in name]
    (row,) = [r for r in read_table(out / "predictions.csv") if r["label"] == "red"]
    assert (row["true_xmin"], row["iou"]) == ("", "")
    assert float(row["xmax"]) == pytest.approx(0.5, abs=0.05)
    page = (out / "report.html").read_text()
    assert "The images have no boxes" in page
    assert 'id="boxes"' not in page


def test_the_tables_of_a_classifier_have_no_boxes(tmp_path: Path) -> None:
    model = write_localizer(tmp_path / "classifier.onnx", boxes=False, task="classify")
    for label, edges in EDGES.items():
        scene(tmp_path / "plain" / label / "1.png", label, SIZE, edges, xml=True)
    out = tmp_path / "scores"
    assert run(["evaluate", str(model), str(tmp_path / "plain"), "-o", str(out)]) == 0
    assert (out / "predictions.csv").read_text().splitlines()[0] == HEADER
    assert "iou" not in (out / "metrics.json").read_text()


@pytest.mark.parametrize("names_from", ["folder", "prefix"])
def test_class_names_come_from_where_the_model_knows_them(
    names_from: str, localizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The annotations call everything an object: the classes are in folders or file names."""
    for label, edges in EDGES.items():
        name = f"{label}/1.png" if names_from == "folder" else f"{label}_1.png"
        file = scene(tmp_path / "in" / name, label, SIZE, edges, xml=True).with_suffix(".xml")
        file.write_text(file.read_text().replace(f"<name>{label}", "<name>object"))
    scores = json_scores(capsys, localizer, tmp_path / "in")
    assert (scores["count"], scores["accuracy_at_iou50"]) == (3, 1.0)


def test_the_test_split_is_scored_and_images_without_annotation_are_left_out(
    localizer: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "splits" / split)
    (tmp_path / "splits" / "test" / "red_1.xml").unlink()
    scores = json_scores(capsys, localizer, tmp_path / "splits")
    assert scores["count"] == 2
    assert run(["evaluate", str(localizer), str(tmp_path / "splits")]) == 0
    out = capsys.readouterr().out
    assert "left out: 1 file that cannot be read: " in out and "red_1.png (" in out


def test_an_unknown_class_is_refused_by_its_name(
    localizer: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "red_1.xml"
    file.write_text(file.read_text().replace("<name>red", "<name>oak"))
    assert run(["evaluate", str(localizer), str(folder)]) == 3
    assert "does not know oak" in one_line(capsys.readouterr().err)


def test_a_runs_files_hold_the_scores_of_boxes(folder: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    file = write_localizer(tmp_path / "model.onnx")
    evaluation, samples, _ = evaluate(file, folder)
    tested = replace(samples, samples=tuple(replace(s, split="test") for s in samples))
    head = Head(np.zeros((1, 3), np.float32), np.zeros(3, np.float32), temperature=1.0, l2=0.0)
    trained = TrainedModel(
        samples=tested,
        backbone=Backbone("x", file, "", InputSpec(SIDE, SIDE)),
        head=FittedHead(head, head, None, ()),
        probs={},
    )
    manifest = Manifest(
        LABELS,
        InputSpec(SIDE, SIDE),
        calibration={"temperature": 1.0},
        versions={"sharpeye": "1"},
    )
    model = SimpleNamespace(manifest=manifest)
    summary = RunSummary(
        title="scenes",
        trained=trained,
        written=WrittenModel(model, {}, ood=None),  # type: ignore[arg-type]
        validation=evaluation,
        test=evaluation,
        notes=[],
        parity={"pictures": 3, "max_difference": 0.0},
    )
    config = Config().replace({"model.weights": "imagenet"})
    with RunWriter(tmp_path / "run") as run_dir:
        metrics = write_results(TrainContext(config, run_dir), summary)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for split in ("validation", "test"):
        assert metrics[split]["mean_iou"] == evaluation.metrics["mean_iou"] > 0.8
        (point,) = events.Scalars(f"{split}/mean_iou")
        assert point.value == pytest.approx(evaluation.metrics["mean_iou"])
    assert (tmp_path / "run" / "predictions.csv").read_text().splitlines()[0] == HEADER + BOXES
