"""What options of training from scratch cost or gain: images a second with one and without it.

Processes alternate, each on both cores, with the images and batches of `bench.from_scratch`.

    python -m bench.scratch_options
"""

from bench import arguments
from bench.from_scratch import images_per_second
from bench.measure import report, spread

PAIRS = 7
# option: networks and their goals
OPTIONS = {
    "ema": {"lenet5": ">= 0.92", "mobilenet_v2_1.0_96": ">= 0.97"},
    "mixed": {"lenet5": ">= 1", "cnn": ">= 1"},
}


def main() -> None:
    for option, nets in OPTIONS.items():
        for net, goal in nets.items():
            measure(option, net, goal)


def measure(option: str, net: str, goal: str) -> None:
    """Report the ratio of one network, with the option over without it."""
    without, with_option = [], []
    for _ in range(PAIRS):
        without.append(images_per_second("sharpeye", net))
        with_option.append(images_per_second(option, net))
    ratios = [b / a for a, b in zip(without, with_option, strict=True)]
    rates = {"without": spread(without), "with": spread(with_option)}
    report(
        f"scratch_{net}_{option}",
        {"ratio": spread(ratios), "goal": goal, "images_per_second": rates},
    )


if __name__ == "__main__":
    arguments.run(main, __doc__)
