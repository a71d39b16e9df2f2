"""Class names that look like slips: `Rose` beside `rose `, `cat` beside `cats`."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NameTypo:
    """A name that is probably a slip.

    Attributes:
        label: the class.
        other: the class that probably is the same, or empty.
        why: what is wrong, in words.
        serious: whether two classes are probably one.
    """

    label: str
    other: str
    why: str
    serious: bool = False


def find_name_typos(labels: Sequence[str]) -> list[NameTypo]:
    """The names that are probably slips."""
    found = []
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[_plain(label)].append(label)
        if label != label.strip():
            found.append(NameTypo(label, "", "the name begins or ends with a space"))
        if _visible(label) != label:
            found.append(NameTypo(label, "", "the name has a character that cannot be seen"))
    for names in alike.values():
        for other in names[1:]:
            why = "the names differ only in case, spaces or signs between the words"
            found.append(NameTypo(other, names[0], why, serious=True))
    singular = {plain: names[0] for plain, names in alike.items()}
    for plain, names in alike.items():
        if plain.endswith("s") and len(plain) > 3 and plain[:-1] in singular:
            why = "one name is the plural of the other"
            found.append(NameTypo(names[0], singular[plain[:-1]], why))
    return found


def _plain(label: str) -> str:
    folded = unicodedata.normalize("NFKC", _visible(label)).casefold()
    return re.sub(r"[\s_\-.]+", " ", folded).strip()


# Joiners that several scripts, and emoji, need between letters.
_JOINERS = "\u200c\u200d"


def _visible(label: str) -> str:
    """Without control characters, and without joiners where nothing is to be joined."""
    inner = "".join(
        sign for sign in label if sign in _JOINERS or unicodedata.category(sign) not in ("Cc", "Cf")
    )
    return inner.strip(_JOINERS)
