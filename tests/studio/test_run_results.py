"""The data of the pages Understand and Try for a finished run."""

import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from app_client import AppClient, studio_client
from PIL import Image

import sharpeye
from sharpeye.runs.run_directory import Run

RUN = {"run": "run"}


@pytest.fixture
def client(trained: Path) -> Iterator[AppClient]:
    with studio_client(trained.parent / "hard", trained.parent) as client:
        yield client


def test_runs_are_listed_with_their_numbers(client: AppClient, trained: Path) -> None:
    (run,) = client.get("/api/runs").json()
    test = Run(trained).metrics["test"]
    assert (run["name"], run["state"], run["task"]) == ("run", "done", "classify")
    assert (run["accuracy"], run["count"]) == (test["accuracy"], test["count"])
    assert [run["low"], run["high"]] == test["accuracy_ci95"]


def test_the_confusion_matrix_and_its_images(client: AppClient, trained: Path) -> None:
    results = client.get("/api/understand", params=RUN).json()
    predictions = Run(trained).table("predictions.csv")
    assert results["own"] is True
    assert results["count"] == len(predictions)
    assert results["mistakes"] == len(Run(trained).table("misclassified.csv"))
    for row in results["rows"]:
        for predicted, cell in zip(results["columns"], row["cells"], strict=True):
            matching = [
                a for a in predictions if (a["label"], a["predicted"]) == (row["label"], predicted)
            ]
            assert (cell["count"] if cell else 0) == len(matching)
            query = RUN | {"label": row["label"], "predicted": predicted}
            shown = client.get("/api/understand/pictures", params=query).json()
            assert shown["total"] == len(matching)
            assert {image["path"] for image in shown["pictures"]} == {a["path"] for a in matching}
            assert all(image["there"] for image in shown["pictures"])
    wrong = client.get("/api/understand/pictures", params=RUN | {"wrong": True}).json()
    scores = [image["score"] for image in wrong["pictures"]]
    assert len(scores) == results["mistakes"] > 0
    assert scores == sorted(scores, reverse=True)
    rest = client.get("/api/understand/pictures", params=RUN | {"wrong": True, "offset": 1}).json()
    assert rest["pictures"] == wrong["pictures"][1:]


def test_the_calibration_diagram_is_that_of_the_scores(client: AppClient, trained: Path) -> None:
    calibration = client.get("/api/understand", params=RUN).json()["calibration"]
    test = Run(trained).metrics["test"]
    assert sum(b["count"] for b in calibration["bins"]) == test["count"]
    ece = sum(b["count"] * abs(b["confidence"] - b["accuracy"]) for b in calibration["bins"])
    assert ece / test["count"] == pytest.approx(test["ece"], abs=1e-4)
    assert calibration["chart"].startswith("<svg")


def test_heat_maps(client: AppClient) -> None:
    query = RUN | {"path": "ash/ash0.png"}
    heat_map = client.get("/api/heat", params=query)
    assert heat_map.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(heat_map.content)) as image:
        assert image.size == (56, 48)
    birch = client.get("/api/heat", params=query | {"label": "birch"})
    assert birch.content != heat_map.content
    wrong = client.get("/api/heat", params=query | {"label": "oak"})
    assert wrong.status_code == 400
    assert "oak" in wrong.json()["error"]


def test_predictions_are_those_of_the_model(client: AppClient, trained: Path) -> None:
    image = trained.parent / "hard" / "cedar" / "cedar3.png"
    expected = sharpeye.load(trained).predict(image)
    sent = client.post("/api/try", params=RUN, content=image.read_bytes()).json()
    named = client.post("/api/try", params=RUN | {"path": "cedar/cedar3.png"}).json()
    for prediction in (sent, named):
        assert prediction["label"] == expected.label
        assert prediction["score"] == pytest.approx(expected.score, abs=1e-6)
        assert [top["label"] for top in prediction["top"]] == [label for label, _ in expected.top]
        assert prediction["unknown"] is expected.unknown
        assert prediction["picture"].startswith("data:image/jpeg;base64,")
    heat = client.post("/api/try/heat", params=RUN, content=image.read_bytes()).json()
    assert heat["picture"].startswith("data:image/jpeg;base64,")
    assert heat["picture"] != sent["picture"]


