"""Commands as processes of their own: what they tell, their end, stopping them."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner import call, hard_photos, share_backbones, train_args
from sharpeye.core.inference import Backbone
from sharpeye.errors import BusyError
from sharpeye.studio.jobs import Jobs

# Trains for minutes if nobody stops it, an epoch in well under a second.
ENDLESS = ("--model", "lenet5", "--epochs", "5000")


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    made = Jobs()
    yield made
    made.close()


def until(jobs: Jobs, wanted: str, seconds: float = 90) -> dict[str, object]:
    end = time.monotonic() + seconds
    while True:
        told = jobs.told("train")
        assert told is not None
        if told["state"] == wanted or (wanted == "epochs" and told["stage"] == "epochs"):
            return told
        assert time.monotonic() < end, told
        assert told["state"] in ("running", "stopping"), told
        time.sleep(0.05)


def test_nothing_was_begun(jobs: Jobs) -> None:
    assert jobs.told("train") is None
    assert jobs.running("train") is None
    jobs.stop("train")
    assert jobs.wait("train", 0)


def test_a_training_tells_how_far_it_is_and_leaves_a_run(
    jobs: Jobs, backbone: Backbone, session_cache: Path, cache: Path, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    jobs.start("train", "run", train_args(data, tmp_path / "run"))
    assert jobs.running("train") == "run"
    with pytest.raises(BusyError, match="run is still being worked on"):
        jobs.start("train", "other", train_args(data, tmp_path / "other"))
    assert jobs.wait("train", 120)
    told = jobs.told("train")
    assert told is not None
    assert (told["state"], told["error"], told["about"]) == ("done", None, "run")
    assert (told["stage"], told["done"], told["total"]) == ("features", 36, 36)
    assert told["seconds"] > 0.5
    assert (tmp_path / "run" / "bundle.json").is_file()
    assert not (tmp_path / "other").exists()


def test_an_error_is_the_one_line_of_the_command_line(jobs: Jobs, tmp_path: Path) -> None:
    jobs.start("train", "run", ["train", str(tmp_path / "nowhere"), "-o", str(tmp_path / "run")])
    assert jobs.wait("train", 60)
    told = jobs.told("train")
    assert told is not None
    assert told["state"] == "failed"
    assert str(tmp_path / "nowhere") in told["error"]
    assert "Traceback" not in told["error"]
    jobs.forget("train")
    assert jobs.told("train") is None


def test_a_killed_command_says_what_was_probably_the_matter(jobs: Jobs, tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "hard")
    jobs.start("train", "run", ["train", str(data), "-o", str(tmp_path / "run"), *ENDLESS])
    os.kill(jobs._commands["train"][1]._process.pid, signal.SIGKILL)
    assert jobs.wait("train", 30)
    told = jobs.told("train")
    assert told is not None
    assert told["state"] == "failed"
    assert "memory" in told["error"]


@pytest.mark.slow  # imports TensorFlow three times
def test_stop_keeps_what_was_learned_and_resume_goes_on(jobs: Jobs, tmp_path: Path) -> None:
    data, run = hard_photos(tmp_path / "hard"), tmp_path / "run"
    jobs.start("train", "run", ["train", str(data), "-o", str(run), *ENDLESS])
    told = until(jobs, "epochs")
    assert told["total"] == 5000
    time.sleep(1)
    jobs.stop("train")
    assert jobs.told("train")["state"] in ("stopping", "stopped")  # type: ignore[index]
    assert jobs.wait("train", 30)
    told = until(jobs, "stopped", 0)
    assert told["error"] is None
    before = len((run / "history.csv").read_text().splitlines())
    assert before > 1
    jobs.start("train", "run", ["train", "--resume", "-o", str(run)])
    until(jobs, "epochs")
    assert len((run / "history.csv").read_text().splitlines()) >= before
    # The end of the studio is a stop in order, too.
    jobs.close()
    assert (run / "checkpoints").is_dir()
    assert not (run / ".lock").exists()


def test_progress_as_json_lines(
    backbone: Backbone, session_cache: Path, cache: Path, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    done = call(*train_args(data, tmp_path / "run", "--progress", "jsonl", "--quiet"), cache=cache)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert all(set(one) == {"stage", "done", "total", "seconds"} for one in records)
    features = [one for one in records if one["stage"] == "features"]
    assert (features[-1]["done"], features[-1]["total"]) == (36, 36)
    assert [one["done"] for one in features] == sorted(one["done"] for one in features)
    wrong = call(*train_args(data, tmp_path / "run2", "--progress", "xml"), cache=cache)
    assert wrong.returncode == 2
    assert "--progress must be auto or jsonl" in wrong.stderr


def test_no_tensorflow_in_the_studio(tmp_path: Path) -> None:
    import subprocess

    program = (
        "import sys\n"
        "from sharpeye.studio import findings, jobs, models, relabelling, replies, wishes\n"
        "from sharpeye.studio.pages import train, try_it, understand\n"
        "print({'tensorflow', 'keras', 'onnx', 'optuna', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
