"""Folders that may not be read or written: a clear line, and no write anywhere else.

The commands run as `nobody`; where the test may not become another user, all cases are skipped.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from battery.disk_scenarios import Inputs
from battery.processes import EndedProcess
from battery.tally import LossError, Tally, Tier
from battery.unprivileged import UNSET, allow, give, is_possible, sharpeye_as_nobody
from runner import SMALL, share_backbones, temporaries, tree
from sharpeye.core.inference import Backbone

TRAIN = "train {photos} -o {out}/run -q"
PREDICT = "predict {run} {photos}/ash"
EXPORT = "export {run} -f onnx --data {photos}"
# Folders that a command may write: all others must be as they were.
OPEN = ("out", "cache", "tmp", "home")


class Place:
    """The folders of one case below `root`: all are root's and readable, those of OPEN nobody's."""

    def __init__(self, root: Path, inputs: Inputs, warm: Path) -> None:
        self.root = root
        root.mkdir()
        root.chmod(0o755)
        for name in (*OPEN, "stash"):
            self.folder(name).mkdir()
        self.inputs = Inputs(root / "inputs")
        shutil.copytree(inputs.folder, self.inputs.folder)
        share_backbones(warm, self.cache, link=False)
        allow(self.inputs.folder, 0o755, 0o644)
        for name in OPEN:
            give(self.folder(name))

    def folder(self, name: str) -> Path:
        return self.root / name

    @property
    def out(self) -> Path:
        return self.folder("out")

    @property
    def cache(self) -> Path:
        return self.folder("cache")

    @property
    def data(self) -> Path:
        return self.inputs.folder / "photos"

    def nobodys(self, name: str, content: str = "photos") -> Path:
        """A copy of an input that is nobody's."""
        return give(Path(shutil.copytree(self.inputs.folder / content, self.root / name)))


@dataclass(frozen=True)
class Case:
    """One command in a place that was made difficult.

    Attributes:
        command: its arguments, separated by spaces, with folders of the place in braces.
        prepare: changes the place.
        codes: exit codes that are right.
        says: a pattern in what it prints.
        writes: further folders that the command may change.
    """

    name: str
    command: str
    prepare: Callable[[Place], object] = lambda place: None
    codes: tuple[int, ...] = (0,)
    says: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    preexec: Callable[[], None] | None = None
    cwd: str = "out"
    wrapper: tuple[str, ...] = ()
    check: Callable[[Place, EndedProcess], None] = lambda place, done: None

    def run(self, place: Place) -> None:
        self.prepare(place)
        before = self._outside(place)
        paths = {name: str(place.folder(name)) for name in (*OPEN, "mine")}
        paths |= {
            "photos": str(place.data),
            "run": str(place.inputs.folder / "run"),
            "inputs": str(place.inputs.folder),
        }
        arguments = [piece.format(**paths) for piece in self.command.split()]
        if arguments[0] in ("train", "sweep"):
            arguments += SMALL
        env = {"HOME": paths["home"], "TMPDIR": paths["tmp"]}
        env |= {name: value.format(**paths) for name, value in self.env.items()}
        done = sharpeye_as_nobody(
            *arguments,
            stash=place.folder("stash"),
            cache=place.cache,
            env=env,
            cwd=place.folder(self.cwd),
            preexec=self.preexec,
            wrapper=self.wrapper,
        ).check(self.codes)
        if done.code:
            assert done.err.splitlines()[-1].startswith("error: "), done.err
        assert re.search(self.says, done.out + done.err), done.out + done.err
        if self._outside(place) != before:
            raise LossError(f"{self._changed(before, place)} changed")
        assert temporaries(place.root) == []
        self.check(place, done)

    def _outside(self, place: Place) -> dict[str, str]:
        allowed = (*OPEN, "stash", *self.writes)
        return {
            name: entry
            for name, entry in tree(place.root).items()
            if Path(name).parts[0] not in allowed
        }

    def _changed(self, before: Mapping[str, str], place: Place) -> list[str]:
        after = self._outside(place)
        return sorted(n for n in {*before, *after} if before.get(n) != after.get(n))[:5]


# --- the images ----------------------------------------------------------------------------------


def read_only_data(place: Place) -> None:
    allow(place.inputs.folder, 0o555, 0o444)


def unreadable_image(place: Place) -> None:
    (place.data / "ash" / "ash3.png").chmod(0)


def unreadable_class(place: Place) -> None:
    (place.data / "birch").chmod(0o700)


def lists_the_image(place: Place, _: EndedProcess) -> None:
    text = (place.out / "run" / "quarantine.csv").read_text()
    assert "ash/ash3.png" in text and "ermission denied" in text


