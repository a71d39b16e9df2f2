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
from battery.unprivileged import UNSET, is_possible, set_modes, set_owner, sharpeye_as_nobody
from runner import SMALL, share_backbones, temporaries, tree
from sharpeye.core.inference import Backbone

TRAIN = "train {photos} -o {out}/run -q"
PREDICT = "predict {run} {photos}/ash"
EXPORT = "export {run} -f onnx --data {photos}"
# Folders that a command may write: all others must be as they were.
OPEN = ("out", "cache", "tmp", "home")


class CaseFolders:
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
        set_modes(self.inputs.folder, 0o755, 0o644)
        for name in OPEN:
            set_owner(self.folder(name))

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

    def copy_for_nobody(self, name: str, content: str = "photos") -> Path:
        """A copy of an input that is nobody's."""
        return set_owner(Path(shutil.copytree(self.inputs.folder / content, self.root / name)))


@dataclass(frozen=True)
class Case:
    """One command, after its folders were made difficult.

    Attributes:
        command: its arguments, separated by spaces, with names of the folders in braces.
        prepare: changes the folders before the command.
        codes: exit codes that are right.
        message: a pattern that its output contains.
        writes: further folders that the command may change.
    """

    name: str
    command: str
    prepare: Callable[[CaseFolders], object] = lambda folders: None
    codes: tuple[int, ...] = (0,)
    message: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    preexec: Callable[[], None] | None = None
    cwd: str = "out"
    wrapper: tuple[str, ...] = ()
    check: Callable[[CaseFolders, EndedProcess], None] = lambda folders, done: None

    def run(self, folders: CaseFolders) -> None:
        self.prepare(folders)
        before = self._outside(folders)
        paths = {name: str(folders.folder(name)) for name in (*OPEN, "mine")}
        paths |= {
            "photos": str(folders.data),
            "run": str(folders.inputs.folder / "run"),
            "inputs": str(folders.inputs.folder),
        }
        arguments = [piece.format(**paths) for piece in self.command.split()]
        if arguments[0] in ("train", "sweep"):
            arguments += SMALL
        env = {"HOME": paths["home"], "TMPDIR": paths["tmp"]}
        env |= {name: value.format(**paths) for name, value in self.env.items()}
        done = sharpeye_as_nobody(
            *arguments,
            stash=folders.folder("stash"),
            cache=folders.cache,
            env=env,
            cwd=folders.folder(self.cwd),
            preexec=self.preexec,
            wrapper=self.wrapper,
        ).check(self.codes)
        if done.code:
            assert done.err.splitlines()[-1].startswith("error: "), done.err
        assert re.search(self.message, done.out + done.err), done.out + done.err
        if self._outside(folders) != before:
            raise LossError(f"{self._changed(before, folders)} changed")
        assert temporaries(folders.root) == []
        self.check(folders, done)

    def _outside(self, folders: CaseFolders) -> dict[str, str]:
        allowed = (*OPEN, "stash", *self.writes)
        return {
            name: entry
            for name, entry in tree(folders.root).items()
            if Path(name).parts[0] not in allowed
        }

    def _changed(self, before: Mapping[str, str], folders: CaseFolders) -> list[str]:
        after = self._outside(folders)
        return sorted(n for n in {*before, *after} if before.get(n) != after.get(n))[:5]


# --- the images ----------------------------------------------------------------------------------


def protect_images(folders: CaseFolders) -> None:
    set_modes(folders.inputs.folder, 0o555, 0o444)


def close_image(folders: CaseFolders) -> None:
    (folders.data / "ash" / "ash3.png").chmod(0)


def close_class(folders: CaseFolders) -> None:
    (folders.data / "birch").chmod(0o700)


def check_quarantine(folders: CaseFolders, _: EndedProcess) -> None:
    text = (folders.out / "run" / "quarantine.csv").read_text()
    assert "ash/ash3.png" in text and "ermission denied" in text


def link_images(folders: CaseFolders) -> None:
    """A folder of nobody's whose files are also elsewhere, where they must stay."""
    mine = folders.copy_for_nobody("mine", "broken")
    shutil.copytree(mine, folders.root / "others", copy_function=os.link)


