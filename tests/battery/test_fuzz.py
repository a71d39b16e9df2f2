"""Everything that reads bytes of others, fuzzed: see battery.fuzz."""

import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from battery.fuzz.checked_target import CORPUS, MAX_INPUT_BYTES, TARGETS, CheckedTarget
from battery.fuzz.mutations import mutate
from battery.processes import run_process
from battery.tally import Tally, Tier
from runner import environment

_AT_ONCE = 2  # processes
_CHUNK = 25  # mutations that are one case


def test_replay(tally: Tally, tier: Tier, seed: int) -> None:
    """Seeds, earlier findings and mutations of them through six fuzz targets."""
    count, inputs = tier.count(small=50, battery=400, full=2000), 0
    for name in TARGETS:
        target = CheckedTarget(name)
        seeds = target.seeds()
        for number, data in enumerate(seeds):
            with tally.case(f"{name}: seed {number}"):
                target(data)
        random = np.random.default_rng(seed)
        for start in range(0, count, _CHUNK):
            with tally.case(f"{name}: mutations {start} to {start + _CHUNK - 1}"):
                mutated = [
                    mutate(random, seeds[random.integers(len(seeds))], target.tokens)
                    for _ in range(_CHUNK)
                ]
                for data in mutated:
                    target(data)
        inputs += count + len(seeds)
    tally.figures["inputs"] = f"{inputs:,}"


def test_coverage_guided(tally: Tally, tier: Tier, seed: int, tmp_path: Path) -> None:
    """Coverage-guided fuzzing of six targets with atheris."""
    seconds = tier.fuzz_seconds()
    if not seconds or importlib.util.find_spec("atheris") is None:
        tally.skip(len(TARGETS))
        tally.figures["skipped"] = "the small tier" if not seconds else "atheris is not installed"
        return

    def fuzz(name: str) -> dict[str, object]:
        flags = ["--seconds", str(seconds), "--seed", str(seed), "--findings", tmp_path / name]
        done = run_process(
            [sys.executable, "-m", "battery.fuzz", name, *map(str, flags)],
            env=environment(tmp_path / "cache", TMPDIR=str(tmp_path)),
            timeout=2 * seconds + 120,
            cwd=Path(__file__).parents[1],
        )
        assert done.out, done.err[-2000:]
        return {"log": done.err, **json.loads(done.out.splitlines()[-1])}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        runs = {name: pool.submit(fuzz, name) for name in TARGETS}
        for name, run in runs.items():
            with tally.case(name):
                result = run.result()
                tally.figures[name] = (
                    f"{result['executions']:,} executions, {result['edges']:,} edges, "
                    f"corpus {result['corpus']:,}"
                )
                assert not result["findings"], f"{result['findings']}: {result['log']}"
                assert result["executions"], result["log"]


def test_the_corpus_is_small_and_belongs_to_targets() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= set(TARGETS)
    for file in CORPUS.rglob("*"):
        assert not file.is_file() or file.stat().st_size <= MAX_INPUT_BYTES


def test_a_target_that_takes_too_much_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    target, peaks = CheckedTarget("annotations"), iter((0, 2**30, 2**30))
    monkeypatch.setattr("battery.fuzz.checked_target._peak_bytes", lambda: next(peaks))
    with pytest.raises(AssertionError, match="1024 MiB for 1 bytes"):
        target(b"x")
    monkeypatch.setattr("battery.fuzz.checked_target.MAX_CPU_SECONDS", -1)
    with pytest.raises(AssertionError, match="s of CPU"):
        target(b"x")