def hard_linked(place: Place) -> None:
    """A folder of nobody's whose files are also elsewhere, where they must stay."""
    mine = place.nobodys("mine", "broken")
    shutil.copytree(mine, place.root / "others", copy_function=os.link)


IMAGES = (
    Case("read-only images", TRAIN, read_only_data),
    Case("read-only images", "predict {run} {photos}", read_only_data),
    Case("read-only images", "evaluate {run} {photos} -o {out}/scores", read_only_data),
    Case("read-only images", "check {photos} -o {out}/report", read_only_data),
    Case("read-only images", "augment {photos} {out}/more --random 1", read_only_data),
    Case("read-only images", f"{EXPORT} -o {{out}}/m.onnx", read_only_data),
    Case(
        "read-only images",
        "check {inputs}/broken --quick --quarantine {out}/aside",
        read_only_data,
        (5,),
        "ermission denied",
    ),
    Case(
        "read-only images",
        "relabel {photos} --apply {inputs}/fixes.csv --undo-file {out}/undo.csv",
        read_only_data,
        (5,),
        "ermission denied",
    ),
    Case(
        "read-only images",
        "relabel {photos} --apply {inputs}/fixes.csv --copy {out}/fixed",
        read_only_data,
    ),
    Case(
        "read-only images",
        "collect import {inputs}/archive.zip {photos}/cedar",
        read_only_data,
        (5,),
        "ermission denied",
    ),
    Case("an unreadable image", TRAIN, unreadable_image, check=lists_the_image),
    Case("an unreadable image", "predict {run} {photos}", unreadable_image, (3,), "ash3"),
    Case("an unreadable image", "check {photos}", unreadable_image, says="ash3"),
    Case("an unreadable class", TRAIN, unreadable_class, says="warning.*birch"),
    Case("an unreadable class", "check {photos}", unreadable_class, (0, 3, 5), "birch"),
    Case("an unreadable class", "predict {run} {photos}", unreadable_class, (3, 5), "birch"),
    Case(
        "hard-linked images",
        "check {mine} --quick --quarantine {out}/aside",
        hard_linked,
        says="moved: +2 files",
        writes=("mine",),
    ),
    Case(
        "hard-linked images",
        "relabel {mine} --apply {inputs}/fixes.csv --undo-file {out}/undo.csv",
        hard_linked,
        writes=("mine",),
    ),
    Case("hard-linked images", "train {mine} -o {out}/run -q", hard_linked),
)

# --- the cache -----------------------------------------------------------------------------------


def read_only_cache(place: Place) -> None:
    allow(place.cache, 0o555, 0o444)


def roots_cache(place: Place) -> None:
    give(place.cache, owner=0)


def closed_cache(place: Place) -> None:
    roots_cache(place)
    place.cache.chmod(0o700)


def is_uncached(place: Place, done: EndedProcess) -> None:
    assert sorted(path.name for path in place.cache.iterdir()) == ["backbones"]


CACHES = (
    Case("read-only cache", TRAIN, read_only_cache, says="warning.*cache", check=is_uncached),
    Case("read-only cache", PREDICT, read_only_cache, check=is_uncached),
    Case("read-only cache", "check {photos}", read_only_cache, says="cache", check=is_uncached),
    Case("read-only cache", "cache info", read_only_cache),
    Case("read-only cache", "cache clear", read_only_cache, (0, 5)),
    Case("root's cache", TRAIN, roots_cache, says="warning.*cache", check=is_uncached),
    Case("root's cache", "evaluate {run} {photos}", roots_cache, check=is_uncached),
    Case("root's cache", "cache clear", roots_cache, (5,), "ermission denied"),
    Case("closed cache", TRAIN, closed_cache, (5,), "cache"),
    Case("closed cache", PREDICT, closed_cache),
    Case("closed cache", "check {photos}", closed_cache, says="cache"),
    Case("closed cache", "cache info", closed_cache, (0, 5)),
)

# --- the output ----------------------------------------------------------------------------------


def read_only_output(place: Place) -> None:
    place.out.chmod(0o555)


def roots_output(place: Place) -> None:
    give(place.out, owner=0)


def file_as_output(place: Place) -> None:
    for name in ("run", "scores", "report", "more", "m.onnx"):
        (place.out / name).write_text("mine")
    give(place.out)


def full_output(place: Place) -> None:
    for name in ("run", "more", "fixed"):
        (place.out / name).mkdir()
        (place.out / name / "thesis.txt").write_text("mine")
    give(place.out)


def others_run(place: Place) -> None:
    shutil.copytree(place.inputs.folder / "run", place.out / "run")


def others_folder(place: Place) -> None:
    """As in /tmp: anyone may create files, and nobody may rename or delete those of others."""
    give(place.out, owner=0)
    place.out.chmod(0o1777)
    (place.out / "run").mkdir()


