"""List the annotated images, and the classes in a fixed numbered order.

Annotation files lie where LabelImg puts them, DIR/1.xml beside DIR/1.jpg; or, if both folders
exist, as in Pascal VOC, DIR/Annotations/1.xml for DIR/JPEGImages/1.jpg.

`.classes.txt` in the folder of images has one class per line, so that a key keeps its class when
another one is added. The file is hidden, so that no training reads it as data.
"""

import contextlib
import os
import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.core.paths import resolve_links
from sharpeye.core.storage import write_text
from sharpeye.data.file_walk import natural_key
from sharpeye.data.image_folder import label_problem
from sharpeye.errors import DataError, UsageError
from sharpeye.images.decode import read_file
from sharpeye.images.decode_limits import DecodeLimits
from sharpeye.images.formats import SUFFIXES
from sharpeye.images.voc_xml import MAX_BYTES, parse_voc
from sharpeye.studio.thumbnails import GONE, file_version
from sharpeye.studio.workspace import MAX_CLASS_NAME_CHARACTERS, Workspace

_CLASSES_FILE = ".classes.txt"
_VOC_LEVELS = 3  # How many first folders of a path may be `JPEGImages`.
_LIMITS = DecodeLimits(file_bytes=MAX_BYTES)
_BAD_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")

# The common form in labelling tools; these expressions take a tenth of the time of an XML parser.
_HEAD = re.compile(r"\s*(<\?xml[^>]*\?>\s*)?<annotation(\s+verified=\"(?P<verified>\w*)\")?\s*>")
_OBJECT = re.compile(r"<object>\s*<name>([^<&]*)</name>")
_FILENAME = re.compile(r"<filename>([^<&]*)</filename>")


def read_annotation_file(file: Path) -> bytes:
    """The bytes of an annotation file; ImageReadError if it cannot be read, or is too large."""
    return read_file(file, file.name, _LIMITS)


def annotation_file(root: Path, relative: str) -> Path:
    """The path of an image's annotation, which may not exist."""
    folder, slash, name = relative.rpartition("/")
    stem = name.rpartition(".")[0] or name
    folders = folder.split("/")
    if "JPEGImages" in folders[:_VOC_LEVELS]:
        level = folders.index("JPEGImages")
        annotations = [*folders[:level], "Annotations"]
        if root.joinpath(*annotations).is_dir():
            folder, slash = "/".join([*annotations, *folders[level + 1 :]]), "/"
    file = Path(f"{root}/{folder}{slash}{stem}.xml")
    if not file.exists():
        upper = file.with_suffix(".XML")
        return upper if upper.exists() else file
    return file


def other_owner(file: Path, image: Path) -> str | None:
    """The image that an annotation file belongs to, if it is not this one.

    With 1.jpg and 1.png, 1.xml belongs to the one that it names.
    """
    try:
        named = parse_voc(read_annotation_file(file), file.name).filename
    except DataError:
        return None
    if named == image.name:
        return None
    stem = image.name.rpartition(".")[0]
    with contextlib.suppress(OSError), os.scandir(image.parent) as entries:
        for entry in entries:
            entry_stem, dot, suffix = entry.name.rpartition(".")
            is_image = f"{dot}{suffix}".casefold() in SUFFIXES
            if entry_stem == stem and is_image and entry.name != image.name:
                return named or entry.name
    return None


def require_class_name(name: str) -> None:
    """Raise UsageError for an invalid class name."""
    if not _is_class_name(name):
        raise UsageError(
            f"a class is called by 1 to {MAX_CLASS_NAME_CHARACTERS} characters, none of them a "
            f"control character. Received: {name[:80]!r}"
        )


def _is_class_name(name: str) -> bool:
    plain = not _BAD_CHARACTERS.search(name) and not label_problem(name)
    return plain and 0 < len(name) <= MAX_CLASS_NAME_CHARACTERS and name == name.strip()


@dataclass(frozen=True, slots=True)
class AnnotationSummary:
    """The summary of one annotation for the list.

    Attributes:
        names: the class of each object.
        verified: whether a person marked the image as done.
        filename: the image's name in the file.
        bad: whether the file cannot be used.
    """

    names: tuple[str, ...] = ()
    verified: bool = False
    filename: str = ""
    bad: bool = False


