"""Paths as users type them mean what a shell would mean, and printed commands can be copied."""

import shlex
import subprocess
from pathlib import Path

import pytest

from sharpeye.core.paths import (
    command_line,
    expand_homes,
    name_that_fits,
    require_outside,
    user_path,
)
from sharpeye.core.storage import cache_root
from sharpeye.errors import UsageError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_a_tilde_is_the_home_folder(home: Path) -> None:
    assert user_path("~/run") == home / "run"
    assert user_path(Path("~")) == home
    assert user_path("runs/~x") == Path("runs/~x")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("~/run", "{home}/run"),
        ("~", "{home}"),
        ("--output=~/run", "--output={home}/run"),
        ("-o~/run", "-o{home}/run"),
        ("data.folder=~/photos", "data.folder={home}/photos"),
        ("--set=data.folder=~/photos", "--set=data.folder={home}/photos"),
        ("photos/~backup", "photos/~backup"),
        ("a ~/b", "a ~/b"),
        ("~rose", "~rose"),
        ("--licence=~" + 999 * "x", "--licence=~" + 999 * "x"),
        ("", ""),
    ],
)
def test_a_tilde_behind_an_option_is_the_home_folder(
    argument: str, expected: str, home: Path
) -> None:
    assert expand_homes(argument) == expected.format(home=home)


@pytest.mark.usefixtures("home")
def test_an_existing_file_is_meant_as_it_is_called() -> None:
    Path("~nosuch").mkdir()
    Path("~nosuch/a=~b.png").touch()
    for name in ("~nosuch", "~nosuch/a=~b.png"):
        assert expand_homes(name) == name
        assert user_path(name) == Path(name)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["~nosuch/run", "~no such/run"])
def test_an_unknown_home_folder_is_no_folder_here(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", name)
    for use in (lambda: user_path(name), lambda: expand_homes(f"--output={name}"), cache_root):
        with pytest.raises(UsageError, match="there is no home folder ~no"):
            use()


def test_the_cache_does_not_move_with_the_current_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPEYE_CACHE", "cache")
    assert cache_root() == Path.cwd() / "cache"
    monkeypatch.setenv("SHARPEYE_CACHE", "~/cache")
    assert cache_root() == home / "cache"


@pytest.mark.parametrize("name", ["plain", "Tom's first", 'we"ird\\n $HOME `x`', "-o", "a\nb", "é"])
def test_a_printed_command_is_the_same_words_in_a_shell(name: str) -> None:
    command = command_line("printf", "%s|%s", Path("my runs") / name, name)
    assert shlex.split(command) == ["printf", "%s|%s", f"my runs/{name}", name]
    printed = subprocess.check_output(["sh", "-c", command], text=True)
    assert printed == f"my runs/{name}|{name}"


def test_a_path_that_begins_with_a_dash_is_printed_as_no_option() -> None:
    assert command_line("sharpeye", "check", Path("-x"), "--quick") == "sharpeye check ./-x --quick"


def test_a_name_is_cut_where_its_ending_would_make_it_too_long() -> None:
    assert name_that_fits("x" * 251, "-2.png") == "x" * 249 + "-2.png"
    assert name_that_fits("名" * 84, "-2.png") == "名" * 83 + "-2.png"
    assert name_that_fits("rose", "-2.png") == "rose-2.png"


@pytest.mark.parametrize("output", [".", "sub/new", "../photos/new", "{tmp}/photos"])
def test_an_output_among_the_images_is_refused(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "photos")
    for data in (Path(), tmp_path / "photos"):
        with pytest.raises(UsageError, match="give --output a folder outside of it"):
            require_outside(Path(output.format(tmp=tmp_path)), data, "--output")
    require_outside(Path("../photos-2"), Path(), "--output")
    require_outside(None, Path(), "--output")
