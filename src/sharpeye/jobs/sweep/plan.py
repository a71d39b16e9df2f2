"""What a sweep tries: a grid of values, ranges to search, and the configuration of each trial.

A `Plan` is written as `sweep.toml` and read back, so that an interrupted sweep goes on with what
it began with.
"""

import itertools
import math
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sharpeye.core.config import Config, full_key
from sharpeye.core.knobs import flatten, iter_knobs, literal, parse_value
from sharpeye.errors import UsageError

Value = bool | int | float | str
Params = dict[str, Value]

MAX_TRIALS = 10_000
RANKS = ("loss", "accuracy")
_HEADER = "# sharpeye sweep --resume --output THIS_FOLDER goes on with it"
_MAX_NAME = 120
# The names that the reference script gave to the 27 networks of its grid.
_CNN = ("net.conv_layers", "net.layer_size", "net.dense_layers")


@dataclass(frozen=True, slots=True)
class Range:
    """Values from `low` to `high`, both included.

    Attributes:
        step: the distance of neighbours; 0 for any value (or any whole number).
        log: drawn evenly over magnitudes; then there is no step.
    """

    low: int | float
    high: int | float
    step: int | float = 0
    log: bool = False

    def __str__(self) -> str:
        ending = ":log" if self.log else f":{self.step}" if self.step else ""
        return f"{self.low}..{self.high}{ending}"


@dataclass(frozen=True)
class Plan:
    """A checked sweep.

    Attributes:
        base: what all trials have in common.
        grid: values by dotted key; of a search, choices.
        ranges: by dotted key; only of a search.
        trials: how many a search draws; 0 for every combination of the grid.
        prune: end trials early that fall behind.
        rank_by: `loss` or `accuracy`, of validation at the epoch with the lowest log loss.
    """

    base: Config
    grid: Mapping[str, tuple[Value, ...]]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    trials: int = 0
    prune: bool = True
    rank_by: str = "loss"

    @property
    def keys(self) -> tuple[str, ...]:
        """What differs between trials, as dotted keys."""
        return (*self.grid, *self.ranges)

    @property
    def count(self) -> int:
        """How many trials there will be."""
        return self.trials or sum(1 for _ in self.combinations())

    def combinations(self) -> Iterator[Params]:
        """Every combination of the grid, the last key changing fastest."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def config(self, params: Mapping[str, Value]) -> Config:
        """The configuration of one trial.

        Raises:
            ConfigError: it is out of range, or at odds with another knob.
        """
        return self.base.replace(params)

    def name(self, params: Mapping[str, Value]) -> str:
        """A trial's name, which is also that of its folders."""
        if set(params) == set(_CNN):
            conv, nodes, dense = (params[key] for key in _CNN)
            return f"{conv}-conv-{nodes}-nodes-{dense}-dense"
        text = ",".join(f"{short_key(key)}={_word(value)}" for key, value in params.items())
        return re.sub(r"[^\w.,=+-]+", "_", text)[:_MAX_NAME].lstrip(".") or "base"

    def to_toml(self) -> str:
        """The plan as TOML; `read_plan` reads it."""
        lines = [_HEADER, "", "[sweep]", f"trials = {self.trials}"]
        lines += [f"prune = {literal(self.prune)}", f"rank_by = {literal(self.rank_by)}"]
        lines += ["", "[grid]"]
        lines += [f"{literal(key)} = {literal(list(v))}" for key, v in self.grid.items()]
        lines += ["", "[ranges]"]
        lines += [f"{literal(key)} = {literal(str(r))}" for key, r in self.ranges.items()]
        base = re.sub(r"^\[", "[config.", self.base.to_toml(), flags=re.MULTILINE)
        return "\n".join([*lines, "", "[config]", base.partition("\n")[2]])

    def command(self, output: Path) -> str:
        """The command that runs the same sweep."""
        base, default = _flat(self.base), _flat(Config())
        words = ["sharpeye", "sweep", str(base["data.folder"]), "--model", self.base.model.name]
        if self.grid:
            words.append("--grid")
            for key, values in self.grid.items():
                words.append(f"{short_key(key)}={','.join(_text(value) for value in values)}")
        for key, span in self.ranges.items():
            words += ["--range", f"{short_key(key)}={span}"]
        if self.trials:
            words += ["--trials", str(self.trials)]
        words += ["--rank-by", self.rank_by] if self.rank_by != RANKS[0] else []
        words += [] if self.prune else ["--no-prune"]
        for key, value in base.items():
            if key not in ("data.folder", "model.name", *self.keys) and value != default[key]:
                words += ["--set", f"{key}={_text(value)}"]
        return shlex.join([*words, "--output", str(output)])


