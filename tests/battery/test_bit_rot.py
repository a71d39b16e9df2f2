"""Stored bytes that change by themselves are noticed, or make no difference.

A damaged model is refused by name; a damaged cache record or checkpoint is made or read anew.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sharpeye
from battery.bit_rot import bit_flips, damages
from battery.tally import LossError, Tally, Tier
from runner import train_here
from sharpeye.cli.app import run
from sharpeye.core.config import Config
from sharpeye.core.types import InputSpec, Sample
from sharpeye.data.cached_vectors import load_or_compute
from sharpeye.data.digest import add_digests
from sharpeye.data.image_folder import scan_folder
from sharpeye.data.pixels import load_pixels
from sharpeye.data.split import assign_splits
from sharpeye.data.split_cache import SplitCache
from sharpeye.data.split_rules import ContentRule, SplitFractions
from sharpeye.data.vector_store import VectorStore
from sharpeye.errors import ModelError, SharpEyeError
from sharpeye.jobs.sweep.plan import Plan, make_plan
from sharpeye.jobs.sweep.plan_text import plan_to_toml, read_plan
from sharpeye.jobs.sweep.study import Study
from sharpeye.learn.nets.checkpoint import Checkpoint, CheckpointFolder
from sharpeye.models import backbone as backbone_module
from sharpeye.models.backbone import BackboneConfig, load_backbone
from sharpeye.report.sweep_charts import TrialRow

RUNS = Path(__file__).parents[1] / "compatibility" / "0.3.0"
IMAGES = RUNS.parent / "0.1.0"
FRACTIONS = SplitFractions(0.15, 0.15)


class Warnings(logging.Handler):
    """The warnings of SharpEye while a case runs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def warnings() -> Iterator[Warnings]:
    handler, logger = Warnings(), logging.getLogger("sharpeye")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def damage_each(
    tally: Tally,
    file: Path,
    count: int,
    random: np.random.Generator,
    check: Callable[[], bool],
) -> None:
    """Damage a file again and again; `check` returns whether the damage was noticed."""
    intact, noticed = file.read_bytes(), 0
    modified = file.stat()
    for damage in damages(intact, count, random):
        file.write_bytes(damage.data)
        with tally.case(f"{file.name}: {damage.name}"):
            noticed += check()
    file.write_bytes(intact)
    assert file.stat().st_mode == modified.st_mode
    tally.figures[file.name] = f"{noticed} noticed"


# --- models --------------------------------------------------------------------------------------