class AnnotationList:
    """The images with summaries of their annotations; changed files are read again."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._summaries: dict[Path, tuple[str, AnnotationSummary]] = {}  # With the file's version.

    def to_dict(self) -> dict[str, Any]:
        """The list as the page's JSON.

        Returns:
            `pictures`: [path, number of boxes, verified, bad, version] each; `classes`: names in
            their order; `folders`: [class folder, count] each.
        """
        with self._lock:
            summaries = self._read_all()
            classes = self._classes(summaries)
        images = [
            [path, len(s.names), s.verified, s.bad, file_version(self.workspace.root / path)]
            for path, s in summaries
        ]
        return {"pictures": images, "classes": classes, "folders": self.workspace.classes()}

    def add_class(self, name: str) -> list[str]:
        """Append a class to the list, if `require_class_name` accepts it; returns the list."""
        name = name.strip()
        require_class_name(name)
        with self._lock:
            classes = self._classes(self._read_all())
            if name not in classes:
                classes.append(name)
                write_text(self._classes_file(), "".join(f"{known}\n" for known in classes))
        return classes

    def _read_all(self) -> list[tuple[str, AnnotationSummary]]:
        root = self.workspace.root
        files = [(path, annotation_file(root, path)) for path in self.workspace.all_images()]
        folders = {file.parent for _, file in files}
        linked = {folder for folder in folders if not folder.resolve().is_relative_to(root)}
        owners = Counter(file for _, file in files)
        summaries = []
        for path, file in files:
            if file.parent in linked or self._leads_out(file):
                summaries.append((path, AnnotationSummary(bad=True)))
                continue
            summary = self._read(file)
            if owners[file] > 1 and summary.filename != path.rpartition("/")[2]:
                summary = AnnotationSummary()  # The file belongs to another image with this stem.
            summaries.append((path, summary))
        return summaries

    def _leads_out(self, file: Path) -> bool:
        """Whether a file is a link to a place that this folder does not show."""
        if not file.is_symlink():
            return False
        with contextlib.suppress(OSError, RuntimeError):  # loops of links
            return not resolve_links(file).is_relative_to(self.workspace.root)
        return True

    def _classes_file(self) -> Path:
        """UsageError if it is a link out of the folder."""
        return self.workspace.resolve(_CLASSES_FILE, allow_hidden=True)

    def _read(self, file: Path) -> AnnotationSummary:
        version = file_version(file)
        if version == GONE:
            self._summaries.pop(file, None)
            return AnnotationSummary()
        known = self._summaries.get(file)
        if known is None or known[0] != version:
            known = self._summaries[file] = (version, _summarize(file))
        return known[1]

    def _classes(self, summaries: list[tuple[str, AnnotationSummary]]) -> list[str]:
        """The classes of `.classes.txt`, then those of boxes; without any, those of folders."""
        names = {name for _, summary in summaries for name in summary.names}
        lines: list[str] = []
        with contextlib.suppress(DataError, UsageError):
            data = read_annotation_file(self._classes_file())
            lines = data.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()
        classes = [name for line in lines if _is_class_name(name := line.strip())]
        classes += sorted(names - {*classes, ""}, key=natural_key)
        if not classes:
            classes = [name for name, _ in self.workspace.classes() if "/" not in name]
        return list(dict.fromkeys(classes))


def _summarize(file: Path) -> AnnotationSummary:
    try:
        data = read_annotation_file(file)
        summary = _summarize_plain(data)
        if summary is not None:
            return summary
        parsed = parse_voc(data, file.name)
    except DataError:
        return AnnotationSummary(bad=True)
    names = tuple(item.name for item in parsed.objects)
    return AnnotationSummary(names, parsed.verified, parsed.filename)


def _summarize_plain(data: bytes) -> AnnotationSummary | None:
    """The summary of a file in the common form; None if it needs a parser."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    head, filename = _HEAD.match(text), _FILENAME.search(text)
    if head is None or filename is None or not text.rstrip().endswith("</annotation>"):
        return None
    names = _OBJECT.findall(text)
    encoding = (head[1] or "").casefold()
    unusual = "<!" in text or ("encoding" in encoding and "utf-8" not in encoding)
    if unusual or {text.count("<object"), text.count("</bndbox>")} != {len(names)}:
        return None
    verified = (head["verified"] or "").casefold() in ("yes", "true", "1")
    return AnnotationSummary(tuple(name.strip() for name in names), verified, filename[1].strip())
