"""Sweeps that earlier versions wrote are read, continued, and not run again."""

import shutil
from pathlib import Path

import optuna
import pytest

from sharpeye.core.config import load_toml
from sharpeye.core.tables import read_table
from sharpeye.core.types import SampleSet
from sharpeye.jobs.sweep import sweep as job
from sharpeye.jobs.sweep.plan_text import read_plan
from sharpeye.jobs.sweep.study import Study

FILES = Path(__file__).parent
VERSIONS = ("0.1.0", "0.2.0")


@pytest.fixture(params=VERSIONS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(FILES / request.param / "sweep", tmp_path / "sweep"))


def test_a_finished_sweep_is_resumed_without_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = SampleSet(Path("x"), (), ("a", "b"))
    monkeypatch.setattr(job, "load_arrays", lambda *_: (samples, None))
    before = read_table(folder / "leaderboard.csv")
    winner = load_toml(folder / "winner.toml")
    weights = {file: file.read_bytes() for file in folder.glob("trials/*/weights.npz")}
    result = job.sweep(output=folder, resume=True)
    assert [row.name for row in result.leaderboard] == ["conv_layers=2", "conv_layers=1"]
    assert result.unfinished == 0
    assert read_table(folder / "leaderboard.csv") == before
    assert load_toml(folder / "winner.toml") == winner == result.winner
    assert len(weights) == 2
    assert {file: file.read_bytes() for file in folder.glob("trials/*/weights.npz")} == weights


def test_stopped_and_replaced_trials_are_recognized(folder: Path) -> None:
    """What these versions wrote for trials that were stopped, run again, and drawn twice."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    study = optuna.load_study(study_name="sweep", storage=storage)
    for attributes in ({"stopped": True, "reason": "x"}, {"hidden": True}, {"name": "y"}, {}):
        study.enqueue_trial({"net.conv_layers": 3})
        trial = study.ask()
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        if attributes:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.set_user_attr("hidden", [4])  # the third of them
    storage.engine.dispose()
    with Study(folder, read_plan(folder / "sweep.toml")) as opened:
        states = [row.state for row in opened.rows()]
        assert states == ["complete", "complete", "stopped", "running"]
        assert opened.enqueue_interrupted() == 2
        states = [row.state for row in opened.rows()]
        assert states == ["complete", "complete", "waiting", "waiting"]
