"""Convert plans to and from text: command-line entries, `sweep.toml`, commands, differences.

An interrupted sweep continues with the settings in `sweep.toml`.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config, full_key
from sharpeye.core.knobs import flatten, literal, parse_value
from sharpeye.core.paths import command_line
from sharpeye.core.toml_files import FORMAT_LINE, read_toml
from sharpeye.errors import UsageError
from sharpeye.jobs.sweep.plan import (
    RANKS,
    Plan,
    Value,
    flat_config,
    make_plan,
    short_key,
    value_text,
)


def parse_grid(entries: Iterable[str]) -> dict[str, list[Value]]:
    """Read `["conv_layers=1,2,3", ...]`.

    Raises:
        UsageError: an entry has another form, or a key occurs twice.
    """
    texts = _parse_entries(entries, "--grid", "conv_layers=1,2,3")
    return {key: [parse_value(value) for value in texts[key].split(",")] for key in texts}


def parse_ranges(entries: Iterable[str]) -> dict[str, str]:
    """Read `["learning_rate=1e-4..1e-2:log", ...]`; raises as `parse_grid`."""
    return _parse_entries(entries, "--range", "learning_rate=1e-4..1e-2:log")


def _parse_entries(entries: Iterable[str], option: str, example: str) -> dict[str, str]:
    parsed: dict[str, str] = {}
    for entry in entries:
        name, separator, text = entry.partition("=")
        if not separator or not name.strip() or not text.strip():
            raise UsageError(f"{option} takes KEY=VALUES, such as {example}. Received: {entry}")
        key = full_key(name.strip())
        if key in parsed:
            raise UsageError(f"{option} has {key} twice: write {name}=A,B once")
        parsed[key] = text.strip()
    return parsed


def plan_to_toml(plan: Plan) -> str:
    lines = ["# sharpeye sweep --resume --output THIS_FOLDER goes on with it", FORMAT_LINE, ""]
    lines += ["[sweep]", f"trials = {plan.trials}"]
    lines += [f"prune = {literal(plan.prune)}", f"rank_by = {literal(plan.rank_by)}"]
    lines += ["", "[grid]"]
    lines += [f"{literal(key)} = {literal(list(v))}" for key, v in plan.grid.items()]
    lines += ["", "[ranges]"]
    lines += [f"{literal(key)} = {literal(str(r))}" for key, r in plan.ranges.items()]
    base = re.sub(r"^\[", "[config.", plan.base.to_toml(), flags=re.MULTILINE)
    return "\n".join([*lines, "", "[config]", base.partition(FORMAT_LINE)[2].lstrip()])


def read_plan(file: Path) -> Plan:
    """Read a plan that `plan_to_toml` wrote; raises UsageError if there is none."""
    try:
        raw = read_toml(file)
        sweep = raw["sweep"]
        return make_plan(
            Config().replace(flatten(raw["config"])),
            raw["grid"],
            raw["ranges"],
            trials=sweep["trials"],
            prune=sweep["prune"],
            rank_by=sweep["rank_by"],
        )
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(
            f"there is no sweep in {file.parent} to go on with; give its folder with --output, "
            "or leave --resume out and say what to try with --grid"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"{file} is not the plan of a sweep: {error}") from None


def plan_command(plan: Plan, output: Path) -> str:
    base, default = flat_config(plan.base), flat_config(Config())
    words = ["sharpeye", "sweep", str(base["data.folder"]), "--model", plan.base.model.name]
    if plan.grid:
        words.append("--grid")
        for key, values in plan.grid.items():
            words.append(f"{short_key(key)}={','.join(map(value_text, values))}")
    for key, limits in plan.ranges.items():
        words += ["--range", f"{short_key(key)}={limits}"]
    if plan.trials:
        words += ["--trials", str(plan.trials)]
    if plan.rank_by != RANKS[0]:
        words += ["--rank-by", plan.rank_by]
    if not plan.prune:
        words.append("--no-prune")
    elsewhere = ("data.folder", "data.relative_to", "model.name", *plan.keys)
    for key, value in base.items():
        if key not in elsewhere and value != default[key]:
            words += ["--set", f"{key}={value_text(value)}"]
    return command_line(*words, "--output", output)


def differences(first: Plan, second: Plan) -> list[str]:
    """The settings that differ between two plans, as "key (the first's, not the second's)"."""
    left, right = _settings(first), _settings(second)
    return [
        f"{key} ({_show(left.get(key))}, not {_show(right.get(key))})"
        for key in dict.fromkeys([*left, *right])
        if left.get(key) != right.get(key)
    ]


def _settings(plan: Plan) -> dict[str, Any]:
    settings: dict[str, Any] = {f"--grid {short_key(k)}": list(v) for k, v in plan.grid.items()}
    settings |= {f"--range {short_key(k)}": str(v) for k, v in plan.ranges.items()}
    settings |= {"--trials": plan.trials, "--prune": plan.prune, "--rank-by": plan.rank_by}
    ignored = {"data.relative_to", *plan.keys}
    return settings | {k: v for k, v in flat_config(plan.base).items() if k not in ignored}


def _show(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
