"""Damaged and hostile images: each is read as Pillow reads it or refused with a reason."""

import itertools
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from battery.commands import check_printed, command_runner
from battery.damaged_images import SUFFIXES, make_cases, make_neighbors
from battery.image_case import ImageCase, digest_pixels
from battery.processes import check_unchanged, run_process
from battery.tally import HangError, Tally, Tier, TracebackError
from large_images import LARGE
from runner import SMALL, environment, share_backbones, tree
from sharpeye.core.inference import Backbone
from sharpeye.core.tables import read_table
from sharpeye.images.decode import decode

_MAX_SECONDS = 2.0  # of processor time an image
_MAX_WALL_SECONDS = 10.0  # of the largest images that are read
_MAX_PEAK = 512 * 2**20  # bytes an image above the idle process
# Files that Pillow writes, pixel by pixel.
_WRITTEN_SLOWLY = ("progressive.jpg", "cmyk.jpg", "tile.jp2", "alpha.avif", "lossy.webp")
_MAX_WRITTEN_PIXELS = 4000**2
_TESTS = Path(__file__).parents[1]
_CLASSES = ("ash", "birch", "cedar")
# Programs that a decoder might start.
_INTERPRETERS = ("gs", "convert", "magick", "inkscape", "rsvg-convert", "pdftoppm", "dwebp", "sh")


@dataclass(frozen=True)
class DamagedFolder:
    """Class folders in which ordinary images and cases lie side by side, by path."""

    root: Path
    names: dict[str, str]
    cases: dict[str, ImageCase]
    neighbors: dict[str, bytes]

    @property
    def paths(self) -> list[str]:
        return sorted([*self.cases, *self.neighbors])


def _make_folder(root: Path, seed: int, per_kind: int, neighbors: int) -> DamagedFolder:
    result = DamagedFolder(root, {}, {}, {})
    for label in _CLASSES:
        (result.root / label).mkdir(parents=True)
    for number, (name, case) in enumerate(make_cases(seed, per_kind)):
        path = f"{_CLASSES[number % 3]}/{number:05d}{SUFFIXES[number % len(SUFFIXES)]}"
        result.names[path], result.cases[path] = name, case
        (result.root / path).write_bytes(case.data)
    for number, (suffix, data) in enumerate(make_neighbors(seed, neighbors)):
        path = f"{_CLASSES[number % 3]}/{number * 5:05d}-neighbor{suffix}"
        result.names[path], result.neighbors[path] = f"neighbor {number}", data
        (result.root / path).write_bytes(data)
    return result


def _decode_in_child(files: Sequence[Path], cache: Path) -> Iterator[dict[str, Any]]:
    """The child's record of each file; a child that ends before the last file is started again."""
    listing = cache / f"{files[0].parent.name}-{files[0].name}.txt"
    while files:
        listing.write_text("\n".join(map(str, files)), encoding="utf-8")
        arguments = [sys.executable, "-m", "battery.decode_files", str(listing)]
        child = run_process(arguments, env=environment(cache), timeout=3600, cwd=_TESTS)
        records = [json.loads(line) for line in child.out.splitlines()]
        ended = len([record for record in records if "seconds" in record])
        yield from (record for record in records if "seconds" in record)
        if ended < len(files):
            kind = "hang" if "Timeout" in child.err else "crash"
            yield {"file": str(files[ended]), kind: f"exit code {child.code}: {child.err[-1500:]}"}
        files = files[ended + 1 :]


def _check_cost(record: dict[str, Any], *, seconds: float) -> None:
    if "hang" in record:
        raise HangError(record["hang"])
    if "crash" in record:
        raise TracebackError(record["crash"])
    assert record["events"] == [], record["events"]
    assert record["seconds"] <= seconds, f"{record['seconds']:.2f} s of processor time"
    assert record["peak"] <= _MAX_PEAK, f"{record['peak'] / 2**20:.0f} MiB"


def _check_record(record: dict[str, Any], case: ImageCase) -> None:
    _check_cost(record, seconds=_MAX_SECONDS)
    reason = record["reason"]
    assert bool(reason) != ("pixels" in record)
    assert case.outcome == "either" or case.outcome == ("refused" if reason else "accepted"), reason
    if reason:
        assert reason.isprintable() and len(reason) < 250, reason
        assert case.reason in reason, reason
        return
    if case.pixels is not None:
        assert record["pixels"] == digest_pixels(case.pixels), "the pixels are not the expected"
    else:
        assert record["as_pillow"] is not False, "Pillow decodes other pixels"


@pytest.mark.skipif(not hasattr(Path, "owner"), reason="processes of POSIX")
def test_damaged_images(tally: Tally, tier: Tier, seed: int, cache: Path, tmp_path: Path) -> None:
    """Damaged and hostile images of 25 kinds, and ordinary ones between them."""
    per_kind, neighbors = tier.count(4, 40, 160), tier.count(24, 200, 200)
    folder = _make_folder(tmp_path / "photos", seed, per_kind, neighbors)
    halves = [[folder.root / path for path in folder.paths[half::2]] for half in range(2)]
    with ThreadPoolExecutor(2) as pool:
        records = pool.map(lambda files: list(_decode_in_child(files, cache)), halves)
        by_path = {
            Path(record["file"]).relative_to(folder.root).as_posix(): record
            for record in itertools.chain.from_iterable(records)
        }
    for path in folder.paths:
        with tally.case(f"{folder.names[path]} ({path})"):
            case = folder.cases.get(path)
            if case is None:
                data = folder.neighbors[path]
                case = ImageCase(data, "accepted", np.asarray(decode(data, path)))
            _check_record(by_path[path], case)
    tally.figures |= _figures(by_path.values())


