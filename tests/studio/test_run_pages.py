"""What Understand and Try tell of a finished run, asked without a browser."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from offline import asking
from PIL import Image

import sharpeye
from sharpeye.runs.run_directory import Run

RUN = {"run": "run"}


@pytest.fixture
def client(trained: Path) -> Iterator[Any]:
    with asking(trained.parent / "hard", trained.parent) as (asked, _):
        yield asked


def test_runs_are_listed_with_their_numbers(client: Any, trained: Path) -> None:
    (run,) = client.get("/api/runs").json()
    test = Run(trained).metrics["test"]
    assert (run["name"], run["state"], run["task"]) == ("run", "done", "classify")
    assert (run["accuracy"], run["count"]) == (test["accuracy"], test["count"])
    assert [run["low"], run["high"]] == test["accuracy_ci95"]


def test_the_confusion_matrix_and_its_images(client: Any, trained: Path) -> None:
    found = client.get("/api/understand", params=RUN).json()
    answers = Run(trained).table("predictions.csv")
    assert found["own"] is True
    assert found["count"] == len(answers)
    assert found["mistakes"] == len(Run(trained).table("misclassified.csv"))
    for row in found["rows"]:
        for said, cell in zip(found["columns"], row["cells"], strict=True):
            own = [a for a in answers if (a["label"], a["predicted"]) == (row["label"], said)]
            assert (cell["count"] if cell else 0) == len(own)
            asked = RUN | {"label": row["label"], "predicted": said}
            shown = client.get("/api/understand/pictures", params=asked).json()
            assert shown["total"] == len(own)
            assert {one["path"] for one in shown["pictures"]} == {a["path"] for a in own}
            assert all(one["there"] for one in shown["pictures"])
    wrong = client.get("/api/understand/pictures", params=RUN | {"wrong": True}).json()
    scores = [one["score"] for one in wrong["pictures"]]
    assert len(scores) == found["mistakes"] > 0
    assert scores == sorted(scores, reverse=True)
    rest = client.get("/api/understand/pictures", params=RUN | {"wrong": True, "offset": 1}).json()
    assert rest["pictures"] == wrong["pictures"][1:]


def test_the_calibration_diagram_is_that_of_the_scores(client: Any, trained: Path) -> None:
    found = client.get("/api/understand", params=RUN).json()["calibration"]
    test = Run(trained).metrics["test"]
    assert sum(b["count"] for b in found["bins"]) == test["count"]
    ece = sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in found["bins"])
    assert ece / test["count"] == pytest.approx(test["ece"], abs=1e-4)
    assert found["chart"].startswith("<svg")


def test_heat_maps(client: Any) -> None:
    asked = RUN | {"path": "ash/ash0.png"}
    answer = client.get("/api/heat", params=asked)
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (56, 48)
    other = client.get("/api/heat", params=asked | {"label": "birch"})
    assert other.content != answer.content
    wrong = client.get("/api/heat", params=asked | {"label": "oak"})
    assert wrong.status_code == 400
    assert "oak" in wrong.json()["error"]


def test_answers_are_those_of_the_model(client: Any, trained: Path) -> None:
    image = trained.parent / "hard" / "cedar" / "cedar3.png"
    expected = sharpeye.load(trained).predict(image)
    sent = client.post("/api/try", params=RUN, content=image.read_bytes()).json()
    named = client.post("/api/try", params=RUN | {"path": "cedar/cedar3.png"}).json()
    for found in (sent, named):
        assert found["label"] == expected.label
        assert found["score"] == pytest.approx(expected.score, abs=1e-6)
        assert [one["label"] for one in found["top"]] == [label for label, _ in expected.top]
        assert found["unknown"] is expected.unknown
        assert found["picture"].startswith("data:image/jpeg;base64,")
    heat = client.post("/api/try/heat", params=RUN, content=image.read_bytes()).json()
    assert heat["picture"].startswith("data:image/jpeg;base64,")
    assert heat["picture"] != sent["picture"]


def test_a_stranger_is_called_unknown(client: Any) -> None:
    pixels = np.zeros((48, 56, 3), np.uint8)
    pixels[::2, :, 0] = pixels[:, ::2, 2] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    found = client.post("/api/try", params=RUN, content=out.getvalue()).json()
    assert found["unknown"] is True
    assert found["sentence"].startswith("Unknown: ")


@pytest.mark.parametrize(
    ("method", "address", "content"),
    [
        ("POST", "/api/try?run=run", b"no picture"),
        ("POST", "/api/try?run=run", b""),
        ("POST", "/api/try?run=nothing", b"x"),
        ("POST", "/api/try?run=../run", b"x"),
        ("POST", "/api/try?run=run&path=../run/model.onnx", b""),
        ("POST", "/api/try?run=run&path=/etc/passwd", b""),
        ("POST", "/api/try?run=run&path=gone.png", b""),
        ("GET", "/api/heat?run=run&path=../../x.png", b""),
        ("GET", "/api/heat?run=%2e%2e&path=ash/ash0.png", b""),
        ("GET", "/api/understand?run=.", b""),
        ("GET", "/api/understand?run=hard", b""),
        ("GET", "/run/run/split.csv", b""),
        ("GET", "/run/run/.lock", b""),
        ("GET", "/run/hard/report.html", b""),
        ("POST", "/api/doubts", b'{"run": "gone"}'),
        ("POST", "/api/doubts", b"[]"),
        ("POST", "/api/relabel", b'{"path": 3}'),
        ("POST", "/api/relabel/undo", b'{"id": "../x"}'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    client: Any, method: str, address: str, content: bytes
) -> None:
    headers = {"content-type": "application/json"} if content[:1] in (b"{", b"[") else {}
    answer = client.request(method, address, content=content, headers=headers)
    assert answer.status_code == 400, answer.text
    assert len(answer.json()["error"].splitlines()) == 1


def test_a_report_is_shown_in_a_sandbox(client: Any, trained: Path) -> None:
    answer = client.get("/run/run/report.html")
    assert answer.text == (trained / "report.html").read_text()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    model = client.get("/run/run/model.onnx")
    assert model.headers["content-disposition"].startswith("attachment")
    assert model.content == (trained / "model.onnx").read_bytes()


def test_damaged_runs_are_no_bug(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    shutil.copytree(trained, run)
    with asking(tmp_path / "photos", tmp_path / "runs") as (client, _):
        assert client.get("/api/understand", params=RUN).json()["own"] is False
        for name, text in (
            ("predictions.csv", "path,label\nx,y\n"),
            ("metrics.json", "[]"),
            ("config.toml", "# nothing\n= ["),
        ):
            kept = (run / name).read_bytes()
            (run / name).write_text(text)
            answer = client.get("/api/understand", params=RUN)
            assert answer.status_code == 400, (name, answer.text)
            (run / name).write_bytes(kept)
        assert [one["name"] for one in client.get("/api/runs").json()] == ["run"]
        (run / "metrics.json").write_text(json.dumps({}))
        os.utime(run / "bundle.json", ns=(1, 1))  # as if it were trained anew
        assert client.get("/api/runs").json() == []
