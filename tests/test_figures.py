"""Figures of README and docs come from bench/results, and go stale with the code they depend on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bench import code_digest, dependencies, stale
from bench.catalogue import FIGURES, Figure
from tools import figure_tables, make_docs
from tools.figures import RECORD, VALUE, with_figures

from runner import hard_photos, share_backbones, train_args
from sharpeye.core.inference import Backbone

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


def test_the_rest_of_a_docstrings_line_and_all_of_a_string_count() -> None:
    assert "slow()" in code_digest.code_only('"""What it does."""; slow()\n')
    text = 'TEXT = """a\n\n  b  \n"""\n'
    for other in (text.replace("b  ", "b"), text.replace("\n\n", "\n"), text.replace("a", "\x0c")):
        assert code_digest.code_only(other) != code_digest.code_only(text)
    odd = 'SEPARATORS = "\u2028\x0c"\n' + MODULE
    assert code_digest.code_only(odd).endswith("def fit(x):\n    return x + 1")


def test_a_digest_covers_names_and_contents_and_no_line_ends(tmp_path: Path) -> None:
    (tmp_path / "fit.py").write_text(MODULE)
    (tmp_path / "table.toml").write_bytes(b"rate = 1\n")
    names = [Path("fit.py"), Path("table.toml")]
    before = code_digest.digest_of(names, tmp_path)
    (tmp_path / "table.toml").write_bytes(b"rate = 1\r\n")
    assert code_digest.digest_of(names, tmp_path) == before
    (tmp_path / "table.toml").write_bytes(b"rate = 2\n")
    changed = code_digest.digest_of(names, tmp_path)
    (tmp_path / "table.toml").rename(tmp_path / "other.toml")
    renamed = code_digest.digest_of([Path("fit.py"), Path("other.toml")], tmp_path)
    assert len({before, changed, renamed}) == 3


# --- dependencies --------------------------------------------------------------------------------


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    for name, source in {
        "src/sharpeye/__init__.py": "",
        "src/sharpeye/room/__init__.py": "",
        "src/sharpeye/room/first.py": "def f():\n    from sharpeye.room import second, f\n",
        "src/sharpeye/room/second.py": "if TYPE_CHECKING:\n    import sharpeye.typed\n",
        "src/sharpeye/typed.py": "",
        "src/sharpeye/room/table.toml": "",
        "src/sharpeye/room/pages/page.html": "",
        "src/sharpeye/room/inner/__init__.py": "",
        "src/sharpeye/room/inner/other.toml": "",
        "bench/measured.py": "import json, sharpeye.room.first as first\nfrom helper import h\n",
        "tests/helper.py": "",
        **{
            f"bench/{name}.py": "" for name in ("catalogue", "code_digest", "dependencies", "stale")
        },
        "bench/neutral.csv": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    files = {file.as_posix() for file in dependencies.files_of(tmp_path, ["bench.measured"])}
    room = {"__init__.py", "first.py", "second.py", "table.toml", "pages/page.html"}
    assert files == {
        *(f"src/sharpeye/room/{name}" for name in room),
        *("src/sharpeye/__init__.py", "bench/measured.py", "tests/helper.py"),
    }
    second = "src/sharpeye/room/second.py"
    left = {
        f.as_posix() for f in dependencies.files_of(tmp_path, ["bench.measured"], without=[second])
    }
    assert files - left == {second}
    for options in ({"folders": ["missing"]}, {"without": ["missing"]}):
        with pytest.raises(FileNotFoundError, match="missing"):
            dependencies.files_of(tmp_path, ["bench.measured"], **options)
    with pytest.raises(FileNotFoundError, match="no module"):
        dependencies.files_of(tmp_path, ["bench.missing"])


def test_every_figure_depends_on_files_that_exist() -> None:
    for name, figure in FIGURES.items():
        assert Path("bench/measure.py") in figure.files(), name
        assert not any(str(file).startswith("bench/results") for file in figure.files()), name


_PROGRAM = """
import json, sys
from sharpeye.cli.app import run
assert run(sys.argv[1:]) == 0
modules = [module for name, module in sys.modules.items() if name.startswith("sharpeye")]
print(json.dumps([module.__file__ for module in modules]))
"""


def test_a_figure_depends_on_every_module_that_its_process_loads(
    cache: Path, session_cache: Path, backbone: Backbone, tmp_path: Path
) -> None:
    share_backbones(session_cache, cache)
    data = hard_photos(tmp_path / "hard")
    image = data / "ash" / "ash1.png"
    for name, arguments in {
        "train_warm": train_args(data, tmp_path / "run"),
        "predict_one": ["predict", tmp_path / "run", image],
        "check": ["check", data, "--quick", "-o", tmp_path / "check"],
    }.items():
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
            env=os.environ | {"SHARPEYE_CACHE": str(cache)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        loaded = {Path(file).relative_to(ROOT) for file in json.loads(done.stdout.splitlines()[-1])}
        unknown = loaded - FIGURES[name].files()
        excluded = [Path(path) for path in FIGURES[name].without]
        assert len(loaded) > 40
        assert [f for f in unknown if not any(f.is_relative_to(p) for p in excluded)] == [], name


# --- stale figures -------------------------------------------------------------------------------


class _Head(Figure):
    """A figure that depends on one file."""

    root = ROOT

    def files(self, root: Path | None = None) -> frozenset[Path]:
        return frozenset({Path("head.py")})

    def digest(self, root: Path | None = None) -> str:
        return code_digest.digest_of(self.files(), root or self.root)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one figure, `head`, which was measured on its code."""
    (tmp_path / "head.py").write_text(MODULE)
    monkeypatch.setattr(stale, "RESULTS", tmp_path)
    monkeypatch.setattr(stale, "NEUTRAL", tmp_path / "neutral.csv")
    monkeypatch.setattr(stale, "FIGURES", {"head": _Head("head")})
    monkeypatch.setattr(_Head, "root", tmp_path)
    (tmp_path / "neutral.csv").write_text("figure,digest,reason\n")
    about = {"commit": "1a2b3c4", "machine": "2 cores", "versions": {"python": "3"}, "date": "now"}
    digest = _Head("head").digest()
    (tmp_path / "head.json").write_text(json.dumps({"name": "head", **about, "digest": digest}))
    return tmp_path


