"""Runs and bundles that earlier versions wrote are used with the code of today."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

import sharpeye
from sharpeye.cli.app import run
from sharpeye.core.config import load_toml
from sharpeye.data.moves import undo_moves
from sharpeye.errors import Stopped

FILES = Path(__file__).parent
RUNS = {
    "0.1.0": {"run_network": "images", "run_frozen": "images", "run_localizer": "shapes"},
    "0.2.0": {"run_network": "images", "run_localizer": "shapes"},
    "0.3.0": {"run_network": "images", "run_localizer": "shapes"},
}
EACH_RUN = [(version, name) for version, runs in RUNS.items() for name in runs]


@pytest.fixture
def version() -> str:
    return "0.1.0"


@pytest.fixture
def folder(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a version's files as the current folder: their paths are relative."""
    copy = tmp_path / "old"
    shutil.copytree(FILES / version, copy)
    for data in ("images", "shapes"):  # all versions have those of the first
        shutil.copytree(FILES / "0.1.0" / data, copy / data, dirs_exist_ok=True)
    monkeypatch.chdir(copy)
    return copy


def test_every_earlier_version_has_files_here() -> None:
    changelog = FILES.parents[1] / "CHANGELOG.md"
    released = re.findall(r"^## (\d+\.\d+\.\d+)", changelog.read_text(encoding="utf-8"), re.M)
    assert released[0] == sharpeye.__version__
    assert sorted(released[1:]) == sorted(RUNS)
    for version, runs in RUNS.items():
        for name in runs:
            text = (FILES / version / name / "bundle.json").read_text(encoding="utf-8")
            assert json.loads(text)["versions"]["sharpeye"] == version


def predictions(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("version", "model", "data", "expected"),
    [
        *((v, name, data, name) for v, runs in RUNS.items() for name, data in runs.items()),
        *((v, "model.sharpeye", "images", "bundle") for v in RUNS),
    ],
)
def test_predictions_are_those_of_the_old_version(
    model: str, data: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = "2" if data == "shapes" else "3"
    assert run(["predict", model, data, "--format", "jsonl", "--top", count]) == 0
    now = predictions(capsys.readouterr().out)
    before = predictions((folder / "expected" / f"{expected}.jsonl").read_text())
    assert [line.keys() for line in now] == [line.keys() for line in before]
    for new, old in zip(now, before, strict=True):
        assert (new["path"], new["label"], new["unknown"]) == (
            old["path"],
            old["label"],
            old["unknown"],
        )
        assert new["score"] == pytest.approx(old["score"], abs=1e-4)
        assert new["unknown_score"] == pytest.approx(old["unknown_score"], abs=1e-3)
        if old["box"] is not None:
            assert new["box"] == pytest.approx(old["box"], abs=0.1)
            assert new.get("box_score") == pytest.approx(old.get("box_score"), abs=1e-3)


@pytest.mark.parametrize(("version", "name"), EACH_RUN)
def test_the_tables_of_an_old_run_are_read(version: str, name: str, folder: Path) -> None:
    old = sharpeye.Run(name)
    assert old.config.data.folder == RUNS[version][name]
    assert old.metrics["test"]["count"] == len(old.table("predictions.csv"))
    assert {row["part"] for row in old.table("split.csv")} == {"train", "validation", "test"}
    assert len(old.labels) == len(old.metrics["test"]["per_class"])


@pytest.mark.parametrize("version", RUNS)
def test_an_old_run_is_evaluated_and_exported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", "run_network", "images", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["count"] == sharpeye.Run("run_network").metrics["test"]["count"]
    assert scores["count"] + scores["seen"]["count"] == 48
    assert run(["export", "run_network", "-f", "onnx", "-o", "model.onnx"]) == 0
    assert Path("model.onnx").read_bytes() == Path("run_network/model.onnx").read_bytes()


@pytest.mark.slow
def test_an_old_run_is_extended(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    for label in ("0", "1", "2"):
        target = folder / "more" / label
        target.mkdir(parents=True)
        for number, source in enumerate(sorted((folder / "images" / label).iterdir())[:3]):
            with Image.open(source) as image:
                image.rotate(90).save(target / f"new{number}.png")
    assert run(["train", "more", "--add", "run_network", "-o", "extended"]) == 0
    before = {row["path"]: row["part"] for row in sharpeye.Run("run_network").table("split.csv")}
    after = {row["path"]: row["part"] for row in sharpeye.Run("extended").table("split.csv")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 9


def test_an_old_unfinished_run_is_resumed(folder: Path) -> None:
    """Its newest checkpoint is that of epoch 107 of 4000."""
    epochs: list[tuple[int, int]] = []

    def stop_after_two(stage: str, done: int, total: int) -> None:
        if stage == "training":
            epochs.append((done, total))
            if len(epochs) == 2:
                raise Stopped(signal.SIGINT)

    with pytest.raises(Stopped):
        sharpeye.train(
            "images",
            config=load_toml(Path("run_stopped/config.toml")),
            output="run_stopped",
            resume=True,
            progress=stop_after_two,
        )
    assert epochs == [(30 * 108, 30 * 4000), (30 * 109, 30 * 4000)]


def test_an_old_undo_file_is_undone(folder: Path) -> None:
    shutil.copytree("images", "moved")
    Path("moved/0/digit-0001.png").rename("moved/1/digit-0001.png")
    assert undo_moves(Path("undo.csv"), Path("moved")) == 1
    assert Path("moved/0/digit-0001.png").is_file()
