"""The commands of docs/serving.md work, with the server that the page starts."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from http_client import serving
from runner import call

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.usefixtures("backbone")
def test_the_commands_of_the_page_work(tmp_path: Path, session_cache: Path) -> None:
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    *prepare, serve = [line.split()[1:] for line in commands if line.startswith("sharpeye ")]
    curls = [line for line in commands if line.startswith("curl ")]
    assert len(prepare) + 1 + len(curls) == len(commands)
    for words in prepare:
        small = ["--set", "model.image_size=64"] if words[0] == "train" else []
        done = call(*words, *small, cache=session_cache, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert serve == ["serve", "runs/faces"]
    with serving(tmp_path / serve[1], cache=session_cache) as running:
        assert running.first_line.startswith("serving faces at ")
        address = running.url.removeprefix("http://")
        for line in curls:
            done = subprocess.run(
                line.replace("127.0.0.1:8000", address) + " --silent --fail",
                shell=True,
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, line
            assert done.stdout, line
            if "/v1/predict" in line:
                results = json.loads(done.stdout)["predictions"]
                assert [result["label"] for result in results] == ["face"] * len(results), line
        (program,) = blocks("python")
        done = subprocess.run(
            [sys.executable, "-c", program.replace("127.0.0.1:8000", address)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3
    (example,) = blocks("json")
    assert list(json.loads(example)["predictions"][0]) == list(results[0])
