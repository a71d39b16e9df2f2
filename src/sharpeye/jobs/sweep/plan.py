"""The plan of a sweep: a grid of values, ranges to search, and each trial's configuration."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sharpeye.core.config import Config, full_key
from sharpeye.core.knobs import iter_knobs, literal, parse_value
from sharpeye.errors import UsageError

Value = bool | int | float | str
Params = dict[str, Value]

MAX_TRIALS = 10_000
RANKS = ("loss", "accuracy")
_MAX_NAME_CHARACTERS = 120
_NEVER_SWEPT = {"data.folder", "split.seed"}
# A common tutorial named the 27 networks of its grid by these knobs.
_CNN_KNOBS = ("net.conv_layers", "net.layer_size", "net.dense_layers")


@dataclass(frozen=True, slots=True)
class Range:
    """Values from `low` to `high`, both included.

    Attributes:
        step: distance between adjacent values; 0 allows any value (or any whole number).
        log: values are drawn evenly over magnitudes; `step` is then 0.
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
        grid: values by dotted key; a search draws from them as choices.
        ranges: ranges by dotted key; only a search has any.
        trials: number of trials that a search draws; 0 for every combination of the grid.
        prune: whether trials with poor results are ended early.
        rank_by: `loss` or `accuracy`, on validation at the epoch with the lowest log loss.
    """

    base: Config
    grid: Mapping[str, tuple[Value, ...]]
    ranges: Mapping[str, Range] = field(default_factory=dict)
    trials: int = 0
    prune: bool = True
    rank_by: str = "loss"

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.grid, *self.ranges)

    @property
    def count(self) -> int:
        return self.trials or sum(1 for _ in self.combinations())

    @property
    def metric(self) -> str:
        """The column of a trial's history by which trials are ranked."""
        return "validation_log_loss" if self.rank_by == "loss" else "validation_accuracy"

    def combinations(self) -> Iterator[Params]:
        """All combinations of the grid; the last key changes fastest."""
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))

    def trial_name(self, params: Mapping[str, Value]) -> str:
        if set(params) == set(_CNN_KNOBS):
            conv, nodes, dense = (params[key] for key in _CNN_KNOBS)
            return f"{conv}-conv-{nodes}-nodes-{dense}-dense"
        text = ",".join(f"{short_key(key)}={_short_text(value)}" for key, value in params.items())
        return re.sub(r"[^\w.,=+-]+", "_", text)[:_MAX_NAME_CHARACTERS].lstrip(".") or "base"


def make_plan(
    base: Config,
    grid: Mapping[str, Sequence[Value]],
    ranges: Mapping[str, Range | str],
    *,
    trials: int = 0,
    prune: bool = True,
    rank_by: str = "loss",
) -> Plan:
    """Check a sweep and every combination of it before anything starts.

    Raises:
        UsageError: `Config` does not allow a key or value, or there are no or too many trials.
    """
    if rank_by not in RANKS:
        raise UsageError(f"--rank-by must be one of {', '.join(RANKS)}. Received: {rank_by}")
    if not 0 <= trials <= MAX_TRIALS:
        raise UsageError(f"--trials must be from 1 to {MAX_TRIALS:,}. Received: {trials}")
    if not grid and not ranges:
        raise UsageError(
            "a sweep needs values to try: --grid layer_size=32,64, or --range "
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
    checked_grid = {full_key(key): _check_values(base, key, grid[key]) for key in grid}
    checked_ranges = {full_key(key): _check_range(base, key, ranges[key]) for key in ranges}
    swept = {*checked_grid, *checked_ranges}
    refused = (checked_grid.keys() & checked_ranges.keys()) | (_NEVER_SWEPT & swept)
    if refused or len(swept) < len(grid) + len(ranges):
        received = ", ".join(sorted(refused)) or ", ".join([*grid, *ranges])
        raise UsageError(
            f"each knob can be swept once, and {' and '.join(sorted(_NEVER_SWEPT))} not at all. "
            f"Received: {received}"
        )
    if "seed" in swept:  # Trials on other images could not be compared.
        base = base.replace({"split.seed": base.split_seed})
    plan = Plan(base, checked_grid, checked_ranges, trials, prune, rank_by)
    low = {key: limits.low for key, limits in plan.ranges.items()}
    high = {key: limits.high for key, limits in plan.ranges.items()}
    for params in plan.combinations():
        plan.base.replace(params | low)
        plan.base.replace(params | high)
    return plan


def _check_values(base: Config, key: str, values: Sequence[Value]) -> tuple[Value, ...]:
    full = full_key(key)
    stored = tuple(flat_config(base.replace({full: value}))[full] for value in values)
    if not stored or len(set(stored)) < len(stored):
        raise UsageError(f"{full} needs one value or more, each once. Received: {list(values)}")
    return stored


def _check_range(base: Config, key: str, value: Range | str) -> Range:
    full = full_key(key)
    given = _parse_range(full, value) if isinstance(value, str) else value
    low, high = (flat_config(base.replace({full: end}))[full] for end in (given.low, given.high))
    if isinstance(low, int | float) and isinstance(high, int | float) and low < high:
        integral = isinstance(low, int) and not isinstance(low, bool)
        step_fits = 0 <= given.step <= high - low and (not integral or isinstance(given.step, int))
        if step_fits and not (given.log and (low <= 0 or given.step)):
            return Range(low, high, given.step, given.log)
    raise UsageError(
        "a range is LOW..HIGH, LOW..HIGH:STEP or LOW..HIGH:log of numbers, low below high and "
        f"above 0 for log. Received: {full}={value}"
    )


def _parse_range(key: str, text: str) -> Range:
    match = re.fullmatch(r"([^:]+?)\.\.([^:]+)(?::([^:]+))?", text)
    low, high, ending = match.groups() if match else ("", "", "")
    step = "0" if ending in (None, "log") else ending
    numbers = [parse_value(number) for number in (low, high, step)]
    if any(type(number) not in (int, float) for number in numbers):
        raise UsageError(
            "a range is LOW..HIGH, LOW..HIGH:STEP or LOW..HIGH:log, such as 1e-4..1e-2:log or "
            f"16..128:16. Received: {key}={text}"
        )
    return Range(numbers[0], numbers[1], numbers[2], log=ending == "log")


def flat_config(config: Config) -> dict[str, Value]:
    return {key: value for key, _, value in iter_knobs(config)}


def short_key(key: str) -> str:
    """The shortest name that `full_key` accepts for the key."""
    name = key.rpartition(".")[2]
    try:
        return name if full_key(name) == key else key
    except UsageError:  # several knobs have this name
        return key


def value_text(value: Value) -> str:
    """A value as `parse_value` reads it."""
    if isinstance(value, str) and parse_value(value) == value:
        return value
    return literal(value)


def _short_text(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)