def output_is_unchanged(place: Place, _: EndedProcess) -> None:
    files = [path for path in place.out.rglob("*") if path.is_file()]
    for file in files:
        if file.name in ("run", "scores", "report", "more", "m.onnx", "thesis.txt"):
            assert file.read_text() == "mine"


def others_run_is_whole(place: Place, _: EndedProcess) -> None:
    if tree(place.out / "run") != tree(place.inputs.folder / "run"):
        raise LossError("the run of another user was changed")
    assert [path.name for path in place.out.iterdir()] == ["run"]


DENIED = "ermission denied"
OUTPUTS = (
    *(
        Case("read-only output", command, read_only_output, (5,), DENIED)
        for command in (
            TRAIN,
            "evaluate {run} {photos} -o {out}/scores",
            "check {photos} -o {out}/report",
            f"{EXPORT} -o {{out}}/m.onnx",
            "augment {photos} {out}/more --random 1",
            "relabel {photos} --apply {inputs}/fixes.csv --copy {out}/fixed",
            "predict {run} {photos} --draw {out}/drawn",
            "collect import {inputs}/archive.zip {out}/data/cedar",
            "sample digits {out}/digits",
        )
    ),
    *(
        Case("root's output", command, roots_output, (5,), DENIED)
        for command in (TRAIN, "export {run} -f bundle --data {photos} -o {out}/m.sharpeye")
    ),
    Case("absent folder around the output", "train {photos} -o {out}/a/b/run -q"),
    Case("absent folder around the output", f"{EXPORT} -o {{out}}/a/m.onnx"),
    *(
        Case("a file as output", command, file_as_output, (2, 5), check=output_is_unchanged)
        for command in (
            TRAIN,
            f"{TRAIN} --overwrite",
            "evaluate {run} {photos} -o {out}/scores",
            "check {photos} -o {out}/report",
            f"{EXPORT} -o {{out}}/m.onnx",
            "augment {photos} {out}/more",
            "train {photos} -o {out}/run/below -q",
        )
    ),
    *(
        Case("a folder with other files", command, full_output, (2,), check=output_is_unchanged)
        for command in (
            TRAIN,
            f"{TRAIN} --overwrite",
            "relabel {photos} --apply {inputs}/fixes.csv --copy {out}/fixed",
        )
    ),
    Case(
        "another user's run",
        f"{TRAIN} --overwrite",
        others_run,
        (5,),
        DENIED,
        check=others_run_is_whole,
    ),
    Case("another user's folder, sticky", TRAIN, others_folder, (5,), DENIED),
    Case("a sticky folder", f"{EXPORT} -o {{out}}/m.onnx", others_folder),
)

# --- the surroundings ----------------------------------------------------------------------------


def unreadable_model(place: Place) -> None:
    (place.inputs.folder / "run" / "model.onnx").chmod(0)


def unreadable_manifest(place: Place) -> None:
    (place.inputs.folder / "run" / "bundle.json").chmod(0)


def closed_run(place: Place) -> None:
    (place.inputs.folder / "run").chmod(0o700)


def read_only_home(place: Place) -> None:
    give(place.folder("home"), owner=0)


def read_only_everything(place: Place) -> None:
    for change in (read_only_cache, read_only_output, read_only_home):
        change(place)


# Starts a server and stops it as soon as it says where it is.
STOP_WHEN_READY = """
import subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
print(process.stdout.readline())
process.terminate()
sys.exit(process.wait())
"""


def remove_current_folder() -> None:
    os.rmdir(os.getcwd())


def current_folder(place: Place) -> None:
    (place.out / "gone").mkdir()
    give(place.out)


def set_umask(mask: int) -> Callable[[], None]:
    """For a new process."""

    def set_it() -> None:
        os.umask(mask)

    return set_it


def has_modes(mask: int) -> Callable[[Place, EndedProcess], None]:
    """All that was written has the modes that the mask leaves: no file may be executed."""

    def check(place: Place, _: EndedProcess) -> None:
        for path in [*place.out.rglob("*"), *place.cache.glob("features/*/*")]:
            full = 0o777 if path.is_dir() else 0o666
            assert path.stat().st_mode & 0o777 == full & ~mask, f"{path}: {path.stat().st_mode:o}"

    return check


