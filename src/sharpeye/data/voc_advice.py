"""Say what to do with a folder in which too few classes were found in Pascal VOC files."""

from pathlib import Path

from sharpeye.core.formatting import counted
from sharpeye.core.paths import shell_quote
from sharpeye.core.types import SampleSet
from sharpeye.data.file_walk import natural_key, printable, walk_files, walk_images
from sharpeye.data.voc_pairs import has_annotation_role, has_image_role
from sharpeye.errors import ImageReadError

_LAYOUT = (
    "to learn boxes, 1.jpg needs a Pascal VOC file 1.xml beside it, as LabelImg writes, or in "
    "a folder Annotations/ beside images/"
)


def voc_advice(samples: SampleSet) -> str:
    """What to do next; empty if all files were read, and just hold too few classes."""
    if samples.class_names:
        if not samples.rejected:
            return ""
        first, files = samples.rejected[0], counted(len(samples.rejected), "file")
        return f"{files} left out, such as {first.path}: {first.reason}"
    above = _folder_above(samples.root)
    if above is None:
        return _LAYOUT
    folder, inner = above
    return f"give {shell_quote(folder)}, which holds {printable(inner)}/ as well"


def _folder_above(root: Path) -> tuple[Path, str] | None:
    """The folder that holds both images and annotations, and the name of what `root` lacks.

    For `photos/images` and `photos/images/train` that is `photos` with its `Annotations`, for
    `photos/Annotations` it is `photos` with its `images`.
    """
    folder = root if root.name not in ("", "..") else root.resolve()
    for _ in range(2):
        name, folder = folder.name, folder.parent
        for beside in _folders_in(folder):
            if has_annotation_role(beside.name):
                images, annotations = root, beside
            elif has_image_role(beside.name):
                images, annotations = beside, root
            else:
                continue
            if beside.name != name and _share_names(images, annotations):
                return folder, beside.name
        if not (has_image_role(folder.name) or has_annotation_role(folder.name)):
            return None
    return None


def _folders_in(folder: Path) -> list[Path]:
    try:
        folders = [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError:
        return []
    return sorted(folders, key=lambda entry: natural_key(entry.name))


def _share_names(images: Path, annotations: Path) -> bool:
    """Whether an image has the name of an annotation."""
    try:
        names = {path.stem for _, path in walk_images(images).files}
        others = [path for _, path in walk_files(annotations)[0]]
    except (OSError, ImageReadError):
        return False
    return any(path.suffix.casefold() == ".xml" and path.stem in names for path in others)
