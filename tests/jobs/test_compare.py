"""Runs side by side, on the test images that they have in common."""

import json
from pathlib import Path
from typing import Any

import pytest

import sharpeye
from runner import TINY, hard_photos, one_line, tree
from sharpeye.cli.app import run
from sharpeye.core.metrics import mcnemar
from sharpeye.errors import DataError, UsageError
from sharpeye.report.run_comparison import _holm

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 classes of 12 images that are hard to tell apart. Not to be changed."""
    return hard_photos(tmp_path_factory.mktemp("photos") / "hard")


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two networks and a head on the same split, and a network on another one."""
    place = tmp_path_factory.mktemp("runs")
    changes: dict[str, dict[str, Any]] = {
        "short": TINY | {"train__epochs": 1},
        "long": TINY | {"train__epochs": 12},
        "head": {"model__weights": "random", "model__image_size": 64},
        "other": TINY | {"seed": 3},
    }
    for name, knobs in changes.items():
        sharpeye.train(photos, output=place / name, **knobs)
    return [place / name for name in changes]


def right(path: Path) -> dict[str, bool]:
    rows = sharpeye.Run(path).table("predictions.csv")
    return {row["path"]: row["label"] == row["predicted"] for row in rows}


def test_runs_of_one_split_are_compared_image_by_image(runs: list[Path]) -> None:
    short, long, head, _ = runs
    comparison = sharpeye.compare([short, long, head])
    answers = [right(path) for path in (short, long, head)]
    assert comparison.count == len(answers[0])
    for compared, expected in zip(comparison.runs, answers, strict=True):
        paths = [prediction.path for prediction in compared.predictions]
        assert comparison.right(compared) == [expected[path] for path in paths]
    p_values = []
    for test, other in zip(comparison.tests, answers[1:], strict=True):
        lost = sum(answers[0][path] and not other[path] for path in other)
        gained = sum(not answers[0][path] and other[path] for path in other)
        assert (test.lost, test.gained) == (lost, gained)
        assert test.difference == pytest.approx((gained - lost) / comparison.count)
        assert test.interval[0] <= test.difference <= test.interval[1]
        p_values.append(mcnemar(lost, gained))
        assert test.p_value == p_values[-1] <= test.adjusted
    by_class = {label: (count, shares) for label, count, shares in comparison.classes}
    assert sum(count for count, _ in by_class.values()) == comparison.count
    assert all(run.megabytes > 0 and run.seconds_an_image > 0 for run in comparison.runs)


def test_another_split_leaves_the_images_that_both_test(runs: list[Path]) -> None:
    tests = [
        {r["sha256"] for r in sharpeye.Run(path).table("split.csv") if r["part"] == "test"}
        for path in (runs[0], runs[3])
    ]
    common = tests[0] & tests[1]
    assert 0 < len(common) < len(tests[0])
    assert sharpeye.compare([runs[0], runs[3]]).count == len(common)


