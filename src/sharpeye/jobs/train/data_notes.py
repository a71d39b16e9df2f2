"""Notes about the data that a user should read before relying on a score."""

import logging
from collections import Counter
from collections.abc import Sequence

from sharpeye.core.config import Config, SplitConfig
from sharpeye.core.formatting import counted
from sharpeye.core.types import MAX_BIT_DEPTH, Sample, SampleSet
from sharpeye.data.digest import label_conflicts, leaks
from sharpeye.data.name_typos import find_name_typos

log = logging.getLogger(__name__)

# The report has all notes; the log has the most serious ones.
_MAX_LOGGED = 3
# Share of a class from which blank images are a fault of the files, not single plain images.
_MIN_BLANK_SHARE = 0.1
_MAX_NAMED = 3  # classes and images in one note


def log_notes(notes: Sequence[str]) -> None:
    for note in notes[:_MAX_LOGGED]:
        log.info("%s", note)
    if len(notes) > _MAX_LOGGED:
        log.debug("and %d more notes in the report", len(notes) - _MAX_LOGGED)


def data_notes(samples: SampleSet, config: Config) -> tuple[str, ...]:
    """Sentences about the data, the most serious first."""
    counts = samples.count_by_class()
    few, many = min(counts.values()), max(counts.values())
    groups = _duplicate_groups(samples)
    notes = [
        *_blank_images(samples),
        *_leaks(samples, groups, config),
        *_label_conflicts(samples, groups),
    ]
    unknown = [name for name in samples.class_names if name.strip().casefold() == "unknown"]
    if unknown:
        notes.append(
            f"A class is named {unknown[0]!r}, and images like none of the classes are called "
            "unknown too: name the class otherwise (such as background) to tell them apart."
        )
    typos = [typo for typo in find_name_typos(samples.class_names) if typo.serious]
    if typos:
        first, more = typos[0], f", and {len(typos) - 1} more" if len(typos) > 1 else ""
        names = f"{first.other!r} and {first.name!r}"
        notes.append(f"The classes {names} are probably one{more}: {first.detail}.")
    in_one_split = [group for group in groups if len({s.split for s in group}) == 1]
    if in_one_split and not samples.given_splits:
        first_two = " and ".join(s.path for s in in_one_split[0][:2])
        notes.append(
            f"{sum(map(len, in_one_split))} images have a copy that is nearly the same, such as "
            f"{first_two}; copies are kept in one split."
        )
    if samples.rejected:
        left_out, files = samples.rejected[0], counted(len(samples.rejected), "file")
        notes.append(f"{files} left out, such as {left_out.path}: {left_out.reason}.")
    if many > 1.5 * few:
        rarest = min(counts, key=lambda label: counts[label])
        effect = (
            "each class counts the same in training"
            if config.data.balance != "none"
            else "rare classes count less in training (data.balance = none)"
        )
        notes.append(f"The classes have {few} to {many} images ({rarest} fewest): {effect}.")
    if samples.bit_depth < MAX_BIT_DEPTH:
        notes.append(
            f"Images of more than 8 bits are read as {samples.bit_depth} bits, "
            f"0 to {2**samples.bit_depth - 1:,}: none uses more, but for single pixels."
        )
    if samples.given_splits and config.split.test != SplitConfig().test:
        notes.append("The folder gives its test images, so split.test has no effect.")
    tests = sum(1 for s in samples if s.split == "test")
    if tests < 100:
        notes.append(f"With {tests} test images the accuracy is known only roughly.")
    return tuple(notes)


def _blank_images(samples: SampleSet) -> list[str]:
    """Images of one colour, from which nothing can be learned: by class, with examples."""
    blank = [sample for sample in samples if sample.sha256 in samples.blank]
    if not blank:
        return []
    counts = Counter(sample.label for sample in blank)
    totals = samples.count_by_class()
    if all(count < _MIN_BLANK_SHARE * totals[label] for label, count in counts.items()):
        return []  # single plain images are usual; `check` lists them
    by_class = [f"{n} of {totals[label]} in {label}" for label, n in counts.most_common(_MAX_NAMED)]
    more = f" and {len(counts) - _MAX_NAMED} more classes" if len(counts) > _MAX_NAMED else ""
    names = ", ".join(sample.path for sample in blank[:_MAX_NAMED])
    images = "1 image is" if len(blank) == 1 else f"{len(blank)} images are"
    return [
        f"{images} blank, of nearly one colour ({', '.join(by_class)}{more}), such as {names}: "
        "open them in another program; if they are not blank there, save them with 8 bits and "
        "full contrast, else take them out of the folder."
    ]


def _leaks(samples: SampleSet, groups: Sequence[list[Sample]], config: Config) -> list[str]:
    """Images in more than one split, if the splits were given or made by another rule."""
    notes = []
    if samples.given_splits or config.split.rule == "path":
        leaked = leaks(samples.samples)
        if leaked:
            example = ", ".join(s.path for s in leaked[0])
            notes.append(
                f"{len(leaked)} images are in more than one split, so the scores "
                f"are too good: {example}."
            )
    leaking = [group for group in groups if len({s.split for s in group}) > 1]
    if leaking:
        first_by_split = {s.split: s.path for s in reversed(leaking[0])}
        splits = dict.fromkeys(s.split for s in leaking[0])
        example = ", ".join(first_by_split[split] for split in splits)
        count = len(leaking)
        there = "There is a group" if count == 1 else f"There are {count} groups"
        notes.append(
            f"{there} of nearly the same images in more than one split, so the "
            f"scores are too good: {example}; `sharpeye check` lists them."
        )
    return notes


def _label_conflicts(samples: SampleSet, groups: Sequence[list[Sample]]) -> list[str]:
    """The same image, exactly or nearly, in more than one class."""
    in_two_classes = [group for group in groups if len({s.label for s in group}) > 1]
    conflicts = [*map(list, label_conflicts(samples.samples)), *in_two_classes]
    if not conflicts:
        return []
    same = "Nearly the same" if len(in_two_classes) == len(conflicts) else "The same"
    example = ", ".join({s.label: s.path for s in conflicts[0]}.values())
    if len(conflicts) == 1:
        return [f"{same} image is in more than one class: {example}."]
    return [
        f"{same} image is in more than one class, {len(conflicts)} times: {example}, ...; "
        "`sharpeye check` lists them."
    ]


def _duplicate_groups(samples: SampleSet) -> list[list[Sample]]:
    """Groups of two or more near-duplicates."""
    by_digest: dict[str, Sample] = {}
    for sample in samples:
        by_digest.setdefault(sample.sha256, sample)
    groups = [
        [by_digest[digest] for digest in group if digest in by_digest]
        for group in samples.near_duplicates
    ]
    return [group for group in groups if len(group) > 1]
