"""What became of an earlier model, in words: for the command line and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from sharpeye.report.comparison import Comparison
from sharpeye.report.wording import NBSP, decimal, interval, percent, plural

_MAX_NAMED = 5


def chance(p_value: float) -> str:
    """ "p = 0.30", "p < 0.001"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.1 else 3}f}"


def change_lines(entry: Mapping[str, Any]) -> dict[str, str]:
    """The lines that the command line prints, from the entry `changes` of `metrics.json`."""
    images, classes = entry["pictures"], entry["new_classes"]
    named = f", {len(classes)} new class{'' if len(classes) == 1 else 'es'}" if classes else ""
    named += f" ({_names(classes)})" if classes else ""
    lines = {
        "added": f"{images['added']:,} pictures{named} to the "
        f"{images['before'] - images['missing']:,} of {entry['added_to']}"
        + _work(entry["features"]),
        "before": _judged(entry["earlier_test"]),
    }
    fresh = [
        f"{label} {round(row['added']['accuracy'] * row['added_count'])} of {row['added_count']}"
        if row["added_count"]
        else f"{label} without test pictures"
        for label, row in entry["per_class"].items()
        if row["new"]
    ]
    return lines | ({"new": f"right on {_names(fresh)}"} if fresh else {})


def _work(features: Mapping[str, int] | None) -> str:
    if features is None:
        return "; the network was trained anew"
    return f"; features: {features['computed']:,} computed, {features['from_cache']:,} cached"


def _judged(entry: Mapping[str, Any]) -> str:
    if not entry["count"]:
        return "none of its test pictures is left to compare with"
    before, after = entry["before"]["accuracy"], entry["after"]["accuracy"]
    return (
        f"its {entry['count']:,} test pictures: {before:.1%} right, now {after:.1%} "
        f"({entry['right_to_wrong']} right to wrong, {entry['wrong_to_right']} wrong to right; "
        f"{_reading(entry)})"
    )


def _reading(entry: Mapping[str, Any]) -> str:
    if entry["worse"] or entry["better"]:
        return (
            f"{'worse' if entry['worse'] else 'better'} beyond chance, {chance(entry['p_value'])}"
        )
    if not entry["right_to_wrong"] + entry["wrong_to_right"]:
        return "no difference"
    return f"may be chance, {chance(entry['p_value'])}"


def worse_warning(changes: Comparison) -> str:
    """The warning where the earlier test images got worse, beyond chance."""
    return (
        f"the new model is worse than {changes.growth.run} on its own test pictures, beyond "
        f"chance: {changes.count('right to wrong')} right to wrong, "
        f"{changes.count('wrong to right')} wrong to right ({chance(changes.p_value)}); "
        "look at them in the report before you replace it"
    )


def finding(changes: Comparison) -> list[str]:
    """What a reader should take away, in sentences, the finding first."""
    growth, pairs = changes.growth, len(changes.pairs)
    if not pairs:
        return [f"None of the test pictures of {growth.run} is left to compare with."]
    before, after = changes.before, changes.after
    found = [
        f"On the {plural(pairs, 'test picture')} of {growth.run} it was right on {before.right:,} "
        f"({percent(before.accuracy, 1)}) before, and is on {after.right:,} "
        f"({percent(after.accuracy, 1)}) now.",
        _verdict(changes),
    ]
    gone = growth.tested - pairs
    if gone:
        found.append(f"{plural(gone, 'test picture')} of then could not be asked about.")
    if changes.overlaps:
        one, two = changes.overlaps
        found.append(f"The mean IoU of the boxes was {decimal(one)}, and is {decimal(two)} now.")
    return found + _new_classes(changes)


def _verdict(changes: Comparison) -> str:
    lost, gained = changes.count("right to wrong"), changes.count("wrong to right")
    if not lost + gained:
        return "None of them turned from right to wrong, or from wrong to right."
    counts = f"{lost:,} turned from right to wrong, {gained:,} from wrong to right"
    p_value = chance(changes.p_value).replace(" ", NBSP)
    if changes.worse:
        return f"It got worse, beyond chance: {counts} (exact McNemar test, {p_value})."
    if changes.better:
        return f"It got better, beyond chance: {counts} (exact McNemar test, {p_value})."
    return f"{counts}: that may be chance (exact McNemar test, {p_value})."


def _new_classes(changes: Comparison) -> list[str]:
    told = []
    for row in changes.classes:
        if row.new and row.added.count:
            told.append(
                f"{row.label} {percent(row.added.accuracy)} of {row.added.count} "
                f"(95{NBSP}% interval {interval(row.added.interval)})"
            )
        elif row.new:
            told.append(f"{row.label} has no test pictures")
    return [f"New: {_names(told, '; ')}."] if told else []


def _names(names: Sequence[str], between: str = ", ") -> str:
    rest = len(names) - _MAX_NAMED
    shown = between.join(names[:_MAX_NAMED])
    return f"{shown} and {rest} more" if rest > 0 else shown
