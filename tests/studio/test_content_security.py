"""Every page, driven in a real browser, keeps to a strict content security policy.

The fixture `page` fails a test in which the policy has forbidden anything.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from localizer import scenes
from sharpeye.studio.security_headers import CONTENT_SECURITY_POLICY, HEADERS
from studios import Studio, copy_run

PAGES = ("/", "/collect", "/label", "/label?mode=sort", "/train", "/understand", "/try")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SWEEP = Path(__file__).parents[1] / "compatibility" / "0.1.0" / "sweep"


@pytest.fixture
def studio(studio_at: Callable[..., Studio], trained: Path, home: Path, tmp_path: Path) -> Studio:
    """A studio on the images of a finished run, beside which lies a sweep."""
    data = shutil.copytree(trained.parent / "hard", tmp_path / "hard")
    copy_run(trained, home / "runs" / "run", data)
    shutil.copytree(SWEEP, home / "runs" / "some sweep")
    return studio_at(data)


def test_the_header_is_strict_and_the_same_everywhere(studio: Studio) -> None:
    assert "unsafe" not in POLICY and set(CONTENT_SECURITY_POLICY) <= set(re.split("[ ;]", POLICY))
    with studio.client() as client:
        for path in (*PAGES, "/api/runs", "/static/studio.js", "/nowhere", "/api/nowhere"):
            response = client.get(path)
            assert response.headers["content-security-policy"] == POLICY, path
            for name, value in HEADERS[:2]:
                assert response.headers[name.decode()] == value.decode(), path


def test_pages_hold_no_inline_script_style_or_handler(studio: Studio) -> None:
    with studio.client() as client:
        for path in (*PAGES, "/nowhere"):
            html = client.get(path, headers={"accept": "text/html"}).text
            assert html.startswith("<!doctype html>")
            scripts = re.findall(r"<script([^>]*)>([^<]*)</script>", html)
            assert all("src=" in tag or "application/json" in tag for tag, _ in scripts), path
            assert "<style" not in html and not re.search(r"\s(style|on\w+)\s*=", html), path


def test_the_browser_enforces_the_policy(studio: Studio, page: Any, violations: list[str]) -> None:
    """What the other tests rely on: an inline script, style, handler or `eval` is reported."""
    page.goto(studio.url)
    page.evaluate("""() => {
        document.title = "untouched";
        const script = document.createElement("script");
        script.textContent = "document.title = 'changed'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend",
            "<img src=data:, onerror='document.title = 1'><p style='color: red'>");
        const timer = "document.title = 2";
        try { setTimeout(timer); } catch { }
    }""")
    page.wait_for_timeout(200)
    assert page.title() == "untouched"
    for directive in ("script-src-elem", "script-src-attr", "style-src-attr", "script-src forbids"):
        assert any(directive in violation for violation in violations), violations
    violations.clear()


def test_overview_and_error_pages(studio: Studio, page: Any) -> None:
    page.goto(studio.url)
    expect(page.get_by_role("table", name="Trainings")).to_contain_text("run")
    expect(page.get_by_role("table", name="Sweeps")).to_contain_text("some sweep")
    bar = page.locator(".count-bar rect").first
    assert bar.bounding_box()["width"] > 100
    for path, message in (
        ("/nowhere", "There is no such page."),
        ("/run/gone/report.html", "there is no run gone in runs"),
        ("/run/run/split.csv", "run has no such file to show"),
    ):
        page.goto(studio.url + path)
        expect(page.locator("main")).to_contain_text(message)
        expect(page.get_by_role("link", name="Train")).to_be_visible()


def test_errors_stay_json_for_scripts(studio: Studio) -> None:
    with studio.client() as client:
        response = client.get("/api/understand?run=gone", headers={"accept": "text/html"})
        assert response.json() == {
            "error": "there is no run gone in runs (any more); reload the page"
        }
        assert client.get("/run/gone/report.html").headers["content-type"] == "application/json"
        unfinished = client.get("/api/understand?run=some sweep").json()["error"]
        assert str(studio.home) not in unfinished


def test_collect_with_its_dialog_and_camera(studio: Studio, page: Any) -> None:
    page.goto(f"{studio.url}/collect?class=ash")
    page.locator("#grid li").first.dblclick()
    expect(page.locator("#large-image")).to_be_visible()
    page.get_by_role("button", name="Close", exact=True).click()
    page.locator("#camera summary").click()
    page.get_by_role("button", name="Turn the camera on").click()
    expect(page.locator("#camera-status")).to_have_text("The camera is on.")
    page.locator("#shoot").click(delay=300)
    expect(page.locator("#upload-status")).to_contain_text(re.compile("[1-9] added"))
    assert page.evaluate("document.getElementById('video').videoWidth") > 0
    page.get_by_role("button", name="Turn the camera off").click()
    page.locator("#grid li").first.click()
    page.get_by_role("button", name="Set aside").click()
    expect(page.locator(".toast")).to_be_visible()


def test_label_with_its_dialogs(
    studio_at: Callable[..., Studio], page: Any, tmp_path: Path
) -> None:
    studio = studio_at(scenes(tmp_path / "scenes", 1))
    page.goto(f"{studio.url}/label")
    page.wait_for_selector("html[data-ready]")
    expect(page.locator("#objects button")).to_have_count(1)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#help")).to_be_hidden()
    page.get_by_role("link", name="Sort into folders").click()
    page.wait_for_selector("html[data-ready]")


def test_train_with_its_settings(studio: Studio, page: Any) -> None:
    page.goto(f"{studio.url}/train")
    expect(page.locator("#check li").first).to_contain_text("36 pictures", timeout=60_000)
    page.get_by_text("More settings").click()
    expect(page.locator("#knobs details").first).to_be_visible()


def test_understand_and_the_report(studio: Studio, page: Any) -> None:
    page.goto(f"{studio.url}/understand?run=run")
    page.locator(".matrix .cell").first.click()
    page.locator(".opened").get_by_role("button", name="Heat map").first.click()
    heat_map = page.locator(".opened img[src*='/api/heat']").first
    heat_map.wait_for()
    assert page.locator("svg.chart").count() >= 1
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the report").click()
    report = opened.value
    expect(report.locator("h1")).to_have_text("hard")
    assert report.evaluate("document.documentElement.classList.contains('js')")


def test_try_with_its_camera(studio: Studio, page: Any, trained: Path) -> None:
    page.goto(f"{studio.url}/try?run=run")
    image = trained.parent / "hard" / "ash" / "ash1.png"
    page.locator("#try-file").set_input_files(str(image))
    page.locator(".prediction").get_by_role("button", name="Heat map").click()
    expect(page.locator(".prediction button[aria-pressed=true]")).to_be_visible()
    assert page.locator(".bars .meter i").first.bounding_box()["width"] > 0
    page.get_by_role("button", name="Use the webcam").click()
    page.get_by_role("button", name="Ask about this").click()
    expect(page.locator(".prediction .path")).to_have_text("webcam")
    page.get_by_role("button", name="Close the webcam").click()
