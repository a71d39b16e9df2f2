"""`sharpeye studio` and `sharpeye label` as processes: how they begin, and how they end."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from browser import Studio
from photos import flowers

from runner import environment
from sharpeye.cli.app import run


@pytest.fixture(autouse=True)
def _nicegui_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sets it for its process, which is this one here."""
    monkeypatch.setenv("NICEGUI_STORAGE_PATH", "unset")
    monkeypatch.setenv("MATPLOTLIB", "unset")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(
    studio_at: Callable[..., Studio], tmp_path: Path, number: signal.Signals
) -> None:
    studio = studio_at(tmp_path / "new" / "pictures")
    assert (tmp_path / "new" / "pictures").is_dir()
    with studio.client() as client:
        assert "SharpEye" in client.get("/").text
    assert studio.stop(number) == 0
    assert "Traceback" not in studio.said[-1]
    assert [*(tmp_path / "home").iterdir()] == []


def test_label_opens_at_its_page(studio_at: Callable[..., Studio], tmp_path: Path) -> None:
    studio = studio_at(flowers(tmp_path / "pictures"), command="label")
    assert studio.opened == f"{studio.url}/label"
    assert httpx.get(studio.opened, timeout=30).status_code == 200


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """The exit code and the error of a command that ends by itself."""
    code = run([*map(str, arguments)])
    said = capsys.readouterr().err.strip()
    assert said.count("\n") == 0
    return code, said


def test_a_taken_port_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = fails(capsys, "studio", tmp_path, "--port", port)
    assert code == 6
    assert f"127.0.0.1:{port}" in said and "--port" in said


def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert fails(capsys, "label", tmp_path / "nowhere")[0] == 2
    assert fails(capsys, "label", tmp_path, "--suggest", tmp_path / "no")[0] == 2
    assert fails(capsys, "studio", file)[0] == 5
    assert fails(capsys, "studio", tmp_path, "--token", "short")[0] == 2
    assert fails(capsys, "studio", tmp_path, "--host", "no.such.host.invalid")[0] == 2


def test_without_nicegui_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)
    code, said = fails(capsys, "studio", tmp_path / "new")
    assert code == 5 and "pip install 'sharpeye[studio]'" in said
    assert not (tmp_path / "new").exists()


def test_it_loads_no_network(tmp_path: Path, cache: Path) -> None:
    """TensorFlow is the training processes' own: in the studio it would cost 1 s and 300 MB."""
    program = """
import sys
from pathlib import Path
from sharpeye.serve.access import AccessRules
from sharpeye.studio.app import build_app
from sharpeye.studio.workspace import Workspace
_, studio = build_app(Workspace(Path(sys.argv[1])), AccessRules())
studio.close()
print(*{"tensorflow", "keras", "torch", "optuna", "tensorboard"} & {*sys.modules})
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env=environment(cache),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []
