"""Find the weights that Keras downloads, and download missing ones.

Files have Keras' names and lie in Keras' own folder, so that both share one download. Names and
URLs are those of keras/src/applications; the files are those without the classifier.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sharpeye.core.storage import FileLock, atomic_path, cache_root, make_folder, write_text
from sharpeye.errors import EnvironmentFault, MissingExtra, ModelError, NetworkError

_SITE = "https://storage.googleapis.com/tensorflow/keras-applications"

# Keras itself fixes Inception's. For MobileNets, two independent sources agree: a table in Keras'
# later mobilenet.py, and files in other projects.
_MD5 = {
    "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5": "bcbd6486424b2319ff4ef7d526e38f63",
}
_SHA256 = {
    "mobilenet_5_0_224_tf_no_top.h5": (
        "df860c59562f4c4af7a2fb2ae90731caef39fd5d03e5fcd6ca46988965f0a4b7"
    ),
    "mobilenet_2_5_224_tf_no_top.h5": (
        "dbdb03ee2a22fd895301636cd328b234bb3a9952358f436d82f46b81e0d5b0bf"
    ),
}


@dataclass(frozen=True)
class RemoteWeights:
    """A file of pretrained weights, by its published name, with hexadecimal digests if known."""

    file: str
    url: str
    md5: str | None = None
    sha256: str | None = None


def remote_weights(folder: str, file: str) -> RemoteWeights:
    """A file of keras.applications, with its digest if known."""
    return RemoteWeights(file, f"{_SITE}/{folder}/{file}", _MD5.get(file), _SHA256.get(file))


def find_weights(remote: RemoteWeights, folder: Path | None = None) -> Path | None:
    """The file in `folder` or in Keras' own folder; None if it is in neither."""
    files = (parent / remote.file for parent in _folders(folder))
    return next((file for file in files if file.is_file()), None)


def ensure_weights(remote: RemoteWeights, folder: Path | None = None) -> Path:
    """`find_weights`, or else a download to `folder`, or without one to Keras' own folder; all
    check the digest.

    A file without a known digest is trusted on first use. Its digest is stored in SharpEye's
    cache, and a later change of the file is an error.

    Raises:
        NetworkError: the file is missing and cannot be downloaded.
        ModelError: the file does not have the known digest, or not the one of its first use.
        EnvironmentFault: the file cannot be read, or the folder or the cache cannot be written.
    """
    file = find_weights(remote, folder) or _download(remote, folder)
    sha256 = _require_digests(remote, file, str(file), advice="delete it to download it again")
    if not (remote.md5 or remote.sha256):
        _require_unchanged(remote, file, sha256)
    return file


def _keras_models() -> Path:
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"


def _folders(folder: Path | None) -> list[Path]:
    """Where a file may lie; the first of them receives downloads."""
    return [*([folder] if folder else []), _keras_models()]


def _download(remote: RemoteWeights, folder: Path | None) -> Path:
    try:
        from sharpeye.web.download import locked_download
    except MissingExtra:  # it would name the extra `collect`
        raise MissingExtra("httpx", "train", "downloading weights") from None
    file = _folders(folder)[0] / remote.file
    try:
        make_folder(file.parent)
    except EnvironmentFault:
        if folder:
            raise
        raise EnvironmentFault(
            f"cannot write {file.parent}, where Keras keeps weights; set KERAS_HOME to a folder "
            "that can be written"
        ) from None
    with FileLock(cache_root() / "weights" / f"{remote.file}.lock"):
        if file.is_file():  # Another process has downloaded it meanwhile.
            return file
        try:
            # A temporary name until the digest is checked: Keras would trust the final name.
            with (
                atomic_path(file) as temporary,
                locked_download(remote.url, temporary, remote.sha256),
            ):
                advice = "it was deleted; try again later"
                _require_digests(remote, temporary, f"what {remote.url} gave", advice=advice)
        except NetworkError as error:
            searched = " or ".join(map(str, _folders(folder)))
            raise NetworkError(
                f"{error}; {remote.file} is not in {searched}: put it there yourself, or give "
                "--weights FILE"
            ) from None
    return file


def _require_digests(remote: RemoteWeights, file: Path, name: str, *, advice: str) -> str:
    """Compare a file with its known digests, and return its SHA-256."""
    sha256 = _digest(file, "sha256")
    md5 = _digest(file, "md5") if remote.md5 else None
    for kind, actual, known in (("SHA-256", sha256, remote.sha256), ("MD5", md5, remote.md5)):
        if known and actual != known:
            raise ModelError(
                f"{name} is not the file that is known: its {kind} is {actual}, not {known}; "
                f"{advice}"
            )
    return sha256


def _require_unchanged(remote: RemoteWeights, file: Path, sha256: str) -> None:
    """Compare a file with its digest on first use, and store that if there is none."""
    note = cache_root() / "weights" / f"{remote.file}.json"
    try:
        first = json.loads(note.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        make_folder(note.parent)
        write_text(note, json.dumps({"sha256": sha256, "url": remote.url}) + "\n")
        return
    if first != sha256:
        raise ModelError(
            f"{file} has changed: its SHA-256 is {sha256}, and was {first} when it was first used; "
            f"delete it to download it again, or delete {note} if you changed it on purpose"
        )


def _digest(file: Path, algorithm: str) -> str:
    # Not for security: Keras publishes MD5.
    new = partial(hashlib.new, algorithm, usedforsecurity=False)
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, new).hexdigest()
    except OSError as error:
        raise EnvironmentFault(f"cannot read {file}: {error.strerror or error}") from None
