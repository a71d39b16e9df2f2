"""Complete workflows in a real browser: from an empty folder to a prediction, by clicks alone."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from user_actions import collect, predict, start_training, train

from localizer import scene, scenes
from runner import MAPS, hard_photos
from sharpeye.collect.shapes import draw_shape
from sharpeye.core.inference import Backbone
from studios import StudioProcess

pytestmark = pytest.mark.slow

SHAPES = ("cross", "ring", "star")


def drawings(folder: Path, per_class: int) -> dict[str, list[Path]]:
    """Files of drawn shapes, `per_class` of each, no two alike."""
    random, files_of = np.random.default_rng(0), {}
    for shape in SHAPES:
        (folder / shape).mkdir(parents=True)
        files = [folder / shape / f"{shape}-{number}.jpg" for number in range(per_class)]
        for file in files:
            Image.fromarray(draw_shape(shape, random).pixels).save(file)
        files_of[shape] = files
    return files_of


def test_from_an_empty_folder_to_an_answer(
    studio_process_at: Callable[..., StudioProcess], page: Any, tmp_path: Path
) -> None:
    files = drawings(tmp_path / "elsewhere", 21)
    studio = studio_process_at(tmp_path / "photos")
    began = time.perf_counter()
    collect(page, studio.url, {label: paths[:20] for label, paths in files.items()})
    run = train(page, studio.url)
    with page.context.expect_page() as new_page:
        page.get_by_role("link", name="Open the report").click()
    expect(new_page.value.locator("h1")).to_have_text("photos")
    sentence = predict(page, studio.url, run, files["star"][20])
    assert "star" in sentence
    assert time.perf_counter() - began <= 90
    assert studio.stop() == 0
    assert sorted(path.name for path in studio.home.iterdir()) == ["runs"]


def test_stop_and_go_on_from_the_page(
    studio_process_at: Callable[..., StudioProcess], page: Any, tmp_path: Path
) -> None:
    studio = studio_process_at(hard_photos(tmp_path / "hard"))
    page.goto(f"{studio.url}/train")
    start_training(
        page, "From scratch", net__width="8", model__image_size="32", train__epochs="5000"
    )
    expect(page.get_by_role("heading", name="Training: hard-resnet_cifar")).to_be_focused()
    expect(page.locator(".stage")).to_have_text("Learning", timeout=90_000)
    expect(page.locator(".live svg.chart")).to_be_visible(timeout=60_000)
    second = page.context.new_page()  # another tab sees the same, and may stop it
    second.goto(f"{studio.url}/train")
    second.get_by_role("button", name="Stop").click()
    for tab in (second, page):
        expect(tab.get_by_role("heading", name="Stopped: hard-resnet_cifar")).to_be_visible(
            timeout=30_000
        )
    run = studio.home / "runs" / "hard-resnet_cifar"
    before = len((run / "history.csv").read_text().splitlines())
    assert before > 1
    second.close()
    page.reload()
    page.get_by_role("button", name="Go on with hard-resnet_cifar").first.click()
    expect(page.locator(".stage")).to_have_text("Learning", timeout=90_000)
    for _ in range(100):
        if len((run / "history.csv").read_text().splitlines()) > before + 1:
            break
        time.sleep(0.2)
    assert len((run / "history.csv").read_text().splitlines()) > before + 1
    assert studio.stop() == 0  # the studio's end stops the training in order, and keeps it
    assert (run / "checkpoints").is_dir()
    assert not (run / ".lock").exists()


def test_where_things_are_is_learned_from_xml(
    studio_process_at: Callable[..., StudioProcess],
    page: Any,
    tmp_path: Path,
    maps_backbone: Backbone,
) -> None:
    data = scenes(tmp_path / "scenes", 10)
    studio = studio_process_at(data)
    page.goto(f"{studio.url}/train")
    start_training(
        page,
        task="What is in the picture, and where",
        model__name=MAPS.name,
        model__weights=MAPS.weights,
        localize__epochs="4",
        localize__box_views="2",
    )
    # The backbone of the tests is that of 64 pixels; another one is made here, which takes a while.
    done = page.get_by_role("heading", name="Trained: ")
    expect(done).to_be_visible(timeout=180_000)
    expect(page.locator(".stage")).to_contain_text("Mean IoU")
    run = str(done.text_content()).partition(": ")[2]
    photo = scene(tmp_path / "new.png", "red", (72, 48), (10, 10, 40, 40))
    predict(page, studio.url, run, photo)
    box, image = (page.locator(f".prediction {what}").bounding_box() for what in (".box", "img"))
    for side, extent in itertools.product("xy", ("width", "height")):
        assert image[side] - 4 <= box[side]
        assert 0 < box[extent] <= image[extent] + 8
