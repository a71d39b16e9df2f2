"""Recognize images that were derived from one image, by the names that tools give to them.

    photo_nohash_r1                              SharpEye's augment, TensorFlow-for-Poets
    photo_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9   Roboflow: versions of photo.jpg
    cat_original_photo.jpg_0a1b2c3d-....         Augmentor: class, source, UUID
    aug_7_4821  aug_7_93                         Keras' save_to_dir, see `keras_names.py`
    photo_x_noised                               older tools: flipped, with noise
    IMG_0001_hflip  IMG_0001_rot90  IMG_0001_aug_2  flipped_IMG_0001   scripts' habits
    IMG_0001 - Copy (2)  IMG_0001 copy  IMG_0001 (1)  IMG_0001-edited  IMG_E0001  IMG_0001~2
    rose_RandomBrightnessContrast  rose_90       Albumentations, imgaug and scripts, beside `rose`
    rose/flipped/1                               beside rose/1
    IMG_20200101_123456_BURST003                 phones' bursts, see `burst_names.py`

A rule must not join images of different things: one that joined a class's images would leave
nothing to split. So words that people use as well (`rose_dark_1`) count only if the name before
them is one image's: it is in the same folder, or has a number of three digits, as cameras give. Of
files such as `images (1).jpg`, which browsers name so for any image, none is joined.
"""

import re
from collections import Counter
from collections.abc import Container, Sequence

from sharpeye.data.burst_names import burst_of_name, moment_of_name
from sharpeye.data.keras_names import keras_sources
from sharpeye.data.transform_names import are_transforms

# More images than these are no versions of one: the rule has misread the names.
_MAX_VERSIONS, _MIN_SHARED, _MAX_SHARE = 200, 20, 0.5

_NOHASH = re.compile(r"(.*?)_nohash_.*", re.S)
_SUFFIX = r"(?:jpe?g|png|bmp|gif|webp|tiff?|heic)"
_ROBOFLOW = re.compile(rf"(.+?)(?:[_.]{_SUFFIX})?\.rf\.[0-9A-Za-z_-]{{8,}}", re.S | re.I)
_AUGMENTOR = re.compile(
    r".*?(?:_original_|_groundtruth_\(\d+\)_[^/]*?_)([^/]+?)"
    rf"(?:\.{_SUFFIX})?_[0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}",
    re.S | re.I,
)
_COPY = re.compile(
    r"(?:(?:Copy of|Kopie von|Copia d[ei]|Copie de|Cópia de) (?P<before>.+)|"
    r"(?P<name>.+?)(?:(?: - | – |[ _-]|(?= ?のコピー| ?拷贝))"
    r"(?:copy|kopie|c[oó]pia|copie|копия|副本|コピー| ?のコピー| ?拷贝)"
    r"(?:[ _]?\(?\d+\)?)?|[-_]edited))",
    re.S | re.I,
)
_TILDE = re.compile(r"(.+?)~\d", re.S)
_NUMBERED = re.compile(r"(.+?) ?\(\d+\)", re.S)
_EDITED = re.compile(r"(.*IMG_)E(\d{4})", re.S)
# The endings of older tools for images that they flipped, or added noise to.
_ENDINGS = ("_noised", "_x", "_x_noised", "_y", "_y_noised", "_y_x", "_y_x_noised")

_FLIPS = (
    r"[hv]?flip(?:ped|lr|ud|h|v|x|y)?|mirror(?:ed)?|[hv]mirror|(?:horizontal|vertical)[_-]?flip"
)
_WORDS = (
    rf"aug(?:mented|mentation|m)?|{_FLIPS}|flip[_-]?(?:horizontal|vertical|lr|ud|[hv])|"
    r"rot(?:at(?:e|ed|ion))?|r(?=90|180|270)|bright(?:er|ness|ened)?|dark(?:er|ened)?|"
    r"blur(?:red|ry)?|nois[ey]|noised|gaussian|crop(?:ped)?|zoom(?:ed|in|out)?|shear(?:ed)?|"
    r"shift(?:ed)?|translat(?:e|ed|ion)|contrast|gamma|hue|saturat(?:e|ed|ion)|sharp(?:en|ened)?|"
    r"scale[d]?|gr[ae]y(?:scale)?|color|colour|jitter|cutout|elastic|perspective|transform(?:ed)?"
)
_AMOUNT = r"(?:[_ -]?(?:[-+]|neg|minus)?\d+(?:[.]\d+)?(?:deg)?)"
_AFTER = re.compile(rf"(.+?)((?:[_ -](?:{_WORDS}){_AMOUNT}{{0,2}})+)", re.S | re.I)
_BEFORE = re.compile(rf"((?:(?:{_WORDS}){_AMOUNT}{{0,2}}[_ -])+)(.+)", re.S | re.I)
_CAMERA_NUMBER = re.compile(r"\d{3}")
_OUTPUT_FOLDERS = frozenset({"output", "outputs"})
_SEPARATOR = re.compile(r"[_ .@-]+")
_ANGLES = frozenset({"90", "180", "270"})
_MAX_NUMBERED = 4  # copies such as `rose12 (2)`; more are a series


