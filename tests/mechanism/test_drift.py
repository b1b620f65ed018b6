"""The decomposition of the drift against hand arithmetic."""

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.mechanism.drift import drift_table

SETTING = {"model": "m", "optimizer": "adamw", "learning_rate": 1e-4}


def records(none, two_sided, noise, curvature):
    """Two problems with log-odds 0 and log 4 (p = 0.5 and 0.8); log-odds of pairs relative to those."""
    start = np.array([0.0, np.log(4)])
    levels = [
        {**SETTING, "clip_mode": mode, "pair": i, "code_logits": start + np.array(d), "code_noise": np.array(noise[i])}
        for mode, values in (("none", none), ("two_sided", two_sided))
        for i, d in enumerate(values)
    ]
    pairs = [
        {
            **SETTING,
            "clip_mode": mode,
            "pair": i,
            "sign": sign,
            "code": 0.5,
            "curvature_code_logit": curvature[i] if mode == "none" else np.nan,
        }
        for mode in ("none", "two_sided")
        for i in range(len(none))
        for sign in (1, -1)
    ]
    return pd.DataFrame(levels), pd.DataFrame([{**SETTING, "code_logits": start}]), pd.DataFrame(pairs)


def test_by_hand():
    frames = records(
        none=[[0.01, 0.03], [0.01, 0.03]],
        two_sided=[[0.02, 0.03], [0.02, 0.03]],
        noise=[[0.3, 0.4], [0.3, -0.4]],
        curvature=[0.01, 0.03],
    )
    table = drift_table(*frames).set_index(["quantity", "part"])
    value = table["value"]
    assert value["code_logit", "noise"] == pytest.approx(np.sqrt((0.09 + 0.16) / 2))
    assert value["code_logit", "curvature"] == pytest.approx(0.02)
    assert value["code_logit", "none"] == pytest.approx(0.02) and value["code_logit", "two_sided"] == pytest.approx(
        0.005
    )
    # p(1 − p) = 0.25 and 0.16; p(1 − p)(1 − 2p) = 0 and −0.096; ½ · −0.096 · 0.16 = −0.00768
    assert value["code", "noise, second order"] == pytest.approx(-0.00768 / 2)
    # mean over problems of p(1 − p) o: (0.075 + 0.064)/2 and (0.075 − 0.064)/2
    assert value["code", "noise"] == pytest.approx(np.sqrt((0.0695**2 + 0.0055**2) / 2))
    assert value["code", "none"] == pytest.approx((0.25 * 0.01 + 0.16 * 0.03) / 2)
    assert value["code", "none, in all"] == pytest.approx((0.25 * 0.01 + 0.16 * 0.03 - 0.00768) / 2)
    assert value["code", "two_sided"] == pytest.approx(0.25 * 0.01 / 2)
    assert table.loc[("code", "two_sided"), "per_100"] == pytest.approx(0.125)
    assert np.isnan(table.loc[("code_logit", "noise"), "per_100"])  # noise does not add up
    assert (table["n_pairs"] == 2).all()
    # Curvature 0.01 and 0.03: sd 0.01414, half width 12.706 · 0.01414/√2 = 0.127
    assert table.loc[("code_logit", "curvature"), "value_high"] == pytest.approx(0.02 + 0.12706, rel=1e-3)


def test_a_clip_that_does_nothing_adds_exactly_nothing():
    frames = records(
        none=[[0.1, 0.2], [0.3, 0.1]], two_sided=[[0.1, 0.2], [0.3, 0.1]], noise=[[0.1, 0.1]] * 2, curvature=[0.0, 0.0]
    )
    table = drift_table(*frames).set_index(["quantity", "part"])
    assert table.loc[("code_logit", "two_sided"), ["value", "value_low", "value_high"]].tolist() == [0, 0, 0]