def make_plan(
    base: Config,
    grid: Mapping[str, Sequence[Value]],
    ranges: Mapping[str, Range | str],
    *,
    trials: int = 0,
    prune: bool = True,
    rank_by: str = "loss",
) -> Plan:
    """Check a sweep, every combination of it, before anything starts.

    Raises:
        UsageError: a key or value that `Config` does not allow; nothing to try, or too much.
    """
    if rank_by not in RANKS:
        raise UsageError(f"--rank-by must be one of {', '.join(RANKS)}. Received: {rank_by}")
    if not 0 <= trials <= MAX_TRIALS:
        raise UsageError(f"--trials must be from 1 to {MAX_TRIALS:,}. Received: {trials}")
    if not grid and not ranges:
        raise UsageError(
            "a sweep needs what to try: --grid layer_size=32,64, or --range "
            "learning_rate=1e-4..1e-2:log with --trials 20"
        )
    if ranges and not trials:
        raise UsageError("--range needs --trials, the number of trials that are drawn from it")
    number = math.prod(len(values) for values in grid.values())
    if number > MAX_TRIALS:
        raise UsageError(
            f"a grid may have up to {MAX_TRIALS:,} combinations. Received: {number:,}; "
            "give fewer values, or a --range"
        )
    choices = {full_key(key): _choices(base, key, values) for key, values in grid.items()}
    spans = {full_key(key): _span(base, key, value) for key, value in ranges.items()}
    twice = {*(choices.keys() & spans.keys())} | {"data.folder"} & {*choices, *spans}
    if twice or len(choices) < len(grid) or len(spans) < len(ranges):
        received = ", ".join(sorted(twice)) or ", ".join([*grid, *ranges])
        raise UsageError(
            f"each knob can be swept once, and data.folder not at all. Received: {received}"
        )
    plan = Plan(base, choices, spans, trials, prune, rank_by)
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    low = {key: span.low for key, span in plan.ranges.items()}
    high = {key: span.high for key, span in plan.ranges.items()}
    for params in plan.combinations():
        plan.config(params | low)
        plan.config(params | high)


def parse_grid(entries: Iterable[str]) -> dict[str, list[Value]]:
    """Read `["conv_layers=1,2,3", ...]`.

    Raises:
        UsageError: another form, or a key twice.
    """
    return {
        key: [parse_value(value) for value in text.split(",")]
        for key, text in _pairs(entries, "--grid", "conv_layers=1,2,3")
    }


def parse_ranges(entries: Iterable[str]) -> dict[str, str]:
    """Read `["learning_rate=1e-4..1e-2:log", ...]`; the ranges stay text.

    Raises:
        UsageError: another form, or a key twice.
    """
    return dict(_pairs(entries, "--range", "learning_rate=1e-4..1e-2:log"))


