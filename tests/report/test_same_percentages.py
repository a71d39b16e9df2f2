"""One accuracy reads the same on the report, the command line and the model card."""

import json
import re
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sharpeye.artefact.manifest import parse_manifest
from sharpeye.artefact.model_card import render_model_card
from sharpeye.cli.app import run as run_command
from sharpeye.core.config import Config
from sharpeye.core.formatting import percent, plain_percent
from sharpeye.core.metrics import wilson_interval
from sharpeye.jobs.train.results import summary
from sharpeye.report.wording import box_headline, box_line, headline
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run, RunWriter

EARLIER_RUN = Path(__file__).parent.parent / "compatibility" / "0.1.0" / "run_frozen"
COUNTS = (1, 2, 3, 7, 16, 40, 200, 286, 999, 2000, 10_000, 123_457)
PAIRS = sorted(
    {
        (hits, count)
        for count in COUNTS
        for share in (0.0, 0.001, 0.125, 0.5, 0.575, 0.9, 0.995, 0.997)
        for hits in (round(share * count), round(share * count) + 1, count - 1, count)
        if 0 <= hits <= count
    }
)
PERCENTAGE = r"[<>]?\d+(?:\.\d+)?"


def metrics_of(hits: int, count: int) -> dict[str, Any]:
    interval = list(wilson_interval(hits, count))
    return {
        "count": count,
        "accuracy": hits / count,
        "accuracy_ci95": interval,
        "log_loss": 0.5,
        "ece": 0.01,
        "mean_iou": 0.8,
        "mean_iou_ci95": [0.7, 0.9],
        "accuracy_at_iou50": hits / count,
        "accuracy_at_iou50_ci95": interval,
        "per_class": {},
    }


def percentages(pattern: str, text: str) -> tuple[str, ...]:
    """What the groups of a pattern match in a text, where # stands for a percentage."""
    match = re.search(pattern.replace("#", f"({PERCENTAGE})"), text.replace("\u00a0", " "))
    assert match, text
    return match.groups()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with all that the summary reads but `metrics.json`."""
    path = tmp_path_factory.mktemp("same") / "run"
    with RunWriter(path) as writer:
        writer.write_text(layout.CONFIG, Config().replace({"data.folder": "photos"}).to_toml())
        columns = ("path", "label", "predicted", "score")
        writer.write_csv(layout.PREDICTIONS, columns, [("a.png", "a", "a", "1")])
        writer.write_text(layout.BUNDLE, "{}")
    return path


def test_report_command_line_and_card_agree(run_dir: Path) -> None:
    manifest = parse_manifest(json.loads((EARLIER_RUN / "bundle.json").read_text()), "bundle.json")
    assert len(PAIRS) > 100
    for hits, count in PAIRS:
        test = metrics_of(hits, count)
        (run_dir / layout.METRICS).write_text(json.dumps({"test": test}))
        lines = summary(Run(run_dir))
        plain = percentages(r"^#% of \d+ .* interval #% to #%$", lines["accuracy"])
        card = render_model_card(manifest, {"test": test}, "card")
        assert percentages(r"\*\*#%\*\* \(95 % interval #% to #%\)", card) == plain
        assert percentages(r"IoU >= 0.5 \| #% \|", card) == plain[:1]
        assert percentages(r"IoU >= 0.5: #%$", lines["boxes"]) == plain[:1]
        assert lines["boxes"] == box_line(test)
        (page, *_) = percentages(r"images?: # % \(95 % interval #–# %\)", headline(test))
        assert percentages(r"\(IoU ≥ 0.5\) on # % ", box_headline(test)) == (page,)
        # The page has no decimals but where it takes some not to say 100 %.
        if "." in page:
            assert page == plain[0]
        assert page == rounded(hits, count, 0)
        assert plain[0] == rounded(hits, count, 1)


def rounded(hits: int, count: int, digits: int) -> str:
    """The reference: the exact share, half to even; 100 only for all, 0 only for none."""
    exact = Fraction(100 * hits, count)
    value = Decimal(exact.numerator) / Decimal(exact.denominator)
    for more in range(digits, 3):
        text = str(value.quantize(Decimal(1).scaleb(-more), ROUND_HALF_EVEN))
        if not Decimal(text) and hits:
            return f"<{10**-digits:g}"
        if Decimal(text) < 100 or hits == count:
            return text
    return ">99.99"


def test_evaluate_prints_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Scored:
        metrics = metrics_of(285, 286)
        rejected = ()
        exposures = overlap = None
        by_exposure: ClassVar = {}

    monkeypatch.setattr("sharpeye.jobs.evaluate.evaluate", lambda *_, **__: (Scored, Scored, 0.0))
    assert run_command(["evaluate", "model", "photos"]) == 0
    line = "accuracy: 99.7% of 286 images, 95 % interval 98.0% to 99.9%"
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("share", "digits", "page", "plain"),
    [
        (1, 1, "100 %", "100.0%"),
        (0, 1, "0 %", "0.0%"),
        (285 / 286, 1, "99.7 %", "99.7%"),
        (0.9996, 1, "99.96 %", "99.96%"),
        (23 / 40, 0, "58 %", "58%"),  # 57.5: half to even, though 100 * 0.575 < 57.5 as floats
        (1 / 8, 0, "12 %", "12%"),
        (float("nan"), 1, "–", "nan%"),
    ],
)
def test_pages_and_terminals_differ_in_signs_only(
    share: float, digits: int, page: str, plain: str
) -> None:
    assert percent(share, digits).replace("\u00a0", " ") == page
    assert plain_percent(share, digits) == plain
