"""Data sets that change while commands read them, and between two commands.

A command takes the list of files when it begins. A file that is gone or changed after that is left
out and named, or used with the bytes that were read: either the old ones or the new ones, with the
digest and the features of these very bytes. A folder that holds too little afterwards is exit
code 3.
"""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sharpeye
from battery.folder_changes import CHANGES, OpenHook, bmp_photos
from battery.tally import HangError, Tally, Tier
from runner import SMALL, scores_of, share_backbones, tree
from sharpeye.cli.app import run
from sharpeye.core.inference import Backbone
from sharpeye.data.digest import add_digests
from sharpeye.data.features import extract_features
from sharpeye.data.image_folder import scan_folder

MAX_SECONDS = 60
COMMANDS = ("predict", "evaluate", "check", "augment", "train")
# How often a command opens files of the data set, at most: 4 times each in training.
OPENS = {"predict": 18, "evaluate": 36, "check": 36, "augment": 19, "train": 75}
WHOLE_CLASS = ("class renamed", "class deleted")
# A file that a change makes unreadable is named if it was listed, whenever the change came.
UNREADABLE = ("truncated", "a dangling link", "a FIFO", "a folder", "forbidden")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def run_in_time(*arguments: str | Path) -> Ended:
    """A command in a thread of this process; HangError if it does not end."""
    codes: list[int] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            codes.append(run([*map(str, arguments)]))
        except BaseException as error:
            errors.append(error)

    out, err = io.StringIO(), io.StringIO()
    thread = threading.Thread(target=work, daemon=True)
    with redirect_stdout(out), redirect_stderr(err):
        thread.start()
        thread.join(MAX_SECONDS)
    if thread.is_alive():
        raise HangError(f"{arguments[0]} runs after {MAX_SECONDS} s")
    if errors:
        raise errors[0]
    return Ended(codes[0], out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Scene:
    """A folder of images, its bytes before a change, and a change to one of its files."""

    folder: Path
    before: dict[str, bytes]
    victim: str
    change: str

    def apply(self) -> None:
        CHANGES[self.change](self.folder / self.victim)

    def is_affected(self, name: str) -> bool:
        if self.change in WHOLE_CLASS:
            return name.split("/")[0] == self.victim.split("/")[0]
        return name == self.victim

    def contents(self, name: str) -> list[bytes]:
        """The bytes that a file had at any time."""
        path = self.folder / name
        readable = path.is_file() and os.access(path, os.R_OK)
        return [self.before[name], *([path.read_bytes()] if readable else [])]


def new_scene(folder: Path, random: np.random.Generator, change: str) -> Scene:
    bmp_photos(folder)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.bmp"))
    before = {name: (folder / name).read_bytes() for name in files}
    return Scene(folder, before, files[int(random.integers(len(files)))], change)


def tried_changes(tally: Tally) -> list[str]:
    """All changes; nothing is forbidden to root."""
    if os.geteuid() == 0:
        tally.skip()
    return [name for name in CHANGES if name != "forbidden" or os.geteuid()]


@pytest.fixture(scope="module")
def hook() -> OpenHook:
    return OpenHook()


@pytest.fixture
def watched(hook: OpenHook) -> Iterator[OpenHook]:
    yield hook
    hook.stop()


# --- what each command must have made of it -------------------------------------------------------


def check_predict(scene: Scene, ended: Ended, model: sharpeye.Model) -> None:
    lines = {line["path"]: line for line in map(json.loads, ended.out.splitlines())}
    names = {str(scene.folder / name): name for name in scene.before}
    for path, name in names.items():
        line = lines.get(path)
        if line is None:
            assert scene.is_affected(name) and scene.victim, f"{name} is missing"
            continue
        if "error" in line:
            assert scene.is_affected(name), line
            continue
        scores = [model.predict(data).score for data in scene.contents(name)]
        assert any(abs(line["score"] - score) < 1e-5 for score in scores), (line, scores)
    has_errors = any("error" in line for line in lines.values())
    assert ended.code == (3 if has_errors else 0)


def check_evaluate(scene: Scene, ended: Ended) -> None:
    assert ended.code in (0, 3), ended
    if ended.code == 0:
        count = int(ended.out.split(" of ")[1].split()[0].replace(",", ""))
        absent = len(scene.before) - count
        assert absent <= sum(map(scene.is_affected, scene.before)), ended
        if absent and scene.victim in _files_of(scene.folder):
            assert scene.victim in ended.err + ended.out, ended


def _files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def check_check(scene: Scene, ended: Ended) -> None:
    assert ended.code in (0, 3), ended
    assert "mislabelled" not in ended.out
    if scene.change not in WHOLE_CLASS and ended.code == 0:
        counted = re.search(r"pictures: +([\d,]+)", ended.out)
        assert counted, ended
        assert abs(int(counted[1].replace(",", "")) - len(scene.before)) <= 1, ended


def check_augment(scene: Scene, ended: Ended, output: Path) -> None:
    assert ended.code in (0, 3), ended
    for name in scene.before:
        copy = (output / name).with_suffix(".png")
        if not copy.exists():
            assert scene.is_affected(name), f"{name} has no copy"
            continue
        pixels = np.asarray(Image.open(copy).convert("RGB"))
        readable = [io.BytesIO(data) for data in scene.contents(name)]
        assert any(_has_pixels(file, pixels) for file in readable), name


def _has_pixels(file: io.BytesIO, pixels: np.ndarray) -> bool:  # type: ignore[type-arg]
    try:
        return np.array_equal(np.asarray(Image.open(file).convert("RGB")), pixels)
    except OSError:
        return False


def check_train(scene: Scene, ended: Ended, output: Path) -> None:
    """Each file is in the split with the digest of bytes that it had, or named as left out."""
    assert ended.code in (0, 3), ended
    if ended.code == 3:
        assert str(scene.folder) in ended.err or scene.victim in ended.err, ended
        assert not (output / "bundle.json").exists()
        return
    run_dir = sharpeye.Run(output)
    split = {row["path"]: row["sha256"] for row in run_dir.table("split.csv")}
    with (output / "quarantine.csv").open(encoding="utf-8", newline="") as file:
        left_out = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert not {*split} & {*left_out}
    for name in scene.before:
        digests = [hashlib.sha256(data).hexdigest() for data in scene.contents(name)]
        if name in split:
            assert split[name] in digests, f"{name} has the digest of other bytes"
        else:
            assert scene.is_affected(name), f"{name} is missing"
            assert scene.change != "touched", left_out
            assert name in left_out or not (scene.folder / name).is_file(), name
    if (output / "model.onnx").exists():
        sharpeye.load(output)


def check_cached_features(folder: Path, backbone: Backbone, cache: Path) -> None:
    """The cache has, for the bytes that now lie in the folder, the features of these bytes."""
    scanned = scan_folder(folder, min_classes=1)
    samples = add_digests(scanned, 2).samples
    stored = extract_features(samples, backbone, root=cache)
    computed = extract_features(samples, backbone, root=cache.with_name("uncached"))
    shutil.rmtree(cache.with_name("uncached"))
    for digest, vector in computed.features.items():
        np.testing.assert_array_equal(stored.features[digest], vector)


# --- programs -------------------------------------------------------------------------------------


def try_during(
    scene: Scene, command: str, number: int, *, hook: OpenHook, trained: Path, output: Path
) -> Ended:
    """Run a command; the change comes when it opens a file for the `number`-th time."""
    arguments: dict[str, tuple[str | Path, ...]] = {
        "predict": (trained, scene.folder, "--format", "jsonl"),
        "evaluate": (trained, scene.folder),
        "check": (scene.folder,),
        "augment": (scene.folder, output),
        "train": (scene.folder, "-o", output, *SMALL, "--quiet"),
    }
    if number == 0:
        scene.apply()
    else:
        hook.watch(scene.folder, number, scene.apply)
    try:
        return run_in_time(command, *arguments[command])
    finally:
        hook.stop()


def test_changes_during_a_command(
    tally: Tally,
    tier: Tier,
    seed: int,
    watched: OpenHook,
    trained: Path,
    backbone: Backbone,
    session_cache: Path,
    cache: Path,
    tmp_path: Path,
) -> None:
    """Data sets that change while a command reads them, 13 changes under 5 commands."""
    random = np.random.default_rng(seed)
    model = sharpeye.load(trained)
    share_backbones(session_cache, cache)
    changes = tried_changes(tally)
    for number in range(tier.count(small=3, battery=65, full=390)):
        command = COMMANDS[number % len(COMMANDS)]
        change = changes[int(random.integers(len(changes)))]
        moment = int(random.integers(OPENS[command]))
        case = tmp_path / f"case-{number}"
        with tally.case(f"{number}: {change}, {command}, at open {moment}"):
            scene = new_scene(case / "photos", random, change)
            output = case / "output"
            ended = try_during(scene, command, moment, hook=watched, trained=trained, output=output)
            assert "Traceback" not in ended.err and ended.code != 1, ended
            if command == "predict":
                check_predict(scene, ended, model)
            elif command == "evaluate":
                check_evaluate(scene, ended)
            elif command == "check":
                check_check(scene, ended)
            elif command == "augment":
                check_augment(scene, ended, output)
            else:
                check_train(scene, ended, output)
                check_cached_features(scene.folder, backbone, cache)
            if moment == 0 and change in UNREADABLE and command != "augment":
                named = scene.change == "a folder" or command in ("train", "check")
                assert named or scene.victim in ended.out + ended.err, ended
        shutil.rmtree(case, ignore_errors=True)
        shutil.rmtree(cache / "features", ignore_errors=True)
        shutil.rmtree(cache / "looks", ignore_errors=True)


def test_changes_between_two_trainings(
    tally: Tally,
    tier: Tier,
    seed: int,
    session_cache: Path,
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A training after a change, with the cache of the one before, against one without a cache."""
    random = np.random.default_rng(seed)
    names = tried_changes(tally)
    for number in range(tier.count(small=0, battery=len(names), full=3 * len(names))):
        # The change that nothing but the bytes can show comes first.
        change = (
            names[(number + 3) % len(names)] if number else "replaced with size and time unchanged"
        )
        case = tmp_path / f"case-{number}"
        with tally.case(f"{number}: {change}"):
            scene = new_scene(case / "photos", random, change)
            warm, cold = (share_backbones(session_cache, case / name) for name in ("warm", "cold"))
            monkeypatch.setenv("SHARPEYE_CACHE", str(warm))
            train = ("train", scene.folder, "--quiet", *SMALL, "-o")
            if tier.name == "small":  # what the first training leaves in the cache
                samples = add_digests(scan_folder(scene.folder), 2).samples
                extract_features(samples, backbone, root=warm)
            else:
                assert run_in_time(*train, case / "first").code == 0
                shutil.rmtree(warm / "splits")  # it keeps images in their split, by design
            scene.apply()
            images = tree(scene.folder)
            codes = []
            for root in (warm, cold):
                monkeypatch.setenv("SHARPEYE_CACHE", str(root))
                ended = run_in_time(*train, case / f"{root.name}-run")
                codes.append(ended.code)
            assert codes[0] == codes[1] and codes[0] in (0, 3), codes
            assert tree(scene.folder) == images
            if codes[0] == 0:
                first, second = (sharpeye.Run(case / f"{root.name}-run") for root in (warm, cold))
                assert first.table("split.csv") == second.table("split.csv")
                assert scores_of(first.metrics) == scores_of(second.metrics)
                check_train(scene, ended, second.path)
            check_cached_features(scene.folder, backbone, warm)
        shutil.rmtree(case, ignore_errors=True)
