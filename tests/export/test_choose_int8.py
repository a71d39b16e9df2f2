"""Float32 or int8: the rule in all cases, and a real model that is measured."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.jobs.export import choose_int8
from sharpeye.jobs.export import export as export_job
from sharpeye.jobs.export.choose_int8 import choose
from sharpeye.jobs.export.export import export

NUMBERS = {
    "pictures": 7,
    "float_accuracy": 0.9,
    "int8_accuracy": 0.9,
    "drop": 0.0,
    "top1_agreement": 1.0,
    "float_bytes": 13_000_000,
    "int8_bytes": 3_500_000,
    "float_images_per_second": 100.0,
    "int8_images_per_second": 200.0,
    "speedup": 2.0,
}


def numbers(**changes: float) -> dict[str, Any]:
    return NUMBERS | changes


@pytest.mark.parametrize(
    ("changes", "force", "int8", "reason"),
    [
        ({}, False, True, "is 2.00 times as fast here"),
        ({"drop": 0.01}, False, True, "costs 0.0100"),
        ({"drop": 0.011}, False, False, "more than the 0.01 of --max-drop"),
        ({"drop": 0.011}, True, False, "more than the 0.01 of --max-drop"),
        ({"drop": -0.02}, False, True, "costs -0.0200"),
        ({"speedup": 0.8}, False, False, "no faster than float32; --force would take it"),
        ({"speedup": 1.0}, False, False, "no faster than float32"),
        ({"speedup": 0.8}, True, True, "--force takes it all the same"),
    ],
)
def test_the_rule(changes: dict[str, float], force: bool, int8: bool, reason: str) -> None:
    choice = choose(numbers(**changes), max_drop=0.01, force=force)
    assert choice.int8 is int8
    assert reason in choice.reason
    assert choice.to_dict()["took"] == ("int8" if int8 else "float32")


@pytest.fixture
def set_speedup(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a test set how fast the int8 model is, since machines differ."""

    def patch_speeds(speedup: float) -> None:
        speeds = [100.0, 100.0 * speedup]
        monkeypatch.setattr(choose_int8, "_images_per_second", lambda models, images: speeds)

    return patch_speeds


@pytest.fixture
def quantize_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quantizes a model for the first export only: it takes seconds."""
    cached, original = tmp_path_factory.mktemp("int8") / "int8.onnx", export_job.quantize_model

    def quantize(model_file: Path, samples: Any, out: Path) -> None:
        if not cached.exists():
            original(model_file, samples, cached)
        shutil.copy(cached, out)

    monkeypatch.setattr(export_job, "quantize_model", quantize)


@pytest.mark.slow
def test_both_are_measured_and_the_better_is_written(
    set_speedup: Any,
    quantize_once: None,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    set_speedup(0.5)
    options = ["--quantize", "int8", "--max-drop", "1", "-o", str(tmp_path / "float.onnx")]
    assert run(["export", str(trained), "-f", "onnx", *options]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["accuracy", "images/s", "MB"]
    assert "took:   float32, on 7 validation images: int8 is 0.50 times as fast" in out
    assert (tmp_path / "float.onnx").read_bytes() == (trained / "model.onnx").read_bytes()
    set_speedup(2.0)
    result = export(trained, "bundle", tmp_path / "small.sharpeye", quantize="int8", max_drop=1.0)
    choice = result.manifest["quantization"]
    assert choice["took"] == "int8"
    assert choice["int8_bytes"] < 0.4 * choice["float_bytes"]
    size = (tmp_path / "small.sharpeye").stat().st_size
    assert size < 0.5 * (trained / "model.onnx").stat().st_size
    assert open_model(tmp_path / "small.sharpeye").manifest.labels == ("ash", "birch", "cedar")


def test_images_per_second_are_images_a_second_of_each(trained: Path) -> None:
    import numpy as np

    model = open_model(trained)
    pixels = [np.zeros((1, 64, 64, 3), np.uint8)] * 3
    speeds = choose_int8._images_per_second([model, model], pixels)
    assert 0.1 < speeds[0] / speeds[1] < 10
