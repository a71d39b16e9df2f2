"""The Python door: `sharpeye.train`, `sharpeye.load`, `sharpeye.evaluate`."""

from pathlib import Path

import pytest

import sharpeye
from sharpeye.errors import ConfigError, DataError, GateError, UsageError

pytestmark = pytest.mark.usefixtures("warm")


def test_train_load_predict(hard: Path, tmp_path: Path) -> None:
    run = sharpeye.train(hard, output=tmp_path / "run", model__image_size=64, head__views=2)
    assert run.path == tmp_path / "run"
    assert run.labels == ("ash", "birch", "cedar")
    assert 0 <= run.metrics["test"]["accuracy"] <= 1
    tested = run.table("predictions.csv")
    model = sharpeye.load(run.path)
    for row in tested:
        prediction = model.predict(hard / row["path"])
        assert prediction.label == row["predicted"]
        assert prediction.score == pytest.approx(float(row["score"]), abs=1e-3)
        assert prediction.path == str(hard / row["path"])
    assert "views = 2" in (run.path / "config.toml").read_text(encoding="utf-8")
    assert sharpeye.Run(run.path).metrics == run.metrics


def test_train_takes_a_config_and_text_paths(
    hard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = sharpeye.Config().replace({"model.image_size": 64, "seed": 4})
    reports: list[tuple[str, int, int]] = []
    run = sharpeye.train(str(hard), config=config, progress=lambda *step: reports.append(step))
    assert run.path == Path("runs/hard-efficientnet_lite0")
    features = [step for step in reports if step[0] == "features"]
    assert features == [("features", done, 36) for done in range(1, 37)]
    assert ("fits of the head", 0, 1) in reports
    assert "seed = 4" in (run.path / "config.toml").read_text(encoding="utf-8")


def test_evaluate_takes_a_model_or_its_path(hard: Path, undisturbed: Path) -> None:
    by_path, samples, seconds = sharpeye.evaluate(undisturbed, hard)
    by_model, _, _ = sharpeye.evaluate(sharpeye.load(undisturbed), hard)
    assert by_path.metrics == by_model.metrics
    assert by_path.overlap is not None
    assert len(samples) == by_path.metrics["count"] + by_path.overlap.metrics["count"] == 36
    assert seconds > 0


def test_errors_are_of_one_tree(hard: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with pytest.raises(ConfigError, match=r"Did you mean head\.views\?"):
        sharpeye.train(hard, output=output, head__view=2)
    with pytest.raises(ConfigError, match="a whole number"):
        sharpeye.train(hard, output=output, head__views="two")
    with pytest.raises(UsageError, match="unknown model"):
        sharpeye.train(hard, output=output, model="resnet")
    with pytest.raises(DataError, match="no such folder"):
        sharpeye.train(tmp_path / "nowhere", output=output)
    with pytest.raises(UsageError, match="from 0 to 1"):
        sharpeye.train(hard, output=output, min_accuracy=95)
    with pytest.raises(DataError, match="no finished run directory"):
        sharpeye.Run(tmp_path)
    assert not output.exists()
    assert issubclass(ConfigError, sharpeye.SharpEyeError)


def test_a_gate_is_raised_after_everything_was_written(hard: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="below the 1 that was asked"):
        sharpeye.train(hard, output=tmp_path / "run", min_accuracy=1, model__image_size=64)
    assert sharpeye.load(tmp_path / "run").labels == ("ash", "birch", "cedar")


@pytest.mark.slow
def test_two_runs_in_one_process_do_not_touch_each_other(
    hard: Path, photo_folder: Path, tmp_path: Path
) -> None:
    first = sharpeye.train(hard, output=tmp_path / "one", model__image_size=64)
    other = sharpeye.train(photo_folder, output=tmp_path / "two", model__image_size=64)
    again = sharpeye.train(hard, output=tmp_path / "three", model__image_size=64)
    assert other.labels == ("apple", "leaf", "sky")
    for part in ("validation", "test"):
        assert first.metrics[part] == again.metrics[part]
