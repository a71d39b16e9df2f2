"""`unknown_score` in the graph equals the detector's score in NumPy."""

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


def random_inputs(count: int, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features float32[count,WIDTH] and probabilities float32[count,CLASSES]."""
    random = np.random.default_rng(seed)
    features = random.gamma(1.0, scale, (count, WIDTH)).astype(np.float32)
    return features, random.dirichlet(np.full(CLASSES, 0.2), count).astype(np.float32)


def fit_detector(count: int = 90) -> OodDetector:
    features, probs = random_inputs(count, 0)
    images = KnownImages(features, probs.argmax(axis=1), np.arange(count))
    return fit_ood_detector(images, images, probs, coverage=0.95)


def graph_score(detector: OodDetector, features: np.ndarray, probs: np.ndarray) -> np.ndarray:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width])
        for name, width in (("head_input", WIDTH), ("probs", CLASSES))
    ]
    graph = helper.make_graph([], "test", inputs, [])
    ood_addition(detector)(graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    head_input = square_root(features) if detector.square_root else features
    (score,) = session.run(["unknown_score"], {"head_input": head_input, "probs": probs})
    return score


@pytest.mark.parametrize("count", [1, 7])
def test_the_graph_computes_the_detectors_score(count: int) -> None:
    detector = fit_detector()
    near, far = random_inputs(count, 1), random_inputs(count, 2, scale=50.0)
    for features, probs in (near, (far[0] ** 3, far[1])):
        score = graph_score(detector, features, probs)
        assert score.shape == (count,)
        assert score.dtype == np.float32
        np.testing.assert_allclose(score, detector.unknown_score(features, probs), atol=1e-5)


def test_it_varies_between_0_and_1() -> None:
    detector = fit_detector()
    score = graph_score(detector, *random_inputs(300, 3))
    assert score.min() >= 0
    assert score.max() < 1
    assert score.std() > 0.1


def test_zero_features_plain_features_and_a_single_knot_work() -> None:
    features, probs = random_inputs(3, 4)
    features[0] = 0
    probs[1] = np.eye(CLASSES)[0]
    for detector in (
        fit_detector(),
        replace(fit_detector(), square_root=False),
        replace(fit_detector(), knots=np.zeros(1, np.float32), knot_shares=np.ones(1, np.float32)),
    ):
        score = graph_score(detector, features, probs)
        np.testing.assert_allclose(score, detector.unknown_score(features, probs), atol=1e-5)


def test_another_bank_gives_another_score() -> None:
    detector, probe = fit_detector(), random_inputs(20, 5)
    other = replace(detector, bank=detector.bank[:3])
    assert np.abs(graph_score(detector, *probe) - graph_score(other, *probe)).max() > 0.05
