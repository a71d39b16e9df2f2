"""`sharpeye studio` and `sharpeye label` as processes: how they begin, and how they end."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from photos import flowers

from localizer import write_localizer
from runner import environment
from sharpeye.cli.app import run
from studios import StudioProcess


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(
    studio_process_at: Callable[..., StudioProcess], tmp_path: Path, number: signal.Signals
) -> None:
    studio = studio_process_at(tmp_path / "new" / "pictures")
    assert (tmp_path / "new" / "pictures").is_dir()
    with studio.client() as client:
        assert "SharpEye" in client.get("/").text
    assert studio.stop(number) == 0
    assert "Traceback" not in studio.output[-1]
    assert [*(tmp_path / "home").iterdir()] == []


def test_label_opens_at_its_page(
    studio_process_at: Callable[..., StudioProcess], tmp_path: Path
) -> None:
    model = write_localizer(tmp_path / "boxes.onnx")
    options = ("--suggest", str(model))
    studio = studio_process_at(flowers(tmp_path / "pictures"), *options, command="label")
    assert studio.address == f"{studio.url}/label"
    response = httpx.get(studio.address, timeout=30)
    assert response.status_code == 200
    assert '<option value="--suggest" selected>boxes.onnx</option>' in response.text


def failing_command(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str]:
    """The exit code and the error of a command that ends by itself."""
    code = run([*map(str, arguments)])
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    return code, error


def test_a_taken_port_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = str(occupied.getsockname()[1])
        code, error = failing_command(capsys, "studio", tmp_path, "--port", port)
    assert code == 6
    assert f"127.0.0.1:{port}" in error and "--port" in error


def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert failing_command(capsys, "label", tmp_path / "nowhere")[0] == 2
    assert failing_command(capsys, "label", tmp_path, "--suggest", tmp_path / "no")[0] == 2
    assert failing_command(capsys, "studio", file)[0] == 5
    assert failing_command(capsys, "studio", tmp_path, "--token", "short")[0] == 2
    assert failing_command(capsys, "studio", tmp_path, "--host", "no.such.host.invalid")[0] == 2


def test_without_jinja2_it_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    code, error = failing_command(capsys, "studio", tmp_path / "new")
    assert code == 5 and "pip install 'sharpeye[studio]'" in error
    assert not (tmp_path / "new").exists()


def test_it_loads_no_network(tmp_path: Path, cache: Path) -> None:
    """TensorFlow is the training processes' own: in the studio it would cost 1 s and 300 MB."""
    program = """
import sys
from pathlib import Path
from sharpeye.studio.application import build_app
from sharpeye.studio.state import StudioState
from sharpeye.studio.workspace import Workspace
studio = StudioState(Workspace(Path(sys.argv[1])))
build_app(studio)
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