def _pairs(entries: Iterable[str], option: str, example: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    for entry in entries:
        name, separator, text = entry.partition("=")
        if not separator or not name.strip() or not text.strip():
            raise UsageError(f"{option} takes KEY=VALUES, such as {example}. Received: {entry}")
        key = full_key(name.strip())
        if key in found:
            raise UsageError(f"{option} has {key} twice: write {name}=A,B once")
        found[key] = text.strip()
    return list(found.items())


def _choices(base: Config, key: str, values: Sequence[Value]) -> tuple[Value, ...]:
    """The values as `Config` keeps them."""
    full = full_key(key)
    found: list[Value] = [_flat(base.replace({full: value}))[full] for value in values]
    if not found or len(set(found)) < len(found):
        raise UsageError(f"{full} needs one value or more, each once. Received: {list(values)}")
    return tuple(found)


def _span(base: Config, key: str, value: Range | str) -> Range:
    full = full_key(key)
    span = _parse_range(full, value) if isinstance(value, str) else value
    low, high = (_flat(base.replace({full: end}))[full] for end in (span.low, span.high))
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
        whole = isinstance(low, int) and not isinstance(low, bool)
        steps = 0 <= span.step <= high - low and (not whole or isinstance(span.step, int))
        if steps and not (span.log and (low <= 0 or span.step)):
            return Range(low, high, span.step, span.log)
    raise UsageError(
        "a range is LOW..HIGH, LOW..HIGH:STEP or LOW..HIGH:log of numbers, low below high and "
        f"above 0 for log. Received: {full}={value}"
    )


def _parse_range(key: str, text: str) -> Range:
    found = re.fullmatch(r"([^:]+?)\.\.([^:]+)(?::([^:]+))?", text)
    low, high, ending = found.groups() if found else ("", "", "")
    parts = [parse_value(part) for part in (low, high, "0" if ending in (None, "log") else ending)]
    if any(type(part) not in (int, float) for part in parts):
        raise UsageError(
            "a range is LOW..HIGH, LOW..HIGH:STEP or LOW..HIGH:log, such as 1e-4..1e-2:log or "
            f"16..128:16. Received: {key}={text}"
        )
    return Range(parts[0], parts[1], parts[2], ending == "log")


def read_plan(file: Path) -> Plan:
    """Read what `Plan.to_toml` wrote.

    Raises:
        UsageError: the file cannot be read, or is no such plan.
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        sweep = raw["sweep"]
        flat = flatten(raw["config"])
        return make_plan(
            Config().replace(flat),
            raw["grid"],
            raw["ranges"],
            trials=sweep["trials"],
            prune=sweep["prune"],
            rank_by=sweep["rank_by"],
        )
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UsageError(f"{file} is not the plan of a sweep: {error}") from None


def differences(plan: Plan, other: Plan) -> list[str]:
    """The settings in which two plans differ, as "key (the one's, not the other's)"."""
    one, two = _settings(plan), _settings(other)
    return [
        f"{key} ({_show(one.get(key))}, not {_show(two.get(key))})"
        for key in dict.fromkeys([*one, *two])
        if one.get(key) != two.get(key)
    ]


def _settings(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {f"--grid {short_key(k)}": list(v) for k, v in plan.grid.items()}
    found |= {f"--range {short_key(k)}": str(v) for k, v in plan.ranges.items()}
    found |= {"--trials": plan.trials, "--prune": plan.prune, "--rank-by": plan.rank_by}
    return found | {k: v for k, v in _flat(plan.base).items() if k not in plan.keys}


def _show(value: Any) -> str:
    return (
        "none"
        if value is None
        else ",".join(map(str, value))
        if type(value) is list
        else str(value)
    )


def short_key(key: str) -> str:
    """The shortest name that `full_key` takes for the key."""
    name = key.rpartition(".")[2]
    try:
        return name if full_key(name) == key else key
    except UsageError:  # several knobs have this name
        return key


def _word(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _text(value)


def _text(value: Value) -> str:
    """A value as `parse_value` reads it."""
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return literal(value)


def _flat(config: Config) -> dict[str, Value]:
    return {key: value for key, _, value in iter_knobs(config)}
