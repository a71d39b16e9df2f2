"""Experiment trackers: a real client of MLflow against a server on this machine."""

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import sharpeye
from runner import TINY, one_line
from sharpeye.artefact import parity
from sharpeye.cli.app import run
from sharpeye.core.config import Config
from sharpeye.errors import ModelError, UsageError
from sharpeye.jobs.train import trackers

# Keras 3.15 on NumPy 2.4, when it reads a variable.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class MLflowServer:
    """The endpoints of MLflow that a client of `train` calls; it keeps what it is told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                path = self.path.partition("?")[0].removeprefix("/api/2.0/mlflow/")
                outer.requests.append((path, body))
                text = json.dumps(outer.answer(path, body)).encode()
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = _answer  # noqa: N815  The names of the base class.

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        experiment = {"experiment_id": "1", "name": "sharpeye", "lifecycle_stage": "active"}
        info = {
            "run_id": "r1",
            "run_uuid": "r1",
            "experiment_id": "1",
            "status": body.get("status", "RUNNING"),
            "lifecycle_stage": "active",
            "start_time": 1,
            "artifact_uri": "/nowhere",
        }
        run = {"info": info, "data": {}}
        answers: dict[str, dict[str, Any]] = {
            "experiments/get-by-name": {"experiment": experiment},
            "experiments/get": {"experiment": experiment},
            "runs/create": {"run": run},
            "runs/get": {"run": run},
            "runs/update": {"run_info": info},
        }
        return answers.get(path, {})

    def metrics(self) -> list[tuple[str, float, int]]:
        """(name, value, step) of all that was logged."""
        values = []
        for path, body in self.requests:
            entries = body.get("metrics", []) if path == "runs/log-batch" else []
            entries = [body] if path == "runs/log-metric" else entries
            values += [(m["key"], float(m["value"]), int(m.get("step", 0))) for m in entries]
        return values


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[MLflowServer]:
    pytest.importorskip("mlflow")
    served = MLflowServer()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    yield served
    served.server.shutdown()
    served.server.server_close()


def test_mlflow_is_told_of_knobs_epochs_and_scores(
    server: MLflowServer, photo_folder: Path, tmp_path: Path
) -> None:
    done = sharpeye.train(photo_folder, output=tmp_path / "run", track="mlflow", **TINY)
    rows = done.table("history.csv")
    told = {(name, step): value for name, value, step in server.metrics()}
    for row in rows:
        value = told["train/validation_log_loss", int(row["epoch"])]
        assert value == pytest.approx(float(row["validation_log_loss"]), rel=1e-4)
    assert told["test/accuracy", 0] == pytest.approx(done.metrics["test"]["accuracy"])
    params: dict[str, str] = {}
    for path, body in server.requests:
        if path == "runs/log-batch":
            params |= {param["key"]: param["value"] for param in body.get("params", [])}
    assert params["train.epochs"] == "3" and params["model.name"] == "cnn"
    last = [body for path, body in server.requests if path == "runs/update"][-1]
    assert last["status"] == "FINISHED"


@pytest.mark.slow
def test_no_tracker_is_used_unless_it_is_named(
    server: MLflowServer, photo_folder: Path, tmp_path: Path
) -> None:
    train = sharpeye.train(photo_folder, output=tmp_path / "run", **TINY)
    assert server.requests == []
    assert "mlflow" not in (train.path / "config.toml").read_text()


def test_a_refused_run_begins_no_run_of_a_tracker(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    class Recorder(_Fake):
        def start(self, name: str, params: Any) -> None:
            begun.append(name)

    monkeypatch.setitem(trackers.TRACKERS, "mlflow", ("json", Recorder))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    with pytest.raises(UsageError, match="exists and holds no run"):
        sharpeye.train(photo_folder, output=tmp_path / "run", track="mlflow", **TINY)
    assert begun == []


@pytest.mark.slow
def test_a_failed_training_ends_the_trackers_run_as_failed(
    server: MLflowServer, photo_folder: Path, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    class Observer:
        def on_epoch_end(self, metrics: Any) -> None:
            raise Stop

    options: Any = TINY | {"callbacks": [Observer()]}
    with pytest.raises(Stop):
        sharpeye.train(photo_folder, output=tmp_path / "run", track="mlflow", **options)
    last = [body for path, body in server.requests if path == "runs/update"][-1]
    assert last["status"] == "FAILED"


def test_an_unproven_run_ends_the_trackers_run_as_failed(
    server: MLflowServer, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "PARITY_LIMIT", -1.0)
    options: Any = TINY | {"train__epochs": 1}
    with pytest.raises(ModelError, match="a probability differs"):
        sharpeye.train(photo_folder, output=tmp_path / "run", track="mlflow", **options)
    last = [body for path, body in server.requests if path == "runs/update"][-1]
    assert last["status"] == "FAILED"


@pytest.mark.slow
def test_a_tracker_that_fails_is_left_out(
    server: MLflowServer,
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.status = 500
    flags = [f"--set={key.replace('__', '.')}={value}" for key, value in TINY.items()]
    arguments = ["train", str(photo_folder), *flags, "-o", str(tmp_path / "run"), "-q"]
    assert run([*arguments, "--track", "mlflow"]) == 0
    assert "MLflow is left out from here on" in capsys.readouterr().err


def test_an_unknown_or_missing_tracker_is_an_error_before_any_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["train", str(tmp_path), "--track", "mlfow", "-q"]) == 2
    message = one_line(capsys.readouterr().err)
    assert "--track takes mlflow, wandb, trackio. Received: mlfow" in message
    monkeypatch.setitem(trackers.TRACKERS, "trackio", ("no_such_package", trackers.Trackio))
    assert run(["train", str(tmp_path), "--track", "trackio", "-q"]) == 5
    assert "sharpeye[trackio]" in one_line(capsys.readouterr().err)
    with pytest.raises(UsageError):
        trackers.require_tracker("")


class _Fake(trackers.Tracker):
    def start(self, name: str, params: Any) -> None:
        self.calls: list[Any] = [name, dict(params)]

    def log(self, values: Any, step: int) -> None:
        self.calls.append((values, step))

    def finish(self, scores: Any) -> None:
        self.calls.append(scores)


def told(name: str) -> bool:
    """Tell a tracker of a training; whether it worked to the end."""
    config = Config().replace({"model.name": "lenet5", "train.epochs": 2})
    with trackers.tracking(name, "title", config) as tracker:
        for epoch in (1, 2):
            tracker.on_epoch_end({"stage": "train", "epoch": epoch, "accuracy": epoch / 4})
    trackers.report_scores(tracker, {"test": {"accuracy": 0.75}})
    return tracker._works


def test_trackio_keeps_epochs_and_scores_and_leaves_standard_output_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # It is read when Trackio is imported.
    pytest.importorskip("trackio")
    assert told("trackio")
    assert capsys.readouterr().out == ""
    with contextlib.closing(sqlite3.connect(tmp_path / "sharpeye.db")) as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics").fetchall()
    assert [json.loads(row[2]) for row in rows] == [
        *({"train/accuracy": 0.25}, {"train/accuracy": 0.5}, {"test/accuracy": 0.75})
    ]
    assert {row[0] for row in rows} == {"title"} and rows[1][1] == 2


def test_wandb_keeps_epochs_and_scores_without_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    assert told("wandb")
    assert capsys.readouterr().out == ""
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = file.read_bytes()
    assert all(word in content for word in (b"title", b"train/accuracy", b"test/accuracy"))


def test_what_a_tracker_is_told() -> None:
    tracker = _Fake("run", {"seed": 3})
    tracker.on_epoch_end({"stage": "train", "epoch": 2, "log_loss": 0.5, "seconds": None})
    trackers.report_scores(tracker, {"test": {"accuracy": 0.75, "count": 4}})
    assert tracker.calls == [
        *("run", {"seed": 3}, ({"train/log_loss": 0.5}, 2), {"test/accuracy": 0.75})
    ]
