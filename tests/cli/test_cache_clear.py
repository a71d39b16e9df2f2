"""`sharpeye cache clear` beside commands that fill the cache."""

from pathlib import Path

import pytest

from sharpeye.cli.app import run


def test_a_folder_that_is_made_again_meanwhile_stays(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = cache / "features" / "network"
    again.mkdir(parents=True)
    remove = Path.rmdir

    def remove_and_make(folder: Path) -> None:
        remove(folder)
        if folder == again:
            again.mkdir()

    monkeypatch.setattr(Path, "rmdir", remove_and_make)
    assert run(["cache", "clear"]) == 0
    assert again.is_dir()
