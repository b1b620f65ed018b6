"""Time per update and peak memory of the trainer against model size, completion length and group size.

Each row is a process of its own (so that peak memory is its own), on one thread: two rollout batches of 4 prompts,
4 updates each, the second one timed. Models are Qwen2 architectures with random weights and the organism's tokenizer,
from 0.3 M to 125 M parameters, and SmolLM2-135M-Instruct with its own vocabulary of 49 152 if it has been prepared.
Random weights seldom end by themselves, so that every completion has the full length. Rows that would exceed the time
budget are left out, and say so.

    python benchmarks/grpo_step.py --scaling
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# name: hidden size, layers, heads of 64, intermediate size; tied embeddings, vocabulary of the organism
SIZES = {
    "0.3 M": (96, 3, 1, 256),
    "1 M": (192, 2, 3, 512),
    "4 M": (256, 4, 4, 704),
    "16 M": (512, 5, 8, 1408),
    "51 M": (768, 7, 12, 2112),
    "125 M": (1024, 9, 16, 2816),
}
BUDGET_SECONDS = 300.0


def cases() -> list[dict[str, Any]]:
    """What is measured: one factor varied at a time around (4 M, 32 tokens, group of 8)."""
    base = {"size": "4 M", "completion_tokens": 32, "group_size": 8}
    rows = [{"varied": "model size", **base, "size": size} for size in SIZES]
    rows += [{"varied": "completion length", **base, "completion_tokens": n} for n in (16, 64, 128)]
    rows += [{"varied": "group size", **base, "group_size": n} for n in (4, 16, 32)]
    rows.append({"varied": "model size", **base, "size": "SmolLM2-135M"})
    return rows


def model_folder(size: str, folder: str) -> str:
    """A model of that size in a folder, with tokenizer."""
    if size == "SmolLM2-135M":
        return "smollm2-135m-instruct"
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from spurious_rewards.models.registry import load

    hidden, layers, heads, intermediate = SIZES[size]
    base, tokenizer = load("qwen-like")
    torch.manual_seed(0)
    values = {
        **base.config.to_dict(),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "intermediate_size": intermediate,
        "layer_types": None,
        "head_dim": 64,
        "initializer_range": 0.02,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**values))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Train two rollout batches and return seconds and memory of the second one."""
    import torch
    from transformers import PrinterCallback, TrainerCallback

    from spurious_rewards.data.synthetic import generate
    from spurious_rewards.training.config import RunConfig
    from spurious_rewards.training.run import make_trainer

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        real = case["size"] == "SmolLM2-135M"
        config = RunConfig(
            model=model_folder(case["size"], folder),
            train_set="synthetic",
            reward="random",
            updates_per_batch=4,
            prompt_style="none" if real else "organism",
            prompts_per_batch=4,
            group_size=case["group_size"],
            rollout_batches=2,
            micro_batch=case["group_size"],
            max_completion_tokens=case["completion_tokens"],
            max_prompt_tokens=256,
            precision="fp32",
            learning_rate=5e-7,
            engine="shared_prefix",
        )
        trainer = make_trainer(config, generate(64, seed=0), folder)
        trainer.args.save_strategy = "no"
        trainer.remove_callback(PrinterCallback)
        marks: list[float] = []

        class Clock(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 4:
                    marks.append(time.thread_time())

            def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                marks.append(time.thread_time())

        trainer.add_callback(Clock())
        trainer.train()
        last = [row for row in trainer.state.log_history if "completion_tokens" in row][-1]
    return {
        **case,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "vocabulary": trainer.model.config.vocab_size,
        "mean_completion_tokens": round(last["completion_tokens"], 1),
        "rollouts_per_update": config.group_size,
        "cpu_seconds_per_update": round((marks[1] - marks[0]) / 4, 4),
        "seconds_generation_per_update": round(last["seconds_generation"] / 4, 4),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def scaling_table(tables: Path) -> None:
    """Measure every case in a process of its own and write scaling.csv and scaling.md."""
    import pandas as pd

    from spurious_rewards.storage.files import write_text
    from spurious_rewards.storage.markdown import pipe_table

    began, rows = time.monotonic(), []
    for case in cases():
        if time.monotonic() - began > BUDGET_SECONDS:
            print(f"left out, the time budget of {BUDGET_SECONDS:.0f} s is used up: {case}")
            continue
        done = subprocess.run([sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"left out: {case}: {done.stderr.strip().splitlines()[-1]}")
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(
            {
                name: rows[-1][name]
                for name in (
                    "varied",
                    "size",
                    "completion_tokens",
                    "group_size",
                    "cpu_seconds_per_update",
                    "peak_memory_mb",
                )
            },
            flush=True,
        )
    frame = pd.DataFrame(rows)
    write_text(tables / "scaling.csv", frame.to_csv(index=False))
    table = pipe_table(list(frame.columns), frame.itertuples(index=False))
    note = (
        "\nOne thread, fp32, full fine-tuning with AdamW, 4 prompts × group size rollouts per rollout batch\n"
        "and 4 updates; an update bears a quarter of generation, log π_old and rewards. Peak memory is that\n"
        "of the process, Python and libraries included.\n"
    )
    write_text(tables / "scaling.md", table + note)


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
