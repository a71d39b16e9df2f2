"""`unknown`, from training to each place that says it."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import sharpeye
from runner import one_line, train_here
from sharpeye.artefact.manifest import parse_manifest
from sharpeye.artefact.onnx_model import save_onnx
from sharpeye.cli.app import run
from sharpeye.errors import ModelError, UsageError
from sharpeye.jobs.evaluate import evaluate
from sharpeye.report.evaluation import OodMetrics
from sharpeye.report.wording import ood_findings as wording


@pytest.fixture
def stripes(tmp_path: Path) -> Path:
    """Unlike noise with a tint."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[::16] = pixels[1::16] = pixels[:, ::16] = 255
    Image.fromarray(pixels).save(tmp_path / "stripes.png")
    return tmp_path / "stripes.png"


@pytest.fixture
def old(trained: Path, tmp_path: Path) -> Path:
    """The model without its unknown scores."""
    model = onnx.load(trained / "model.onnx")
    remaining = [output for output in model.graph.output if output.name != "unknown_score"]
    del model.graph.output[:]
    model.graph.output.extend(remaining)
    save_onnx(model, tmp_path / "old.onnx")
    return tmp_path / "old.onnx"


def lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    capsys.readouterr()
    assert run(["predict", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_run_tells_what_it_knows_of_the_unknown(trained: Path) -> None:
    result = json.loads((trained / "metrics.json").read_text())["test"]["unknown"]
    bundle = json.loads((trained / "bundle.json").read_text())
    assert result["coverage"] == bundle["unknown"]["coverage"] == 0.95
    assert result["calibrated_on"] == bundle["unknown"]["calibrated_on"] > 20
    assert 0 <= result["known_rejected"] <= 1
    assert set(result["auroc_per_class"]) == {"ash", "birch", "cedar"}
    assert result["auroc_mean"] == pytest.approx(np.mean(list(result["auroc_per_class"].values())))
    assert bundle["parity"]["max_unknown_difference"] <= 1e-3
    assert "Images of something else" in (trained / "report.html").read_text()


def test_the_scores_in_the_metrics_are_those_that_predict_gives(trained: Path) -> None:
    data = trained.parent / "hard"
    with (trained / "predictions.csv").open(newline="") as file:
        tested = [data / row["path"] for row in csv.DictReader(file)]
    predictions = sharpeye.load(trained).predict(list(tested))
    result = json.loads((trained / "metrics.json").read_text())["test"]["unknown"]
    rejected = [prediction.unknown for prediction in predictions]
    assert result["known_rejected"] == pytest.approx(np.mean(rejected))
    scores = [prediction.unknown_score for prediction in predictions]
    assert len(set(scores)) > 1


def test_something_else_is_unknown_in_every_form(
    trained: Path, stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = trained.parent / "hard" / "ash" / "ash1.png"
    prediction = sharpeye.load(trained).predict(stripes)
    assert prediction.unknown is True
    assert prediction.unknown_score is not None and prediction.unknown_score > 0.95
    text = lines(capsys, trained, stripes, known)
    assert text[0].split("\t")[1].startswith(f"unknown (most like {prediction.label} ")
    assert "unknown" not in text[1]
    first, second = map(json.loads, lines(capsys, trained, stripes, known, "--format", "jsonl"))
    assert list(first)[-2:] == ["unknown", "unknown_score"]
    assert (first["unknown"], second["unknown"]) == (True, False)
    assert first["unknown_score"] == pytest.approx(prediction.unknown_score, abs=1e-5)
    assert first["label"] == prediction.label  # what it is most like is told all the same
    table = "\n".join(lines(capsys, trained, stripes, known, "--format", "csv"))
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["unknown"] for row in rows] == ["true", "false"]
    assert float(rows[0]["unknown_score"]) == pytest.approx(prediction.unknown_score, abs=1e-5)


def test_another_coverage_can_be_asked_for(
    trained: Path, stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "unknown" not in lines(capsys, trained, stripes, "--coverage", "1")[0]
    data = trained.parent / "hard"
    called = [
        sum("unknown (" in line for line in lines(capsys, trained, data, "--coverage", coverage))
        for coverage in ("0.99", "0.8", "0.2")
    ]
    assert called == sorted(called)
    assert called[0] < called[-1]
    with pytest.raises(UsageError, match=r"from 0 to 1\. Received: 1\.5"):
        sharpeye.load(trained, coverage=1.5)


def test_a_model_without_unknown_scores_says_so(
    old: Path, stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prediction = sharpeye.load(old).predict(stripes)
    assert prediction.unknown is None
    assert prediction.unknown_score is None
    assert json.loads(lines(capsys, old, stripes, "--format", "jsonl")[0])["unknown"] is None
    header, row = lines(capsys, old, stripes, "--format", "csv")
    assert header.endswith(",unknown,unknown_score")
    assert row.endswith(",,")
    assert run(["predict", str(old), str(stripes), "--coverage", "0.9"]) == 2
    assert "cannot tell what it does not know" in one_line(capsys.readouterr().err)


def test_evaluate_says_how_many_known_images_are_called_unknown(
    trained: Path, tmp_path: Path
) -> None:
    model = shutil.copy(trained / "model.onnx", tmp_path / "model.onnx")
    scored, _, _ = evaluate(model, trained.parent / "hard")
    assert scored.ood is not None
    assert len(scored.ood.scores) == 36
    result = scored.metrics["unknown"]
    assert result["count"] == 36
    assert result["known_rejected"] == pytest.approx(scored.ood.rejected / 36)
    assert result["auroc_mean"] is None


def test_heads_by_steps_and_evened_classes_are_calibrated_on_validation(
    photo_folder: Path, tmp_path: Path, warm: Path
) -> None:
    options = ("--set", "head.solver=sgd", "--set", "sgd.steps=30", "--balance", "undersample")
    assert train_here(photo_folder, tmp_path / "run", *options, "--coverage", "0.5") == 0
    bundle = json.loads((tmp_path / "run" / "bundle.json").read_text())
    assert bundle["unknown"]["calibrated_on"] == bundle["data"]["pictures"]["validation"]
    assert bundle["unknown"]["coverage"] == 0.5
    assert sharpeye.load(tmp_path / "run").coverage == 0.5


def test_a_manifest_with_a_strange_coverage_is_refused(trained: Path) -> None:
    raw = json.loads((trained / "bundle.json").read_text())
    for wrong in (-0.1, 1.5, "0.9", True, float("nan")):
        with pytest.raises(ModelError, match=r"`unknown\.coverage` must be from 0 to 1"):
            parse_manifest(raw | {"unknown": {"coverage": wrong}}, "here")


def test_the_finding_is_in_plain_words() -> None:
    result = OodMetrics(np.arange(100) / 100 + 0.005, 0.95, 200, {"a": 0.9, "b": 0.8, "c": 1.0})
    first, second = wording(result.metrics, 3)
    assert first.replace("\u00a0", " ").startswith(
        "It calls 5 of 100 known test images unknown: 5.0 %"
    )
    assert "each class left out" in second
    assert "90\u00a0% of the time" in second
    assert "2 of its classes" not in second
    few = replace(result, calibrated_on=12, auroc={})
    (only,) = wording(few.metrics, 3)
    assert only.startswith("It calls nothing unknown: to promise 95.0")
    (never,) = wording(replace(result, coverage=1.0, auroc={}).metrics, 3)
    assert never == "Unknown detection is off (coverage 1)."
