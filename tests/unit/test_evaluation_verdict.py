"""Every case of the verdict, and what its sentence says."""

from __future__ import annotations

import numpy as np
import pytest

from densespec.evaluation.config import EvaluateConfig
from densespec.evaluation.verdict import judge, untested

UP = np.asarray([0.1, 0.3] * 25)


@pytest.mark.parametrize(
    ("differences", "p", "verdict"),
    [
        (UP, 0.01, "ship"),
        (-UP, 0.01, "regression"),
        (UP, 0.2, "no evidence"),
        (-UP, 0.2, "no evidence"),
        (UP, 0.05, "no evidence"),  # p must be below alpha
        (UP, 0.0499, "ship"),
        (np.zeros(50), 1.0, "no evidence"),
        (UP[:19], 0.001, "not tested"),
        (UP[:20], 0.001, "ship"),
        (np.zeros(0), 1.0, "not tested"),
    ],
)
def test_verdicts(differences, p, verdict):
    result = judge(differences, low=0.1, high=0.3, p=p, p_holm=0.5, alpha=0.05, min_queries=20)
    assert result.verdict == verdict
    assert result.reason.endswith(".")


def test_differences_that_cancel_are_not_called_none():
    cancelling = np.array([0.37, -0.37] + [0.0] * 18)
    for differences, said in ((np.zeros(20), "the same on all"), (cancelling, "on average the same")):
        found = judge(differences, low=-0.1, high=0.1, p=1.0, p_holm=1.0, alpha=0.05, min_queries=20)
        assert said in found.reason


def test_ship_and_regression_say_the_numbers():
    ship = judge(UP, low=0.17, high=0.23, p=0.0004, p_holm=0.5, alpha=0.05, min_queries=20)
    assert ship.reason == (
        "nDCG@10 rises by 0.200 on 50 test queries "
        "(95 % interval +0.170 to +0.230, p < 0.001, Holm-corrected over all comparisons = 0.500)."
    )
    regression = judge(-UP, low=-0.23, high=-0.17, p=0.012, p_holm=0.5, alpha=0.05, min_queries=20)
    assert "falls by 0.200 on 50 test queries" in regression.reason
    assert "p = 0.012" in regression.reason


def test_no_evidence_says_what_could_be_seen_and_what_it_would_take():
    differences = np.asarray([0.5, -0.48] * 30)  # mean 0.01, standard deviation 0.494
    result = judge(differences, low=-0.11, high=0.13, p=1.0, p_holm=0.5, alpha=0.05, min_queries=20)
    assert "A difference of +0.010 nDCG@10 on 60 test queries" in result.reason
    assert "(95 % interval -0.110 to +0.130, p = 1.000, Holm-corrected over all" in result.reason
    assert "shows differences of 0.179 and more" in result.reason
    assert "about 20,000 queries" in result.reason  # 19,141 by the formula, two digits are all it is good for


def test_no_evidence_with_queries_enough_asks_for_none():
    result = judge(UP, low=0.17, high=0.23, p=0.06, p_holm=0.5, alpha=0.05, min_queries=20)
    assert "would need" not in result.reason


def test_untested_says_what_to_do():
    assert "qrels/test.tsv" in untested(0, 20).reason
    assert untested(1, 20).reason.startswith("1 judged test query is too few")
    assert untested(7, 20).reason.startswith("7 judged test queries are too few")


def test_config_is_strict():
    with pytest.raises(ValueError, match="extra"):
        EvaluateConfig.model_validate({"alhpa": 0.1})
    assert all(field.description for field in EvaluateConfig.model_fields.values())
