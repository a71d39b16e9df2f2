"""The documentation does what it says: its commands run, its links lead somewhere."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arrays import write_cifar_binary
from runner import hard_photos
from sharpeye.collect.shapes import draw_shape, voc_annotation

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
RECIPES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
OFFLINE = [ROOT / "docs" / "collecting.md"]  # pages that are quickly typed
GUIDES = [
    ROOT / "docs" / f"{name}.md"
    for name in (
        "checking",
        "evaluating",
        "growing",
        "training",
        "sweeps",
        "explaining",
        "confidence",
        "export",
    )
]
# What makes networks small and quick here.
SMALL = " --epochs 1 --set net.width=8 --set model.image_size=32"
QUICK_BOXES = " --set localize.box_views=2"
FROM_SCRATCH = ("cifar10.md", "cats-vs-dogs.md")
SLOW_RECIPES = (*FROM_SCRATCH, "localization.md", "flowers.md", "from-tensorflow-for-poets.md")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(text: str) -> list[str]:
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("sharpeye ")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """A folder in which the README's commands are typed, with `sharpeye` on the path."""
    place = tmp_path_factory.mktemp("readme")
    program = place / "bin" / "sharpeye"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sharpeye "$@"\n')
    program.chmod(0o755)
    return place


def shell(command: str, place: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "SHARPEYE_CACHE": str(cache)}
    return subprocess.run(
        command, shell=True, cwd=place, env=environment, capture_output=True, text=True
    )


def type_commands(typed: list[str], place: Path, cache: Path) -> None:
    for command in typed:
        done = shell(command, place, cache)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
    assert (place / "runs/faces/report.html").is_file()


