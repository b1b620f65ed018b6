"""What benchmarks/generation.py decides for its comparison: the order of the prompts, and where records come from."""

import importlib.util
from types import SimpleNamespace

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.agreement import answer_pairs, same_cell
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.storage.paths import code_root


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("benchmark", code_root() / "benchmarks" / "generation.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_batches_are_cut_by_tokens_not_characters(benchmark):
    lengths = {"one long word": 1, "a b": 3, "x": 2}
    seen = []

    def generate(prompts, sampling, keys):
        seen.append(list(prompts))
        return [[f"answer to {prompt}"] for prompt in prompts]

    engine = SimpleNamespace(prompt_lengths=lambda prompts: [lengths[p] for p in prompts], generate=generate)
    answers = benchmark.generate(engine, list(lengths), ["k0", "k1", "k2"], EvalConfig(batch_size=2))
    assert seen == [["a b", "x"], ["one long word"]]
    assert answers == [f"answer to {prompt}" for prompt in lengths]


def test_committed_evaluations_can_be_compared_without_their_runs(benchmark, tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    rows = pd.read_csv(benchmark.TABLES / "agreement.csv")
    a, b = rows.loc[rows["model"] == "qwen-like", ["run_a", "run_b"]].iloc[0]
    manifests = {run_id: benchmark.manifest_of(run_id) for run_id in (a, b)}
    config = same_cell(a, b, lambda run_id: manifests[run_id]["config"])
    pairs = answer_pairs(benchmark.records_of(a, config), benchmark.records_of(b, config))
    assert len(pairs) == 300 and pairs["prompt_a"].str.contains(r"\S").all()
    with pytest.raises(InputError, match="no evaluation eval-nothing, neither"):
        benchmark.manifest_of("eval-nothing")
