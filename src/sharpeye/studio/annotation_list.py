"""List which images are annotated, and the classes in a numbered order that stays.

`.classes.txt` in the folder of images has one class per line: a key must not mean another class
because one was added. The file is hidden, so that no training takes it for data.
"""

import re
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpeye.core.storage import write_text
from sharpeye.data.file_walk import natural_key
from sharpeye.data.image_folder import label_problem
from sharpeye.errors import DataError, UsageError
from sharpeye.images.voc_xml import parse_voc
from sharpeye.studio.annotation_files import annotation_file, read_annotation_file
from sharpeye.studio.thumbnails import file_version
from sharpeye.studio.workspace import MAX_CLASS_NAME_CHARACTERS, Workspace

CLASSES = ".classes.txt"
_BAD_CHARACTERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class AnnotationSummary:
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


class AnnotationList:
    """The images with summaries of their annotations; a file is read again when it has changed."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        # By file: modification time in nanoseconds, size in bytes, summary.
        self._summaries: dict[Path, tuple[int, int, AnnotationSummary]] = {}

    def to_dict(self) -> dict[str, Any]:
        """The list as the page's JSON.

        Returns:
            `pictures`: [path, number of boxes, verified, bad, version] each; `classes`: names in
            their order; `folders`: [class folder, count] each.
        """
        images = []
        with self._lock:
            summaries = self._read_all()
            for path, summary in summaries:
                version = file_version(self.workspace.root / path)
                images.append([path, len(summary.names), summary.verified, summary.bad, version])
            classes = self._classes(summaries)
        return {"pictures": images, "classes": classes, "folders": self.workspace.classes()}

    def add_class(self, name: str) -> list[str]:
        """Append a class to the list; returns the list.

        Raises:
            UsageError: the name is not valid.
        """
        name = name.strip()
        require_class_name(name)
        with self._lock:
            classes = self._classes(self._read_all())
            if name not in classes:
                classes.append(name)
                file = self.workspace.root / CLASSES
                write_text(file, "".join(f"{known}\n" for known in classes))
        return classes

    def _read_all(self) -> list[tuple[str, AnnotationSummary]]:
        files = [
            (path, annotation_file(self.workspace.root, path))
            for path in self.workspace.all_images()
        ]
        owners = Counter(file for _, file in files)
        summaries = []
        for path, file in files:
            summary = self._read(file)
            if owners[file] > 1 and summary.filename != path.rpartition("/")[2]:
                summary = AnnotationSummary()  # The file belongs to another image of this stem.
            summaries.append((path, summary))
        return summaries

    def _read(self, file: Path) -> AnnotationSummary:
        try:
            status = file.stat()
        except OSError:
            self._summaries.pop(file, None)
            return AnnotationSummary()
        known = self._summaries.get(file)
        if known is None or known[:2] != (status.st_mtime_ns, status.st_size):
            known = (status.st_mtime_ns, status.st_size, _summarize(file))
            self._summaries[file] = known
        return known[2]

    def _classes(self, summaries: list[tuple[str, AnnotationSummary]]) -> list[str]:
        """Those of `.classes.txt`, then those of the boxes; without any, those of the folders."""
        names = {name for _, summary in summaries for name in summary.names}
        classes = [name for name in self._class_file() if _is_class_name(name)]
        classes += sorted(names - {*classes, ""}, key=natural_key)
        if not classes:
            classes = [name for name, _ in self.workspace.classes() if "/" not in name]
        return list(dict.fromkeys(classes))

    def _class_file(self) -> list[str]:
        try:
            data = read_annotation_file(self.workspace.root / CLASSES)
        except DataError:
            return []
        text = data.decode("utf-8", "replace").removeprefix("\ufeff")
        return [line.strip() for line in text.splitlines() if line.strip()]


def require_class_name(name: str) -> None:
    """Refuse a name that no class can have.

    Raises:
        UsageError: the name is not valid.
    """
    if not _is_class_name(name):
        raise UsageError(
            f"a class is called by 1 to {MAX_CLASS_NAME_CHARACTERS} characters, none of them a "
            f"control character. Received: {name[:80]!r}"
        )


def _is_class_name(name: str) -> bool:
    plain = not _BAD_CHARACTERS.search(name) and not label_problem(name)
    return plain and 0 < len(name) <= MAX_CLASS_NAME_CHARACTERS and name == name.strip()


# --- summaries -----------------------------------------------------------------------------------

# How all labelling tools write; these expressions take a tenth of the time of an XML parser.
_HEAD = re.compile(r"\s*(<\?xml[^>]*\?>\s*)?<annotation(\s+verified=\"(?P<verified>\w*)\")?\s*>")
_OBJECT = re.compile(r"<object>\s*<name>([^<&]*)</name>")
_FILENAME = re.compile(r"<filename>([^<&]*)</filename>")


def _summarize(file: Path) -> AnnotationSummary:
    try:
        data = read_annotation_file(file)
        summary = _summarize_plain(data)
        if summary is not None:
            return summary
        parsed = parse_voc(data, file.name)
    except DataError:
        return AnnotationSummary(bad=True)
    return AnnotationSummary(
        tuple(item.name for item in parsed.objects), parsed.verified, parsed.filename
    )


def _summarize_plain(data: bytes) -> AnnotationSummary | None:
    """The summary of a plainly written file; None if it takes a parser."""
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
