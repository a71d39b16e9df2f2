"""The same inputs give the same model and the same predictions, everywhere and always."""

import concurrent.futures
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sharpeye
from bare_runtimes import OPEN, probs_by_runtime
from battery.processes import run_command, run_process
from battery.tally import Tally, Tier
from compatibility.test_runs import FILES, RUNS
from image_modes import MODES, write_modes
from prediction_paths import (
    Probabilities,
    by_bytes,
    by_command,
    by_instances,
    by_program,
    by_python,
    by_tensor,
    by_upload,
    compare,
    serving,
)
from runner import environment, hard_photos, same_model, share_backbones, temporaries, train_args
from sharpeye.artefact.export.export_formats import FORMATS
from sharpeye.artefact.session import open_model
from sharpeye.cli.app import run
from sharpeye.images.resize import load_image
from sharpeye.jobs.export.export import export

MAX_DIFFERENCE = 1e-3  # of a probability
# Where the graph itself resizes: single grey levels differ from Pillow's there.
MAX_RESIZED_DIFFERENCE = 5e-3
MAX_BYTES_PER_PREDICTION = 1000  # 1 MB in 1,000


@dataclass(frozen=True)
class Training:
    """One training: its seed and threads, and circumstances that must not matter.

    Attributes:
        order: of the creation of the files, 1 or -1.
    """

    seed: int
    threads: int
    repeat: int

    @property
    def hash_seed(self) -> str:
        return str(self.repeat)

    @property
    def order(self) -> int:
        return -1 if self.repeat % 2 else 1


def _copy(source: Path, target: Path, order: int) -> Path:
    """A copy of a folder whose files are created in their order, or in the reverse."""
    for file in sorted(source.rglob("*.png"))[::order]:
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    return target


def _train(training: Training, data: Path, folder: Path, cache: Path) -> Path:
    """Train a copy of a folder with a cache of its own, as a process."""
    share_backbones(cache, folder / "cache")
    copy = _copy(data, folder / "elsewhere" / "photos", training.order)

    def pin() -> None:
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: training.threads]))

    arguments = train_args(copy, folder / "run", "--set", f"seed={training.seed}", "-q")
    env = {"PYTHONHASHSEED": training.hash_seed}
    run_command(*arguments, cache=folder / "cache", env=env, preexec=pin).check({0})
    return folder / "run"


def _digest(run_dir: Path) -> str:
    """SHA-256 of all constants of a model, and of its nodes."""
    import onnx

    graph = onnx.load(run_dir / "model.onnx").graph
    return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores are chosen on Linux")
def test_repeated_training(
    tally: Tally, tier: Tier, session_cache: Path, backbone: object, tmp_path: Path
) -> None:
    """Trainings again: other hash seed, copied folder, files created in reverse, 1 or 2 cores."""
    if tier.name == "small":
        return
    data = hard_photos(tmp_path / "hard")
    repeats, seeds = tier.count(0, 3, 5), tier.count(0, 2, 3)
    cores = [1, 2] if len(os.sched_getaffinity(0)) > 1 else [1]
    trainings = [Training(s, t, r) for s in range(seeds) for t in cores for r in range(repeats)]
    folders = {training: tmp_path / f"{number}" for number, training in enumerate(trainings)}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        futures = {
            training: pool.submit(_train, training, data, folder, session_cache)
            for training, folder in folders.items()
        }
    for training, future in futures.items():
        with tally.case(str(training)):
            actual = future.result()
            same = Training(training.seed, training.threads, 0)
            assert _digest(actual) == _digest(futures[same].result()), "another model"
            predictions = (actual / "predictions.csv").read_bytes()
            assert predictions == (futures[same].result() / "predictions.csv").read_bytes()
            same_model(actual, futures[Training(training.seed, 1, 0)].result())
    digests = {_digest(futures[Training(seed, 1, 0)].result()) for seed in range(seeds)}
    with tally.case("each seed gives a model of its own"):
        assert len(digests) == seeds


# --- the same predictions ------------------------------------------------------------------------


def _synthetic(count: int, seed: int) -> list[Image.Image]:
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    size, cubic = (400, 300), Image.Resampling.BICUBIC
    return [Image.fromarray(pixels).resize(size, cubic) for pixels in coarse]


def _check_same(
    tally: Tally,
    name: str,
    actual: Probabilities,
    expected: Probabilities,
    limit: float = MAX_DIFFERENCE,
) -> None:
    """Count each image as a case."""
    for file, probs in expected.items():
        with tally.case(f"{name}: {file}"):
            difference = compare({file: actual[file]}, {file: probs})
            assert difference.max_difference <= limit, difference
            assert difference.top1_agreement == 1, difference
    tally.figures[name] = f"{compare(actual, expected).max_difference:.1g}"


def test_same_bytes_by_every_path(
    tally: Tally, tier: Tier, seed: int, trained: Path, tmp_path: Path, cache: Path
) -> None:
    """Images of all modes by Python, the command, three protocols of the server, ONNX Runtime."""
    if tier.name == "small":  # tests/parity has the most of it
        return
    count = tier.count(small=0, battery=len(MODES), full=300)
    files = write_modes(_synthetic(4, seed), tmp_path / "modes", count, 1200, seed)
    expected = by_python(trained, files)
    labels = sharpeye.load(trained).labels
    _check_same(tally, "bytes", by_bytes(trained, files), expected)
    export(trained, "onnx", tmp_path / "onnx", parity=False)
    program = by_program(tmp_path / "onnx" / "predict.py", files)
    _check_same(tally, "ONNX Runtime", program, expected, MAX_RESIZED_DIFFERENCE)
    with serving(trained, cache) as client:
        _check_same(tally, "native", by_upload(client, files, len(labels)), expected)
        _check_same(tally, "command", by_command(trained, files, cache), expected)
        _check_same(tally, "TensorFlow", by_instances(client, files, labels), expected)
        _check_same(tally, "Triton", by_tensor(client, files, labels), expected)


