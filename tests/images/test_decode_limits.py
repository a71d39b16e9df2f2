"""Limits: knobs, options and variables put them in force; a stopped process condemns no image."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from image_files import encoded, quarters, refusal
from large_images import blank_png
from sharpeye.core.config import Config
from sharpeye.errors import ImageReadError, UsageError
from sharpeye.images import decode as module
from sharpeye.images import decode_limits
from sharpeye.images.decode import decode, read_file
from sharpeye.images.decode_limits import (
    MB,
    DecodeLimits,
    configured_limits,
    limits_in_force,
    use_limits,
)
from sharpeye.images.memory_budget import BUDGET, BudgetTimeout, MemoryBudget


def test_limits_in_force_hold_for_every_decode_and_file(tmp_path: Path) -> None:
    data = encoded(quarters(), "PNG")
    (tmp_path / "x.png").write_bytes(data)
    with use_limits(DecodeLimits(pixels=10, file_bytes=5)):
        assert "over the limit of 1e-05 megapixels; raise it with --max-megapixels 1" in refusal(
            data
        )
        with pytest.raises(ImageReadError, match="limit of 0 MiB"):
            read_file(tmp_path / "x.png", "x.png")
    assert decode(data, "x").size == (48, 32)


def test_knobs_become_limits() -> None:
    config = Config().replace({"images.max_megapixels": 200, "images.max_decode_memory": 900})
    limits = configured_limits(config.images)
    assert (limits.pixels, limits.memory_bytes) == (200_000_000, 900 * MB)
    assert configured_limits(Config().images) == limits_in_force()


def test_variables_of_the_environment_become_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_limits, "_in_force", None)
    monkeypatch.setenv("SHARPEYE_MAX_MEGAPIXELS", "1.5")
    monkeypatch.setenv("SHARPEYE_MAX_DECODE_SECONDS", "20")
    assert limits_in_force() == DecodeLimits(pixels=1_500_000, seconds=20.0)
    monkeypatch.setattr(decode_limits, "_in_force", None)
    monkeypatch.setenv("SHARPEYE_MAX_FILE_SIZE", "many")
    with pytest.raises(UsageError, match="SHARPEYE_MAX_FILE_SIZE must be a number above 0"):
        limits_in_force()


def test_a_stopped_process_has_all_its_time(tmp_path: Path) -> None:
    if not hasattr(signal, "SIGSTOP"):
        pytest.skip("no SIGSTOP here")
    (tmp_path / "x.png").write_bytes(encoded(quarters(), "PNG"))
    program = """
import sys, time
from sharpeye.images import open_image
from sharpeye.images.decode import decode
from sharpeye.images.decode_limits import DecodeLimits
read = open_image.DeadlineReader.read
def slow(self, size=-1, /):
    print("reading", flush=True)
    time.sleep(0.05)
    return read(self, size)
open_image.DeadlineReader.read = slow
print(decode(open(sys.argv[1], "rb").read(), "x", DecodeLimits(seconds=0.3)).size)
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "x.png")], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "reading\n"
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.6)
    child.send_signal(signal.SIGCONT)
    output, _ = child.communicate(timeout=30)
    assert output.endswith("(48, 32)\n") and child.returncode == 0


def test_too_slow_and_unreadable_for_now_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageReadError) as caught:
        decode(encoded(quarters(), "PNG"), "x", DecodeLimits(seconds=0))
    assert caught.value.transient
    (tmp_path / "x").write_bytes(b"x")
    for number, transient in ((errno.EIO, True), (errno.EMFILE, True), (errno.EACCES, False)):
        tries = []

        def fail(*_: object, number: int = number, tries: list[int] = tries) -> int:
            tries.append(1)
            raise OSError(number, os.strerror(number))

        # Pytest itself opens folders when it removes `tmp_path`.
        with monkeypatch.context() as patch, pytest.raises(ImageReadError) as caught:
            patch.setattr(module.os, "open", fail)
            read_file(tmp_path / "x", "x")
        assert caught.value.transient == transient and len(tries) == 1 + transient


def test_reasons_are_the_same_in_every_run() -> None:
    for kind in ("PNG", "GIF", "TIFF", "WEBP", "BMP", "JPEG", "JPEG2000"):
        data = encoded(quarters(), kind)
        for cut in (14, 30, 60):
            try:
                decode(data[:cut] + bytes(20), "x")
            except ImageReadError as error:
                assert not re.search("0x[0-9a-f]{6}", error.reason), error.reason


def test_an_error_holds_no_pixels() -> None:
    data = encoded(Image.new("RGB", (300, 300)), "PNG")
    with pytest.raises(ImageReadError) as caught:
        decode(data[: len(data) // 2], "x")
    assert caught.value.__context__ is None


# --- the budget ----------------------------------------------------------------------------------


def test_decodes_beyond_the_budget_wait_for_others() -> None:
    budget, peak, lock = MemoryBudget(100 * MB), [0], threading.Lock()

    def work() -> None:
        with budget.reserve(40 * MB):
            with lock:
                peak[0] = max(peak[0], budget.reserved)
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert peak[0] == 80 * MB and budget.reserved == 0


def test_one_decode_runs_however_large_and_a_nested_one_never_waits() -> None:
    budget = MemoryBudget(10 * MB)
    with budget.reserve(50 * MB, 0.0), budget.reserve(50 * MB, 0.0):
        assert budget.reserved == 100 * MB


def test_a_server_refuses_instead_of_waiting() -> None:
    budget, held, done = MemoryBudget(10 * MB), threading.Event(), threading.Event()

    def hold() -> None:
        with budget.reserve(9 * MB):
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    with pytest.raises(BudgetTimeout), budget.reserve(5 * MB, 0.05):
        pass
    with budget.reserve(1 * MB, 0.0):  # small images never wait
        pass
    done.set()
    thread.join(10)
    with budget.reserve(5 * MB, 0.0):
        assert budget.reserved == 5 * MB


def test_pixels_count_until_the_image_is_dropped() -> None:
    before = BUDGET.reserved
    image = decode(blank_png(2000, 1500, colour=2), "x")
    assert BUDGET.reserved - before == 4 * 2000 * 1500
    del image
    assert BUDGET.reserved == before
