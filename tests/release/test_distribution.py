"""What wheel and source distribution hold: the files of the repository, and nothing else."""

import email
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_IN_SDIST = (".ci/", ".github/")  # what only the repository uses
MAX_WHEEL_BYTES, MAX_SDIST_BYTES = 2 * 2**20, 10 * 2**20

pytestmark = pytest.mark.slow
pytest.importorskip("hatchling")
pytest.importorskip("hatch_fancy_pypi_readme")


@pytest.fixture(scope="module")
def tracked() -> set[str]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("this is no repository of git")
    return {name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tracked: set[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built from a copy of the repository beside what people leave there."""
    copy, output = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    for junk in (
        "runs/x/model.onnx",
        "site/index.html",
        "demo/a",
        "src/sharpeye/__pycache__/a.pyc",
    ):
        (copy / junk).parent.mkdir(parents=True, exist_ok=True)
        (copy / junk).write_bytes(b"junk")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(output)]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    return output


def test_the_wheel_holds_every_tracked_file_of_the_source_and_nothing_else(
    built: Path, tracked: set[str]
) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    source = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    assert names - metadata == source
    assert {"sharpeye/py.typed", "sharpeye/core/recipes/lenet5-2020.toml"} <= source
    assert {name.partition("/")[2] for name in metadata} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_source_distribution_builds_and_tests_and_has_no_junk(
    built: Path, tracked: set[str]
) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        names = {member.name.partition("/")[2] for member in opened if member.isfile()}
    expected = {name for name in tracked if not name.startswith(NOT_IN_SDIST)}
    assert names == expected | {"PKG-INFO"}
    assert sdist.stat().st_size < MAX_SDIST_BYTES


def test_the_page_of_a_package_index_links_to_no_file(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.endswith("/METADATA"))
        page = email.message_from_bytes(opened.read(name))
    text = page.get_payload()
    assert page["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"\]\((?!https?://)[^)]*\)", text) == []
    assert "![" not in text
    assert "the studio (`docs/studio.md`)" in text
    assert page["License-Expression"] == "Apache-2.0"
