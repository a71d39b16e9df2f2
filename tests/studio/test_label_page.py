"""The label page in a real browser: by mouse, by keyboard, with the server killed, in two tabs."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from localizer import COLOURS, scene, write_localizer
from sharpeye.data.pascal_voc import scan_voc
from sharpeye.runs.run_directory import Run
from studios import Studio, StudioProcess

Edges = tuple[int, int, int, int]
SIZE = (320, 240)
# A finished run that finds boxes.
LOCALIZER = Path(__file__).parents[1] / "compatibility" / "0.1.0" / "run_localizer"


def make_images(folder: Path, count: int, size: tuple[int, int] = SIZE) -> dict[str, Edges]:
    """Images with one bright rectangle each; its edges, by the image's name."""
    random, rectangles = np.random.default_rng(count), {}
    for number in range(count):
        low = random.integers(10, np.array(size) // 2)
        high = low + random.integers(25, np.minimum(110, np.array(size) - low - 5))
        edges = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        scene(folder / f"{number}.png", list(COLOURS)[number % 3], size, edges)
        rectangles[f"{number}"] = edges
    return rectangles


def read_voc(folder: Path, name: str) -> list[tuple[str, Edges]]:
    """Class and edges, from 0, as another reader of Pascal VOC sees them, by the kit's rules."""
    root = ET.parse(folder / f"{name}.xml").getroot()
    assert root.tag == "annotation"
    objects = []
    for item in root.iter("object"):
        box = item.find("bndbox")
        assert box is not None
        xmin, ymin, xmax, ymax = (
            int(box.findtext(tag) or "") for tag in ("xmin", "ymin", "xmax", "ymax")
        )
        objects.append((item.findtext("name") or "", (xmin - 1, ymin - 1, xmax, ymax)))
    return objects


def is_near(edges: Edges, expected: Edges, tolerance: int = 2) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(edges, expected, strict=True))


def contrast(tab: Any, selector: str) -> float:
    """Of a text on the page's background, by WCAG 2."""
    colours = tab.evaluate(
        "selector => [document.querySelector(selector), document.body].map(getComputedStyle)"
        ".map((style, number) => number ? style.backgroundColor : style.color)",
        selector,
    )
    light = []
    for colour in colours:
        shares = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in shares]
        light.append(float(np.dot((0.2126, 0.7152, 0.0722), linear)) + 0.05)
    return max(light) / min(light)


class LabelPage:
    """The label page, used as a person would."""

    def __init__(self, tab: Any, studio: Studio, query: str = "") -> None:
        self.tab, self.studio = tab, studio
        tab.goto(f"{studio.url}/label{query}")
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        self.tab.wait_for_selector("html[data-ready]")
        self.wait_for_image()

    def wait_for_image(self) -> None:
        self.tab.wait_for_selector("#stage:not(.loading) img")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def at(self, x: float, y: float, size: tuple[int, int] = SIZE) -> tuple[float, float]:
        """The position of a pixel of the image on the screen."""
        area = self.tab.evaluate(
            "() => { const r = document.querySelector('#stage img').getBoundingClientRect();"
            " return [r.left, r.top, r.width, r.height]; }"
        )
        return area[0] + x * area[2] / size[0], area[1] + y * area[3] / size[1]

    def drag(self, start: tuple[float, float], end: tuple[float, float], **more: Any) -> None:
        """Drag from one pixel of the image to another."""
        mouse = self.tab.mouse
        mouse.move(*self.at(*start, **more))
        mouse.down()
        mouse.move(*self.at(*(np.add(start, end) / 2), **more))
        mouse.move(*self.at(*end, **more))
        mouse.up()

    def draw(self, edges: Edges, **more: Any) -> None:
        self.drag(edges[:2], edges[2:], **more)

    def wait_for_status(self, text: str = "Saved") -> None:
        self.tab.wait_for_function(
            "text => document.getElementById('saved').textContent.startsWith(text)", arg=text
        )

    def wait_saved(self) -> None:
        """Wait until all changes are on disk."""
        # A dialog's end changes a box in a later task of the page.
        self.tab.evaluate("() => new Promise((done) => setTimeout(done, 20))")
        self.wait_for_status()

    def add_class(self, *names: str) -> None:
        for name in names:
            self.press("c")
            self.tab.keyboard.type(name)
            self.press("Enter")
            self.tab.wait_for_selector(f"#classes .name:text-is({name!r})")

    def text(self, selector: str) -> str:
        return str(self.tab.inner_text(selector))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "photos"


