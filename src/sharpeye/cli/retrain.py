"""`sharpeye retrain`: the flags of TensorFlow-for-Poets' retrain.py."""

from typing import Annotated, Any

import typer

from sharpeye.cli import console, options

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def _flag(name: str, text: str) -> Any:
    """An option in both spellings, with underscores and with dashes."""
    return typer.Option(*dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")), help=text)


@app.command()
def retrain(
    image_dir: Annotated[str, _flag("image_dir", "Pictures: one sub-folder a class.")] = "",
    output_graph: Annotated[
        str, _flag("output_graph", "The frozen graph.")
    ] = "/tmp/output_graph.pb",  # noqa: S108  the original's
    output_labels: Annotated[
        str, _flag("output_labels", "Its labels, a line each.")
    ] = "/tmp/output_labels.txt",  # noqa: S108
    architecture: Annotated[
        str,
        _flag(
            "architecture",
            "inception_v3, mobilenet_WIDTH_SIZE[_quantized], or what `sharpeye models` lists.",
        ),
    ] = "inception_v3",
    how_many_training_steps: Annotated[int, _flag("how_many_training_steps", "Steps.")] = 4000,
    learning_rate: Annotated[float, _flag("learning_rate", "Of gradient descent.")] = 0.01,
    testing_percentage: Annotated[
        int, _flag("testing_percentage", "Pictures for the test, by their paths' SHA-1.")
    ] = 10,
    validation_percentage: Annotated[
        int, _flag("validation_percentage", "Pictures for validation, likewise.")
    ] = 10,
    eval_step_interval: Annotated[
        int, _flag("eval_step_interval", "Steps between two looks at validation.")
    ] = 10,
    train_batch_size: Annotated[int, _flag("train_batch_size", "Pictures a step.")] = 100,
    test_batch_size: Annotated[
        int, _flag("test_batch_size", "Pictures of the final test; -1 for all.")
    ] = -1,
    validation_batch_size: Annotated[
        int, _flag("validation_batch_size", "Pictures drawn for a look; -1 for all.")
    ] = 100,
    print_misclassified_test_images: Annotated[
        bool, _flag("print_misclassified_test_images", "List the mistakes at the end.")
    ] = False,
    summaries_dir: Annotated[
        str, _flag("summaries_dir", "TensorBoard's files; old event files there are deleted.")
    ] = "/tmp/retrain_logs",  # noqa: S108
    intermediate_output_graphs_dir: Annotated[
        str, _flag("intermediate_output_graphs_dir", "Put before intermediate_STEP.pb as it is.")
    ] = "/tmp/intermediate_graph/",  # noqa: S108
    intermediate_store_frequency: Annotated[
        int, _flag("intermediate_store_frequency", "Steps between such graphs; 0 for none.")
    ] = 0,
    model_dir: Annotated[
        str, _flag("model_dir", "Looked into for Keras' weights first [Keras' cache].")
    ] = "",
    bottleneck_dir: Annotated[
        str, _flag("bottleneck_dir", "Where features are kept [SharpEye's cache].")
    ] = "",
    final_tensor_name: Annotated[
        str, _flag("final_tensor_name", "The graph's output node.")
    ] = "final_result",
    flip_left_right: Annotated[
        bool, _flag("flip_left_right", "Mirror half of the training pictures.")
    ] = False,
    random_crop: Annotated[int, _flag("random_crop", "Margin cropped off, percent.")] = 0,
    random_scale: Annotated[int, _flag("random_scale", "Largest enlargement, percent.")] = 0,
    random_brightness: Annotated[
        int, _flag("random_brightness", "Largest change of brightness, percent.")
    ] = 0,
    weights: Annotated[
        str, _flag("weights", "imagenet, a file of weights, or none for random ones.")
    ] = "imagenet",
    distortion_views: Annotated[
        int, _flag("distortion_views", "Most distorted views of one picture.")
    ] = 8,
    seed: Annotated[int, _flag("seed", "Of batches, first weights and distortions.")] = 0,
    output: Annotated[
        str, typer.Option("--output", "-o", help="The run directory [beside the graph].")
    ] = "",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train with the flags of TensorFlow-for-Poets' retrain.py."""
    flags = {k: v for k, v in locals().items() if k not in ("quiet", "verbose")}
    console.start_logging(quiet=quiet, verbose=verbose)

    from sharpeye.compat.retrain import Flags
    from sharpeye.compat.retrain import retrain as job

    with console.Progress(quiet=quiet) as progress:
        run = job(Flags(**flags), progress)
    print(f"graph:   {console.show(output_graph)}")
    print(f"labels:  {console.show(output_labels)}")
    print(f"run:     {console.show(str(run.path))}")
    print(f"report:  {console.show(str(run.path / 'report.html'))}")
