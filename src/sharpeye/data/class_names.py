"""Compare the names of classes: one name may be written with different code points.

A Mac writes an accent as a character of its own (NFD), others write the letter with its accent
(NFC). Both are one name to people, so that they are one class. Case and spaces make another name.
"""

import unicodedata
from collections.abc import Iterable


def class_key(name: str) -> str:
    """What two spellings of one class name have in common: the name in Unicode's form NFC."""
    return unicodedata.normalize("NFC", name)


def same_class_name(first: str, second: str) -> bool:
    """Whether two names are of one class, in composed or decomposed characters."""
    return class_key(first) == class_key(second)


def spelling_by_name(names: Iterable[str], known: Iterable[str] = ()) -> dict[str, str]:
    """The spelling to use for each name: that of `known`, else the composed one, else its own."""
    spellings = {class_key(name): name for name in reversed(list(known))}
    names = list(names)
    for name in sorted(set(names), key=lambda name: (name != class_key(name), name)):
        spellings.setdefault(class_key(name), name)
    return {name: spellings[class_key(name)] for name in names}
