"""The data of the page Train: the quick check, a training, its end, what is refused."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from app_client import AppClient, studio_client
from PIL import Image

from localizer import scenes
from runner import hard_photos, share_backbones
from sharpeye.core.inference import Backbone

SMALL = {"model.image_size": 64}


@pytest.fixture
def client(
    tmp_path: Path, cache: Path, session_cache: Path, backbone: Backbone
) -> Iterator[AppClient]:
    share_backbones(session_cache, cache)
    with studio_client(hard_photos(tmp_path / "hard"), tmp_path / "runs") as client:
        yield client


def quick_check(client: AppClient) -> list[dict[str, str]]:
    for _ in range(600):
        result = client.post("/api/train/look").json()
        if result["state"] != "running":
            assert result["state"] == "done", result
            lines: list[dict[str, str]] = result["lines"]
            return lines
        time.sleep(0.1)
    raise AssertionError("the quick check takes too long")


def wait_for_end(client: AppClient, seconds: float) -> None:
    end = time.monotonic() + seconds
    while client.studio.jobs.running_subject("train") is not None:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_train_from_the_page(client: AppClient) -> None:
    state = client.get("/api/train").json()
    assert state["job"] is None
    assert state["data"]["pictures"] == 36
    begun = client.post("/api/train", json={"way": "quick", "knobs": SMALL, "name": "mine"}).json()
    assert begun["run"] == "mine"
    assert begun["command"].startswith("sharpeye train ")
    again = client.post("/api/train", json={"knobs": SMALL})
    assert again.status_code == 409
    assert "mine" in again.json()["error"]
    wait_for_end(client, 120)
    job = client.get("/api/train").json()["job"]
    assert (job["run"], job["state"], job["error"]) == ("mine", "done", None)
    assert job["headline"]["verdict"].startswith("Right on ")
    assert job["headline"]["report"] is True
    # Another tab, or a reload, sees the same.
    assert client.get("/api/train/job").json()["job"] == job
    (run,) = client.get("/api/runs").json()
    assert (run["name"], run["accuracy"]) == ("mine", job["headline"]["accuracy"])


@pytest.mark.parametrize(
    ("request_body", "words"),
    [
        ({"knobs": {"train.epohcs": 3}}, "Did you mean train.epochs?"),
        ({"knobs": {"seed": "x"}}, "seed must be a whole number"),
        ({"knobs": {"split.test": 0.95}}, "split.test"),
        ({"knobs": {"model.name": "resnet101"}}, "unknown model resnet101"),
        ({"way": "scratch", "knobs": {"finetune.epochs": 3}}, "--fine-tune"),
        ({"way": "lucky"}, "way must be quick or careful or scratch. Received: lucky"),
        ({"name": "../up"}, "plain characters"),
        (3, "a training has"),
    ],
)
def test_an_invalid_request_is_an_error_before_anything_starts(
    client: AppClient, request_body: Any, words: str
) -> None:
    response = client.post("/api/train", json=request_body)
    assert response.status_code == 400
    assert words in response.json()["error"]
    assert client.studio.jobs.status("train") is None


def test_an_error_of_the_training_is_its_one_line(client: AppClient) -> None:
    for file in list((client.studio.workspace.root / "cedar").iterdir())[2:]:
        file.unlink()
    client.post("/api/train", json={"knobs": SMALL})
    wait_for_end(client, 60)
    job = client.get("/api/train").json()["job"]
    assert job["state"] == "failed"
    assert "cedar" in job["error"]
    assert len(job["error"].splitlines()) == 1
    assert not job["resumable"]


def test_nothing_to_train_on_and_nothing_to_go_on_with(tmp_path: Path) -> None:
    with studio_client(tmp_path / "empty", tmp_path / "runs") as client:
        assert client.post("/api/train/look").json() == {"state": "done", "lines": []}
        response = client.post("/api/train", json={})
        assert response.status_code == 400
        assert "there are no pictures" in response.json()["error"]
        assert client.post("/api/train/stop").json() == {"job": None}
        for name in ("gone", "..", ""):
            response = client.post("/api/train/resume", json={"run": name})
            assert response.status_code == 400


@pytest.mark.slow
def test_the_quick_check_in_three_lines(client: AppClient) -> None:
    size, copies, obstacles = quick_check(client)
    assert size["text"].replace("\u00a0", " ") == "36 pictures in 3 classes, 12 each."
    assert copies == {"kind": "good", "text": "No copies within a class."}
    assert obstacles == {"kind": "good", "text": "Nothing stands in the way."}
    root = client.studio.workspace.root
    (root / "ash" / "copy.png").write_bytes((root / "ash" / "ash1.png").read_bytes())
    (root / "ash" / "text.jpg").write_text("no picture")
    (root / "dogwood").mkdir()
    Image.effect_noise((64, 64), 60).save(root / "dogwood" / "one.png")
    size, copies, obstacles = quick_check(client)  # the folder has changed: it looks again
    assert "1 to 13 each" in size["text"]
    assert copies["kind"] == obstacles["kind"] == "note"
    assert "1\u00a0file that cannot be read, such as ash/text.jpg" in obstacles["text"]
    assert "dogwood" in obstacles["text"]


def test_boxes_are_noticed(tmp_path: Path) -> None:
    with studio_client(scenes(tmp_path / "scenes", 4), tmp_path / "runs") as client:
        data = client.get("/api/train").json()["data"]
        assert (data["pictures"], data["annotated"], data["classes"]) == (12, 12, [])
        assert "12\u00a0pictures in 3\u00a0classes" in quick_check(client)[0]["text"]
