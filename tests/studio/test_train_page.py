"""What the page Train asks for: the quick check, a training, its end, what is refused."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from offline import asking
from PIL import Image

from localizer import scenes
from runner import hard_photos, share_backbones
from sharpeye.core.inference import Backbone
from sharpeye.studio.state import StudioState

SMALL = {"model.image_size": 64}


@pytest.fixture
def place(
    tmp_path: Path, cache: Path, session_cache: Path, backbone: Backbone
) -> Iterator[tuple[Any, StudioState]]:
    share_backbones(session_cache, cache)
    with asking(hard_photos(tmp_path / "hard"), tmp_path / "runs") as opened:
        yield opened


def look(client: Any) -> list[dict[str, str]]:
    for _ in range(600):
        found = client.post("/api/train/look").json()
        if found["state"] != "running":
            assert found["state"] == "done", found
            lines: list[dict[str, str]] = found["lines"]
            return lines
        time.sleep(0.1)
    raise AssertionError("the quick check takes too long")


def test_train_from_the_page(place: tuple[Any, StudioState]) -> None:
    client, studio = place
    state = client.get("/api/train").json()
    assert state["job"] is None
    assert state["data"]["pictures"] == 36
    begun = client.post("/api/train", json={"way": "quick", "knobs": SMALL, "name": "mine"}).json()
    assert begun["run"] == "mine"
    assert begun["command"].startswith("sharpeye train ")
    again = client.post("/api/train", json={"knobs": SMALL})
    assert again.status_code == 409
    assert "mine" in again.json()["error"]
    assert studio.jobs.wait("train", 120)
    job = client.get("/api/train").json()["job"]
    assert (job["run"], job["state"], job["error"]) == ("mine", "done", None)
    assert job["headline"]["verdict"].startswith("Right on ")
    assert job["headline"]["report"] is True
    # Another tab, or a reload, sees the same.
    assert client.get("/api/train/job").json()["job"] == job
    (run,) = client.get("/api/runs").json()
    assert (run["name"], run["accuracy"]) == ("mine", job["headline"]["accuracy"])


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"knobs": {"train.epohcs": 3}}, "Did you mean train.epochs?"),
        ({"knobs": {"seed": "x"}}, "seed must be a whole number"),
        ({"knobs": {"split.test": 0.95}}, "split.test"),
        ({"knobs": {"model.name": "resnet50"}}, "unknown model resnet50"),
        ({"way": "scratch", "knobs": {"finetune.epochs": 3}}, "--fine-tune"),
        ({"way": "lucky"}, "way must be quick or careful or scratch. Received: lucky"),
        ({"name": "../up"}, "plain characters"),
        (3, "a training has"),
    ],
)
def test_what_does_not_go_is_said_before_it_starts(
    place: tuple[Any, StudioState], wish: Any, words: str
) -> None:
    client, studio = place
    answer = client.post("/api/train", json=wish)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert studio.jobs.told("train") is None


def test_an_error_of_the_training_is_its_one_line(place: tuple[Any, StudioState]) -> None:
    client, studio = place
    for file in list((studio.workspace.root / "cedar").iterdir())[2:]:
        file.unlink()
    client.post("/api/train", json={"knobs": SMALL})
    assert studio.jobs.wait("train", 60)
    job = client.get("/api/train").json()["job"]
    assert job["state"] == "failed"
    assert "cedar" in job["error"]
    assert len(job["error"].splitlines()) == 1
    assert not job["resumable"]


def test_nothing_to_train_on_and_nothing_to_go_on_with(tmp_path: Path) -> None:
    with asking(tmp_path / "empty", tmp_path / "runs") as (client, _):
        assert client.post("/api/train/look").json() == {"state": "done", "lines": []}
        answer = client.post("/api/train", json={})
        assert answer.status_code == 400
        assert "there are no pictures" in answer.json()["error"]
        assert client.post("/api/train/stop").json() == {"job": None}
        for name in ("gone", "..", ""):
            answer = client.post("/api/train/resume", json={"run": name})
            assert answer.status_code == 400


def test_the_quick_check_in_three_lines(place: tuple[Any, StudioState]) -> None:
    client, studio = place
    size, copies, obstacles = look(client)
    assert size["text"].replace("\u00a0", " ") == "36 pictures in 3 classes, 12 each."
    assert copies == {"kind": "good", "text": "No copies within a class."}
    assert obstacles == {"kind": "good", "text": "Nothing stands in the way."}
    root = studio.workspace.root
    (root / "ash" / "copy.png").write_bytes((root / "ash" / "ash1.png").read_bytes())
    (root / "ash" / "text.jpg").write_text("no picture")
    (root / "dogwood").mkdir()
    Image.effect_noise((64, 64), 60).save(root / "dogwood" / "one.png")
    size, copies, obstacles = look(client)  # the folder has changed: it looks again
    assert "1 to 13 each" in size["text"]
    assert copies["kind"] == obstacles["kind"] == "note"
    assert "1\u00a0file that cannot be read, such as ash/text.jpg" in obstacles["text"]
    assert "dogwood" in obstacles["text"]


def test_boxes_are_noticed(tmp_path: Path) -> None:
    with asking(scenes(tmp_path / "scenes", 4), tmp_path / "runs") as (client, _):
        data = client.get("/api/train").json()["data"]
        assert (data["pictures"], data["annotated"], data["classes"]) == (12, 12, [])
        assert "12\u00a0pictures in 3\u00a0classes" in look(client)[0]["text"]
