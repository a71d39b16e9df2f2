"""Knobs: fields of frozen dataclasses with a help text and a range, read and written as TOML.

`sharpeye.core.config` declares the knobs.
"""

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any, TypeVar

from sharpeye.errors import ConfigError, near_match

T = TypeVar("T")


def knob(
    default: T,
    text: str,
    low: float | None = None,
    *,
    high: float | None = None,
    choices: Iterable[str] = (),
) -> T:
    """A dataclass field with its help text, and its range or choices."""
    metadata = {"help": text, "low": low, "high": high, "choices": tuple(choices)}
    return field(default=default, metadata=metadata)


def parse_value(text: str) -> Any:
    """A value read as TOML, else as text."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def iter_knobs(config: Any, prefix: str = "") -> list[tuple[str, dataclasses.Field[Any], Any]]:
    """Each knob as (dotted key, field, value), in the order of declaration."""
    knobs = []
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            knobs += iter_knobs(value, f"{prefix}{item.name}.")
        else:
            knobs.append((prefix + item.name, item, value))
    return knobs


def flatten(raw: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one table by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def with_changes(config: Any, changes: dict[str, Any], prefix: str, *, where: str) -> Any:
    """A copy of a configuration with changes by dotted key; ConfigError names `where`."""
    if not prefix:
        known = [name for name, _, _ in iter_knobs(config)]
        for key in changes:
            if key not in known:
                raise ConfigError(f"unknown key {key}{where}. {near_match(key, known)}")
    updates: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        name, value = prefix + item.name, getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            inner = {k: v for k, v in changes.items() if k.startswith(f"{name}.")}
            if inner:
                updates[item.name] = with_changes(value, inner, f"{name}.", where=where)
        elif name in changes:
            received = changes[name]
            if isinstance(value, float) and type(received) is int:
                received = float(received)
            if isinstance(value, tuple) and isinstance(received, list | tuple):
                received = tuple(received)
            if type(received) is not type(value) or not _holds_only_texts(received):
                raise ConfigError(
                    f"{name}{where} must be {_type_name(value)}. Received: {changes[name]!r}"
                )
            updates[item.name] = received
    return dataclasses.replace(config, **updates)


def _holds_only_texts(value: object) -> bool:
    """Whether a value, if it is a list, holds nothing but texts."""
    return not isinstance(value, tuple) or all(isinstance(item, str) for item in value)


def _type_name(value: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return (names | {tuple: 'a list of texts, ["like", "this"]'})[type(value)]


def check_knob(name: str, item: dataclasses.Field[Any], value: Any) -> None:
    """Raise ConfigError for a value outside its range or choices."""
    metadata = item.metadata
    if metadata["choices"] and value not in metadata["choices"]:
        raise ConfigError(
            f"{name} must be one of {', '.join(metadata['choices'])}. Received: {value!r}. "
            f"{near_match(str(value), metadata['choices'])}"
        )
    low, high = metadata["low"], metadata["high"]
    if low is not None and not low <= value <= high:
        raise ConfigError(f"{name} must be from {low:g} to {high:g}. Received: {value}")


def literal(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(literal, value))}]"
    # TOML's basic strings are JSON's with two exceptions: surrogates are not allowed, neither
    # escaped (pairs) nor alone (undecodable bytes of a path), and DEL must be escaped.
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode("utf-8")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_lines(config: Any) -> list[str]:
    """A configuration as lines of TOML, each with its knob's help text as a comment."""
    lines, section = [], ""
    for name, item, value in iter_knobs(config):
        parent, _, key = name.rpartition(".")
        if parent != section:
            section = parent
            lines += ["", f"[{section}]"]
        text = item.metadata["help"]
        if item.metadata["choices"]:
            text += f" ({' | '.join(item.metadata['choices'])})"
        lines.append(f"{key} = {literal(value)}  # {text}")
    return lines
