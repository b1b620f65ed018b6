"""Add a benchmark: a JSONL file of problems and answers, by its path."""

import json

from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.evaluation.records import load_records


def test_add_benchmark(tmp_path, monkeypatch):
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    file = tmp_path / "sums.jsonl"
    rows = [{"problem": f"What is {a} + 21?", "answer": str(a + 21)} for a in (34, 47, 62)]
    file.write_text("\n".join(map(json.dumps, rows)))
    run = evaluate(EvalConfig(model="qwen-like", benchmark=str(file), max_new_tokens=64), progress=False)
    records = load_records([run])
    assert records["gold"].tolist() == ["55", "68", "83"]
    assert records["correct"].all()  # the organism adds two-digit numbers
