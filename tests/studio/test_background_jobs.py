"""Commands in the background: their progress, their end, stopping them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner import SIGKILL, hard_photos, share_backbones, train_args, train_here
from sharpeye.core.inference import Backbone
from sharpeye.errors import BusyError
from sharpeye.studio.background_jobs import BackgroundJobs

# Trains for minutes if nobody stops it, an epoch in well under a second.
ENDLESS = ("--model", "lenet5", "--epochs", "5000")


RECORD = {"stage", "done", "total", "seconds", "per_second", "left"}


@pytest.fixture
def jobs() -> Iterator[BackgroundJobs]:
    jobs = BackgroundJobs()
    yield jobs
    jobs.close()


def wait_for(jobs: BackgroundJobs, expected: str, seconds: float = 90) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while True:
        status = jobs.status("train")
        assert status is not None
        if status["state"] == expected or (expected == status["stage"] == "training"):
            return status
        assert time.monotonic() < end, status
        assert status["state"] in ("running", "stopping"), status
        time.sleep(0.05)


def test_nothing_was_begun(jobs: BackgroundJobs) -> None:
    assert jobs.status("train") is None
    assert jobs.running_subject("train") is None
    jobs.stop("train")


@pytest.mark.slow
def test_a_training_tells_how_far_it_is_and_leaves_a_run(
    jobs: BackgroundJobs, backbone: Backbone, session_cache: Path, cache: Path, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    jobs.start("train", "run", train_args(data, tmp_path / "run"))
    assert jobs.running_subject("train") == "run"
    with pytest.raises(BusyError, match="run is still being worked on"):
        jobs.start("train", "other", train_args(data, tmp_path / "other"))
    status = wait_for(jobs, "done", 120)
    assert (status["error"], status["about"]) == (None, "run")
    assert status["stage"] == "fits of the head"
    assert status["seconds"] > 0.5
    assert (tmp_path / "run" / "bundle.json").is_file()
    assert not (tmp_path / "other").exists()


def test_an_error_is_the_one_line_of_the_command_line(jobs: BackgroundJobs, tmp_path: Path) -> None:
    jobs.start("train", "run", ["train", str(tmp_path / "nowhere"), "-o", str(tmp_path / "run")])
    status = wait_for(jobs, "failed", 60)
    assert str(tmp_path / "nowhere") in status["error"]
    assert "Traceback" not in status["error"]


def test_a_killed_command_names_the_probable_cause(jobs: BackgroundJobs, tmp_path: Path) -> None:
    data = hard_photos(tmp_path / "hard")
    jobs.start("train", "run", ["train", str(data), "-o", str(tmp_path / "run"), *ENDLESS])
    os.kill(jobs._jobs["train"]._process.pid, SIGKILL)
    status = wait_for(jobs, "failed", 30)
    assert "memory" in status["error"]


@pytest.mark.slow  # imports TensorFlow three times
def test_stop_keeps_checkpoints_for_resume(jobs: BackgroundJobs, tmp_path: Path) -> None:
    data, run = hard_photos(tmp_path / "hard"), tmp_path / "run"
    jobs.start("train", "run", ["train", str(data), "-o", str(run), *ENDLESS])
    status = wait_for(jobs, "training")
    assert status["total"] % 5000 == 0
    time.sleep(1)
    jobs.stop("train")
    assert jobs.status("train")["state"] in ("stopping", "stopped")  # type: ignore[index]
    status = wait_for(jobs, "stopped", 30)
    assert status["error"] is None
    before = len((run / "history.csv").read_text().splitlines())
    assert before > 1
    jobs.start("train", "run", ["train", "--resume", "-o", str(run)])
    wait_for(jobs, "training")
    # It resumes from the last checkpoint, which may be some epochs old.
    for _ in range(600):
        if len((run / "history.csv").read_text().splitlines()) > before:
            break
        time.sleep(0.05)
    assert len((run / "history.csv").read_text().splitlines()) > before
    # The end of the studio is a stop in order, too.
    jobs.close()
    assert (run / "checkpoints").is_dir()
    assert not (run / ".lock").exists()


def test_progress_as_json_lines(
    backbone: Backbone,
    session_cache: Path,
    cache: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    assert train_here(data, tmp_path / "run", "--progress", "jsonl", "--quiet") == 0
    lines = capfd.readouterr().err.splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    assert all(set(record) == RECORD for record in records)
    features = [record for record in records if record["stage"] == "features"]
    assert (features[-1]["done"], features[-1]["total"]) == (36, 36)
    assert [f["done"] for f in features] == sorted(f["done"] for f in features)
    assert train_here(data, tmp_path / "run2", "--progress", "xml") == 2
    assert "--progress must be auto or jsonl" in capfd.readouterr().err


def test_no_tensorflow_in_the_studio(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from sharpeye.studio import application, launch\n"
        "print({'tensorflow', 'keras', 'onnx', 'optuna', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