def test_exports_in_batches(
    tally: Tally, tier: Tier, seed: int, trained: Path, tmp_path: Path
) -> None:
    """Every format by its own runtime, without SharpEye, on 64 images, in batches of 1 and 7."""
    if tier.name == "small":  # tests/export has the most of it
        return
    spec = open_model(trained).manifest.input
    files = write_modes(_synthetic(8, seed), tmp_path / "modes", 64, 300, seed)
    pixels = np.stack([load_image(file, file.name, spec) for file in files])
    expected = open_model(trained).run(pixels)["probs"]
    for name in FORMATS:
        if FORMATS[name].own_process and not _is_installed("tensorflow"):
            tally.skip(2)
            continue
        export(trained, name, tmp_path / name, parity=False)
        assert name in OPEN
        for size, probs in zip(
            (1, 7), probs_by_runtime(name, tmp_path / name, pixels), strict=True
        ):
            with tally.case(f"{name}, batches of {size}"):
                assert np.abs(probs - expected).max() <= MAX_DIFFERENCE
                assert (probs.argmax(1) == expected.argmax(1)).all()
                difference = float(np.abs(probs - expected).max())
                tally.figures[f"{name} {size}"] = f"{difference:.1g}"


def _is_installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


# --- many times in one process -------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counted on Linux")
def test_many_predictions(
    tally: Tally, tier: Tier, seed: int, trained: Path, tmp_path: Path, cache: Path
) -> None:
    """Thousands of predictions in one process: memory, open files, temporary files."""
    count = tier.count(small=100, battery=2000, full=10_000)
    write_modes(_synthetic(4, seed), tmp_path / "modes", len(MODES), 300, seed)
    lines = _soak("predict", trained, tmp_path / "modes", count, cache=cache, scratch=tmp_path)
    with tally.case(f"{count:,} predictions"):
        _check_constant(lines)
        if tier.name != "small":  # too few to tell a slope from noise
            slope = _slope(lines)
            tally.figures["memory"] = f"{slope / 1e3:+.2f} MB in 1,000 predictions"
            assert slope < MAX_BYTES_PER_PREDICTION, f"{slope:.0f} bytes a prediction"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counted on Linux")
def test_many_trainings(
    tally: Tally, tier: Tier, session_cache: Path, backbone: object, tmp_path: Path
) -> None:
    """Trainings in one process: open files, threads, temporary files, memory."""
    if tier.name == "small":
        return
    count = tier.count(small=0, battery=20, full=200)
    cache = share_backbones(session_cache, tmp_path / "cache")
    data = hard_photos(tmp_path / "hard")
    lines = _soak("train", data, tmp_path / "runs", count, cache=cache, scratch=tmp_path)
    with tally.case(f"{count} trainings"):
        _check_constant(lines)
        assert not temporaries(tmp_path)
    tally.figures["memory"] = f"{_slope(lines) / 1e6:+.2f} MB a training"


def _soak(
    kind: str, first: Path, second: Path, count: int, *, cache: Path, scratch: Path
) -> Sequence[Mapping[str, Any]]:
    """The lines of `soak.py` from the first fifth on, when all is loaded."""
    (scratch / "scratch").mkdir()
    program = str(Path(__file__).with_name("soak.py"))
    done = run_process(
        [sys.executable, program, kind, str(first), str(second), str(count)],
        env=environment(cache, TMPDIR=str(scratch / "scratch")),
        timeout=3600,
    ).check({0})
    lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    return [line for line in lines if line["done"] >= count / 5] or lines


def _check_constant(lines: Sequence[Mapping[str, Any]]) -> None:
    for field in ("handles", "threads", "temporaries"):
        values = [line[field] for line in lines]
        assert max(values) == min(values), f"{field}: {values}"


def _slope(lines: Sequence[Mapping[str, Any]]) -> float:
    """Bytes of growth for each step, by least squares."""
    if len(lines) < 2:
        return 0.0
    points = np.array([[line["done"], line["bytes"]] for line in lines], float)
    return float(np.polyfit(points[:, 0], points[:, 1], 1)[0])


# --- earlier versions ----------------------------------------------------------------------------


def test_models_of_earlier_versions(
    tally: Tally,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Runs and bundles of every earlier version: the same predictions, or refused by name."""
    for version, runs in RUNS.items():
        folder = shutil.copytree(FILES / version, tmp_path / version)
        for data in ("images", "shapes"):
            shutil.copytree(FILES / "0.1.0" / data, folder / data, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        models = [(name, data, name) for name, data in runs.items()]
        for model, data, expected in [*models, ("model.sharpeye", "images", "bundle")]:
            with tally.case(f"{version}: {model}"):
                capsys.readouterr()
                top = "2" if data == "shapes" else "3"
                assert run(["predict", model, data, "--format", "jsonl", "--top", top]) == 0
                actual = [*map(json.loads, capsys.readouterr().out.splitlines())]
                text = (folder / "expected" / f"{expected}.jsonl").read_text()
                for new, old in zip(actual, map(json.loads, text.splitlines()), strict=True):
                    assert (new["path"], new["label"]) == (old["path"], old["label"])
                    assert abs(new["score"] - old["score"]) <= 1e-4
        with tally.case(f"{version}: of a version to come"):
            manifest = folder / "run_network" / "bundle.json"
            record = json.loads(manifest.read_text())
            record["format"] = "sharpeye-bundle-999" if isinstance(record["format"], str) else 999
            manifest.write_text(json.dumps(record))
            assert run(["predict", "run_network", "images"]) == 4
            assert "run_network" in capsys.readouterr().err