def problems() -> list[str]:
    return [*stale.missing_entries(), *stale.stale_figures()]


def test_changed_code_makes_a_figure_stale_until_a_line_says_why_not(checkout: Path) -> None:
    assert problems() == []
    (checkout / "head.py").write_text(MODULE.replace("    return", "    sleep(1)\n    return"))
    (problem,) = problems()
    assert "head: measured at 1a2b3c4" in problem
    assert "measure it: python -m bench.head" in problem
    assert "python -m bench.stale --neutral REASON head" in problem
    neutral = checkout / "neutral.csv"
    stale.declare_neutral("it sleeps only in a new branch", "head")
    digest = _Head("head").digest()
    expected = f"figure,digest,reason\nhead,{digest},it sleeps only in a new branch\n"
    assert neutral.read_text() == expected
    assert problems() == []
    (checkout / "head.py").write_text(MODULE.replace("x + 1", "x + 2"))  # changed once more
    assert len(problems()) == 1
    (checkout / "head.py").write_text(MODULE)
    (problem,) = problems()
    assert "the line of head is needless" in problem
    neutral.write_text("figure,digest,reason\nhead,0,\n")
    with pytest.raises(SystemExit, match="no reason"):
        problems()
    neutral.write_text("figure,digest,reason\nhead,0,REASON\n")
    with pytest.raises(SystemExit, match="no reason"):
        problems()
    neutral.write_text("figure,digest,reason\nhead,0,one\nhead,1,two\n")
    with pytest.raises(SystemExit, match="two lines"):
        problems()


