"""Put the comparison with an earlier model into words, for the command line and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from sharpeye.core.formatting import NBSP, percent, plain_percent
from sharpeye.report.comparison import Comparison
from sharpeye.report.wording import decimal, interval, plural

_MAX_NAMES = 5


def summary_lines(entry: Mapping[str, Any]) -> dict[str, str]:
    """The lines that the command line prints, from the entry `changes` of `metrics.json`."""
    images, classes, features = entry["pictures"], entry["new_classes"], entry["features"]
    named, work = "", "the network was trained anew"
    if classes:
        named = f", {len(classes)} new class{'' if len(classes) == 1 else 'es'} ({_join(classes)})"
    if features is not None:
        work = f"features: {features['computed']:,} computed, {features['from_cache']:,} cached"
    lines = {
        "added": f"{images['added']:,} images{named} to the "
        f"{images['before'] - images['missing']:,} of {entry['added_to']}; {work}",
        "before": _test_line(entry["earlier_test"]),
    }
    new = [
        f"{label} {round(row['added']['accuracy'] * row['added_count'])} of {row['added_count']}"
        if row["added_count"]
        else f"{label} without test images"
        for label, row in entry["per_class"].items()
        if row["new"]
    ]
    return lines | ({"new": f"right on {_join(new)}"} if new else {})


def _test_line(entry: Mapping[str, Any]) -> str:
    if not entry["count"]:
        return "none of its test images is left to compare with"
    before, after = (plain_percent(entry[when]["accuracy"]) for when in ("before", "after"))
    p_value = p_value_text(entry["p_value"])
    if entry["worse"] or entry["better"]:
        conclusion = f"{'worse' if entry['worse'] else 'better'} beyond chance, {p_value}"
    elif entry["right_to_wrong"] + entry["wrong_to_right"]:
        conclusion = f"may be chance, {p_value}"
    else:
        conclusion = "no difference"
    return (
        f"its {entry['count']:,} test images: {before} right, now {after} "
        f"({entry['right_to_wrong']} right to wrong, {entry['wrong_to_right']} wrong to right; "
        f"{conclusion})"
    )


def worse_warning(changes: Comparison) -> str:
    """The warning that the new model is significantly worse on the earlier test images."""
    return (
        f"the new model is worse than {changes.extension.run} on its own test images, beyond "
        f"chance: {changes.scores.lost} right to wrong, "
        f"{changes.scores.gained} wrong to right ({p_value_text(changes.p_value)}); "
        "look at them in the report before you replace it"
    )


def p_value_text(p_value: float) -> str:
    """ "p = 0.30", "p = 0.031", "p < 0.001"."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.{2 if p_value >= 0.1 else 3}f}"


def comparison_findings(changes: Comparison) -> list[str]:
    """The findings of the comparison in sentences, the main one first."""
    extension, count = changes.extension, len(changes.pairs)
    if not count:
        return [f"None of the test images of {extension.run} is left to compare with."]
    before, after = changes.scores.before, changes.scores.after
    sentences = [
        f"On the {plural(count, 'test image')} of {extension.run} it was right on "
        f"{before.right:,} ({percent(before.accuracy, 1)}) before, and is on {after.right:,} "
        f"({percent(after.accuracy, 1)}) now.",
        _significance(changes),
    ]
    if extension.tested > count:
        gone = plural(extension.tested - count, "test image")
        sentences.append(f"{gone} of the earlier run could not be compared.")
    if changes.mean_ious:
        iou, new_iou = (decimal(mean) for mean in changes.mean_ious)
        sentences.append(f"The mean IoU of the boxes was {iou}, and is {new_iou} now.")
    new = [
        f"{row.label} {percent(row.added.accuracy)} of {row.added.count} "
        f"(95{NBSP}% interval {interval(row.added.interval)})"
        if row.added.count
        else f"{row.label} has no test images"
        for row in changes.classes
        if row.new
    ]
    return sentences + ([f"New: {_join(new, '; ')}."] if new else [])


def _significance(changes: Comparison) -> str:
    lost, gained = changes.scores.lost, changes.scores.gained
    if not lost + gained:
        return "None of them turned from right to wrong, or from wrong to right."
    counts = f"{lost:,} turned from right to wrong, {gained:,} from wrong to right"
    test = f"(exact McNemar test, {p_value_text(changes.p_value).replace(' ', NBSP)})"
    if changes.worse or changes.better:
        return f"It got {'worse' if changes.worse else 'better'}, beyond chance: {counts} {test}."
    return f"{counts}: that may be chance {test}."


def _join(names: Sequence[str], separator: str = ", ") -> str:
    more = len(names) - _MAX_NAMES
    shown = separator.join(names[:_MAX_NAMES])
    return f"{shown} and {more} more" if more > 0 else shown
