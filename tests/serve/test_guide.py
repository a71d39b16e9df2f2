"""docs/serving.md: what is typed there works, against a server that is started as it says."""

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


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.usefixtures("backbone")
def test_the_guide_does_what_it_says(tmp_path: Path, session_cache: Path) -> None:
    typed = [line for block in blocks("bash") for line in block.splitlines()]
    *prepare, serve = [line.split()[1:] for line in typed if line.startswith("sharpeye ")]
    asked = [line for line in typed if line.startswith("curl ")]
    assert len(prepare) + 1 + len(asked) == len(typed)
    for words in prepare:
        small = ["--set", "model.image_size=64"] if words[0] == "train" else []
        done = call(*words, *small, cache=session_cache, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert serve == ["serve", "runs/faces"]
    with serving(tmp_path / serve[1], cache=session_cache) as running:
        assert running.said[0].startswith("serving faces at ")
        here = running.url.removeprefix("http://")
        for line in asked:
            done = subprocess.run(
                line.replace("127.0.0.1:8000", here) + " --silent --fail",
                shell=True,
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, line
            assert done.stdout, line
            if "/v1/predict" in line:
                answers = json.loads(done.stdout)["predictions"]
                assert [one["label"] for one in answers] == ["face"] * len(answers), line
        (program,) = blocks("python")
        done = subprocess.run(
            [sys.executable, "-c", program.replace("127.0.0.1:8000", here)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 3
    (shown,) = blocks("json")
    assert list(json.loads(shown)["predictions"][0]) == list(answers[0])