def test_a_result_that_was_changed_by_hand_is_named(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = checkout / "head.json"
    result = json.loads(file.read_text())
    spread = {"median": 2.0, "min": 1.0, "max": 3.0, "n": 3}
    for change in (
        {"name": "tail"},
        {"seconds": spread | {"median": float("nan")}},
        {"seconds": spread | {"median": None}},
        {"runs": [{"seconds": spread | {"median": 0.5}}]},
    ):
        file.write_text(json.dumps(result | change))
        assert problems() == [f"head.json: not as it was written; {stale.how_to_measure('head')}"]
    file.write_text(json.dumps(result | {"seconds": spread}))
    assert problems() == []

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
        done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.setattr(stale, "ROOT", checkout)
    monkeypatch.setattr(stale, "_CODE", ("head.py",))
    git("init", "-q")
    git("add", "-f", "head.py")
    git("commit", "-qm", "one")
    measured = result | {"commit": git("rev-parse", "--short=10", "HEAD")}
    file.write_text(json.dumps(measured))
    assert [*stale.false_digests()] == []
    file.write_text(json.dumps(measured | {"digest": "0" * 16}))
    assert "head: its digest is not that of" in next(stale.false_digests())
    file.write_text(json.dumps(result | {"digest": "0" * 16}))  # a commit that Git does not have
    assert [*stale.false_digests()] == []
    monkeypatch.setenv("PATH", "")
    file.write_text(json.dumps(measured | {"digest": "0" * 16}))
    assert [*stale.false_digests()] == []
    assert "head: measured at" in next(stale.stale_figures())


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


def test_a_missed_goal_is_called_missed() -> None:
    result = {"seconds": {"median": 2.6, "min": 2.0, "max": 3.0, "n": 3}, "goal": "<= 2.5"}
    (row,) = figure_tables.measured_row("train_warm", result)
    assert "| **2.60 s** | <= 2.5 s, missed |" in row
    assert figure_tables.is_met("<= 2.5", 2.5)
    assert figure_tables.is_met(">= 0.85", 0.9)
    assert not figure_tables.is_met(">= 0.85", 0.84)


# What Markdown shows of these is generated, code, or a comment.
GENERATED = re.compile(
    r"```.*?```|<!-- ([\w ]+): written by.*?<!-- /\1 -->|<!-- (?:figure|record):.*?<!-- / -->"
    r"|<!--.*?-->|`(?![\d.,]+ ?\w+`)[^`\n]*`",
    re.S,
)
FIGURE = re.compile(
    r"\d[\d.,]*[*_]*\s*(?:%|percent\b|ms\b|s\b|x\b(?!\s*\d)|seconds?\b|minutes?\b|min\b|hours?\b"
    r"|[KMGT]i?B\b|(?:images|requests)(?:/s\b|\s+a\s+second)|points\b|times\b)"
)
"""A number with the unit of a measurement."""
# `make docs` replaces what stands between these marks.
BLOCKS = {"sources", "program", *figure_tables.tables()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_in_sentences_are_quoted_from_the_results(page: Path) -> None:
    """All others are limits, settings and sizes; whoever adds one lists it here."""
    if page.name in ("cli.md", "config.md"):  # made from the code
        return
    text = GENERATED.sub(" ", page.read_text(encoding="utf-8"))
    numbers = sorted(" ".join(match[0].split()) for match in FIGURE.finditer(text))
    assert numbers == sorted(SETTINGS.get(page.name, ()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_mark_is_one_that_is_written_anew(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace(make_docs.NOTE, "")
    known = [match[0] for pattern in (VALUE, RECORD) for match in pattern.finditer(text)]
    rest = text
    for mark in known:
        rest = rest.replace(mark, "")
    for comment in re.findall(r"<!--.*?-->", rest, re.S):
        name = re.fullmatch(r"<!-- /?([\w ]+?)(?:: [^\n]*)? -->", comment)
        assert name, comment
        assert name[1] in BLOCKS, comment


# Limits, settings, sizes of files, and examples: by page.
SETTINGS: dict[str, tuple[str, ...]] = {
    "README.md": ("400 MB",),
    "architecture.md": ("64 MB",),
    "collecting.md": ("32 MiB", "60 seconds", "9 seconds"),
    "confidence.md": ("0.3 times", "80 %", "97 %"),
    "explaining.md": ("95 %",),
    "growing.md": ("95 %",),
    "model-file.md": ("1 GiB", "16 MiB", "16 MiB", "64 MiB"),
    "performance.md": ("30 %", "70 %", "95 %"),
    "cats-vs-dogs.md": ("825 MB",),
    "cifar10.md": ("0.01 times", "170 MB"),
    "flowers.md": ("229 MB",),
    "localization.md": ("95 %",),
    "reliability.md": ("40 minutes",),
    "serving.md": (
        "1 KiB",
        "10 seconds",
        "16 KiB",
        "200 MB",
        "250 MB",
        "256 MiB",
        "3 seconds",
        "30 seconds",
        "32 MiB",
        "64 MB",
    ),
    "studio.md": ("256 MiB", "64 MiB", "64 MiB"),
}
