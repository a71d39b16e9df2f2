"""What the browser gets to see of an image: its pixels, never its bytes."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from here import Here
from photos import flowers, jpeg
from PIL import Image

from sharpeye.serve.error_responses import add_error_handlers
from sharpeye.studio import thumbnails
from sharpeye.studio.jobs import Jobs
from sharpeye.studio.models import Models
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return flowers(tmp_path / "pictures", each=1)


@pytest.fixture
def ask(root: Path) -> Iterator[Here]:
    api = FastAPI()
    add_error_handlers(api)
    studio = StudioState(Workspace(root), api, Jobs(), Models())
    thumbnails.add_routes(studio, api)
    yield Here(api)
    studio.close()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_big_image_comes_small_upright_and_with_its_true_size(root: Path, ask: Here) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: its rows are columns
    Image.effect_noise((3000, 2000), 60).convert("RGB").save(root / "big.jpg", exif=exif)
    small = ask.get("/api/thumb", params={"path": "big.jpg", "size": 200})
    assert small.headers["content-type"] == "image/jpeg"
    assert opened(small.content).size == (171, 256)
    screen = ask.get("/api/picture", params={"path": "big.jpg", "most": 900})
    assert opened(screen.content).size == (600, 900)
    assert screen.headers["X-Picture-Size"] == "2000x3000"
    assert not opened(screen.content).getexif()


def test_small_images_are_not_enlarged(ask: Here) -> None:
    answer = ask.get("/api/picture", params={"path": "rose/rose1.jpg"})
    assert opened(answer.content).size == (56, 48)


def test_a_kept_thumbnail_is_used_and_a_changed_image_is_not(
    root: Path, ask: Here, cache: Path
) -> None:
    def kept() -> list[Path]:
        return sorted((cache / "studio" / "thumbs").rglob("*.jpg"))

    ask.get("/api/thumb", params={"path": "rose/rose1.jpg"})
    assert kept() == []  # decoded as quickly as read
    (root / "big.jpg").write_bytes(jpeg(1, side=1200))
    first = ask.get("/api/thumb", params={"path": "big.jpg"}).content
    assert len(kept()) == 1
    marked = jpeg(7)
    kept()[0].write_bytes(marked)
    assert ask.get("/api/thumb", params={"path": "big.jpg"}).content == marked
    (root / "big.jpg").write_bytes(jpeg(2, side=1200))
    os.utime(root / "big.jpg", (1, 1))
    again = ask.get("/api/thumb", params={"path": "big.jpg"}).content
    assert again not in (first, marked) and opened(again).size == (256, 254)


def test_browsers_keep_an_image_as_long_as_its_version_is_asked_for(root: Path, ask: Here) -> None:
    version = thumbnails.version_of(root / "rose" / "rose1.jpg")
    values = {"path": "rose/rose1.jpg", "v": version}
    assert "immutable" in ask.get("/api/thumb", params=values).headers["cache-control"]
    for old in ("1-1", None):
        values = {"path": "rose/rose1.jpg", **({"v": old} if old else {})}
        assert ask.get("/api/thumb", params=values).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["../pictures/rose/rose1.jpg", "/etc/passwd", "rose", "no.jpg", ""]
)
@pytest.mark.parametrize("route", ["/api/thumb", "/api/picture"])
def test_what_is_no_image_of_the_folder_is_an_error_in_one_line(
    ask: Here, route: str, path: str
) -> None:
    answer = ask.get(route, params={"path": path})
    assert answer.status_code == 400
    assert "\n" not in answer.json()["error"]


def test_html_called_jpg_is_never_sent(root: Path, ask: Here) -> None:
    (root / "page.jpg").write_text("<script>alert(1)</script>")
    (root / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    for name in ("page.jpg", "page.svg"):
        for route in ("/api/thumb", "/api/picture"):
            answer = ask.get(route, params={"path": name})
            assert answer.status_code == 400
            assert answer.headers["content-type"] == "application/json"
            assert "not a picture" in answer.json()["error"]


@pytest.mark.parametrize(
    "values", [{"size": "x"}, {"v": "x" * 65}, {"size": "-5"}, {"size": 10**9}]
)
def test_odd_values_are_no_bug(ask: Here, values: dict[str, object]) -> None:
    answer = ask.get("/api/thumb", params={"path": "rose/rose1.jpg", **values})
    assert answer.status_code in (200, 422)