IMAGES = (
    Case("read-only images", TRAIN, protect_images),
    Case("read-only images", "predict {run} {photos}", protect_images),
    Case("read-only images", "evaluate {run} {photos} -o {out}/scores", protect_images),
    Case("read-only images", "check {photos} -o {out}/report", protect_images),
    Case("read-only images", "augment {photos} {out}/more --random 1", protect_images),
    Case("read-only images", f"{EXPORT} -o {{out}}/m.onnx", protect_images),
    Case(
        "read-only images",
        "check {inputs}/broken --quick --quarantine {out}/aside",
        protect_images,
        (5,),
        "ermission denied",
    ),
    Case(
        "read-only images",
        "relabel {photos} --apply {inputs}/fixes.csv --undo-file {out}/undo.csv",
        protect_images,
        (5,),
        "ermission denied",
    ),
    Case(
        "read-only images",
        "relabel {photos} --apply {inputs}/fixes.csv --copy {out}/fixed",
        protect_images,
    ),
    Case(
        "read-only images",
        "collect import {inputs}/archive.zip {photos}/cedar",
        protect_images,
        (5,),
        "ermission denied",
    ),
    Case("an unreadable image", TRAIN, close_image, check=check_quarantine),
    Case("an unreadable image", "predict {run} {photos}", close_image, (3,), "ash3"),
    Case("an unreadable image", "check {photos}", close_image, message="ash3"),
    Case("an unreadable class", TRAIN, close_class, message="warning.*birch"),
    Case("an unreadable class", "check {photos}", close_class, (0, 3, 5), "birch"),
    Case("an unreadable class", "predict {run} {photos}", close_class, (3, 5), "birch"),
    Case(
        "hard-linked images",
        "check {mine} --quick --quarantine {out}/aside",
        link_images,
        message="moved: +2 files",
        writes=("mine",),
    ),
    Case(
        "hard-linked images",
        "relabel {mine} --apply {inputs}/fixes.csv --undo-file {out}/undo.csv",
        link_images,
        writes=("mine",),
    ),
    Case("hard-linked images", "train {mine} -o {out}/run -q", link_images),
)

# --- the cache -----------------------------------------------------------------------------------


def protect_cache(folders: CaseFolders) -> None:
    set_modes(folders.cache, 0o555, 0o444)


def give_cache_to_root(folders: CaseFolders) -> None:
    set_owner(folders.cache, owner=0)


def close_cache(folders: CaseFolders) -> None:
    give_cache_to_root(folders)
    folders.cache.chmod(0o700)


def check_uncached(folders: CaseFolders, done: EndedProcess) -> None:
    assert sorted(path.name for path in folders.cache.iterdir()) == ["backbones"]


CACHES = (
    Case("read-only cache", TRAIN, protect_cache, message="warning.*cache", check=check_uncached),
    Case("read-only cache", PREDICT, protect_cache, check=check_uncached),
    Case("read-only cache", "check {photos}", protect_cache, message="cache", check=check_uncached),
    Case("read-only cache", "cache info", protect_cache),
    Case("read-only cache", "cache clear", protect_cache, (0, 5)),
    Case("root's cache", TRAIN, give_cache_to_root, message="warning.*cache", check=check_uncached),
    Case("root's cache", "evaluate {run} {photos}", give_cache_to_root, check=check_uncached),
    Case("root's cache", "cache clear", give_cache_to_root, (5,), "ermission denied"),
    Case("closed cache", TRAIN, close_cache, (5,), "cache"),
    Case("closed cache", PREDICT, close_cache),
    Case("closed cache", "check {photos}", close_cache, message="cache"),
    Case("closed cache", "cache info", close_cache, (0, 5)),
)

# --- the output ----------------------------------------------------------------------------------


def protect_output(folders: CaseFolders) -> None:
    folders.out.chmod(0o555)


def give_output_to_root(folders: CaseFolders) -> None:
    set_owner(folders.out, owner=0)


def write_files_as_output(folders: CaseFolders) -> None:
    for name in ("run", "scores", "report", "more", "m.onnx"):
        (folders.out / name).write_text("mine")
    set_owner(folders.out)


def fill_output(folders: CaseFolders) -> None:
    for name in ("run", "more", "fixed"):
        (folders.out / name).mkdir()
        (folders.out / name / "thesis.txt").write_text("mine")
    set_owner(folders.out)


def add_run_of_root(folders: CaseFolders) -> None:
    shutil.copytree(folders.inputs.folder / "run", folders.out / "run")


def make_output_sticky(folders: CaseFolders) -> None:
    """As in /tmp: anyone may create files, and nobody may rename or delete those of others."""
    set_owner(folders.out, owner=0)
    folders.out.chmod(0o1777)
    (folders.out / "run").mkdir()


def check_output_unchanged(folders: CaseFolders, _: EndedProcess) -> None:
    files = [path for path in folders.out.rglob("*") if path.is_file()]
    for file in files:
        if file.name in ("run", "scores", "report", "more", "m.onnx", "thesis.txt"):
            assert file.read_text() == "mine"


def check_run_of_root(folders: CaseFolders, _: EndedProcess) -> None:
    if tree(folders.out / "run") != tree(folders.inputs.folder / "run"):
        raise LossError("the run of another user was changed")
    assert [path.name for path in folders.out.iterdir()] == ["run"]


