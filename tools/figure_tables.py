"""The tables of measured figures in README and docs. Two machines never share a table."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.catalogue import FIGURES
from bench.stale import RECORDS, read_result, was_measured

Row = Callable[[str, dict[str, Any]], list[str]]

RECIPES = ("fashion_lenet5", "fashion_10min", "fashion_45min")
MEASURED_HEAD = ("work", "median", "goal", "range, n", "commit")
RECIPE_HEAD = ("recipe", "test accuracy, 10,000 images", "whole process", "goal", "commit")
LOCALIZER_HEAD = (
    "network",
    "images to fit, validate, test",
    "right class",
    "mean IoU",
    "right class and IoU >= 0.5",
    ">= 0.75",
    "whole process",
    "commit",
)
PAIRS = ("fashion_10min_pairs", "fashion_45min_pairs")
PAIR_HEAD = (
    *("recipe", "before: epochs, accuracy", "now: epochs, accuracy"),
    *("mean difference, its standard error", "McNemar of each pair, p", "commit"),
)
GRID_HEAD = ("27 networks", "seconds", "winner", "its accuracy on test images", "commit")
CHECK_HEAD = ("what was tried", "found", "goal", "commit")
PATH_HEAD = ("way", "largest difference of a probability", "images over 0.001", "same top class")


def tables() -> dict[str, list[str]]:
    """Lines of Markdown, by the name of the block in the page."""
    titled = [name for name, figure in FIGURES.items() if figure.title]
    localizers = [name for name in FIGURES if name.startswith("localize_")]
    return {
        "measured": by_machine(titled, measured_row, MEASURED_HEAD),
        "recipes": by_machine(RECIPES, recipe_row, RECIPE_HEAD),
        "recipe pairs": by_machine(PAIRS, pairs_row, PAIR_HEAD),
        "localizers": by_machine(localizers, localizer_row, LOCALIZER_HEAD),
        "grid": by_machine(["grid_of_27"], grid_rows, GRID_HEAD),
        "checks": by_machine(CHECK_ROWS, check_rows, CHECK_HEAD),
        "same answers": by_machine(["same_answers"], path_rows, (*PATH_HEAD, "commit")),
        "battery": battery_table(),
        "library choices": choices_table(),
    }


def by_machine(names: Iterable[str], rows_of: Row, head: tuple[str, ...]) -> list[str]:
    """A table for each machine on which one of the figures was measured, in order."""
    rows: dict[str, list[str]] = {}
    for name in names:
        if was_measured(name):
            result = read_result(name)
            lines = [f"| {line} | {result.get('commit', '?')} |" for line in rows_of(name, result)]
            rows.setdefault(machine_of(result), []).extend(lines)
    return machine_tables(rows, head)


def machine_tables(rows: Mapping[str, list[str]], head: tuple[str, ...]) -> list[str]:
    """The lines of a table for each machine; `rows` has theirs."""
    tables = [
        [f"{machine}:", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines, ""]
        for machine, lines in rows.items()
    ]
    return [line for table in tables for line in table][:-1]


def machine_of(result: Mapping[str, Any]) -> str:
    """Machine and Python version, as the line above a table."""
    versions = result.get("versions")
    return result["machine"] + (f", Python {versions['python']}" if versions else "")


def measured_row(name: str, result: dict[str, Any]) -> list[str]:
    figure = FIGURES[name]
    spread = result[figure.value]
    between = f"{spread['min']:.2f} to {spread['max']:.2f}, n = {spread['n']}"
    median = f"**{spread['median']:.2f}{figure.unit}**"
    goal = goal_text(result["goal"], spread["median"], figure.unit)
    return [f"{figure.title} | {median} | {goal} | {between}"]


def goal_text(goal: str, value: float, unit: str = "") -> str:
    """A goal, and whether the value misses it."""
    return goal + unit + ("" if is_met(goal, value) else ", missed")


def is_met(goal: str, value: float) -> bool:
    """Whether a value fulfils `<= LIMIT` or `>= LIMIT`."""
    sign, limit = goal.split()
    return value <= float(limit) if sign == "<=" else value >= float(limit)


def recipe_row(name: str, result: dict[str, Any]) -> list[str]:
    low, high = result["accuracy_ci95"]
    accuracy = f"**{result['accuracy']:.2%}** ({low:.1%} to {high:.1%})"
    recipe = name.replace("_", "-")
    return [f"`{recipe}` | {accuracy} | {result['seconds']:.0f} s | {result['goal']}"]


def pairs_row(name: str, result: dict[str, Any]) -> list[str]:
    recipe = name.removesuffix("_pairs").replace("_", "-")
    sides = [
        f"{max(side['epochs'])}, {', '.join(f'{share:.2%}' for share in side['accuracy'])}"
        for side in (result["before"], result["after"])
    ]
    points = f"{100 * result['difference']:+.2f} points"
    error = f"{100 * result['standard_error']:.2f}" if result["n"] > 1 else "-"
    p_values = ", ".join(f"{test['p_value']:.2g}" for test in result["mcnemar"])
    return [f"`{recipe}` | {' | '.join(sides)} | **{points}**, {error} | {p_values}"]


def grid_rows(_: str, result: dict[str, Any]) -> list[str]:
    tested = result["test_accuracy"]
    titles = {
        "sharpeye": "`sharpeye sweep --retrain`",
        "keras": "plain Keras fits, one after the other",
    }
    return [
        f"{title} | {result['seconds'][who]:.0f} | `{result['winner'][who]}` "
        f"| {tested[who]:.1%} of {tested['pictures']:,}"
        for who, title in titles.items()
    ]


def localizer_row(_: str, result: dict[str, Any]) -> list[str]:
    images = result["pictures"]
    counts = ", ".join(f"{images[split]:,}" for split in ("train", "validation", "test"))
    low, high = result["mean_iou_ci95"]
    shares = [with_interval(result, f"accuracy{end}") for end in ("", "_at_iou50", "_at_iou75")]
    method = f"from scratch in {result['time_limit']}" if result["from_scratch"] else "frozen"
    times = "; ".join(f"{kind} {seconds_of(spread)}" for kind, spread in result["seconds"].items())
    return [
        f"`{result['model']}`, {method} | {result['set']}: {counts} | {shares[0]} "
        f"| **{result['mean_iou']:.3f}** ({low:.3f} to {high:.3f}) | {shares[1]} | {shares[2]} "
        f"| {times}"
    ]


def seconds_of(spread: dict[str, float]) -> str:
    between = f"{spread['min']:.1f} to {spread['max']:.1f}, n = {spread['n']}"
    return f"{spread['median']:.1f} s ({between})"


def with_interval(result: dict[str, Any], score: str) -> str:
    low, high = result[f"{score}_ci95"]
    return f"{result[score]:.1%} ({low:.1%} to {high:.1%})"


def check_rows(name: str, result: dict[str, Any]) -> list[str]:
    return CHECK_ROWS[name](result)


def fault_rows(result: dict[str, Any]) -> list[str]:
    worst, goal = result["worst"], result["goal"]
    title = f"20 faults in {result['pictures']} images, worst of {len(result['seeds'])} draws"
    return [
        f"{title} | **{worst['found']}** by name | {goal['found']}",
        f"the same: false alarms | **{worst['false_alarms']}** "
        f"| {goal_text(goal['false_alarms'], worst['false_alarms'])}",
        f"the same: copies in another split than their original | **{worst['straddling']}** "
        f"| {goal['straddling']}",
    ]


def label_rows(result: dict[str, Any]) -> list[str]:
    worst, seeds = result["worst"], result["seeds"]
    title = (
        f"5 % of the labels of {result['pictures']:,} digits flipped, worst of {len(seeds)} draws"
    )
    before, after = (
        f"{sum(one[f'{when}_true'] for one in seeds) / len(seeds):.1%}"
        for when in ("before", "after")
    )
    return [
        f"{title}: flipped ones in the first 7 % of the list "
        f"| **{worst['share_in_first_7_percent']:.0%}** | >= 80 %",
        "the same: gain in test accuracy, by the labels that the folder then has "
        f"| **{worst['gain_by_given_labels']:.1%}** "
        f"| {goal_text('>= 0', worst['gain_by_given_labels'])}",
        f"the same: gain in accuracy by true labels after all fixes (mean {before} to {after}) "
        f"| **{worst['gain_by_true_labels']:.1%}** "
        f"| {goal_text('>= 0', worst['gain_by_true_labels'])}",
    ]


def speed_rows(result: dict[str, Any]) -> list[str]:
    runs = result["runs"]
    times = " and ".join(
        f"{1000 * run['cpu_seconds'] / run['pictures']:.2f} ms for {run['pictures']:,}"
        for run in runs
    )
    return [
        f"`check --quick`, generated images of 96 x 72, processor time an image: {times} "
        f"| ratio **{result['time_a_picture_ratio']:.2f}** "
        f"| {goal_text('<= 1.2', result['time_a_picture_ratio'])}",
        f"the same: memory for {runs[-1]['pictures']:,} | **{runs[-1]['peak_mib']:.0f} MiB** "
        "| <= 1,024 MiB",
    ]


CHECK_ROWS = {"faults": fault_rows, "labels": label_rows, "check": speed_rows}


def path_rows(_: str, result: dict[str, Any]) -> list[str]:
    """A row for each prediction path of `bench.same_answers`."""
    return [
        f"{path} | {row['max_difference']:.6f} | {row['over']} of {row['pictures']} "
        f"| {row['top1_agreement']:.1%}"
        for path, row in result["ways"].items()
    ]


def battery_table() -> list[str]:
    """A row for each program of the battery, and what all of them found together."""
    if not was_measured("battery"):
        return ["Not measured yet."]
    result = read_result("battery")
    kinds = ("tracebacks", "losses", "hangs", "others")
    head = ("program", "tried", "passed", "skipped", "failed", "seconds", "figures")
    lines = []
    for row in result["programs"]:
        failures = [f"{row[kind]} {kind}" for kind in kinds if row[kind]]
        figures = "; ".join(f"{key} {value}" for key, value in row["figures"].items())
        lines.append(
            f"| {row['program']} | {row['tried']:,} | {row['passed']:,} | {row['skipped']} "
            f"| {', '.join(failures) or '0'} | {row['seconds']:.0f} | {figures} |"
        )
    total = {key: sum(row[key] for row in result["programs"]) for key in (*kinds, "tried")}
    return [
        f"`make {result['target']}` at commit {result['commit']}, seed {result['seed']}, "
        f"{machine_of(result)}: {total['tried']:,} cases, "
        f"{', '.join(f'{total[kind]} {kind}' for kind in kinds[:3])}, {total['others']} other "
        "failures.",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *lines,
    ]


def choices_table() -> list[str]:
    """What decided between a library and own code; single experiments, each with its commit."""
    rows: dict[str, list[str]] = {}
    for record in read_result(RECORDS).values():
        if "decision" in record:
            cells = (record[key] for key in ("subject", "decision", "text", "commit"))
            rows.setdefault(machine_of(record), []).append(f"| {' | '.join(cells)} |")
    return machine_tables(rows, ("subject", "decision", "measurement", "commit"))