def test_an_unfamiliar_image_is_called_unknown(client: AppClient) -> None:
    pixels = np.zeros((48, 56, 3), np.uint8)
    pixels[::2, :, 0] = pixels[:, ::2, 2] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    prediction = client.post("/api/try", params=RUN, content=out.getvalue()).json()
    assert prediction["unknown"] is True
    assert prediction["sentence"].startswith("Unknown: ")


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
def test_an_invalid_request_is_an_error_in_one_line(
    client: AppClient, method: str, address: str, content: bytes
) -> None:
    headers = {"content-type": "application/json"} if content[:1] in (b"{", b"[") else {}
    response = client.request(method, address, content=content, headers=headers)
    assert response.status_code == 400, response.text
    assert len(response.json()["error"].splitlines()) == 1


def test_a_report_is_shown_in_a_sandbox(client: AppClient, trained: Path) -> None:
    response = client.get("/run/run/report.html")
    assert response.text == (trained / "report.html").read_text()
    policy = response.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    model = client.get("/run/run/model.onnx")
    assert model.headers["content-disposition"].startswith("attachment")
    assert model.content == (trained / "model.onnx").read_bytes()


def test_damaged_runs_are_no_bug(trained: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "run"
    shutil.copytree(trained, run)
    with studio_client(tmp_path / "photos", tmp_path / "runs") as client:
        assert client.get("/api/understand", params=RUN).json()["own"] is False
        for name, text in (
            ("predictions.csv", "path,label\nx,y\n"),
            ("metrics.json", "[]"),
            ("config.toml", "# nothing\n= ["),
        ):
            content = (run / name).read_bytes()
            (run / name).write_text(text)
            response = client.get("/api/understand", params=RUN)
            assert response.status_code == 400, (name, response.text)
            (run / name).write_bytes(content)
        assert [listed["name"] for listed in client.get("/api/runs").json()] == ["run"]
        (run / "metrics.json").write_text(json.dumps({}))
        os.utime(run / "bundle.json", ns=(1, 1))  # as if it were trained anew
        (listed,) = client.get("/api/runs").json()
        assert (listed["name"], listed["state"], listed["accuracy"]) == ("run", "unreadable", None)


HOSTILE_FILES = {
    "config.toml": (
        ".".join(["a"] * 50_000) + " = 1",
        "a = " + "[" * 100_000,
        "seed = " + "1" * 10_000,
        "task = 1\nmodel = 2\ndata = 3",
        "# format: " + "9" * 5000,
        "\xff\xfe",
    ),
    "metrics.json": (
        "[" * 100_000,
        '{"test": {"accuracy": ' + "1" * 5000 + "}}",
        '{"test": {"accuracy": "<b>", "accuracy_ci95": ["a", {}], "count": []}}',
        '{"test": {"accuracy": 1e999, "accuracy_ci95": [0, 1], "count": 1}}',
        '{"test": {"accuracy": 0.5, "accuracy_ci95": [0, 1], "count": 1e999}}',
        "null",
    ),
}


def test_a_run_of_others_breaks_no_page(trained: Path, tmp_path: Path) -> None:
    """Each damaged run is listed as such; the others stay as they are."""
    runs, count = tmp_path / "runs", 0
    shutil.copytree(trained, runs / "good")
    for file, contents in HOSTILE_FILES.items():
        for content in contents:
            count += 1
            folder = shutil.copytree(trained, runs / f"bad-{count}")
            (folder / file).write_bytes(content.encode("latin-1"))
    for number in (1, 2, 3):  # stopped runs
        shutil.copytree(runs / f"bad-{number}", runs / f"stopped-{number}")
        (runs / f"stopped-{number}" / "bundle.json").unlink()
    os.utime(runs / "bad-1" / "config.toml", (2**36, 2**36))
    with studio_client(trained.parent / "hard", runs) as client:
        listed = {run["name"]: run["state"] for run in client.get("/api/runs").json()}
        expected = dict.fromkeys([f"bad-{n + 1}" for n in range(count)], "unreadable")
        expected |= {f"stopped-{n}": "unreadable" for n in (1, 2, 3)}
        assert listed == {"good": "done", **expected}
        page = client.get("/")
        assert page.status_code == 200 and page.text.count("cannot be read") == count + 3
        for path in ("/api/train", "/label", "/understand", "/try", "/train"):
            assert client.get(path).status_code == 200
        for name in expected:
            response = client.get("/api/understand", params={"run": name})
            assert response.status_code == 400 and "\n" not in response.json()["error"]
