"""A finished run as its reader sees it."""

from pathlib import Path

import pytest

from sharpeye.core.config import Config
from sharpeye.errors import DataError
from sharpeye.runs import layout
from sharpeye.runs.run_directory import Run, RunWriter


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run directory that holds a configuration and the file that marks it as finished."""
    config = Config().replace({"seed": 7, "data.folder": str(tmp_path / "photos")})
    with RunWriter(tmp_path / "run") as run_dir:
        run_dir.write_text(layout.CONFIG, config.to_toml())
        run_dir.write_text(layout.BUNDLE, "{}")
    return Run(tmp_path / "run")


def test_config_is_the_one_that_was_written(run: Run, tmp_path: Path) -> None:
    assert run.config == Config().replace({"seed": 7, "data.folder": str(tmp_path / "photos")})
    assert run.config is run.config


def test_a_missing_configuration_is_named(run: Run) -> None:
    (run.path / layout.CONFIG).unlink()
    with pytest.raises(DataError, match=r"run is no whole run directory: it has no config\.toml; "):
        _ = run.config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"= [", r"config\.toml is not TOML: "),
        (b"\xff", r"config\.toml is not TOML: "),
        (b"seed = 'seven'", r"in .*config\.toml"),
        (b"sead = 7", r"in .*config\.toml"),
    ],
)
def test_an_unreadable_configuration_is_a_data_error(
    run: Run, content: bytes, message: str
) -> None:
    (run.path / layout.CONFIG).write_bytes(content)
    with pytest.raises(DataError, match=message):
        _ = run.config


def test_a_configuration_that_is_a_folder_is_missing(run: Run) -> None:
    (run.path / layout.CONFIG).unlink()
    (run.path / layout.CONFIG).mkdir()
    with pytest.raises(DataError, match="has no config"):
        _ = run.config


def test_tables_are_read_by_column(run: Run) -> None:
    (run.path / "some.csv").write_text("path,score\na,1\n", encoding="utf-8")
    assert run.table("some.csv") == [{"path": "a", "score": "1"}]
