"""Heat maps on the report: on which cards, for whom, and how large the page gets with them."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from test_report import EVIL, Page, evaluation, photo

from sharpeye.report.run_page import ReportData, render_report

HEAT = np.zeros((75, 150), np.float32)
HEAT[20:50, 100:140] = 1


def report(
    samples: list[object], predictions: list[tuple[str, float]], heats: dict[str, object]
) -> str:
    test = evaluation(samples, predictions)  # type: ignore[arg-type]
    data = ReportData("it", [], test, {"test": test.metrics}, {}, heat_maps=heats)  # type: ignore[arg-type]
    return render_report(data)


def opened(address: str) -> Image.Image:
    kind, _, text = address.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(text)))
    assert kind == f"data:image/{(image.format or '').lower()}"
    return image.convert("RGB")


def test_a_map_lies_over_its_own_image_and_can_be_reached_by_keys(tmp_path: Path) -> None:
    samples = [photo(tmp_path, f"{i}.jpg", "cyan") for i in range(3)]
    predictions = [("magenta", 0.9), ("yellow", 0.8), ("cyan", 0.7)]
    page = Page(report(samples, predictions, {"1.jpg": HEAT, "2.jpg": HEAT}))
    (heat,) = page.all("img", "heat")
    (button,) = page.all("button", "why")
    assert heat["alt"] == "Heat map for “yellow” over 1.jpg"
    assert (button["type"], button["aria-pressed"]) == ("button", "false")
    assert "yellow" in button["aria-label"]
    assert "shows where the evidence is, not why" in page.text
    image = opened(heat["src"])
    assert image.size == (200, 100)
    red, green, blue = image.getpixel((160, 46))
    assert red > 180 and green > 180 and blue < red - 40
    grey = image.getpixel((30, 80))
    assert max(grey) - min(grey) <= 3
    # No pointer, no script: both images are in the page, the plain one first.
    images = page.all("img")
    assert images.index(heat) == images.index(next(i for i in images if i["alt"] == "1.jpg")) + 1


def test_without_maps_nothing_speaks_of_them(tmp_path: Path) -> None:
    page = Page(report([photo(tmp_path, "a.jpg", "cyan")], [("yellow", 0.8)], {}))
    assert page.all("img", "heat") == page.all("button", "why") == []
    assert "Heat map" not in page.text


def test_a_tiny_image_gets_a_smooth_map(tmp_path: Path) -> None:
    sample = photo(tmp_path, "a.jpg", "cyan", (28, 28))
    page = Page(report([sample], [("yellow", 0.8)], {"a.jpg": np.eye(8, dtype=np.float32)}))
    (heat,) = page.all("img", "heat")
    assert opened(heat["src"]).size == (196, 196)


def test_an_image_that_is_gone_has_no_map(tmp_path: Path) -> None:
    sample = photo(tmp_path, "a.jpg", "cyan")
    sample.file.unlink()
    page = Page(report([sample], [("yellow", 0.8)], {"a.jpg": HEAT}))
    assert page.all("img", "heat") == page.all("button", "why") == []


def test_names_are_escaped_in_the_text_of_a_map(tmp_path: Path) -> None:
    html = report([photo(tmp_path, EVIL, "cyan")], [("yellow", 0.8)], {EVIL: HEAT})
    assert "<img src=x" not in html
    assert Page(html).all("img", "heat")[0]["alt"].endswith(EVIL)


def test_a_page_with_all_maps_stays_small(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    samples = []
    for i in range(12):  # pure noise is the worst that JPEG can get
        sample = photo(tmp_path, f"{i}.jpg", "cyan")
        noise = random.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((400, 400)).save(sample.file)
        samples.append(sample)
    predictions, heat = [("yellow", 0.8)] * 12, random.random((200, 200), dtype=np.float32)
    plain = len(report(samples, predictions, {}))
    full = len(report(samples, predictions, {f"{i}.jpg": heat for i in range(12)}))
    assert 12 * 4_000 < full - plain < 12 * 40_000
