"""Folders of images with links, pipes, devices, depth, and too few or too many classes."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from image_files import encoded

_PER_CLASS = 4
_LEAST_DEPTH = 64  # folders below each other that are read


@dataclass(frozen=True)
class TreeCase:
    """A folder and what commands make of it.

    Attributes:
        make: fills an empty folder.
        read, left_out: how many images `predict` reads, and files that it names with a reason.
        check, train: exit codes.
        reason: a text among the reasons, or in the message of `train` if its code is not 0.
    """

    make: Callable[[Path], None]
    read: int = 2 * _PER_CLASS
    left_out: int = 0
    check: int = 0
    train: int = 0
    reason: str = ""


def image(file: Path) -> None:
    """Noise, another one for each path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(list(os.fsencode(f"{file.parent.name}/{file.name}")))
    file.write_bytes(encoded(random.integers(0, 256, (12, 16, 3), np.uint8), "PNG"))


def two_classes(root: Path) -> None:
    for label in ("ash", "birch"):
        for number in range(_PER_CLASS):
            image(root / label / f"{number}.png")


def _with(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        two_classes(root)
        change(root)

    return make


def _link(path: str, target: str) -> Callable[[Path], None]:
    return _with(lambda root: (root / path).symlink_to(target))


def _socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(root / "ash/s.jpg"))


def _outside(root: Path) -> None:
    """A class and a file that are links to a folder beside this one."""
    secret = root.with_name(f"{root.name}-outside")
    image(secret / "secret.png")
    (root / "cedar").symlink_to(secret)
    (root / "ash/out.png").symlink_to(secret / "secret.png")


def _chain(root: Path) -> None:
    for number in range(50):
        (root / f"ash/{number}.lnk").symlink_to(f"{number + 1}.lnk")
    (root / "ash/50.lnk").symlink_to("0.png")
    (root / "ash/x.png").symlink_to("0.lnk")


def _nested(depth: int) -> Callable[[Path], None]:
    return _with(lambda root: image(root / "ash" / "/".join(["d"] * depth) / "deep.png"))