def source_names(stems: Sequence[str]) -> list[set[str]]:
    """For each image, the paths of the images that its name says it was derived from.

    Args:
        stems: paths below the root without suffix.
    """
    known, certain = set(stems), [_certain_source(stem) for stem in stems]
    likely = [set() if c else _likely_source(s, known) for s, c in zip(stems, certain, strict=True)]
    keras_certain, keras_likely = keras_sources(stems, known)
    for position, source in keras_likely.items():
        likely[position] = {source}
    for position, source in keras_certain.items():
        certain[position], likely[position] = {source} | _likely_source(source, known), set()
    numbered = Counter(filter(None, (_numbered_source(stem, known) for stem in stems)))
    for position, stem in enumerate(stems):
        source = _numbered_source(stem, known)
        if not certain[position] and 0 < numbered[source] <= _MAX_NUMBERED:
            likely[position].add(source)
    sizes = Counter(source for sources in likely for source in sources)
    in_folder = Counter(_source_folder(_split(stem)[0]) for stem in stems)

    def is_plausible(source: str) -> bool:
        size, total = sizes[source], in_folder[_split(source)[0]]
        return size <= _MAX_VERSIONS and (size < _MIN_SHARED or size <= _MAX_SHARE * total)

    return [
        marked | set(filter(is_plausible, guessed))
        for marked, guessed in zip(certain, likely, strict=True)
    ]


def _certain_source(stem: str) -> set[str]:
    """By marks that no person writes."""
    folder, name = _split(stem)
    if match := _NOHASH.fullmatch(name):
        return {folder + match[1]}
    for pattern in (_ROBOFLOW, _AUGMENTOR):
        if match := pattern.fullmatch(name):
            inner = _certain_source(match[1]) or {match[1]}  # exported, then augmented again
            return {_source_folder(folder) + source for source in inner}
    if burst := burst_of_name(name):
        return {folder + burst}
    return set()


def _likely_source(stem: str, known: Container[str]) -> set[str]:
    """By words that mark a copy, if what is left is the name of one image."""
    folder, name = _split(stem)
    target = _source_folder(folder)
    sources = {name.removesuffix(ending) for ending in _ENDINGS if name.endswith(ending)}
    origins = {target + source for source in sources if target + source in known}
    if match := _COPY.fullmatch(name):
        origins.add(folder + (match["before"] or match["name"]))
    if moment := moment_of_name(name):
        origins.add(folder + moment)
    for pattern, group in ((_NUMBERED, 1), (_TILDE, 1), (_AFTER, 1), (_BEFORE, 2)):
        match = pattern.fullmatch(name)
        if match is None:
            continue
        source, by_number = target + match[group], bool(_CAMERA_NUMBER.search(match[group]))
        if pattern is _NUMBERED:  # two photos may have got one name
            origins |= {source} if by_number and source in known else set()
        elif by_number or source in known:
            origins.add(source)
    if (match := _EDITED.fullmatch(name)) and target + match[1] + match[2] in known:
        origins.add(target + match[1] + match[2])
    if target != folder and target + name in known:
        origins.add(target + name)
    return (origins | _originals(target, name, known)) - {stem}


def _originals(folder: str, name: str, known: Container[str]) -> set[str]:
    """The images of a folder whose names, with transforms before or after them, are this name."""
    originals: set[str] = set()
    for match in _SEPARATOR.finditer(name, 1):
        before, after = name[: match.start()], name[match.end() :]
        for source, words, form in (
            (before, after, f"{before}{match[0]}{{}}"),
            (after, before, f"{{}}{match[0]}{after}"),
        ):
            if not source or folder + source not in known:
                continue
            if are_transforms(words) or (
                words in _ANGLES
                # A series has the numbers beside it, too.
                and not any(folder + form.format(int(words) + n) in known for n in (-1, 1))
            ):
                originals.add(folder + source)
    return originals


def _numbered_source(stem: str, known: Container[str]) -> str:
    """`rose12` of `rose12 (2)` beside it; browsers name any image `images (2)`."""
    match = _NUMBERED.fullmatch(stem)
    is_copy = match is not None and match[1][-1].isdigit() and match[1] in known
    return match[1] if match and is_copy else ""


def _split(stem: str) -> tuple[str, str]:
    folder, slash, name = stem.rpartition("/")
    return folder + slash, name


def _source_folder(folder: str) -> str:
    """The folder of the originals: tools write into `output/` or `flipped/` below it."""
    parent, _, name = folder.rstrip("/").rpartition("/")
    if parent and (name.casefold() in _OUTPUT_FOLDERS or are_transforms(name)):
        return parent + "/"
    return folder
