import numpy as np
import pytest

from evaluation.utility.case import score_case


@pytest.mark.parametrize(
    ("found", "there", "outcome", "overlap"),
    [(1, 1, "ok", 1.0), (0, 1, "missed", 0.0), (1, 0, "false_find", 0.0), (0, 0, "both_empty", np.nan)],
)
def test_outcomes(found, there, outcome, overlap):
    score = score_case(np.full((4, 4), bool(found)), np.full((4, 4), bool(there)), (1.0, 1.0))
    assert score.outcome == outcome
    assert (score.dice, score.iou) == pytest.approx((overlap, overlap), nan_ok=True)
    assert np.isnan(score.hd95) == np.isnan(score.asd) == (outcome != "ok")