DENIED = "ermission denied"
OUTPUTS = (
    *(
        Case("read-only output", command, protect_output, (5,), DENIED)
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
        Case("root's output", command, give_output_to_root, (5,), DENIED)
        for command in (TRAIN, "export {run} -f bundle --data {photos} -o {out}/m.sharpeye")
    ),
    Case("absent folder around the output", "train {photos} -o {out}/a/b/run -q"),
    Case("absent folder around the output", f"{EXPORT} -o {{out}}/a/m.onnx"),
    *(
        Case(
            "a file as output", command, write_files_as_output, (2, 5), check=check_output_unchanged
        )
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
        Case("a folder with other files", command, fill_output, (2,), check=check_output_unchanged)
        for command in (
            TRAIN,
            f"{TRAIN} --overwrite",
            "relabel {photos} --apply {inputs}/fixes.csv --copy {out}/fixed",
        )
    ),
    Case(
        "another user's run",
        f"{TRAIN} --overwrite",
        add_run_of_root,
        (5,),
        DENIED,
        check=check_run_of_root,
    ),
    Case("another user's folder, sticky", TRAIN, make_output_sticky, (5,), DENIED),
    Case("a sticky folder", f"{EXPORT} -o {{out}}/m.onnx", make_output_sticky),
)

# --- the surroundings ----------------------------------------------------------------------------


def close_model(folders: CaseFolders) -> None:
    (folders.inputs.folder / "run" / "model.onnx").chmod(0)


def close_manifest(folders: CaseFolders) -> None:
    (folders.inputs.folder / "run" / "bundle.json").chmod(0)


def close_run(folders: CaseFolders) -> None:
    (folders.inputs.folder / "run").chmod(0o700)


def protect_home(folders: CaseFolders) -> None:
    set_owner(folders.folder("home"), owner=0)


def protect_all(folders: CaseFolders) -> None:
    for change in (protect_cache, protect_output, protect_home):
        change(folders)


# Starts a server and stops it as soon as it message where it is.
STOP_WHEN_READY = """
import subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
print(process.stdout.readline())
process.terminate()
sys.exit(process.wait())
"""


def remove_current_folder() -> None:
    os.rmdir(os.getcwd())


def make_current_folder(folders: CaseFolders) -> None:
    (folders.out / "gone").mkdir()
    set_owner(folders.out)


def set_umask(mask: int) -> Callable[[], None]:
    """For a new process."""

    def set_it() -> None:
        os.umask(mask)

    return set_it


def check_modes(mask: int) -> Callable[[CaseFolders, EndedProcess], None]:
    """All that was written has the modes that the mask leaves: no file may be executed."""

    def check(folders: CaseFolders, _: EndedProcess) -> None:
        for path in [*folders.out.rglob("*"), *folders.cache.glob("features/*/*")]:
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
    Case("read-only HOME", "check {photos}", protect_home, env=NO_CACHE),
    Case("read-only HOME", "predict {run} {photos}", protect_home, env=NO_CACHE),
    Case("read-only HOME", TRAIN, protect_home, (5,), "sharpeye", env=NO_CACHE),
    Case("absent TMPDIR", FIXED, env={"TMPDIR": "{out}/nowhere"}),
    Case("root's TMPDIR", FIXED, env={"TMPDIR": "{inputs}"}),
    *(
        Case(f"umask {mask:03o}", command, preexec=set_umask(mask), check=check_modes(mask))
        for mask in (0o077, 0o000)
        for command in (
            TRAIN,
            "export {run} -f bundle --data {photos} -o {out}/m.sharpeye",
            "augment {photos} {out}/more --random 1",
        )
    ),
    Case("unreadable model.onnx", PREDICT, close_model, (5,), "model.onnx: P" + DENIED),
    Case("unreadable model.onnx", f"{EXPORT} -o {{out}}/m.onnx", close_model, (5,), DENIED),
    Case("unreadable model.onnx", "serve {run} --port 0", close_model, (5,), DENIED),
    Case("unreadable bundle.json", PREDICT, close_manifest, (5,), "bundle.json: P" + DENIED),
    Case("unreadable bundle.json", "evaluate {run} {photos}", close_manifest, (5,), DENIED),
    Case("closed run", PREDICT, close_run, (2,), "run' is not readable"),
    Case("closed run", "evaluate {run} {photos}", close_run, (2,), "run' is not readable"),
    Case(
        "deleted current folder",
        PREDICT,
        make_current_folder,
        cwd="out/gone",
        preexec=remove_current_folder,
    ),
    Case(
        "deleted current folder",
        TRAIN,
        make_current_folder,
        cwd="out/gone",
        preexec=remove_current_folder,
    ),
    Case(
        "deleted current folder",
        "train {photos} -q",
        make_current_folder,
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
            protect_all,
            message=f"{announcement} .*at http://",
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
        folders = CaseFolders(folder / str(number), inputs, warm)
        try:
            case.run(folders)
        finally:
            shutil.rmtree(folders.root)

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
