"""Write frozen TensorFlow graphs, images, and TensorFlow's own scores for them.

    python write_graphs.py FOLDER

It runs as a process of its own, so that the tests' process never imports TensorFlow.
`expected.json` holds scores by `<graph> <image> <mean> <std> <JPEG method>`, computed as in
TensorFlow-for-Poets' label_image.py, which decodes JPEG by INTEGER_FAST.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow
from PIL import Image

tf = tensorflow.compat.v1
LABELS = ("daisy", "rose", "sunflower", "tulip")
PNG, JPEG = "flower.png", "flower.jpg"


def network(pixels: Any, seed: int, output: str = "final_result") -> None:
    """A convolution, a batch norm in single operations, a dense layer: four scores."""
    random = np.random.default_rng(seed)

    def constant(*shape: int, scale: float = 1.0) -> Any:
        return tf.constant(random.normal(0, scale, shape).astype(np.float32))

    features = tf.nn.conv2d(pixels, constant(3, 3, 3, 8, scale=0.4), [1, 2, 2, 1], "SAME")
    mean, variance = constant(8, scale=0.1), tf.constant(np.ones(8, np.float32))
    features = (features - mean) * tf.rsqrt(variance + 0.001)
    features = tf.reduce_mean(tf.nn.relu6(features), [1, 2])
    tf.nn.softmax(tf.matmul(features, constant(8, 4, scale=3.0)), name=output)


def frozen(build: Callable[[], None]) -> Any:
    with tf.Graph().as_default() as graph:
        build()
        return graph.as_graph_def()


def tiny() -> None:
    with tf.device("/job:worker/gpu:3"):  # of another machine
        network(tf.placeholder(tf.float32, [None, 32, 32, 3], "input"), seed=1)


def inception() -> None:
    jpeg = tf.image.decode_jpeg(tf.constant(b"no JPEG", name="DecodeJpeg/contents"), channels=3)
    pixels = tf.expand_dims(tf.cast(jpeg, tf.float32), 0)
    pixels = tf.image.resize_bilinear(pixels, [48, 40])
    network(tf.multiply(pixels - 128.0, 1 / 128, name="Mul"), seed=2)


def nameless() -> None:
    network(tf.placeholder(tf.float32, name="photo"), seed=3, output="answers")


def with_record() -> None:
    network(tf.placeholder(tf.float32, [None, None, None, 3], "photo"), seed=4, output="scores")


def with_two_inputs() -> None:
    network(tf.placeholder(tf.float32, [None, 32, 32, 3], "left"), seed=5, output="one")
    network(tf.placeholder(tf.float32, [None, 32, 32, 3], "right"), seed=6, output="two")


def uncounted() -> None:
    network(tf.placeholder(tf.float32, [None, 32, 32, 3], "input"), seed=7, output="scores")
    scores = tf.get_default_graph().get_tensor_by_name("scores:0")
    tf.placeholder_with_default(scores, shape=None, name="final_result")


def grid() -> None:
    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3], "input")
    tf.identity(pixels * 1.0, name="final_result")


def reading() -> None:
    tf.decode_raw(tf.read_file("/etc/hostname"), tf.uint8)
    tiny()


def writing() -> None:
    tf.write_file("sharpeye-was-here", "a graph wrote this")
    tiny()


def calling_python() -> None:
    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3], "input")
    network(tf.reshape(tf.py_func(lambda x: x, [pixels], tf.float32), [-1, 32, 32, 3]), seed=1)


def mapping_a_file() -> None:
    tensorflow.raw_ops.ImmutableConst(
        dtype=tf.float32, shape=[1], memory_region_name="/etc/hostname"
    )
    tiny()


def hiding_in_a_function() -> None:
    @tensorflow.function(input_signature=[tensorflow.TensorSpec([], tf.float32)])
    def save(x: Any) -> Any:
        tensorflow.io.write_file("sharpeye-was-here", "a function of a graph wrote this")
        return x

    save(tf.constant(1.0))
    tiny()


def filling() -> None:
    """A few bytes that become 4 GB."""
    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3], "input")
    network(pixels + tf.reduce_max(tf.fill([10**9], 0.0)), seed=1)


def with_while() -> None:
    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3], "input")
    network(tf.while_loop(lambda _: True, lambda x: x + 1, [pixels]), seed=1)


def with_map() -> None:
    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3], "input")
    network(tf.map_fn(tf.abs, pixels), seed=1)


def with_old_while() -> None:
    tf.disable_control_flow_v2()
    with_while()
    tf.enable_control_flow_v2()


def calling() -> None:
    @tensorflow.function(input_signature=[tensorflow.TensorSpec([None, 32, 32, 3], tf.float32)])
    def brighter(pixels: Any) -> Any:
        return tensorflow.cond(tensorflow.reduce_mean(pixels) > 0, lambda: pixels, lambda: -pixels)

    pixels = tf.placeholder(tf.float32, [None, 32, 32, 3], "input")
    network(tf.reshape(brighter(brighter(pixels)), [-1, 32, 32, 3]), seed=1)


def make_recursive(definition: Any) -> Any:
    """Let every call in a function call the function itself."""
    for each in definition.library.function:
        for node in each.node_def:
            if node.op == "StatelessIf":
                for branch in ("then_branch", "else_branch"):
                    node.attr[branch].func.name = each.signature.name
    return definition


def describe(definition: Any, node: str, **changes: Any) -> Any:
    """Give a graph the record that SharpEye writes into its output node."""
    record: dict[str, Any] = {
        "labels": list(LABELS),
        "input": {
            "height": 24,
            "width": 40,
            "fit": "stretch",
            "pad_value": 127,
            "channels": 3,
            "filter": "bilinear_asymmetric",
        },
        "graph": {"input_layer": "photo", "output_layer": node, "mean": 100.0, "std": 50.0},
        "made_by": "a later version",
    }
    record |= changes
    (output,) = [each for each in definition.node if each.name == node]
    output.attr["_sharpeye"].s = json.dumps(record).encode()
    return definition


def write_images(folder: Path) -> None:
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((90, 70), Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(photo) + random.normal(0, 12, (70, 90, 3)), 0, 255)
    photo = Image.fromarray(noisy.astype(np.uint8))
    photo.save(folder / PNG)
    photo.save(folder / JPEG, quality=90)


def decode(file: Path, method: str) -> Any:
    data = tf.read_file(str(file))
    if file.suffix == ".png":
        return tf.image.decode_png(data, channels=3)
    return tf.image.decode_jpeg(data, channels=3, dct_method=method)


def expect(
    folder: Path, graph: str, fed: str, size: tuple[int, int], mean: float, std: float, output: str
) -> dict[str, list[float]]:
    """The scores of one graph, computed as the original does."""
    definition = tf.GraphDef.FromString((folder / graph).read_bytes())
    for node in definition.node:
        node.device = ""
    scores = {}
    for image, method in ((PNG, ""), (JPEG, "INTEGER_FAST")):
        with tf.Graph().as_default(), tf.Session() as session:
            batch = tf.expand_dims(tf.cast(decode(folder / image, method), tf.float32), 0)
            batch = tf.image.resize_bilinear(batch, list(size))
            pixels = session.run(tf.divide(tf.subtract(batch, [mean]), [std]))
            tf.import_graph_def(definition)
            probs = session.run(f"import/{output}:0", {f"import/{fed}:0": pixels})
        name = f"{graph} {image} {mean:g} {std:g} {method}".strip()
        scores[name] = np.squeeze(probs).tolist()
    return scores


def main(folder: Path) -> None:
    graphs = {
        "tiny.pb": frozen(tiny),
        "inception.pb": frozen(inception),
        "nameless.pb": frozen(nameless),
        "sharpeye.pb": describe(frozen(with_record), "scores"),
        "damaged_record.pb": describe(frozen(with_record), "scores", labels=[1, 2, 3, 4]),
        "no_scale.pb": describe(
            frozen(with_record),
            "scores",
            graph={"input_layer": "photo", "output_layer": "scores", "mean": 0, "std": 0},
        ),
        "two_inputs.pb": frozen(with_two_inputs),
        "uncounted.pb": frozen(uncounted),
        "grid.pb": frozen(grid),
        "reading.pb": frozen(reading),
        "writing.pb": frozen(writing),
        "calling_python.pb": frozen(calling_python),
        "mapping_a_file.pb": frozen(mapping_a_file),
        "filling.pb": frozen(filling),
        "hiding_in_a_function.pb": frozen(hiding_in_a_function),
    }
    graphs |= {
        "while.pb": frozen(with_while),
        "old_while.pb": frozen(with_old_while),
        "mapped.pb": frozen(with_map),
        "calling.pb": frozen(calling),
        "recursive.pb": make_recursive(frozen(calling)),
    }
    graphs["inception.pb"].versions.producer = 8  # of 2015
    extended = tf.GraphDef.FromString(graphs["tiny.pb"].SerializeToString())
    extended.node.add(name="extra", op="OpOfTomorrow")
    graphs["unknown_operation.pb"] = extended
    for name, definition in graphs.items():
        (folder / name).write_bytes(definition.SerializeToString())
    write_images(folder)
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    expected = {
        **expect(folder, "tiny.pb", "input", (32, 32), 128, 128, "final_result"),
        **expect(folder, "tiny.pb", "input", (32, 32), 0, 255, "final_result"),
        **expect(folder, "inception.pb", "Mul", (48, 40), 128, 128, "final_result"),
        **expect(folder, "nameless.pb", "photo", (224, 224), 128, 128, "answers"),
        **expect(folder, "nameless.pb", "photo", (37, 111), 127.5, 127.5, "answers"),
        **expect(folder, "sharpeye.pb", "photo", (24, 40), 100, 50, "scores"),
        **expect(folder, "two_inputs.pb", "right", (32, 32), 128, 128, "two"),
    }
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
