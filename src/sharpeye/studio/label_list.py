"""Which images are labelled, and which classes there are, in a numbered order that stays.

`.classes.txt` in the folder of images has a class a line: a key must not mean another class
because one was added. It is hidden, so that no training takes it for data.
"""

import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.core.storage import write_text
from sharpeye.data.file_walk import natural_key
from sharpeye.data.label_prefix import label_problem
from sharpeye.errors import DataError, UsageError
from sharpeye.images.decode import DecodeLimits, read_file
from sharpeye.images.voc_xml import MAX_BYTES, parse_voc
from sharpeye.studio.labelling import annotation_file
from sharpeye.studio.thumbnails import version_of
from sharpeye.studio.workspace import Workspace

CLASSES = ".classes.txt"
_LIMITS = DecodeLimits(file_bytes=MAX_BYTES)
_MAX_NAME = 100  # characters of a class
_NEVER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Summary:
    """What the list shows of one annotation.

    Attributes:
        names: the class of each object.
        verified: whether a person marked the image as done.
        filename: the image's name as the file has it.
        bad: whether the file cannot be used.
    """

    names: tuple[str, ...] = ()
    verified: bool = False
    filename: str = ""
    bad: bool = False


class LabelList:
    """The images with the state of their annotations; each file is read once a change."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[int, int, Summary]] = {}

    def to_dict(self) -> dict[str, Any]:
        """All of it, for the page.

        Returns:
            `images`: [path, number of boxes, verified, bad, version] each; `classes`: names in
            their order; `folders`: [class folder, count] each.
        """
        counts: Counter[str] = Counter()
        images = []
        with self._lock:
            for path, summary in self._summaries():
                counts.update(summary.names)
                version = version_of(self.workspace.root / path)
                facts = (len(summary.names), summary.verified, summary.bad)
                images.append([path, *facts, version])
            classes = self._classes(counts)
        return {
            "pictures": images,
            "classes": classes,
            "folders": self.workspace.classes(),
        }

    def add_class(self, name: str) -> list[str]:
        """Put a class at the end of the list; returns the list.

        Raises:
            UsageError: the name is none.
        """
        name = name.strip()
        require_class(name)
        with self._lock:
            counts = Counter(n for _, summary in self._summaries() for n in summary.names)
            classes = self._classes(counts)
            if name not in classes:
                classes.append(name)
                file = self.workspace.root / CLASSES
                write_text(file, "".join(f"{each}\n" for each in classes))
        return classes

    def _summaries(self) -> list[tuple[str, Summary]]:
        root, found = self.workspace.root, []
        owners: Counter[Path] = Counter()
        for path in self.workspace.all_images():
            file = annotation_file(root, path)
            owners[file] += 1
            found.append((path, file, self._summary(file)))
        return [
            (path, Summary() if owners[file] > 1 and not _is_of(summary, path) else summary)
            for path, file, summary in found
        ]

    def _summary(self, file: Path) -> Summary:
        try:
            status = file.stat()
        except OSError:
            self._known.pop(file, None)
            return Summary()
        known = self._known.get(file)
        if known is None or known[:2] != (status.st_mtime_ns, status.st_size):
            known = (status.st_mtime_ns, status.st_size, _read(file))
            self._known[file] = known
        return known[2]

    def _classes(self, counts: Counter[str]) -> list[str]:
        """Those of `.classes.txt`, then those that boxes have; else those of the folders."""
        classes = [name for name in _lines(self.workspace.root / CLASSES) if _is_class(name)]
        classes += sorted({*counts} - {*classes, ""}, key=natural_key)
        if not classes:
            classes = [name for name, _ in self.workspace.classes() if "/" not in name]
        return list(dict.fromkeys(classes))


def require_class(name: str) -> None:
    """Refuse what cannot be a class's name.

    Raises:
        UsageError: it cannot.
    """
    if not _is_class(name):
        raise UsageError(
            f"a class is called by 1 to {_MAX_NAME} characters, none of them a control "
            f"character. Received: {name[:80]!r}"
        )


def _is_class(name: str) -> bool:
    plain = not _NEVER.search(name) and not label_problem(name)
    return plain and 0 < len(name) <= _MAX_NAME and name == name.strip()


def _lines(file: Path) -> list[str]:
    try:
        text = read_file(file, file.name, _LIMITS).decode("utf-8", "replace")
    except DataError:
        return []
    return [line.strip() for line in text.removeprefix("\ufeff").splitlines() if line.strip()]


# The plain way in which all labelling tools write; a tenth of the time of reading XML in full.
_PLAIN = re.compile(r"\s*(<\?xml[^>]*\?>\s*)?<annotation(\s+verified=\"(?P<verified>\w*)\")?\s*>")
_OBJECT = re.compile(r"<object>\s*<name>([^<&]*)</name>")
_FILENAME = re.compile(r"<filename>([^<&]*)</filename>")


def _read(file: Path) -> Summary:
    try:
        data = read_file(file, file.name, _LIMITS)
        quick = _quick(data)
        if quick is not None:
            return quick
        found = parse_voc(data, file.name)
    except DataError:
        return Summary(bad=True)
    return Summary(tuple(o.name for o in found.objects), found.verified, found.filename)


def _quick(data: bytes) -> Summary | None:
    """What a plain file says; None if it is not plain enough to tell without a parser."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    start, filename = _PLAIN.match(text), _FILENAME.search(text)
    if start is None or filename is None or not text.rstrip().endswith("</annotation>"):
        return None
    names = _OBJECT.findall(text)
    encoding = (start[1] or "").casefold()
    strange = "<!" in text or ("encoding" in encoding and "utf-8" not in encoding)
    if strange or {text.count("<object"), text.count("</bndbox>")} != {len(names)}:
        return None
    verified = (start["verified"] or "").casefold() in ("yes", "true", "1")
    return Summary(tuple(name.strip() for name in names), verified, filename[1].strip())


def _is_of(summary: Summary, path: str) -> bool:
    return summary.filename == path.rpartition("/")[2]
