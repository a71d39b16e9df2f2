"""Figures of README and docs come from bench/results, and go stale with the code they depend on."""

import json
import re
from pathlib import Path

import pytest
from bench import code_digest, stale
from bench.catalogue import FIGURES, Figure
from tools import figure_tables
from tools.figures import with_figures

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

MODULE = '''"""What it does."""

def fit(x):  # a comment
    """Fit."""
    return x + 1
'''


# --- digests -------------------------------------------------------------------------------------


def test_comments_and_docstrings_do_not_count_but_code_does() -> None:
    same = MODULE.replace("What it does.", "Other\nwords.").replace("# a comment", "# another")
    assert code_digest.code_only(MODULE) == "def fit(x):\n    return x + 1"
    assert code_digest.code_only(same) == code_digest.code_only(MODULE)
    slower = MODULE.replace("    return", "    time.sleep(1)\n    return")
    assert code_digest.code_only(slower) != code_digest.code_only(MODULE)
    assert '"# no comment"' in code_digest.code_only('x = "# no comment"  # one\n')


def test_a_digest_covers_names_contents_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "fit.py").write_text(MODULE)
    before = code_digest.digest_of(["room"])
    assert code_digest.digest_of(["room", "room/fit.py"]) == before
    (tmp_path / "room" / "table.toml").write_text("rate = 1\n")
    with_table = code_digest.digest_of(["room"])
    (tmp_path / "room" / "table.toml").rename(tmp_path / "room" / "other.toml")
    assert len({before, with_table, code_digest.digest_of(["room"])}) == 3
    with pytest.raises(FileNotFoundError, match="missing"):
        code_digest.digest_of(["missing"])


def test_every_figure_names_paths_that_exist() -> None:
    for figure in FIGURES.values():
        assert code_digest.digest_of(figure.all_paths)


# --- stale figures -------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one figure, `head`, which was measured on its code."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "head.py").write_text("MEASURE = 1\n")
    (tmp_path / "head.py").write_text(MODULE)
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    monkeypatch.setattr(stale, "RESULTS", tmp_path)
    monkeypatch.setattr(stale, "NEUTRAL", tmp_path / "neutral.csv")
    monkeypatch.setattr(stale, "FIGURES", {"head": Figure("head", ("head.py",))})
    (tmp_path / "neutral.csv").write_text("figure,digest,reason\n")
    about = {"commit": "1a2b3c4", "machine": "2 cores", "versions": {"python": "3"}, "date": "now"}
    digest = code_digest.digest_of(["bench/head.py", "head.py"])
    (tmp_path / "head.json").write_text(json.dumps({**about, "digest": digest}))
    return tmp_path


def problems() -> list[str]:
    return [*stale.missing_entries(), *stale.stale_figures()]


def test_changed_code_makes_a_figure_stale_until_a_line_says_why_not(checkout: Path) -> None:
    assert problems() == []
    (checkout / "head.py").write_text(MODULE.replace("    return", "    sleep(1)\n    return"))
    (problem,) = problems()
    assert "head: measured at 1a2b3c4" in problem
    assert "measure it: python -m bench.head" in problem
    digest = re.search(r"head,([0-9a-f]{16}),REASON", problem)
    assert digest
    neutral = checkout / "neutral.csv"
    neutral.write_text(f"figure,digest,reason\nhead,{digest[1]},it sleeps only in a new branch\n")
    assert problems() == []
    (checkout / "head.py").write_text(MODULE.replace("x + 1", "x + 2"))  # changed once more
    assert len(problems()) == 1
    (checkout / "head.py").write_text(MODULE)
    (problem,) = problems()
    assert "the line of head is needless" in problem
    neutral.write_text("figure,digest,reason\nhead,0,\n")
    with pytest.raises(SystemExit, match="no reason"):
        problems()


def test_a_result_without_commit_or_of_uncommitted_code_is_named(checkout: Path) -> None:
    file = checkout / "head.json"
    result = json.loads(file.read_text())
    file.write_text(json.dumps({**result, "commit": "1a2b3c4-dirty"}))
    assert "uncommitted code" in problems()[0]
    file.write_text(json.dumps({**result, "commit": ""}))
    assert "without commit" in problems()[0]
    file.rename(checkout / "tail.json")
    named = "\n".join(problems())
    assert "tail.json: the figure is not in bench/catalogue.py" in named
    assert "head: not measured" in named


# --- pages ---------------------------------------------------------------------------------------


def test_a_page_quotes_the_value_that_was_measured() -> None:
    page = "A <!-- figure: unknown | auroc/ours/n | d -->5<!-- / -->.\n"
    expected = json.loads((ROOT / "bench/results/unknown.json").read_text())["auroc"]["ours"]["n"]
    assert with_figures(page, {}) == page.replace(">5<", f">{expected}<")
    with pytest.raises(ValueError, match="begins this line"):
        with_figures(page.removeprefix("A "), {})


def test_two_machines_never_share_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stale, "RESULTS", tmp_path)
    for name, machine in (("a", "2 cores"), ("b", "16 cores"), ("c", "2 cores")):
        about = {"machine": machine, "versions": {"python": "3.11"}, "commit": f"{name}{name}"}
        (tmp_path / f"{name}.json").write_text(json.dumps(about))
    lines = figure_tables.by_machine("abcd", lambda name, _: [name], ("work", "commit"))
    table = ["", "| work | commit |", "|---|---|"]
    first = ["2 cores, Python 3.11:", *table, "| a | aa |", "| c | cc |"]
    assert lines == [*first, "", "16 cores, Python 3.11:", *table, "| b | bb |"]


# What Markdown shows of these is generated, code, or a comment.
GENERATED = re.compile(
    r"```.*?```|<!-- ([\w ]+): written by.*?<!-- /\1 -->|<!-- (?:figure|record):.*?<!-- / -->"
    r"|<!--.*?-->|`[^`\n]*`",
    re.S,
)
FIGURE = re.compile(
    r"\d[\d.,]*\s+(?:%|ms\b|s\b|seconds\b|minutes\b|MB\b|images\s+a\s+second|points\b|times\s+as\b)"
)
"""A number with the unit of a measurement."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_in_sentences_are_quoted_from_the_results(page: Path) -> None:
    """All others are limits, settings and sizes; whoever adds one lists it here."""
    if page.name in ("cli.md", "config.md"):  # made from the code
        return
    text = GENERATED.sub(" ", page.read_text(encoding="utf-8"))
    numbers = sorted({" ".join(match[0].split()) for match in FIGURE.finditer(text)})
    assert numbers == sorted(SETTINGS.get(page.name, ()))


# Limits, settings, sizes of files, and examples: by page.
SETTINGS: dict[str, tuple[str, ...]] = {
    "README.md": ("400 MB",),
    "architecture.md": ("64 MB",),
    "collecting.md": ("60 seconds", "9 seconds"),
    "confidence.md": ("80 %", "97 %"),
    "explaining.md": ("95 %",),
    "growing.md": ("95 %",),
    "performance.md": ("30 %", "70 %", "95 %"),
    "cats-vs-dogs.md": ("825 MB",),
    "cifar10.md": ("170 MB",),
    "flowers.md": ("229 MB",),
    "localization.md": ("95 %",),
    "reliability.md": ("40 minutes",),
    "serving.md": ("10 seconds", "200 MB", "250 MB", "3 seconds", "30 seconds", "64 MB"),
}
