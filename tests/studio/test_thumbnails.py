"""The browser gets the pixels of an image, never the bytes of its file."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from app_client import AppClient, studio_client
from photos import flowers, jpeg
from PIL import Image

from sharpeye.studio.thumbnails import file_version


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return flowers(tmp_path / "pictures", per_class=1)


@pytest.fixture
def client(root: Path) -> Iterator[AppClient]:
    with studio_client(root) as client:
        yield client


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_big_image_is_scaled_upright_with_its_true_size(root: Path, client: AppClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: its rows are columns
    Image.effect_noise((3000, 2000), 60).convert("RGB").save(root / "big.jpg", exif=exif)
    small = client.get("/api/thumb", params={"path": "big.jpg", "size": 200})
    assert small.headers["content-type"] == "image/jpeg"
    assert opened(small.content).size == (171, 256)
    screen = client.get("/api/picture", params={"path": "big.jpg", "most": 900})
    assert opened(screen.content).size == (600, 900)
    assert screen.headers["X-Picture-Size"] == "2000x3000"
    assert not opened(screen.content).getexif()


def test_small_images_are_not_enlarged(client: AppClient) -> None:
    response = client.get("/api/picture", params={"path": "rose/rose1.jpg"})
    assert opened(response.content).size == (56, 48)


def test_a_cached_thumbnail_is_used_until_the_image_changes(
    root: Path, client: AppClient, cache: Path
) -> None:
    def cached() -> list[Path]:
        return sorted((cache / "studio" / "thumbs").rglob("*.jpg"))

    client.get("/api/thumb", params={"path": "rose/rose1.jpg"})
    assert cached() == []  # decoded as quickly as read
    (root / "big.jpg").write_bytes(jpeg(1, side=1200))
    first = client.get("/api/thumb", params={"path": "big.jpg"}).content
    assert len(cached()) == 1
    marked = jpeg(7)
    cached()[0].write_bytes(marked)
    assert client.get("/api/thumb", params={"path": "big.jpg"}).content == marked
    (root / "big.jpg").write_bytes(jpeg(2, side=1200))
    os.utime(root / "big.jpg", (1, 1))
    again = client.get("/api/thumb", params={"path": "big.jpg"}).content
    assert again not in (first, marked) and opened(again).size == (256, 254)


def test_browsers_cache_an_image_of_the_requested_version(root: Path, client: AppClient) -> None:
    version = file_version(root / "rose" / "rose1.jpg")
    values = {"path": "rose/rose1.jpg", "v": version}
    assert "immutable" in client.get("/api/thumb", params=values).headers["cache-control"]
    for old in ("1-1", None):
        values = {"path": "rose/rose1.jpg", **({"v": old} if old else {})}
        assert client.get("/api/thumb", params=values).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["../pictures/rose/rose1.jpg", "/etc/passwd", "rose", "no.jpg", ""]
)
@pytest.mark.parametrize("route", ["/api/thumb", "/api/picture"])
def test_what_is_no_image_of_the_folder_is_an_error_in_one_line(
    client: AppClient, route: str, path: str
) -> None:
    response = client.get(route, params={"path": path})
    assert response.status_code == 400
    assert "\n" not in response.json()["error"]


def test_html_called_jpg_is_never_sent(root: Path, client: AppClient) -> None:
    (root / "page.jpg").write_text("<script>alert(1)</script>")
    (root / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
    for name in ("page.jpg", "page.svg"):
        for route in ("/api/thumb", "/api/picture"):
            response = client.get(route, params={"path": name})
            assert response.status_code == 400
            assert response.headers["content-type"] == "application/json"
            assert "not an image" in response.json()["error"]


@pytest.mark.parametrize(
    "values", [{"size": "x"}, {"v": "x" * 65}, {"size": "-5"}, {"size": 10**9}]
)
def test_unusual_values_are_no_bug(client: AppClient, values: dict[str, object]) -> None:
    response = client.get("/api/thumb", params={"path": "rose/rose1.jpg", **values})
    assert response.status_code in (200, 422)