def test_draw_move_resize_name_and_undo(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    make_images(photos, 2)
    label = LabelPage(page, studio_at(photos))
    assert label.text("#progress-text") == "labelled 0 of 2"
    label.draw((40, 30, 140, 120))
    page.fill("#first-class-name", "cat")  # the first box asks for the first class
    page.click("text=Add the class")
    label.wait_saved()
    assert label.text("#progress-text") == "labelled 1 of 2"
    ((name, edges),) = read_voc(photos, "0")
    assert name == "cat" and is_near(edges, (40, 30, 140, 120), 1)
    label.drag((90, 75), (110, 95))  # the inside moves it
    label.drag((160, 140), (200, 160))  # the lower right handle resizes it
    label.drag((60, 105), (50, 105))  # the left one
    label.wait_saved()
    assert is_near(read_voc(photos, "0")[0][1], (50, 50, 200, 160))
    label.press("Escape")
    label.draw((70, 70, 120, 120))  # a box in a box
    label.add_class("dog")  # names the selected one
    label.press("t", "x", "v")
    label.wait_saved()
    assert [name for name, _ in read_voc(photos, "0")] == ["cat", "dog"]
    xml = (photos / "0.xml").read_text()
    assert (xml.count("<truncated>1"), xml.count("<difficult>1")) == (1, 1)
    assert '<annotation verified="yes">' in xml
    label.press("1")
    label.wait_saved()
    assert [name for name, _ in read_voc(photos, "0")] == ["cat", "cat"]
    label.press("Delete")
    label.wait_saved()
    assert len(read_voc(photos, "0")) == 1
    label.press(*["Control+z"] * 6)  # deleted, named, verified, difficult, truncated, named
    label.wait_saved()
    assert [name for name, _ in read_voc(photos, "0")] == ["cat", "cat"]
    label.press(*["Control+z"] * 9)
    label.wait_saved()
    assert read_voc(photos, "0") == []
    label.press("Control+y")
    label.wait_saved()
    assert is_near(read_voc(photos, "0")[0][1], (40, 30, 140, 120), 1)
    label.press("d")
    label.wait_for_image()
    assert label.text("#name") == "1.png"
    assert not (photos / "1.xml").exists()


def test_everything_without_a_mouse(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    make_images(photos, 2)
    label = LabelPage(page, studio_at(photos))
    page.focus("#stage")
    label.add_class("cat", "dog")
    label.press("2", "n")
    first = (107, 80, 213, 160)  # a third of the image
    label.wait_saved()
    ((name, edges),) = read_voc(photos, "0")
    assert name == "dog" and is_near(edges, first)
    label.press(*["ArrowRight"] * 3, *["ArrowUp"] * 2, *["Control+ArrowLeft"] * 2)
    label.press(*["Shift+ArrowRight"] * 4, "Shift+ArrowUp")
    label.wait_saved()
    moved = np.add(edges, (-17, -2, -13, -3))
    assert read_voc(photos, "0")[0][1] == tuple(map(int, moved))
    label.press("w", "Delete", ".", "1", "v", "Escape", "ArrowRight")
    label.wait_for_image()
    label.wait_saved()
    assert label.text("#name") == "1.png"
    assert [name for name, _ in read_voc(photos, "0")] == ["cat"]
    label.press("ArrowLeft")
    label.wait_for_image()
    assert label.text("#objects .name") == "cat"
    label.press("?")
    assert page.is_visible("#help")
    label.press("Escape")
    # Every control can be reached by Tab, and can be seen when it is.
    reached = set()
    page.focus(".skip")
    for _ in range(60):
        label.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id"))
    assert {"stage", "previous", "next", "filter", "verified", "class-name", "model"} <= reached


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [1, 2])
def test_twenty_images_by_mouse_and_keys(
    photos: Path, chromium: Any, studio_at: Callable[..., Studio], ratio: int
) -> None:
    rectangles = make_images(photos, 20)
    context = chromium.new_context(
        viewport={"width": 1000, "height": 760}, device_scale_factor=ratio
    )
    label = LabelPage(context.new_page(), studio_at(photos))
    label.tab.focus("#stage")
    label.add_class(*COLOURS)
    for number, edges in enumerate(rectangles.values()):
        if number % 4 == 3:  # zoomed, and moved with the space bar
            label.tab.mouse.move(*label.at(*(np.add(edges[:2], edges[2:]) / 2)))
            label.tab.mouse.wheel(0, -200)
            label.tab.keyboard.down(" ")
            label.drag((160, 120), (165, 123))
            label.tab.keyboard.up(" ")
        label.press(str(number % 3 + 1))
        label.draw(edges)
        label.tab.wait_for_selector("#objects button")
        label.press("d")
        if number < 19:
            label.tab.wait_for_function(
                f"() => document.getElementById('name').textContent === '{number + 1}.png'"
            )
            label.wait_for_image()
    label.wait_saved()
    assert label.text("#progress-text") == "labelled 20 of 20"
    for number, (name, edges) in enumerate(rectangles.items()):
        ((label_name, box),) = read_voc(photos, name)
        assert label_name == list(COLOURS)[number % 3]
        assert is_near(box, edges), (name, box, edges)
    assert len(scan_voc(photos)) == 20  # the localizer can be trained on them
    context.close()


@pytest.mark.slow
def test_a_killed_server_costs_at_most_the_box_being_drawn(
    photos: Path, page: Any, studio_process_at: Callable[..., StudioProcess]
) -> None:
    make_images(photos, 4)
    first = studio_process_at(photos)
    port = first.url.rpartition(":")[2]
    label = LabelPage(page, first)
    page.focus("#stage")
    label.add_class("cat")
    drawn: list[Edges] = [(20, 20, 90, 90), (100, 30, 180, 100), (30, 120, 100, 200)]
    label.draw(drawn[0])
    label.wait_saved()
    page.mouse.move(*label.at(100, 30))
    page.mouse.down()
    page.mouse.move(*label.at(140, 60))
    first.stop(signal.SIGKILL)
    page.mouse.move(*label.at(180, 100))
    page.mouse.up()
    label.press("Escape")
    label.wait_for_status("Not saved yet")
    label.draw(drawn[2])
    label.press("Escape", "d")  # the next image was loaded before
    label.wait_for_image()
    label.draw((50, 60, 150, 160))
    label.wait_for_status("Not saved yet: the studio does not answer. 2 pictures kept here")
    assert len(read_voc(photos, "0")) == 1
    second = studio_process_at(photos, "--port", port)
    label.wait_for_status()
    saved = [edges for _, edges in read_voc(photos, "0")]
    assert all(map(is_near, saved, drawn)), saved
    assert len(saved) == 3
    assert len(read_voc(photos, "1")) == 1
    # Now the page is closed, too, before the server comes back.
    second.stop(signal.SIGKILL)
    label.press("Escape")
    label.draw((200, 60, 300, 160))
    label.wait_for_status("Not saved yet")
    page.close(run_before_unload=False)
    third = studio_process_at(photos, "--port", port)
    again = LabelPage(page.context.new_page(), third)
    again.wait_for_status()
    assert len(read_voc(photos, "1")) == 2


@pytest.mark.slow
def test_two_tabs(photos: Path, chromium: Any, studio_at: Callable[..., Studio]) -> None:
    make_images(photos, 1)
    scene(photos / "0.png", "red", SIZE, (50, 50, 120, 120), xml=True)
    studio = studio_at(photos)
    # Two profiles: they share nothing but the server.
    profiles = [chromium.new_context(viewport={"width": 1000, "height": 760}) for _ in range(2)]
    first, second = (LabelPage(profile.new_page(), studio, "?path=0.png") for profile in profiles)
    first.draw((10, 10, 40, 40))
    first.wait_saved()
    second.draw((200, 150, 260, 200))  # drawn on what it saw before
    second.wait_saved()
    assert len(read_voc(photos, "0")) == 3
    second.tab.wait_for_function("() => document.querySelectorAll('#objects li').length === 3")
    # Both move the same box.
    first.tab.reload()
    first.wait_until_ready()
    for tab, key in ((first, "Control+ArrowRight"), (second, "Control+ArrowDown")):
        tab.press("Escape", ".", key)
        tab.tab.wait_for_timeout(400)
    second.tab.wait_for_selector("#conflict[open]")
    assert "Not saved yet" in second.text("#saved")
    before = read_voc(photos, "0")
    assert before[0][1] == (60, 50, 130, 120)
    second.tab.click("#take-both")
    second.wait_saved()
    assert {(60, 50, 130, 120), (50, 60, 120, 130)} <= {edges for _, edges in read_voc(photos, "0")}
    second.press("Control+z")  # what the other tab had
    second.wait_saved()
    assert read_voc(photos, "0") == before
    for profile in profiles:
        profile.close()


@pytest.mark.slow
def test_twenty_suggestions_by_one_key(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    make_images(photos, 20)
    studio = studio_at(photos, suggest=LOCALIZER)
    label = LabelPage(page, studio)
    page.focus("#stage")
    for number in range(20):
        page.wait_for_function(
            f"() => document.getElementById('name').textContent === '{number}.png'"
        )
        page.wait_for_selector("#accept:not(:disabled)")
        assert page.query_selector("#boxes .suggested") is not None
        label.press("Enter" if number % 2 else "y")
    label.wait_saved()
    assert label.text("#progress-text") == "labelled 20 of 20"
    for number in range(20):
        ((name, edges),) = read_voc(photos, str(number))
        assert name in Run(LOCALIZER).labels
        assert 0 <= edges[0] < edges[2] <= SIZE[0] and 0 <= edges[1] < edges[3] <= SIZE[1]


def test_suggestions_are_dashed_until_accepted(
    photos: Path, page: Any, studio_at: Callable[..., Studio], tmp_path: Path
) -> None:
    rectangles = make_images(photos, 3)
    model = write_localizer(tmp_path / "model" / "model.onnx")
    label = LabelPage(page, studio_at(photos, suggest=model))
    for number in range(3):
        page.wait_for_selector("#accept:not(:disabled)")
        page.wait_for_selector("#boxes .suggested")
        label.press("Enter")
        if number < 2:
            page.wait_for_function(
                f"() => document.getElementById('name').textContent === '{number + 1}.png'"
            )
    label.wait_saved()
    for name, edges in rectangles.items():
        assert is_near(read_voc(photos, name)[0][1], edges, 12)  # it sees 32 x 32 pixels
    page.select_option("#model", "")
    assert page.query_selector("#boxes .suggested") is None


def test_names_with_html_are_text(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    evil = "<img src=x onerror=document.title=1>"
    scene(photos / f"{evil}.png", "red", SIZE, (50, 50, 120, 120))
    label = LabelPage(page, studio_at(photos))
    assert label.text("#name") == f"{evil}.png"
    page.focus("#stage")
    label.press("c")
    page.keyboard.type(evil)
    label.press("Enter", "n")
    label.wait_saved()
    assert label.text("#objects .name") == label.text("#classes .name") == evil
    assert page.text_content("#boxes text") == evil
    assert page.title().startswith("Label")
    assert read_voc(photos, evil)[0][0] == evil


def test_sorting_by_keys(photos: Path, page: Any, studio_at: Callable[..., Studio]) -> None:
    make_images(photos, 4)
    for name in ("cats", "dogs"):
        (photos / name).mkdir()
    (photos / "cats" / "0.png").write_bytes(b"another picture of this name")
    label = LabelPage(page, studio_at(photos), "?mode=sort&path=0.png")
    label.press("1")
    page.wait_for_function("() => document.getElementById('name').textContent === '1.png'")
    label.wait_for_image()
    label.press("2")
    page.wait_for_function("() => document.getElementById('name').textContent === '2.png'")
    label.add_class("birds")
    label.wait_saved()
    files = {p.relative_to(photos).as_posix() for p in photos.rglob("*.png")}
    assert files == {"cats/0.png", "cats/0-2.png", "dogs/1.png", "birds/2.png", "3.png"}
    assert (photos / "cats" / "0.png").read_bytes() == b"another picture of this name"
    label.press("Control+z", "Control+z")
    page.wait_for_function("() => document.getElementById('name').textContent === '1.png'")
    label.wait_saved()
    files = {p.relative_to(photos).as_posix() for p in photos.rglob("*.png")}
    assert files == {"cats/0.png", "cats/0-2.png", "1.png", "2.png", "3.png"}


@pytest.mark.slow
def test_a_file_that_cannot_be_used_is_begun_anew_only_when_asked(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    scene(photos / "0.png", "red", SIZE, (50, 50, 120, 120))
    (photos / "0.xml").write_text("<annotation><object></annotation>")
    label = LabelPage(page, studio_at(photos))
    assert "not XML" in label.text("#trouble")
    page.focus("#stage")
    label.add_class("cat")
    label.press("n")
    label.draw((10, 10, 90, 90))
    page.wait_for_timeout(400)
    assert label.text("#objects") == ""
    assert (photos / "0.xml").read_text() == "<annotation><object></annotation>"
    page.click("#replace-file")
    label.draw((10, 10, 90, 90))
    label.wait_saved()
    assert is_near(read_voc(photos, "0")[0][1], (10, 10, 90, 90))
    assert len([*(photos / ".set-aside").iterdir()]) == 1


def test_a_change_that_is_refused_is_said_and_can_be_discarded(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    make_images(photos, 2)
    label = LabelPage(page, studio_at(photos))
    page.focus("#stage")
    label.add_class("cat")
    (photos / "0.png").unlink()
    label.press("n")
    label.wait_for_status("0.png cannot be saved: ")
    assert "is not there" in label.text("#saved")
    label.press("Escape", "d")
    label.wait_for_image()
    label.draw((20, 20, 60, 60))  # other images are saved all the same
    page.wait_for_selector("#show-unsaved:visible")
    page.wait_for_timeout(500)
    assert len(read_voc(photos, "1")) == 1
    page.click("#show-unsaved")
    page.wait_for_selector("#discard:visible")
    page.click("#discard")
    label.wait_for_status()
    assert not (photos / "0.xml").exists()


@pytest.mark.slow
def test_a_model_sorts_with_one_key(
    photos: Path, page: Any, studio_at: Callable[..., Studio], tmp_path: Path
) -> None:
    make_images(photos, 3)
    for name in COLOURS:
        (photos / name).mkdir()
    model = write_localizer(tmp_path / "model" / "model.onnx")
    studio = studio_at(photos, suggest=model)
    label = LabelPage(page, studio, "?mode=sort")
    assert label.text("#progress-text") == "sorted 0 of 3"
    for number in range(3):
        page.wait_for_selector("#accept:not(:disabled)")
        label.press("Enter")
        if number < 2:
            page.wait_for_function(
                f"() => document.getElementById('name').textContent === '{number + 1}.png'"
            )
    label.wait_saved()
    files = {p.relative_to(photos).as_posix() for p in photos.rglob("*.png")}
    assert files == {f"{name}/{number}.png" for number, name in enumerate(COLOURS)}
    assert label.text("#progress-text") == "sorted 3 of 3"


@pytest.mark.slow
def test_an_image_of_fifty_megapixels(
    photos: Path, page: Any, studio_at: Callable[..., Studio]
) -> None:
    photos.mkdir()
    size = (8660, 5774)
    noise = np.random.default_rng(0).integers(0, 255, (size[1] // 20, size[0] // 20, 3), np.uint8)
    Image.fromarray(noise).resize(size).save(photos / "0.jpg", quality=80)
    studio = studio_at(photos)
    started = time.monotonic()
    label = LabelPage(page, studio)
    assert time.monotonic() - started < 10
    page.focus("#stage")
    label.add_class("cat")
    rectangle = (1000, 800, 7000, 5000)
    scale = size[0] / page.evaluate("() => document.querySelector('#stage img').clientWidth")
    label.draw(rectangle, size=size)
    label.wait_saved()
    # As exact as the mouse is: a pixel of the screen.
    assert is_near(read_voc(photos, "0")[0][1], rectangle, int(scale) + 1)
    label.press("Escape")
    page.mouse.move(*label.at(1000, 800, size=size))
    for _ in range(12):
        page.mouse.wheel(0, -300)
    page.wait_for_function("() => document.querySelector('#stage img').src.includes('most=8192')")
    label.wait_for_image()
    x, y = label.at(1000, 800, size=size)
    page.mouse.click(x, y)  # on the corner: selects it
    label.drag((1000, 800), (1010, 812), size=size)
    label.wait_saved()
    assert is_near(read_voc(photos, "0")[0][1], (1010, 812, 7000, 5000), int(scale) + 2)
    assert is_near((*read_voc(photos, "0")[0][1][:2], 0, 0), (1010, 812, 0, 0), int(scale) + 2)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_in_both_colour_schemes(
    photos: Path, chromium: Any, studio_at: Callable[..., Studio], scheme: str
) -> None:
    make_images(photos, 3)
    context = chromium.new_context(
        viewport={"width": 360, "height": 700}, color_scheme=scheme, has_touch=True
    )
    label = LabelPage(context.new_page(), studio_at(photos))
    wide = label.tab.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 360
    label.draw((40, 30, 140, 120))
    label.tab.fill("#first-class-name", "cat")
    label.tab.click("text=Add the class")
    label.wait_saved()
    assert is_near(read_voc(photos, "0")[0][1], (40, 30, 140, 120))
    assert contrast(label.tab, "#progress-text") >= 4.5
    assert contrast(label.tab, "#classes button") >= 4.5
    context.close()