def _beyond_path_max(root: Path) -> None:
    handle = os.open(root / "ash", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 255, dir_fd=handle)
        inner = os.open("d" * 255, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("deep.png", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)


def _sparse(root: Path) -> None:
    with (root / "ash/large.jpg").open("wb") as file:
        file.truncate(10 * 2**30)


def _same_images(root: Path) -> None:
    for file in [*root.rglob("*.png")]:
        file.write_bytes((root / "ash/0.png").read_bytes())


def _run_directory(root: Path) -> None:
    from sharpeye.core.config import CONFIG_MARK

    image(root / "run/confusion_matrix.png")
    (root / "run/config.toml").write_text(f"{CONFIG_MARK}\n")


def _only(*paths: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for path in paths:
            image(root / path)

    return make


def _damaged(*paths: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for path in paths:
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(b"")

    return make


def many_folders(count: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        for number in range(count):
            (root / f"empty{number}").mkdir()

    return _with(make)


def many_classes(count: int, per_class: int) -> Callable[[Path], None]:
    """Images of noise, eight by eight pixels."""

    def make(root: Path) -> None:
        random = np.random.default_rng(0)
        for number in range(count):
            folder = root / f"class{number}"
            folder.mkdir(parents=True)
            for copy in range(per_class):
                pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
                (folder / f"{copy}.bmp").write_bytes(encoded(pixels, "BMP"))

    return make


_IN_LOOP, _OUT, _READ = "cannot be reached", "leads out of the folder", "was already read"
_SPECIAL = "not a regular file (a pipe, socket or device)"
CASES: dict[str, TreeCase] = {
    "a pipe named x.jpg": TreeCase(
        _with(lambda root: os.mkfifo(root / "ash/x.jpg")), left_out=1, reason=_SPECIAL
    ),
    "a pipe without a suffix": TreeCase(
        _with(lambda root: os.mkfifo(root / "pipe")), left_out=1, reason=_SPECIAL
    ),
    "a socket": TreeCase(_with(_socket), left_out=1, reason=_SPECIAL),
    "a folder named x.jpg": TreeCase(_with(lambda root: image(root / "ash/x.jpg/1.png")), read=9),
    "an empty folder named x.jpg": TreeCase(_with(lambda root: (root / "ash/x.jpg").mkdir())),
    "a link to /": TreeCase(_link("ash/all", "/"), left_out=1, reason=_OUT),
    "a class that links to /": TreeCase(_link("all", "/"), left_out=1, reason=_OUT),
    "a link to the folder itself": TreeCase(_link("ash/up", ".."), left_out=1, reason=_READ),
    "a link above the folder": TreeCase(_link("ash/up", "../.."), left_out=1, reason=_OUT),
    "a link to itself": TreeCase(_link("ash/x.png", "x.png"), left_out=1, reason=_IN_LOOP),
    "a dangling link": TreeCase(_link("ash/x.png", "nothing.png"), left_out=1, reason=_IN_LOOP),
    "two links to each other": TreeCase(
        _with(lambda root: [(root / f"ash/{a}").symlink_to(b) for a, b in ("xy", "yx")]),
        left_out=2,
        reason=_IN_LOOP,
    ),
    "a link to a file of the kernel": TreeCase(
        _link("ash/x.jpg", "/proc/self/mem"), left_out=1, reason=_OUT
    ),
    "links to images outside": TreeCase(_with(_outside), left_out=2, reason=_OUT),
    "a link to an image of another class": TreeCase(_link("ash/x.png", "../birch/1.png"), read=9),
    "a link to a class": TreeCase(_link("cedar", "birch"), left_out=1, reason=_READ),
    "a chain of 50 links": TreeCase(_with(_chain), read=48, left_out=12, reason=_IN_LOOP),
    "one file in two classes": TreeCase(
        _with(lambda root: os.link(root / "ash/1.png", root / "birch/x.png")), read=9
    ),
    "60 folders deep": TreeCase(_nested(60), read=9),
    "200 folders deep": TreeCase(_nested(200), left_out=1, reason="nested deeper than 64"),
    "a path over the longest": TreeCase(
        _with(_beyond_path_max), left_out=1, reason="File name too long"
    ),
    "a file of 10 GiB": TreeCase(_with(_sparse), left_out=1, reason="over the limit of 64 MiB"),
    "an empty class": TreeCase(_with(lambda root: (root / "cedar").mkdir())),
    "a class of damaged files": TreeCase(
        _with(_damaged("cedar/1.png", "cedar/2.png")), left_out=2, reason="is empty"
    ),
    "a run directory": TreeCase(_with(_run_directory)),
    "one image in a class": TreeCase(_with(_only("cedar/1.png")), read=9),
    "images beside the classes": TreeCase(_with(_only("x.png")), read=9),
    "one image in all": TreeCase(_only("ash/1.png"), read=1, train=3),
    "one class": TreeCase(_only("ash/1.png", "ash/2.png"), read=2, train=3),
    "two classes of one image": TreeCase(_only("ash/1.png", "birch/1.png"), read=2, train=3),
    "no class": TreeCase(_only("1.png", "2.png"), read=2, check=3, train=3),
    "nothing": TreeCase(lambda root: None, read=0, check=3, train=3),
    "only empty folders": TreeCase(
        lambda root: [(root / name).mkdir() for name in "ab"] and None, read=0, check=3, train=3
    ),
    "only damaged files": TreeCase(
        _damaged("ash/1.png", "birch/1.png"), read=0, left_out=2, train=3
    ),
    "one image under all names": TreeCase(_with(_same_images), train=3),
}


def make_device(root: Path) -> None:
    """A device that never ends, which only root can make."""
    two_classes(root)
    os.mknod(root / "ash/zero.jpg", 0o20666, os.makedev(1, 5))


def make_unreadable(root: Path) -> None:
    two_classes(root)
    image(root / "ash/closed.png")
    (root / "ash/closed.png").chmod(0)
    image(root / "closed/1.png")
    (root / "closed").chmod(0)


DEVICE = TreeCase(make_device, left_out=1, reason=_SPECIAL)
UNREADABLE = TreeCase(make_unreadable, left_out=2, reason="Permission denied")
