"""`box_score` in the graph equals the expected IoU in NumPy."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from sharpeye.artefact.box_score_nodes import box_score_addition
from sharpeye.artefact.preprocess_nodes import OPSET
from sharpeye.jobs.train.box_scores import proposal_agreement
from sharpeye.learn.heads.box_score import BoxScoreLine, fit_box_score

CELLS = 9


def random_proposals(count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Proposals float32[count,CELLS,5] about a box, and the weighted mean box float32[count,4]."""
    random = np.random.default_rng(count)
    box = np.array([0.3, 0.2, 0.7, 0.9])
    edges = box + random.normal(0, spread, (count, CELLS, 4))
    logits = random.normal(0, 2, (count, CELLS, 1))
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    proposals = np.concatenate([logits, edges], axis=2).astype(np.float32)
    return proposals, (weights * edges).sum(axis=1).astype(np.float32)


def graph_score(line: BoxScoreLine, proposals: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    inputs = [
        helper.make_tensor_value_info("proposals", TensorProto.FLOAT, ["N", CELLS, 5]),
        helper.make_tensor_value_info("box_in_input", TensorProto.FLOAT, ["N", 4]),
    ]
    graph = helper.make_graph([], "test", inputs, [])
    box_score_addition(line)(graph)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (score,) = session.run(["box_score"], {"proposals": proposals, "box_in_input": boxes})
    return score


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("spread", [0.0, 0.02, 0.3])
def test_the_graph_computes_the_expected_iou(count: int, spread: float) -> None:
    line = BoxScoreLine(-0.1, 0.9)
    proposals, boxes = random_proposals(count, spread)
    score = graph_score(line, proposals, boxes)
    assert score.shape == (count,)
    assert score.dtype == np.float32
    expected = line.expected_iou(proposal_agreement(proposals, boxes))
    np.testing.assert_allclose(score, expected, atol=1e-5)


def test_cells_that_agree_have_an_agreement_of_one() -> None:
    proposals, boxes = random_proposals(5, 0.0)
    np.testing.assert_allclose(proposal_agreement(proposals, boxes), 1.0, atol=1e-6)
    scattered, boxes = random_proposals(5, 0.2)
    assert proposal_agreement(scattered, boxes).max() < 0.9


def test_a_box_without_area_scores_within_0_and_1() -> None:
    proposals, boxes = random_proposals(3, 0.1)
    boxes[:, 2:] = boxes[:, :2]
    score = graph_score(BoxScoreLine(0.0, 1.0), proposals, boxes)
    assert np.isfinite(score).all()
    np.testing.assert_allclose(score, 0.0, atol=1e-6)


def test_the_line_is_that_of_least_squares_for_many_images() -> None:
    random = np.random.default_rng(0)
    agreement = random.uniform(0.4, 0.95, 20_000)
    ious = 0.2 + 0.7 * agreement + random.normal(0, 0.02, len(agreement))
    line = fit_box_score(agreement, ious)
    assert line.slope == pytest.approx(0.7, abs=0.01)
    assert line.intercept == pytest.approx(0.2, abs=0.01)


def test_few_images_give_nearly_their_mean() -> None:
    line = fit_box_score(np.array([0.5, 0.9]), np.array([0.2, 0.8]))
    assert line.expected_iou(np.array([0.7]))[0] == pytest.approx(0.5)
    assert 0 < line.slope < 0.3  # the two images alone would say 1.5
    constant = fit_box_score(np.array([0.5]), np.array([0.6]))
    np.testing.assert_allclose(constant.expected_iou(np.array([0.0, 1.0])), 0.6)
