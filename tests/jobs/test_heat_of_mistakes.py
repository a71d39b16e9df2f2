"""Heat maps of the worst mistakes: of which answers, from which model, into the report."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

import sharpeye
from feature_map_models import write_finder
from localizer import LABELS, scene, write_localizer
from sharpeye.core.types import Sample
from sharpeye.jobs.evaluate import evaluate, write_evaluation
from sharpeye.jobs.train.mistake_heat_maps import MAX_MAPS, mistake_heat_maps
from sharpeye.report.evaluation import Evaluation

SIZE, EDGES = (320, 240), (80, 100, 240, 200)


def mistaken(folder: Path, count: int) -> Evaluation:
    """Red images, of which the model is said to be ever less sure that they are green."""
    samples, probs = [], []
    for i in range(count):
        file = scene(folder / f"{i}.png", "green", SIZE, EDGES)
        samples.append(Sample(f"{i}.png", file, "red"))
        probs.append([0.0, 1 - i / 100, i / 100])
    return Evaluation(LABELS, tuple(samples), np.array(probs))


def test_the_worst_get_a_map_of_what_was_said(tmp_path: Path) -> None:
    model = sharpeye.load(write_finder(tmp_path / "model.onnx"))
    scored = mistaken(tmp_path / "in", MAX_MAPS + 2)
    (tmp_path / "in" / "1.png").unlink()
    result = mistake_heat_maps(model, scored)
    assert list(result) == [f"{i}.png" for i in range(MAX_MAPS) if i != 1]
    for heat in result.values():
        assert heat.shape == (150, 200)  # the image's proportion, a thumbnail's size
        y, x = np.unravel_index(int(heat.argmax()), heat.shape)
        assert 50 <= x < 150 and 62 <= y < 125
    assert list(mistake_heat_maps(model, scored, 3)) == ["0.png", "2.png"]
    assert mistake_heat_maps(model, scored, 0) == {}


def test_a_model_without_maps_is_asked_only_if_that_is_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sharpeye.load(write_localizer(tmp_path / "model.onnx", boxes=False, task="classify"))
    scored = mistaken(tmp_path / "in", 2)
    assert len(mistake_heat_maps(model, scored)) == 2
    monkeypatch.setattr("sharpeye.jobs.train.mistake_heat_maps._MAX_OCCLUDED_SIDE", 31)
    assert mistake_heat_maps(model, scored) == {}


def test_both_reports_show_them(undisturbed: Path, hard: Path, tmp_path: Path) -> None:
    mistakes = (undisturbed / "misclassified.csv").read_text().count("\n") - 1
    page = (undisturbed / "report.html").read_text(encoding="utf-8")
    assert mistakes > 0
    assert len(re.findall('<img class="heat"', page)) == min(mistakes, MAX_MAPS)
    assert json.loads((undisturbed / "metrics.json").read_text())["seconds"]["explain"] > 0
    # The other way round: folders whose names are another class's make mistakes for sure.
    swapped = tmp_path / "swapped"
    for name, other in (("ash", "birch"), ("birch", "ash")):
        (swapped / name).mkdir(parents=True)
        for file in sorted((hard / other).iterdir()):
            (swapped / name / file.name).write_bytes(file.read_bytes())
    model = shutil.copy(undisturbed / "model.onnx", tmp_path / "model.onnx")
    scored, samples, seconds = evaluate(model, swapped)
    write_evaluation(tmp_path / "out", model, scored, dataset=samples, seconds=seconds)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(re.findall('<img class="heat"', page)) == min(len(scored.mistakes), MAX_MAPS) > 1
