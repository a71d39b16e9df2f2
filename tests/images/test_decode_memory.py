"""The memory of a decode: the estimate is right, and no command takes more than its budget."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from large_images import LARGE, blank_gif, blank_png, blank_webp

from runner import environment
from sharpeye.errors import ImageReadError
from sharpeye.images.decode import decode, decode_with_size
from sharpeye.images.decode_limits import MB, DecodeLimits

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
SCRIPT = str(Path(__file__).with_name("peak_memory.py"))


def refusal(data: bytes, limits: DecodeLimits | None = None) -> str:
    with pytest.raises(ImageReadError) as caught:
        decode(data, "x", limits)
    assert not caught.value.transient
    return caught.value.reason


def check_estimates(folder: Path, side: int, names: list[str]) -> None:
    files = []
    for name in names:
        files.append(folder / name)
        files[-1].write_bytes(LARGE[name](side, side - 7))
    done = subprocess.run(
        [sys.executable, SCRIPT, "decode", *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(folder),
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == names
    for row in rows:
        # A few MB of tables and libraries that the first decode of a format loads are no pixels.
        assert row["estimated"] > 0.97 * row["measured"] - 4 * MB, row
        assert row["estimated"] < 1.5 * row["measured"] + 4 * MB, row


def test_the_estimate_is_the_measured_peak(tmp_path: Path) -> None:
    check_estimates(tmp_path, 1500, ["lossless.webp", "rgba.png", "clear.gif", "progressive.jpg"])


@pytest.mark.slow
def test_the_estimate_is_the_measured_peak_for_every_format(tmp_path: Path) -> None:
    check_estimates(tmp_path, 3000, list(LARGE))


@pytest.mark.parametrize("side", [8000])
def test_an_image_of_few_bytes_and_many_pixels_is_refused_by_name(side: int) -> None:
    data = blank_webp(side, side)
    assert len(data) < 40
    started = time.process_time()
    reason = refusal(data)
    assert reason.startswith(f"a WEBP of {side} x {side} pixels with transparency would need ")
    assert "MB to decode; the limit is 400 MB: raise it with --max-decode-memory " in reason
    assert time.process_time() - started < 0.5


def test_the_limit_of_memory_is_exact() -> None:
    data = blank_png(2000, 1000, colour=0)
    needed = int(refusal(data, DecodeLimits(memory_bytes=MB)).split(" MB to decode")[0].split()[-1])
    assert 10 <= needed <= 12  # a byte a pixel, then 4 more of RGB
    assert decode(data, "x", DecodeLimits(memory_bytes=(needed + 1) * MB)).size == (2000, 1000)
    assert "would need" in refusal(data, DecodeLimits(memory_bytes=(needed - 1) * MB))
    grey, _ = decode_with_size(data, "x", DecodeLimits(memory_bytes=4 * MB), keep_grey=True)
    assert grey.mode == "L"


def test_a_large_image_of_one_colour_is_read() -> None:
    assert decode(blank_gif(4000, 3000), "x").getpixel((3999, 2999)) == (255, 255, 255)


# 16 threads of a machine with 16 cores, each with an image of its own.
@pytest.fixture(scope="module")
def large_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 images in 2 classes: some are refused, the others take up to 400 MB each."""
    folder = tmp_path_factory.mktemp("large") / "photos"
    sides = {
        **dict.fromkeys(("tile.jp2", "alpha.avif", "lossy.webp"), 4000),
        **dict.fromkeys(("progressive.jpg", "cmyk.jpg"), 5000),
        **dict.fromkeys(("grey.pgm", "wide.pgm"), 2500),  # Their files are as large as the pixels.
    }
    for number, (name, write) in enumerate(LARGE.items()):
        for copy in range(2):
            side = sides.get(name, (8000, 6000)[copy]) - 8 * number - 3 * copy
            file = folder / f"class{copy}" / f"{number:02d}_{name}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(write(side, side))
    return folder


def command_peak(cores: int, *arguments: str | Path, cache: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, SCRIPT, "run", str(cores), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(cache),
    )
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["code"] in (0, 3), done.stderr
    return report["peak"], done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cores", [2, 16])
@pytest.mark.parametrize("name", ["check", "predict"])
def test_a_command_stays_within_its_budget(
    name: str, cores: int, large_folder: Path, trained: Path, tmp_path: Path
) -> None:
    budget = max(400, 64 * cores) * MB
    arguments = ["check", large_folder] if name == "check" else ["predict", trained, large_folder]
    peak, output = command_peak(cores, *arguments, cache=tmp_path)
    assert "raise it with --max-decode-memory" in output
    assert peak < budget + 250 * MB, f"{peak / MB:.0f} MB"