def test_the_command_prints_a_line_a_run_and_writes_a_page(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    arguments = ["compare", str(runs[0]), str(runs[1]), "-o", str(output)]
    assert run(arguments) == 0
    first, second, sentence, report = capsys.readouterr().out.splitlines()
    assert first.startswith("short: ") and second.startswith("long:  ")
    assert sentence.startswith("long is right on ") and "common test images" in sentence
    assert report == f"report: {output / 'report.html'}"
    assert sorted(path.name for path in output.iterdir()) == [
        *("changed.csv", "compare.csv", "report.html")
    ]
    page = (output / "report.html").read_text()
    assert "short · long" in page and "McNemar" in page
    assert run([*arguments, "-q"]) == 0  # It replaces its own files,
    (output / "mine.txt").write_text("mine")
    assert run(arguments) == 2  # and no others.
    assert "mine.txt" in one_line(capsys.readouterr().err)


def test_json_has_a_row_for_each_run(runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(runs[0]), str(runs[1]), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["run"] == "short" and first["difference"] is None
    assert second["difference"] == pytest.approx(second["accuracy"] - first["accuracy"])


def test_one_run_or_the_same_run_twice_is_refused(runs: list[Path]) -> None:
    for given in ([runs[0]], [runs[0], runs[1], runs[0] / ".." / "short"]):
        with pytest.raises(UsageError, match="compare takes two runs or more, each once"):
            sharpeye.compare(given)


@pytest.mark.slow
def test_runs_without_a_common_image_are_refused(runs: list[Path], tmp_path: Path) -> None:
    sharpeye.train(hard_photos(tmp_path / "hard", seed=3), output=tmp_path / "run", **TINY)
    with pytest.raises(DataError, match="no test image in common"):
        sharpeye.compare([runs[0], tmp_path / "run"])


def test_holms_correction() -> None:
    assert _holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert _holm([0.9, 0.8]) == [1.0, 1.0]
    assert _holm([]) == []


# --- folds and repetitions -----------------------------------------------------------------------


@pytest.mark.slow
def test_folds_test_each_image_once(tmp_path: Path) -> None:
    photos = hard_photos(tmp_path / "hard", per_class=24)
    flags = [f"--set={key.replace('__', '.')}={value}" for key, value in TINY.items()]
    output = tmp_path / "runs"
    arguments = ["train", str(photos), *flags, "--folds", "3", "-o", str(output)]
    assert run(arguments) == 0
    names = ["fold-1", "fold-2", "fold-3"]
    assert sorted(path.name for path in output.iterdir()) == [*names, "runs.csv"]
    tested = []
    for name in names:
        rows = sharpeye.Run(output / name).table("split.csv")
        tested.append({row["path"] for row in rows if row["part"] == "test"})
        images = {row["path"] for row in rows}
    assert set().union(*tested) == images
    assert sum(map(len, tested)) == len(images)
    # Finished runs are not trained again.
    before = [(output / name / "bundle.json").stat().st_mtime_ns for name in names]
    assert run([*arguments, "-q"]) == 0
    assert run([*arguments, "-q", "--epochs", "4"]) == 2  # Nor replaced by others.
    assert [(output / name / "bundle.json").stat().st_mtime_ns for name in names] == before


@pytest.mark.slow
def test_each_repeated_run_is_told_to_the_tracker(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sharpeye.jobs.train import trackers

    told: list[str] = []

    class Recorder(trackers.Tracker):
        def start(self, name: str, params: Any) -> None:
            told.append(name)

        def log(self, values: Any, step: int) -> None: ...

        def finish(self, scores: Any) -> None:
            told.append("finished" if scores else "failed")

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", ("json", Recorder))
    flags = [f"--set={key.replace('__', '.')}={value}" for key, value in TINY.items()]
    arguments = ["train", str(photos), *flags, "--epochs", "1", "--repeats", "2", "-q"]
    assert run([*arguments, "-o", str(tmp_path / "runs"), "--track", "mlflow"]) == 0
    assert told == ["seed-0", "finished", "seed-1", "finished"]


def test_repeated_runs_need_a_folder_of_their_own(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = hard_photos(tmp_path / "photos", per_class=4)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    for output, words in (
        (photos / "runs", "give --output a folder outside of it"),
        (runs[0], "holds a finished run, and --folds and --repeats make a folder of runs"),
        (tmp_path / "other", "holds mine.txt"),
    ):
        before = tree(output) if output.exists() else {}
        arguments = ["train", str(photos), "--model", "cnn", "--repeats", "2", "-o", str(output)]
        assert run([*arguments, "-q"]) == 2
        assert words in one_line(capsys.readouterr().err)
        assert (tree(output) if output.exists() else {}) == before
    assert not (photos / "runs").exists()


@pytest.mark.slow
def test_repetitions_have_one_split_and_other_seeds(photos: Path, tmp_path: Path) -> None:
    from sharpeye.jobs.train.repeated import summary, train_repeatedly

    config = sharpeye.Config().replace({k.replace("__", "."): v for k, v in TINY.items()})
    result = train_repeatedly(photos, repeats=2, output=tmp_path / "runs", config=config)
    first, second = (run.table("split.csv") for run in result.runs)
    assert first == second
    assert [run.config.seed for run in result.runs] == [0, 1]
    assert result.mean == pytest.approx(sum(result.accuracies) / 2)
    assert summary(result)["mean"].endswith("points (deviation)")
    history = [run.table("history.csv")[0]["log_loss"] for run in result.runs]
    assert history[0] != history[1]


def test_folds_need_images_without_a_test_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        hard_photos(tmp_path / "data" / split, per_class=4)
    assert run(["train", str(tmp_path / "data"), "--folds", "2", "-q"]) == 2
    assert "--folds needs" in one_line(capsys.readouterr().err)
    assert run(["train", str(tmp_path / "data"), "--folds", "0", "-q"]) == 2
    assert run(["train", str(tmp_path / "data"), "--repeats", "2", "--resume", "-q"]) == 2
