"""Pair images with annotations by their names, in the folders in which tools export them.

photos/1.jpg, photos/1.xml                     one folder; also 1.jpg.xml
photos/images/1.jpg, photos/Annotations/1.xml  sibling folders, whose names say what is in them
photos/train/images/1.jpg, photos/train/xml/1.xml
photos/images/train/1.jpg, photos/annotations/train/1.xml
photos/a/1.jpg, photos/b/2.jpg, photos/all/*.xml   a folder of annotations alone, if the name is
                                                   unique

Whatever is ambiguous is not paired.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from sharpeye.core.formatting import name_list
from sharpeye.data.file_walk import printable, stem_of

_IMAGES = {"images", "image", "imgs", "img", "jpegimages", "pngimages", "photos", "pictures"}
_ANNOTATIONS = {"annotations", "annotation", "annots", "anns", "ann", "xml", "xmls"}
_ANNOTATIONS |= {"labels", "label", "voc", "pascalvoc", "boxes", "bboxes", "bndboxes"}
_TOKEN = re.compile(r"[^\W_]+")


class FolderRoles:
    """Removes from paths the folders that separate images from annotations."""

    def __init__(self, annotations: Iterable[str]) -> None:
        """Nothing is removed unless one of the annotations, by path, is in a folder named so."""
        folders = {name for path in annotations for name in path.split("/")[:-1]}
        self._active = any(map(has_annotation_role, folders))

    def remove(self, path: str) -> str:
        """The path without these words in its folders, see `_without_roles`."""
        return _without_roles(path) if self._active else path


def _without_roles(path: str) -> str:
    """A path without words such as `images` in its folders' names: `train/images/1.jpg` and
    `train_images/1.jpg` become `train/1.jpg`.
    """
    *folders, name = path.split("/")
    remaining = []
    for folder in folders:
        tokens = _tokens(folder)
        others = [token for token in tokens if token not in _IMAGES | _ANNOTATIONS]
        if len(others) == len(tokens):
            remaining.append(folder)
        elif others:
            remaining.append("_".join(others))
    return "/".join([*remaining, name])


def has_image_role(folder_name: str) -> bool:
    """Whether the name of a folder says that images are in it: `images`, `train_images`."""
    return bool(_IMAGES & set(_tokens(folder_name)))


def has_annotation_role(folder_name: str) -> bool:
    """Whether the name of a folder says that annotations are in it: `Annotations`, `xmls`."""
    return bool(_ANNOTATIONS & set(_tokens(folder_name)))


def _tokens(name: str) -> list[str]:
    return _TOKEN.findall(name.casefold())


def pair_by_name(
    images: Sequence[str], annotations: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The annotation of each image, both by path; and why other images have none.

    Two images may have one annotation: 1.jpg and 1.png, of which it names one.
    """
    pairs = _pair_in_one_folder(images, annotations)
    pairs |= _pair_by(
        lambda path: stem_of(_without_roles(path)), *_unpaired(pairs, images, annotations)
    )
    image_folders = {path.rpartition("/")[0] for path in images}
    open_images, open_annotations = _unpaired(pairs, images, annotations)
    apart = [a for a in open_annotations if a.rpartition("/")[0] not in image_folders]
    by_stem = _by_key(_stem, apart)
    images_by_stem = _by_key(_stem, open_images)
    problems: dict[str, str] = {}
    for path in open_images:
        candidates, same = by_stem.get(_stem(path), []), images_by_stem[_stem(path)]
        if len(candidates) == 1 and len(same) == 1:
            pairs[path] = candidates[0]
        elif candidates:
            problems[path] = _ambiguity(candidates, same)
    return pairs, problems


def _pair_in_one_folder(images: Sequence[str], annotations: Sequence[str]) -> dict[str, str]:
    by_stem: dict[str, str] = {}
    for path in annotations:
        by_stem.setdefault(stem_of(path), path)
    candidates = ((path, by_stem.get(stem_of(path)) or by_stem.get(path)) for path in images)
    return {path: annotation for path, annotation in candidates if annotation}


def _pair_by(
    key: Callable[[str], str], images: Sequence[str], annotations: Sequence[str]
) -> dict[str, str]:
    by_key = _by_key(key, annotations)
    return {path: by_key[key(path)][0] for path in images if len(by_key.get(key(path), ())) == 1}


def _by_key(key: Callable[[str], str], paths: Iterable[str]) -> Mapping[str, list[str]]:
    by_key: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_key[key(path)].append(path)
    return by_key


def _unpaired(
    pairs: Mapping[str, str], images: Sequence[str], annotations: Sequence[str]
) -> tuple[list[str], list[str]]:
    used = set(pairs.values())
    return [p for p in images if p not in pairs], [p for p in annotations if p not in used]


def _stem(path: str) -> str:
    return stem_of(path.rpartition("/")[2])


def _ambiguity(annotations: Sequence[str], images: Sequence[str]) -> str:
    shown = name_list([printable(path) for path in annotations], 3)
    if len(annotations) > 1:
        return f"it has {len(annotations)} annotations of its name: {shown}"
    others = name_list([printable(path) for path in images], 3)
    return f"{shown} could be the annotation of {len(images)} images of its name: {others}"
