"""Without httpx or Protego: what works, and how the rest says what to install."""

import subprocess
import sys
from pathlib import Path

from hostile_server import image
from runner import environment

_IMPORT, _URLS = (
    ["collect", "import", "old", "photos/rose"],
    ["collect", "urls", "list", "photos/a"],
)
_FETCH = ["fetch", "http://127.0.0.1:1/a.zip", "new"]
_DOWNLOAD_WEIGHTS = """
from sharpeye.models.weights.keras_downloads import RemoteWeights, _download
_download(RemoteWeights("w.h5", "http://127.0.0.1:1/w.h5"), None)
"""


def run_without(missing: str, program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program for which a package is not installed."""
    return subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.modules[{missing!r}] = None\n{program}"],
        cwd=folder,
        env=environment(folder / "cache", KERAS_HOME=str(folder / "keras")),
        capture_output=True,
        text=True,
        check=False,
    )


def commands(*arguments: list[str]) -> str:
    return f"from sharpeye.cli.app import run\nsys.exit(str([run(a) for a in {arguments}]))"


def test_without_httpx_only_requests_fail(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "1.jpg").write_bytes(image("1"))
    (tmp_path / "list").write_text("http://127.0.0.1:1/1.jpg\n")
    done = run_without("httpx", commands(_IMPORT, _URLS, _FETCH), tmp_path)
    error = "downloading needs httpx, which is not installed; run: pip install 'sharpeye[collect]'"
    assert done.stderr.splitlines() == [f"error: {error}"] * 2 + ["[0, 5, 5]"]
    assert {path.name for path in tmp_path.iterdir()} == {"old", "list", "photos"}
    done = run_without("httpx", _DOWNLOAD_WEIGHTS, tmp_path)
    assert done.stderr.splitlines()[-1].endswith(
        "MissingExtra: downloading weights needs httpx, which is not installed; "
        "run: pip install 'sharpeye[train]'"
    )


def test_without_protego_no_url_is_requested(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("http://127.0.0.1:1/1.jpg\n")
    done = run_without("protego", commands(_URLS), tmp_path)
    assert done.stderr.splitlines() == [
        "error: reading robots.txt needs protego, which is not installed; "
        "run: pip install 'sharpeye[collect]'",
        "[5]",
    ]
