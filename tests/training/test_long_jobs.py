"""Memory of long jobs: the committed curves are flat, and a curve that grows would be called so."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.storage.files import read_json
from spurious_rewards.storage.paths import code_root

CURVES = code_root() / "results" / "tables" / "memory"
LENGTH = {"training": 300, "grading": 1_000_000}
MOST_GROWTH = 0.03
"""Share of the resident memory by which it may grow over the second half of a job, at the upper 95 % limit."""


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("memory", code_root() / "benchmarks" / "memory.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(told):
    return told["high"] < MOST_GROWTH * told["late"] and told["peak_to_late"] < 1.1


@pytest.mark.parametrize("job", LENGTH)
def test_committed_memory_is_flat(benchmark, job):
    curve = pd.read_csv(CURVES / f"{job}.csv")
    assert curve["done"].iloc[-1] == LENGTH[job] and curve["done"].is_monotonic_increasing and len(curve) >= 100
    told = benchmark.growth(curve)
    assert flat(told), told
    committed = read_json(CURVES / f"{job}.json")
    assert told == pytest.approx({name: committed[name] for name in told}, abs=0.05)


def curve(resident):
    return pd.DataFrame({"done": np.arange(len(resident)), "resident_mb": resident})


def test_growth_by_hand(benchmark):
    # 1,000 MB, and from the middle on 100 MB more until the end
    told = benchmark.growth(curve(np.r_[np.full(100, 1000.0), 1000 + 100 * np.arange(100) / 99]))
    assert told["slope"] == pytest.approx(100) and told["low"] == pytest.approx(100) == pytest.approx(told["high"])
    assert told["late"] == pytest.approx(1050) and told["peak_to_late"] == pytest.approx(1100 / 1050)
    assert not flat(told)
    rng = np.random.default_rng(0)
    told = benchmark.growth(curve(1000 + rng.normal(0, 5, 200)))
    assert flat(told) and told["low"] < 0 < told["high"] < 10


def test_a_peak_is_not_flat(benchmark):
    resident = np.full(200, 1000.0)
    resident[20] = 1200
    assert not flat(benchmark.growth(curve(resident)))


def test_pairs_differ_and_some_are_symbolic(benchmark):
    import random

    rng = random.Random(0)
    pairs = [benchmark.pair(rng, number) for number in range(7000)]
    assert len({text for text, _ in pairs}) == 7000
    assert sum(r"\sin^2" in text for text, _ in pairs) == 2