def predictions_of(model: Path, folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.[pj][np]g"))[:3]
    return [prediction.to_dict() for prediction in sharpeye.load(model).predict(files)]


def model_check(model: Path, named: str, folder: Path) -> Callable[[], bool]:
    """Refused with a message that names the file, or the predictions of the intact model."""
    expected = predictions_of(model, folder)

    def check() -> bool:
        try:
            predictions = predictions_of(model, folder)
        except ModelError as error:
            assert named in str(error), error
            assert "\n" not in str(error)
            return True
        if predictions != expected:
            raise LossError("the damaged model gives other predictions")
        return False

    return check


def test_damaged_models(tally: Tally, tier: Tier, seed: int, tmp_path: Path) -> None:
    """Single bits and blocks of models: run directories, model.onnx alone, bundles"""
    random = np.random.default_rng(seed)
    folder = Path(shutil.copytree(RUNS, tmp_path / "runs"))
    digits, shapes = IMAGES / "images", IMAGES / "shapes"
    run_dir = folder / "run_network"
    alone = Path(shutil.copy(run_dir / "model.onnx", folder / "alone.onnx"))
    targets = (
        (run_dir, run_dir / "model.onnx", digits),
        (run_dir, run_dir / "bundle.json", digits),
        (alone, alone, digits),
        (folder / "model.sharpeye", folder / "model.sharpeye", digits),
        (folder / "run_localizer", folder / "run_localizer/model.onnx", shapes),
        (folder / "run_localizer", folder / "run_localizer/bundle.json", shapes),
    )
    for model, file, images in targets:
        check = model_check(model, str(model), images)
        damage_each(tally, file, tier.count(12, 170, 400), random, check)


def test_damaged_models_end_with_4(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damaged models in commands: predict, evaluate, export --verify"""
    random = np.random.default_rng(seed)
    folder = Path(shutil.copytree(RUNS, tmp_path / "runs"))
    network, bundle = folder / "run_network", folder / "model.sharpeye"
    images = str(IMAGES / "images")
    targets = (
        (network / "model.onnx", ["predict", str(network), images]),
        (network / "model.onnx", ["evaluate", str(network), images]),
        (bundle, ["export", str(bundle), "--verify"]),
    )

    for file, arguments in targets:

        def check(file: Path = file, arguments: list[str] = arguments) -> bool:
            code = run(arguments)
            err = capsys.readouterr().err
            assert code == 4, (code, err)
            (line,) = err.splitlines()
            assert line.startswith("error: ") and str(file) in line
            return True

        damage_each(tally, file, tier.count(1, 10, 40), random, check)


# --- the cache -----------------------------------------------------------------------------------


def digit_samples() -> tuple[Sample, ...]:
    return add_digests(scan_folder(IMAGES / "images"), 2).samples


def test_damaged_features(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, warnings: Warnings
) -> None:
    """Single bits and blocks of cached features: computed again, the same values"""
    random = np.random.default_rng(seed)
    samples = {sample.sha256: sample for sample in digit_samples()}
    vectors = {key: random.normal(size=48).astype(np.float32) for key in samples}
    store = VectorStore({"backbone": "tiny"}, 48, tmp_path)

    def load(root: Path) -> int:
        received: dict[str, bytes] = {}
        result = load_or_compute(
            VectorStore({"backbone": "tiny"}, 48, root),
            samples,
            lambda sample: vectors[sample.sha256],
            receive=lambda key, vector: received.update({key: vector.tobytes()}),
        )
        if received != {key: vector.tobytes() for key, vector in vectors.items()}:
            raise LossError("other features")
        return len(samples) - result.from_store

    assert load(tmp_path) == len(samples)
    (segment,) = store.folder.glob("*.seg")

    def check() -> bool:
        computed = load(tmp_path)
        for other in store.folder.glob("*.seg"):
            if other != segment:  # which the computed vectors were written to
                other.unlink()
        assert run(["cache", "info"]) == 0
        return computed > 0

    damage_each(tally, segment, tier.count(20, 600, 1200), random, check)
    damage_each(tally, store.folder / "key.json", tier.count(5, 100, 200), random, check)


def test_damaged_splits(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, warnings: Warnings
) -> None:
    """Single bits and blocks of cached splits: the same splits, or a warning"""
    random = np.random.default_rng(seed)
    scanned = add_digests(scan_folder(IMAGES / "images"), 2)
    rule, cache = ContentRule(seed, FRACTIONS), SplitCache(seed, FRACTIONS, tmp_path)

    def split(count: int) -> dict[str, Any]:
        """The split of the first images of each class, as a training assigns and stores it."""
        chosen = [s for s in scanned if int(s.path[-8:-4]) <= count]
        known = cache.read()
        assigned = assign_splits(
            replace(scanned, samples=tuple(chosen)), FRACTIONS, rule, earlier_splits=known
        )
        cache.add(assigned, known)
        return {s.path: s.split for s in assigned}

    for count in (25, 60, 1000):  # a set that grows has exceptions that only the cache knows
        expected = split(count)

    def check() -> bool:
        warnings.messages.clear()
        splits = split(1000)
        noticed = any(str(cache.path) in message for message in warnings.messages)
        if splits != expected and not noticed:
            raise LossError("other splits, without a warning")
        if noticed:
            warnings.messages.clear()
            cache.read()
            assert not warnings.messages, "it warns again"
        return noticed

    damage_each(tally, cache.path, tier.count(20, 400, 1000), random, check)


def test_damaged_pixels(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, warnings: Warnings
) -> None:
    """Single bits and blocks of cached pixels: decoded again with a warning"""
    random = np.random.default_rng(seed)
    samples, spec = digit_samples()[:12], InputSpec(24, 24)

    def pixels() -> dict[str, bytes]:
        decoded = load_pixels(samples, spec, root=tmp_path)
        return {key: decoded.pixels[row].tobytes() for key, row in decoded.indices.items()}

    expected = pixels()
    (file,) = (tmp_path / "pixels").glob("*.npy")

    def check() -> bool:
        warnings.messages.clear()
        if pixels() != expected:
            raise LossError("other pixels")
        return any("damaged" in message for message in warnings.messages)

    damage_each(tally, file, tier.count(10, 250, 500), random, check)
    damage_each(tally, file.with_suffix(".json"), tier.count(10, 150, 300), random, check)


def test_damaged_backbones(
    tally: Tally,
    tier: Tier,
    seed: int,
    tmp_path: Path,
    warnings: Warnings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Single bits and blocks of cached backbones: converted again with a warning"""
    random = np.random.default_rng(seed)
    (graph,) = (IMAGES / "cache" / "backbones").glob("*.onnx")

    def convert(*arguments: str, **_: object) -> str:
        """In place of the conversion in a process of its own, which takes seconds."""
        shutil.copy(graph, arguments[-2])
        return "[[16, 16, 32], [4, 4, 256]]\n83 layers have weights\n"

    monkeypatch.setattr(backbone_module, "run_module", convert)
    config = BackboneConfig("mobilenet_0.25_128", "random", 128, maps=True)
    expected = load_backbone(config, root=tmp_path)
    (record,) = (tmp_path / "backbones").glob("*.json")

    def check() -> bool:
        warnings.messages.clear()
        if load_backbone(config, root=tmp_path) != expected:
            raise LossError("another backbone")
        if expected.graph_file.read_bytes() != graph.read_bytes():
            raise LossError("another graph")
        return any("damaged" in message for message in warnings.messages)

    damage_each(tally, expected.graph_file, tier.count(10, 200, 300), random, check)
    damage_each(tally, record, tier.count(10, 300, 600), random, check)


def test_trainings_on_damaged_caches(
    tally: Tally, tier: Tier, seed: int, trained: Path, session_cache: Path, cache: Path
) -> None:
    """Trainings with damaged caches: exit code 0 and the same predictions"""
    random = np.random.default_rng(seed)
    output = cache.parent / f"{cache.name}-run"
    for number in range(tier.count(0, 3, 30)):
        shutil.copytree(session_cache, cache, dirs_exist_ok=True)
        files = [*cache.glob("features/*/*.seg"), *cache.glob("splits/*.txt")]
        for file in files:
            (damage,) = bit_flips(file.read_bytes(), 1, random)
            file.write_bytes(damage.data)
        with tally.case(f"training {number}"):
            assert train_here(trained.parent / "hard", output, "--overwrite", "-q") == 0
            for name in ("split.csv", "predictions.csv"):
                if (output / name).read_bytes() != (trained / name).read_bytes():
                    raise LossError(f"another {name}")
    if tier.name == "small":
        tally.skip()


# --- unfinished work -----------------------------------------------------------------------------


def test_damaged_checkpoints(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, warnings: Warnings
) -> None:
    """Single bits and blocks of checkpoints: the one before is used, with a warning"""
    random = np.random.default_rng(seed)
    folder = CheckpointFolder(tmp_path)
    for epoch in (1, 2):
        arrays = [random.normal(size=(7, 30)).astype(np.float32), np.array(epoch)]
        folder._next_save = 0  # however long the first one took
        folder.save(Checkpoint(epoch, {"history": [epoch]}, arrays, arrays[:1]))
    texts = {epoch: str(CheckpointFolder(tmp_path).latest()) for epoch in (2,)}
    newest = tmp_path / "epoch-000002.npz"
    newest_data = newest.read_bytes()
    newest.unlink()
    texts[1] = str(folder.latest())
    newest.write_bytes(newest_data)

    def check() -> bool:
        warnings.messages.clear()
        latest = CheckpointFolder(tmp_path).latest()
        assert latest is not None
        if str(latest) != texts[latest.epoch]:
            raise LossError("another state")
        noticed = any(str(newest) in message for message in warnings.messages)
        assert noticed == (latest.epoch == 1)
        return noticed

    damage_each(tally, newest, tier.count(20, 200, 500), random, check)


def run_study(folder: Path, plan: Plan, random: np.random.Generator) -> None:
    """All trials of a sweep, with losses by lot in place of trained networks."""
    with Study(folder, plan) as study:
        study.enqueue_plan()
        while running := study.next_trial(worker=0):
            row = {"epoch": 1, "validation_log_loss": random.random(), "validation_accuracy": 0.5}
            study.report_epoch(running, row, row)
            study.complete(running, row)


def test_damaged_sweeps(
    tally: Tally, tier: Tier, seed: int, tmp_path: Path, warnings: Warnings
) -> None:
    """Single bits and blocks of a sweep's state: the same trials, or an error that names it"""
    if tier.name == "small":  # Optuna takes a second to start
        tally.skip()
        return
    random = np.random.default_rng(seed)
    folder = tmp_path
    plan = make_plan(Config(), {"layer_size": [8, 16, 32], "dense_layers": [0, 1]}, {})
    (folder / "sweep.toml").write_text(plan_to_toml(plan), encoding="utf-8")
    run_study(folder, plan, random)

    def rows() -> list[TrialRow]:
        with Study(folder, read_plan(folder / "sweep.toml")) as study:
            return [replace(row, seconds=0.0) for row in study.rows()]

    expected = rows()

    def check() -> bool:
        try:
            received = rows()
        except SharpEyeError as error:
            assert str(folder) in str(error), error
            return True
        if str(received) != str(expected):
            raise LossError(f"other trials: {received}")
        return False

    for name in ("study.db", "sweep.toml"):
        damage_each(tally, folder / name, tier.count(0, 60, 200), random, check)
