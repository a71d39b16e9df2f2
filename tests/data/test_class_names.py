"""Names of classes: typing errors, Unicode forms, and names that are rightly two."""

import pytest

from sharpeye.data.class_names import same_class_name, spelling_by_name
from sharpeye.data.name_typos import find_name_typos

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_that_mean_the_same() -> None:
    labels = ("Rose", "rose ", "cat", "cats", "bus", "fire_truck", "Fire truck", "oak", "Bus")
    typos = {(typo.name, typo.other): typo.serious for typo in find_name_typos(labels)}
    assert typos == {
        ("rose ", ""): False,
        ("rose ", "Rose"): True,
        ("cats", "cat"): False,
        ("Fire truck", "fire_truck"): True,
        ("Bus", "bus"): False,
    }


@pytest.mark.parametrize(
    "names",
    [
        *(("1", "2", "bird", "birch"), ("-1", "0", "1"), ("1.5", "15", "1 5"), ("+1", "1", "-1")),
        *(("v1.2", "v12"), ("10-20", "1020"), ("3.0", "30", "0.3"), ("-0.5", "0.5", ".5")),
    ],
)
def test_signs_and_points_make_other_numbers(names: tuple[str, ...]) -> None:
    assert find_name_typos(names) == []


@pytest.mark.parametrize(("first", "second"), [("A", "a"), ("b", "B"), ("\u00c4", "\u00e4")])
def test_upper_and_lower_case_are_two_classes(first: str, second: str) -> None:
    (typo,) = find_name_typos((first, second))
    assert (typo.name, typo.other, typo.serious) == (second, first, False)
    assert typo.detail == "the names differ only in case"


def test_names_with_invisible_characters() -> None:
    typos = find_name_typos(
        ("rose\u200b", "rose", "\u0646\u06cc\u200c\u0628")
    )  # a joiner within a word is right
    assert [(typo.name, typo.other) for typo in typos] == [
        ("rose\u200b", ""),
        ("rose", "rose\u200b"),
    ]


def test_one_name_in_two_unicode_forms_is_one_class() -> None:
    assert same_class_name(COMPOSED, DECOMPOSED)
    assert not same_class_name("A", "a") and not same_class_name("1", "-1")
    assert spelling_by_name([DECOMPOSED, COMPOSED]) == {DECOMPOSED: COMPOSED, COMPOSED: COMPOSED}
    assert spelling_by_name([DECOMPOSED]) == {DECOMPOSED: DECOMPOSED}
    assert spelling_by_name([COMPOSED, "x"], [DECOMPOSED]) == {COMPOSED: DECOMPOSED, "x": "x"}
