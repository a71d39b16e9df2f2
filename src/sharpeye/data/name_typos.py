"""Find class names that are probably typing errors of another class's name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

# Joiners that several scripts, and emoji, need between letters.
_JOINERS = "\u200c\u200d"

_CASE = "case"
_SIGNS = "case, spaces or signs between the words"


@dataclass(frozen=True, slots=True)
class NameTypo:
    """A class name that is probably a typing error.

    Attributes:
        name, other: the class, and the one that it is nearly named as; empty if there is none.
        detail: the finding, in words.
        serious: whether two classes are probably one.
    """

    name: str
    other: str
    detail: str
    serious: bool = False


def find_name_typos(class_names: Sequence[str]) -> list[NameTypo]:
    """Class names that are probably typing errors: `Rose` beside `rose `, `cat` and `cats`.

    Names that differ in case only (`A` and `a`) may well be two classes, and a sign or a point in a
    number makes another number: `-1` and `1`, `1.5` and `15`.
    """
    typos = []
    by_normal_form: dict[str, list[str]] = defaultdict(list)
    for label in class_names:
        by_normal_form[_normalize(label)].append(label)
        if label != label.strip():
            why = "the name begins or ends with a space"
            typos.append(NameTypo(label, "", why))
        if _visible(label) != label:
            why = "the name has a character that cannot be seen"
            typos.append(NameTypo(label, "", why))
    for first, *others in by_normal_form.values():
        for label in others:
            only_case = label.casefold() == first.casefold()
            why = f"the names differ only in {_CASE if only_case else _SIGNS}"
            typos.append(NameTypo(label, first, why, not only_case))
    for form, labels in by_normal_form.items():
        singular = by_normal_form.get(form[:-1])
        if form.endswith("s") and len(form) > 3 and singular:
            why = "one name is the plural of the other"
            typos.append(NameTypo(labels[0], singular[0], why))
    return typos


def _normalize(label: str) -> str:
    folded = unicodedata.normalize("NFKC", _visible(label)).casefold()
    return re.sub(r"[\s_\-.]+(?!\d)|(?<=[^\W\d])[\s_]+", " ", folded).strip()


def _visible(label: str) -> str:
    """The text without control characters, and without joiners that join nothing."""
    inner = "".join(
        sign for sign in label if sign in _JOINERS or unicodedata.category(sign) not in ("Cc", "Cf")
    )
    return inner.strip(_JOINERS)