FIXED = f"{EXPORT} --fixed -o {{out}}/m.onnx"
NO_CACHE = {"SHARPEYE_CACHE": UNSET}
NO_HOME = {"HOME": UNSET, **NO_CACHE}
SURROUNDINGS = (
    Case("no HOME", "predict {run} {photos}", env=NO_HOME),
    Case("no HOME", "check {photos}", env=NO_HOME),
    Case("no HOME", "doctor", env=NO_HOME),
    Case("read-only HOME", "check {photos}", read_only_home, env=NO_CACHE),
    Case("read-only HOME", "predict {run} {photos}", read_only_home, env=NO_CACHE),
    Case("read-only HOME", TRAIN, read_only_home, (5,), "sharpeye", env=NO_CACHE),
    Case("absent TMPDIR", FIXED, env={"TMPDIR": "{out}/nowhere"}),
    Case("root's TMPDIR", FIXED, env={"TMPDIR": "{inputs}"}),
    *(
        Case(f"umask {mask:03o}", command, preexec=set_umask(mask), check=has_modes(mask))
        for mask in (0o077, 0o000)
        for command in (
            TRAIN,
            "export {run} -f bundle --data {photos} -o {out}/m.sharpeye",
            "augment {photos} {out}/more --random 1",
        )
    ),
    Case("unreadable model.onnx", PREDICT, unreadable_model, (5,), "model.onnx: P" + DENIED),
    Case("unreadable model.onnx", f"{EXPORT} -o {{out}}/m.onnx", unreadable_model, (5,), DENIED),
    Case("unreadable model.onnx", "serve {run} --port 0", unreadable_model, (5,), DENIED),
    Case("unreadable bundle.json", PREDICT, unreadable_manifest, (5,), "bundle.json: P" + DENIED),
    Case("unreadable bundle.json", "evaluate {run} {photos}", unreadable_manifest, (5,), DENIED),
    Case("closed run", PREDICT, closed_run, (2,), "run' is not readable"),
    Case("closed run", "evaluate {run} {photos}", closed_run, (2,), "run' is not readable"),
    Case(
        "deleted current folder",
        PREDICT,
        current_folder,
        cwd="out/gone",
        preexec=remove_current_folder,
    ),
    Case(
        "deleted current folder",
        TRAIN,
        current_folder,
        (5,),
        "the current folder does not exist",
        cwd="out/gone",
        preexec=remove_current_folder,
    ),
    Case(
        "deleted current folder",
        "train {photos} -q",
        current_folder,
        (5,),
        "the current folder does not exist",
        cwd="out/gone",
        preexec=remove_current_folder,
    ),
    Case("closed standard output", PREDICT, preexec=lambda: os.close(1)),
    *(
        Case(
            "all is read-only",
            command,
            read_only_everything,
            says=f"{announcement} .*at http://",
            wrapper=(sys.executable, "-c", STOP_WHEN_READY),
        )
        for command, announcement in (
            ("serve {run} --port 0", "serving"),
            ("studio {photos} --port 0", "studio"),
        )
    ),
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's are for its own user only."""
    with tempfile.TemporaryDirectory(prefix="sharpeye-permissions-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def try_cases(
    tally: Tally,
    tier: Tier,
    folder: Path,
    trained: Path,
    session_cache: Path,
    cache: Path,
    backbone: Backbone,
    tmp_path: Path,
) -> Callable[[Sequence[Case], int], None]:
    """Run cases as `nobody`, two at a time; the small tier runs only the one at an index."""
    inputs, warm = Inputs.create(tmp_path / "inputs", trained), cache
    share_backbones(session_cache, warm)

    def try_one(case: Case, number: int) -> None:
        place = Place(folder / str(number), inputs, warm)
        try:
            case.run(place)
        finally:
            shutil.rmtree(place.root)

    def try_all(cases: Sequence[Case], quick: int) -> None:
        stash = folder / "stash"
        stash.mkdir()
        if not is_possible(stash):
            tally.skip(len(cases))
            return
        chosen = cases[quick : quick + 1] if tier.name == "small" else cases
        with ThreadPoolExecutor(2) as pool:
            started = [(case, pool.submit(try_one, case, n)) for n, case in enumerate(chosen)]
            for case, future in started:
                with tally.case(f"{case.name}: {case.command}"):
                    future.result()

    return try_all


TryCases = Callable[[Sequence[Case], int], None]


def test_images(try_cases: TryCases) -> None:
    """Images as `nobody`: read-only, another user's, unreadable, hard-linked"""
    try_cases(IMAGES, 1)


def test_caches(try_cases: TryCases) -> None:
    """The cache as `nobody`: read-only, root's, closed"""
    try_cases(CACHES, 3)


def test_outputs(try_cases: TryCases) -> None:
    """The output as `nobody`: read-only, root's, a file, not empty, another user's run, sticky"""
    try_cases(OUTPUTS, 2)


def test_surroundings(try_cases: TryCases) -> None:
    """HOME, TMPDIR, umask, unreadable models, a deleted current folder, closed streams"""
    try_cases(SURROUNDINGS, 0)
