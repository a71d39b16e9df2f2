"""Find a learning rate for a network and a folder of images, and draw how it was found."""

from pathlib import Path

from sharpeye.core.config import Config
from sharpeye.core.progress import StageProgress, of_stage
from sharpeye.core.storage import write_text
from sharpeye.jobs.train.earlier_weights import find_initial_weights
from sharpeye.jobs.train.load_arrays import load_arrays, resolve_from_scratch
from sharpeye.learn.nets.from_scratch import network_builder, peak_learning_rate
from sharpeye.learn.nets.rate_range import RateRange, try_learning_rates
from sharpeye.learn.nets.settings import FitSettings
from sharpeye.models.registry import get_spec
from sharpeye.report.charts import rate_chart
from sharpeye.report.svg import document


def find_learning_rate(
    config: Config, file: Path, *, progress: StageProgress | None = None
) -> RateRange:
    """Run the learning-rate range test of a network that is trained from scratch.

    Args:
        file: an SVG file to write.

    Raises:
        UsageError: the configuration trains no network from scratch, or the file has no suffix
            `.svg`.
        DivergedError: not even the lowest rates have a loss.
    """
    config = resolve_from_scratch(config, file, option="--find-lr FILE.svg", does="tests")
    spec, initial = get_spec(config.model.name), find_initial_weights(config)
    default = config.replace({"train.learning_rate": 0.0})
    _, arrays = load_arrays(config, progress)
    result = try_learning_rates(
        network_builder(spec, config, arrays, initial=initial),
        arrays,
        FitSettings.from_config(config, peak_learning_rate(spec, default)),
        on_steps=of_stage(progress, "steps"),
    )
    chart = rate_chart(result.rates, result.losses, result.suggested)
    write_text(file, document(chart))
    return result
