"""A run on 12-bit images: one range from training to prediction, evaluation and export."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sharpeye
from runner import train_here
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.core.inference import Backbone
from wide_images import png, tiff


def waves(period: int, seed: int) -> np.ndarray:
    """uint16[48,48] of 12 bits: stripes and noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48] + random.integers(0, 50, 2)[:, None, None]
    wave = (np.sin(x * 2 * np.pi / period) * np.sin(y * 2 * np.pi / period) + 1) / 2
    return (wave * 3800 + random.integers(0, 290, wave.shape)).astype(np.uint16)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for label, period in (("coarse", 24), ("fine", 4)):
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for n in range(12):
            data = png(waves(period, n)) if n % 2 else tiff(waves(period, n), bits=12)
            (folder / f"{n}{'.png' if n % 2 else '.tif'}").write_bytes(data)
    return tmp_path / "photos"


@pytest.mark.slow
def test_a_run_keeps_the_range_of_its_images(
    photos: Path, tmp_path: Path, backbone: Backbone, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "run"
    assert train_here(photos, run_dir) == 0
    assert "read as 12 bits" in (run_dir / "report.html").read_text()
    assert json.loads((run_dir / "bundle.json").read_text())["input"]["bit_depth"] == 12
    assert open_model(run_dir / "model.onnx").manifest.input.bit_depth == 12
    model = sharpeye.load(run_dir)
    with (run_dir / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) >= 2
    for row in rows:
        prediction = model.predict(photos / row["path"])
        assert prediction.label == row["predicted"] == row["label"]
        assert prediction.score == pytest.approx(float(row["score"]), abs=1e-4)
    # The same image as an array, in memory, and of 8 bits.
    values = waves(4, 3)
    scores = [
        model.predict(source).score
        for source in (
            photos / "fine" / "3.png",
            values,
            Image.open(io.BytesIO(png(values))),
            (values >> 4).astype(np.uint8),
        )
    ]
    assert len(set(scores)) == 1
    evaluation, _, _ = sharpeye.evaluate(run_dir, photos)
    assert evaluation.metrics["accuracy"] == 1.0
    capsys.readouterr()
    bundle = tmp_path / "model.sharpeye"
    assert run(["export", str(run_dir), "--format", "bundle", "-o", str(bundle)]) == 0
    copied = sharpeye.load(bundle)
    assert copied.input.bit_depth == 12
    assert copied.predict(photos / "fine" / "3.png").score == scores[0]
    # The program beside an export reads 12 bits too.
    exported = tmp_path / "exported"
    assert run(["export", str(run_dir), "--format", "onnx", "-o", str(exported)]) == 0
    (program,) = exported.rglob("predict.py")
    done = subprocess.run(
        [sys.executable, "-I", str(program), str(photos / "fine" / "3.png")],
        env=os.environ | {"SHARPEYE_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["probs"]["fine"] == pytest.approx(scores[0], abs=1e-3)
