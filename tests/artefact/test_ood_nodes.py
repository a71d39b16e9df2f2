"""`unknown_score` in the graph equals NumPy's."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sharpeye.artefact.ood_nodes import ood_addition
from sharpeye.artefact.preprocess_nodes import OPSET
from sharpeye.learn.heads.head import square_root
from sharpeye.learn.ood.detector import KnownImages, OodDetector, fit_ood_detector

WIDTH, CLASSES = 40, 5


def some(count: int, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    features = random.gamma(1.0, scale, (count, WIDTH)).astype(np.float32)
    return features, random.dirichlet(np.full(CLASSES, 0.2), count).astype(np.float32)


def fitted(count: int = 90) -> OodDetector:
    features, probs = some(count, 0)
    own = features, probs.argmax(axis=1), np.arange(count)
    return fit_ood_detector(KnownImages(*own), KnownImages(*own), probs, coverage=0.95)


def answer(unknown: OodDetector, features: np.ndarray, probs: np.ndarray) -> np.ndarray:
    def value(name: str, width: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])

    inputs = [value("head_input", WIDTH), value("probs", CLASSES)]
    graph = helper.make_graph([], "test", inputs, [])
    ood_addition(unknown)(graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    taken = square_root(features) if unknown.square_root else features
    (score,) = session.run(["unknown_score"], {"head_input": taken, "probs": probs})
    return score


@pytest.mark.parametrize("count", [1, 7])
def test_the_graph_gives_numpys_score(count: int) -> None:
    unknown = fitted()
    near, far = some(count, 1), some(count, 2, scale=50.0)
    for features, probs in (near, (far[0] ** 3, far[1])):
        score = answer(unknown, features, probs)
        assert score.shape == (count,)
        assert score.dtype == np.float32
        np.testing.assert_allclose(score, unknown.unknown_score(features, probs), atol=1e-5)


def test_it_varies_and_stays_a_share() -> None:
    unknown = fitted()
    score = answer(unknown, *some(300, 3))
    assert score.min() >= 0
    assert score.max() < 1
    assert score.std() > 0.1


def test_features_of_zero_one_knot_and_plain_features_work() -> None:
    features, probs = some(3, 4)
    features[0] = 0
    probs[1] = np.eye(CLASSES)[0]
    for unknown in (
        fitted(),
        replace(fitted(), square_root=False),
        replace(fitted(), knots=np.zeros(1, np.float32), knot_shares=np.ones(1, np.float32)),
    ):
        score = answer(unknown, features, probs)
        np.testing.assert_allclose(score, unknown.unknown_score(features, probs), atol=1e-5)


def test_another_bank_gives_another_score() -> None:
    unknown, probe = fitted(), some(20, 5)
    other = replace(unknown, bank=unknown.bank[:3])
    assert np.abs(answer(unknown, *probe) - answer(other, *probe)).max() > 0.05
