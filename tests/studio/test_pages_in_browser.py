"""Train, Understand and Try in a real browser, on a run that is there already."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from runner import share_backbones, tree
from studios import Studio, copy_run

WIDTHS = (360, 1100)
SCHEMES = ("light", "dark")


@pytest.fixture
def studio(studio_at: Callable[..., Studio], trained: Path, tmp_path: Path) -> Studio:
    """A studio on the images of a finished run, which is there twice."""
    for name in ("first", "second"):
        shutil.copytree(trained, tmp_path / "home" / "runs" / name)
    return studio_at(trained.parent / "hard")


def unfamiliar_image(file: Path) -> Path:
    """An image unlike those that the model was trained on."""
    pixels = np.zeros((48, 56, 3), np.uint8)
    pixels[::2, :, 0] = pixels[:, ::2, 2] = 255
    Image.fromarray(pixels).save(file)
    return file


def test_a_confusion_cell_opens_its_images_by_keyboard(studio: Studio, page: Any) -> None:
    page.goto(f"{studio.url}/understand?run=first")
    cell = page.locator(".matrix .miss .cell").first
    count = int(cell.text_content())
    cell.focus()
    page.keyboard.press("Enter")
    heading = page.locator(".opened h3")
    expect(heading).to_be_focused()
    expect(heading).to_contain_text(", taken for ")
    expect(page.locator(".opened .image-card img")).to_have_count(count)
    expect(cell).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Tab")
    heat = page.locator(".opened .image-card button").first
    expect(heat).to_be_focused()
    assert heat.evaluate("button => getComputedStyle(button).outlineStyle") == "solid"
    page.keyboard.press("Space")
    expect(heat).to_have_attribute("aria-pressed", "true")
    image = page.locator(".opened .image-card img").first
    assert "/api/heat" in image.get_attribute("src")
    assert image.evaluate("image => image.naturalWidth") == 56
    page.keyboard.press("Space")
    expect(heat).to_have_attribute("aria-pressed", "false")
    assert "/api/thumb" in image.get_attribute("src")


def test_mistakes_scores_and_the_report(studio: Studio, page: Any) -> None:
    page.goto(f"{studio.url}/understand")
    expect(page.locator("#mistakes")).to_be_visible()
    shown = page.locator("section:has(#mistakes) .image-card")
    expect(shown.first).to_be_visible()
    assert page.locator("section:has(#calibration) svg.chart").count() == 1
    page.get_by_label("Run", exact=True).select_option("first")
    page.wait_for_url("**run=first")
    with page.context.expect_page() as new_page:
        page.get_by_role("link", name="Open the report").click()
    report = new_page.value
    report.wait_for_load_state()
    expect(report.locator("h1")).to_have_text("hard")
    # Its script runs, and has no access to the studio.
    assert report.evaluate("document.documentElement.classList.contains('js')")
    assert report.evaluate("self.origin") == "null"


def test_a_dropped_image_is_answered_and_compared(
    studio: Studio, page: Any, trained: Path, tmp_path: Path
) -> None:
    page.goto(f"{studio.url}/try?run=first")
    image = trained.parent / "hard" / "cedar" / "cedar3.png"
    page.locator("#try-file").set_input_files(str(image))
    expect(page.locator(".prediction")).to_have_count(1)
    expect(page.locator(".prediction .bars li")).to_have_count(3)
    sentence = page.locator(".prediction .finding").text_content()
    heat = page.get_by_role("button", name="Heat map")
    before = page.locator(".prediction img").get_attribute("src")
    heat.click()
    expect(heat).to_have_attribute("aria-pressed", "true")
    assert page.locator(".prediction img").get_attribute("src") != before
    page.get_by_label("Compare with").select_option("second")
    expect(page.locator(".prediction")).to_have_count(2)
    names = page.locator(".prediction h2").all_text_contents()
    assert names == ["first", "second"]
    assert page.locator(".prediction .finding").all_text_contents() == [sentence, sentence]
    page.locator("#try-file").set_input_files(str(unfamiliar_image(tmp_path / "unfamiliar.png")))
    expect(page.locator(".prediction.unknown")).to_have_count(2)
    expect(page.locator(".prediction .finding").first).to_contain_text("Unknown: ")
    page.get_by_role("button", name="Show some").click()
    page.locator("button.thumb").nth(2).click()
    expect(page.locator(".prediction .path").first).to_have_text("ash/ash2.png")
    page.locator("#try-file").set_input_files(
        {"name": "<img onerror=x>.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}
    )
    expect(page.locator(".prediction [role=alert]").first).to_contain_text("<img onerror=x>.jpg")


@pytest.mark.slow
def test_paste_and_webcam(studio: Studio, page: Any) -> None:
    page.context.grant_permissions(["camera"], origin=studio.url)
    page.goto(f"{studio.url}/try?run=first")
    page.get_by_role("button", name="Use the webcam").click()
    page.get_by_role("button", name="Ask about this").click()
    expect(page.locator(".prediction .path")).to_have_text("webcam")
    page.get_by_role("button", name="Close the webcam").click()
    page.evaluate(
        """async () => {
            const canvas = Object.assign(document.createElement("canvas"), {width: 40, height: 30});
            const blob = await new Promise((done) => canvas.toBlob(done));
            const data = new DataTransfer();
            data.items.add(new File([blob], "pasted.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
        }"""
    )
    expect(page.locator(".prediction .path")).to_have_text("pasted.png")


@pytest.mark.slow
def test_wrong_labels_are_moved_and_moved_back(
    studio_at: Callable[..., Studio],
    page: Any,
    trained: Path,
    tmp_path: Path,
    session_cache: Path,
    cache: Path,
) -> None:
    data = tmp_path / "hard"
    shutil.copytree(trained.parent / "hard", data)
    copy_run(trained, tmp_path / "home" / "runs" / "run", data)
    share_backbones(session_cache, cache)
    before = tree(data)
    studio = studio_at(data)
    page.goto(f"{studio.url}/understand")
    page.get_by_role("button", name="Look for wrong labels and copies").click()
    expect(page.get_by_text("in doubt.")).to_be_visible(timeout=60_000)
    cards = page.locator("section:has(#issues) .image-card:not(.pair)")
    count = cards.count()
    assert count > 0
    path = cards.first.locator("figcaption > b").text_content()
    move = cards.first.locator("button.main")
    label = move.text_content().removeprefix("Move to ")
    move.click()
    expect(cards).to_have_count(count - 1)
    assert not (data / path).exists()
    assert (data / label / Path(path).name).is_file()
    page.reload()  # what can be taken back is on the disk
    undo = page.get_by_role("button", name=f"Undo: {path}")
    undo.click()
    expect(undo).to_have_count(0)
    expect(cards).to_have_count(count)
    (data / ".undo").rmdir()
    assert tree(data) == before


def test_train_says_what_it_finds_before_it_starts(studio: Studio, page: Any) -> None:
    page.goto(f"{studio.url}/train")
    expect(page.locator(".lines li")).to_have_count(3, timeout=30_000)
    expect(page.locator(".lines li").first).to_contain_text("36 pictures in 3 classes")
    where = page.get_by_role("radio", name="What is in the picture, and where")
    expect(where).to_be_disabled()
    quick = page.get_by_role("radio", name="Quick")
    quick.focus()
    expect(page.get_by_label("Time")).to_be_hidden()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Careful")).to_be_checked()
    expect(page.get_by_label("Time")).to_be_visible()
    page.get_by_text("More settings").focus()
    page.keyboard.press("Enter")
    page.locator(".knobs summary", has_text="train").first.click()
    field = page.get_by_label("train.epochs", exact=True)
    expect(field).to_have_value("30")
    field.fill("0")
    field.blur()
    page.get_by_role("button", name="Start training").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".toast.error")).to_contain_text("train.epochs must be from 1 to 100000")


@pytest.mark.parametrize("address", ["train", "understand?run=first", "try?run=first"])
def test_narrow_and_dark(studio: Studio, chromium: Any, trained: Path, address: str) -> None:
    for width, scheme in zip(WIDTHS, SCHEMES, strict=True):
        page = chromium.new_page(viewport={"width": width, "height": 740}, color_scheme=scheme)
        page.goto(f"{studio.url}/{address}")
        page.locator("main section:visible, main .dropzone").first.wait_for()
        if address.startswith("try"):
            image = trained.parent / "hard" / "ash" / "ash1.png"
            page.locator("#try-file").set_input_files(str(image))
            page.locator(".prediction").wait_for()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) <= 0, (address, width)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 200) == (scheme == "dark"), background
        unnamed = page.locator("main button, main a, main select, main input").evaluate_all(
            "all => all.filter((item) => !(item.textContent.trim() || item.labels?.length"
            " || item.getAttribute('aria-label') || item.title)).map((item) => item.outerHTML)"
        )
        assert unnamed == []
        page.close()