def test_the_first_commands_of_the_readme(workplace: Path, session_cache: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    typed = commands(readme)[:3]
    assert [command.split()[1] for command in typed] == ["sample", "train", "predict"]
    type_commands([c.partition("#")[0] for c in typed], workplace, session_cache)


@pytest.mark.slow
def test_readme_commands_and_python(workplace: Path, session_cache: Path) -> None:
    shutil.rmtree(workplace / "runs", ignore_errors=True)
    shutil.rmtree(workplace / "faces", ignore_errors=True)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    typed = commands(readme)
    assert len(typed) >= 6
    type_commands(typed, workplace, session_cache)
    (code,) = blocks(readme, "python")
    (workplace / "readme.py").write_text(code)
    done = shell(f'"{sys.executable}" readme.py', workplace, session_cache)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^face 0\.\d+ ", done.stdout, re.M), done.stdout


def _page(page: Path) -> Any:
    """Pages that train many networks are slow."""
    slow = [pytest.mark.slow] if page.name in SLOW_RECIPES else []
    return pytest.param(page, id=page.name, marks=slow)


@pytest.mark.parametrize("page", [_page(page) for page in RECIPES])
def test_recipes(page: Path, tmp_path: Path, workplace: Path, session_cache: Path) -> None:
    """The commands as printed, but on generated images, with random weights, without downloads."""
    hard_photos(tmp_path / "tf_files" / "flower_photos")
    (tmp_path / "tf_files" / "flower_photos" / "ash").rename(
        tmp_path / "tf_files" / "flower_photos" / "roses"
    )
    hard_photos(tmp_path / "cats-vs-dogs")
    (tmp_path / "cats-vs-dogs" / "ash").rename(tmp_path / "cats-vs-dogs" / "Cat")
    write_cifar_binary(tmp_path / "cifar10", counts=(30, 30), tested=12)
    _vegetables(tmp_path / "vegetables")
    (tmp_path / "bin").symlink_to(workplace / "bin")
    typed = commands(page.read_text(encoding="utf-8"))
    assert len(typed) >= 2
    for command in typed:
        if command.startswith("sharpeye fetch "):  # tests/cli/test_fetch.py has a server for it
            continue
        if command.startswith("sharpeye retrain "):
            command = command.replace("inception_v3", "mobilenet_0.25_128")
            command += " --weights random --how_many_training_steps=20"
        if page.name == "localization.md":
            command += _quick(command)
        elif page.name in FROM_SCRATCH and "winner.toml" not in command:
            command += SMALL if re.match(r"sharpeye (train|sweep)", command) else ""
        done = shell(command, tmp_path, session_cache)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if command.startswith("sharpeye sample "):
            _keep_ten(tmp_path / command.split()[3])
    if page.name == "localization.md":
        _check_boxes(page, tmp_path, session_cache)


def _quick(command: str) -> str:
    if not command.startswith("sharpeye train "):
        return ""
    return " --epochs 1" if "alexnet" in command else QUICK_BOXES


def _keep_ten(folder: Path) -> None:
    for file in folder.rglob("*-00*.*"):
        if int(file.stem[-4:]) > 10:
            file.unlink()


def _vegetables(folder: Path) -> None:
    """Images as a tutorial has them: the class in the name, an XML file beside each."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for label, shape in (("cucumber", "cross"), ("eggplant", "ring"), ("mushroom", "star")):
        for number in range(1, 9):
            drawing, name = draw_shape(shape, random), f"{label}_{number}.jpg"
            Image.fromarray(drawing.pixels).save(folder / name)
            xml = voc_annotation(folder.name, name, "vegetable", drawing=drawing)
            (folder / f"{label}_{number}.xml").write_bytes(xml)


def _check_boxes(page: Path, place: Path, cache: Path) -> None:
    """The page's program agrees with `predict`, and its output files exist."""
    (code,) = blocks(page.read_text(encoding="utf-8"), "python")
    (place / "read.py").write_text(code, encoding="utf-8")
    done = shell(f'"{sys.executable}" -W error read.py', place, cache)
    assert done.returncode == 0, done.stderr
    label, score, *box = done.stdout.split()
    image = "shapes/star/star-0001.jpg"
    requested = shell(f"sharpeye predict runs/shapes {image} --format jsonl", place, cache)
    prediction = json.loads(requested.stdout)
    assert label == prediction["label"]
    assert float(score) == pytest.approx(prediction["score"], abs=1e-4)
    assert [float(edge) for edge in box] == pytest.approx(prediction["box"], abs=0.02)
    assert (place / "drawn" / "star-0001.jpg").is_file()
    assert len(list((place / "vegetables-drawn").glob("*.jpg"))) == 24
    assert len(list((place / "vegetables8").glob("*.xml"))) == 8 * 24
    assert len(list((place / "proposed").rglob("*.xml"))) == len(
        list((place / "new").rglob("*.jpg"))
    )
    labels = (place / "runs" / "vegetables" / "labels.txt").read_text(encoding="utf-8")
    assert labels.split() == ["cucumber", "eggplant", "mushroom"]


@pytest.mark.parametrize("page", OFFLINE, ids=lambda page: page.name)
def test_quick_guides(page: Path, tmp_path: Path, workplace: Path, session_cache: Path) -> None:
    test_guides(page, tmp_path, workplace, session_cache)


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_guides(page: Path, tmp_path: Path, workplace: Path, session_cache: Path) -> None:
    (tmp_path / "bin").symlink_to(workplace / "bin")
    for command in commands(page.read_text(encoding="utf-8")):
        done = shell(command, tmp_path, session_cache)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_file_tree_of_the_readme_is_the_real_one() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = next(block for block in blocks(readme, "text") if block.startswith("src/sharpeye/"))
    named = set(re.findall(r"([a-z_]+)/ ", tree)) | set(re.findall(r"([a-z_]+\.py)", tree))
    package = ROOT / "src" / "sharpeye"
    real = {p.name for p in package.iterdir() if p.is_dir() and p.name != "__pycache__"}
    real |= {p.name for p in package.glob("*.py")} - {"__main__.py"}
    assert named == real


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_files_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w.]+/[\w./]+)`", page))
    assert len(named) > 40
    missing = [
        n for n in named if not (ROOT / n).exists() and not (ROOT / "src/sharpeye" / n).exists()
    ]
    assert missing == []


@pytest.mark.slow
def test_generated_pages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.make_docs", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