def _figures(records: Collection[dict[str, Any]]) -> dict[str, str]:
    refused = sum(bool(record.get("reason")) for record in records)
    seconds = max(record.get("seconds", 0) for record in records)
    peak = max(record.get("peak", 0) for record in records)
    return {
        "read": f"{len(records) - refused:,}",
        "refused with a reason": f"{refused:,}",
        "slowest": f"{seconds:.2f} s of processor time",
        "peak memory an image": f"{peak / 2**20:.0f} MiB above the idle process",
    }


def test_images_of_few_bytes_and_many_pixels(tally: Tally, tier: Tier, tmp_path: Path) -> None:
    """Images of few bytes and many pixels, in every format and mode."""
    sides = {"small": (8000,), "battery": (4000, 8000), "full": (2000, 4000, 6000, 8000, 12_000)}
    files = []
    for side in sides[tier.name]:
        for name in [*LARGE][:: tier.count(small=4, battery=1, full=1)]:
            if side * side > _MAX_WRITTEN_PIXELS and name in _WRITTEN_SLOWLY:
                continue
            files.append(tmp_path / f"{side}_{name}")
            files[-1].write_bytes(LARGE[name](side, side - 7))
    records = list(_decode_in_child(files, tmp_path))
    for record in records:
        with tally.case(Path(record["file"]).name):
            _check_cost(record, seconds=_MAX_WALL_SECONDS)
            assert record["reason"] or record["as_pillow"] is not False
            assert not record["reason"] or "limit" in record["reason"]
    tally.figures |= _figures(records)


@pytest.fixture
def interpreters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stays empty unless a program is started that a decoder might start."""
    started, programs = tmp_path / "started", tmp_path / "programs"
    started.mkdir()
    programs.mkdir()
    for name in _INTERPRETERS:
        (programs / name).write_text(f"#!/bin/bash\n: > {started}/{name}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return started


def _by_path(lines: str, root: Path) -> dict[str, dict[str, Any]]:
    records = (json.loads(line) for line in lines.splitlines())
    return {record.pop("path").removeprefix(f"{root}/"): record for record in records}


def test_commands_on_damaged_images(
    tally: Tally,
    tier: Tier,
    seed: int,
    cache: Path,
    session_cache: Path,
    backbone: Backbone,
    interpreters: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """check, train and predict on a folder of damaged images and ordinary ones."""
    share_backbones(session_cache, cache)
    per_kind, neighbors = tier.count(1, 40, 160), tier.count(24, 200, 200)
    folder = _make_folder(tmp_path / "photos", seed, per_kind, neighbors)
    run, before = command_runner(tier, capsys, cache), tree(folder.root)
    checked, run_dir, clean = tmp_path / "checked", tmp_path / "run", tmp_path / "clean"
    with tally.case("check --strict"):
        check_printed(run("check", folder.root, "-o", checked, "--strict").check({9}))
    with tally.case("train"):
        check_printed(run("train", folder.root, "-o", run_dir, *SMALL).check({0}))
    issues = [row for row in read_table(checked / "issues.csv") if row["kind"] == "unreadable"]
    reasons = {row["path"]: row["detail"] for row in issues}
    with tally.case("each file is counted once, with its reason"):
        quarantine = read_table(run_dir / "quarantine.csv")
        assert {row["path"]: row["reason"] for row in quarantine} == reasons
        used = [row["path"] for row in read_table(run_dir / "split.csv")]
        assert sorted([*used, *reasons]) == folder.paths
        for path in folder.neighbors:
            assert path not in reasons, reasons
        for path, case in folder.cases.items():
            assert case.outcome == "either" or (case.outcome == "refused") == (path in reasons)
            assert case.reason in reasons.get(path, case.reason)
    with tally.case("predict"):
        ended = run("predict", run_dir, folder.root, "--format", "jsonl").check({3})
        predictions = _by_path(ended.out, folder.root)
        assert {p: r["error"] for p, r in predictions.items() if "error" in r} == reasons
        assert sorted(predictions) == folder.paths
    with tally.case("predict as text"):
        check_printed(run("predict", run_dir, folder.root).check({3}))
    with tally.case("ordinary images beside damaged ones have the same predictions"):
        for path, data in folder.neighbors.items():
            (clean / path).parent.mkdir(parents=True, exist_ok=True)
            (clean / path).write_bytes(data)
        ended = run("predict", run_dir, clean, "--format", "jsonl").check({0})
        alone = _by_path(ended.out, clean)
        assert alone == {path: predictions[path] for path in folder.neighbors}
    with tally.case("the folder is as it was, and no program was started"):
        check_unchanged(folder.root, before)
        assert [*interpreters.iterdir()] == []
    with tally.case("check --quarantine"):
        moved = tmp_path / "moved"
        check_printed(run("check", folder.root, "--quarantine", moved).check({0}))
        after = tree(folder.root) | {
            path: entry for path, entry in tree(moved).items() if path in before
        }
        assert after == before
        assert {row["reason"] for row in read_table(moved / "moved.csv")} == {*reasons.values()}
        assert {path for path in tree(moved) if path in folder.names} == {*reasons}
