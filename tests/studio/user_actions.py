"""What a person does in the studio, as steps in a browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

MILLISECONDS = 1000


def collect(page: Any, url: str, classes: Mapping[str, Sequence[Path]]) -> None:
    """Upload images on the page Collect: name a class, choose its files."""
    page.goto(f"{url}/collect")
    for label, files in classes.items():
        page.get_by_label("New class").fill(label)
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("heading", name=f"{label}: 0").wait_for()
        page.locator("#files").set_input_files([str(file) for file in files])
        page.get_by_role("heading", name=f"{label}: {len(files)}").wait_for()


def train(page: Any, url: str, way: str = "Quick", seconds: float = 80, **knobs: str) -> str:
    """Train on the page Train, and wait for the end; returns the run's name."""
    page.goto(f"{url}/train")
    start_training(page, way, **knobs)
    done = page.get_by_role("heading", name="Trained: ")
    failed = page.get_by_role("heading", name="It did not work: ")
    expect(done.or_(failed)).to_be_visible(timeout=seconds * MILLISECONDS)
    assert not failed.is_visible(), page.locator(".stage").text_content()
    return str(done.text_content()).partition(": ")[2]


def start_training(page: Any, way: str = "Quick", task: str = "", **knobs: str) -> None:
    """Fill in the form and press the button; `knobs` by key with `__` for the dot."""
    if task:
        page.get_by_role("radio", name=task).check()
    page.get_by_role("radio", name=way).check()
    if knobs:
        page.get_by_text("More settings").click()
    for key, value in knobs.items():
        section, _, _ = key.partition("__")
        group = page.locator(".knobs > details").filter(has=page.get_by_text(section, exact=True))
        group.first.locator("> summary").click()
        field = page.get_by_label(key.replace("__", "."), exact=True)
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
            field.blur()
        group.first.locator("> summary").click()
    page.get_by_role("button", name="Start training").click()


def predict(page: Any, url: str, run: str, image: Path) -> str:
    """Choose an image on the page Try; returns the sentence of the prediction."""
    page.goto(f"{url}/try?run={run}")
    page.locator("#try-file").set_input_files(str(image))
    sentence = page.locator(".prediction .finding")
    sentence.wait_for()
    return str(sentence.text_content())
