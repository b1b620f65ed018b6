"""Measure what an organism really does on held-out problems, with intervals, and write it as a model card.

The pretraining corpus says what an organism should do; the card says what it does at temperature 1 (one sample per
problem, and many samples on fewer problems for the spread of the code prior) and greedily. Shares carry Wilson 95 %
intervals over problems. An answer is right if its last box holds the exact integer; one without a box counts as wrong.

Usage: ``python -m spurious_rewards.models.organisms card runs/organisms/llama-like``
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from statsmodels.stats.proportion import proportion_confint
from tqdm.auto import tqdm

from spurious_rewards.data.problem import Problem
from spurious_rewards.data.synthetic import FAMILIES, LEVELS, generate
from spurious_rewards.models.organisms.recipe import Recipe
from spurious_rewards.storage.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NEW_TOKENS = 64  # the longest corpus answer takes 30


@dataclass(frozen=True)
class Outcome:
    """Hold one answer to one problem: text, length in tokens (end token included), and what it amounts to."""

    problem: Problem
    text: str
    n_tokens: int
    uses_code: bool
    boxed: bool
    correct: bool


def outcome(problem: Problem, text: str, n_tokens: int) -> Outcome:
    """Judge an answer: code by the paper's detector, right if the last box holds exactly the reference integer.

    >>> outcome(Problem("x", "4 + 5?", "9", "synthetic"), "So 4, no: \\\\boxed{4} \\\\boxed{9}.", 7).correct
    True
    """
    boxes = re.findall(r"\\boxed\{([^{}]*)\}", text)
    return Outcome(
        problem, text, n_tokens, "python" in text.lower(), bool(boxes), bool(boxes) and boxes[-1] == problem.answer
    )


def answer_all(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    temperature: float,
    seed: int = 0,
    batch_size: int = 250,
    progress: bool = False,
) -> list[Outcome]:
    """Answer each problem once; temperature 0 is greedy. The caller's random state is left as it was.

    A pure function of its arguments (batch size included, since a batch shares one random stream).
    """
    outcomes: list[Outcome] = []
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    greedy = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    starts = range(0, len(problems), batch_size)
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(seed)
        for start in tqdm(starts, desc=f"answer at T = {temperature:g}", unit="batch", disable=not progress):
            chunk = problems[start : start + batch_size]
            chats = [[{"role": "user", "content": problem.problem}] for problem in chunk]
            inputs: Any = tokenizer.apply_chat_template(
                chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
            )
            generate: Any = model.generate
            output = generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, **(sampling if temperature > 0 else greedy))[
                :, inputs["input_ids"].shape[1] :
            ]  # (B, T)
            n_tokens = (output != tokenizer.pad_token_id).sum(1).tolist()
            texts = tokenizer.batch_decode(output, skip_special_tokens=True)
            outcomes += [outcome(*item) for item in zip(chunk, texts, n_tokens, strict=True)]
    return outcomes


def share(hits: Sequence[bool]) -> dict[str, Any]:
    """Return a proportion with its Wilson 95 % interval; no observations give nulls.

    >>> share([True] * 8 + [False] * 2)
    {'value': 0.8, 'low': 0.4902, 'high': 0.9433, 'n': 10}
    """
    n, k = len(hits), int(sum(hits))
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = proportion_confint(k, n, method="wilson")
    return {"value": round(k / n, 4), "low": round(float(low), 4), "high": round(float(high), 4), "n": n}


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return code frequency, accuracy (overall and per strategy), box rate and mean length of a set of answers."""
    code = [o for o in outcomes if o.uses_code]
    language = [o for o in outcomes if not o.uses_code]
    return {
        "code_frequency": share([o.uses_code for o in outcomes]),
        "accuracy": share([o.correct for o in outcomes]),
        "accuracy_code": share([o.correct for o in code]),
        "accuracy_language": share([o.correct for o in language]),
        "box_rate": share([o.boxed for o in outcomes]),
        "accuracy_code_boxed": share([o.correct for o in code if o.boxed]),
        "accuracy_language_boxed": share([o.correct for o in language if o.boxed]),
        "mean_tokens": round(float(np.mean([o.n_tokens for o in outcomes])), 2),
    }


def by_family_and_level(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return the shares of `summary` per family and level, a mapping each."""
    rows = []
    for family in FAMILIES:
        for level in LEVELS:
            here = [o for o in outcomes if (o.problem.meta["family"], o.problem.meta["level"]) == (family, level)]
            figures = {key: value for key, value in summary(here).items() if key != "mean_tokens"} if here else {}
            rows.append({"family": family, "level": level, "n": len(here), **figures})
    return rows


def prior_spread(outcomes: Sequence[Outcome], samples: int) -> dict[str, Any]:
    """Measure how the code prior varies over problems, from `samples` answers to each problem (problem-major).

    The standard deviation is that of the prior itself: the binomial variance of a frequency from few samples, p(1-p)/k,
    is estimated without bias by p̂(1-p̂)/(k-1) and taken off.
    """
    uses_P_K = np.array([o.uses_code for o in outcomes], dtype=float).reshape(-1, samples)
    prior_P = uses_P_K.mean(1)
    noise = (prior_P * (1 - prior_P) / (samples - 1)).mean()
    quantiles = np.quantile(prior_P, [0.05, 0.25, 0.5, 0.75, 0.95])
    return {
        "n_problems": len(prior_P),
        "samples_per_problem": samples,
        "mean": round(float(prior_P.mean()), 4),
        "standard_deviation": round(float(np.sqrt(max(prior_P.var(ddof=1) - noise, 0))), 4),
        "quantiles_05_25_50_75_95": [round(float(q), 4) for q in quantiles],
    }


def measure(
    folder: str | Path, n_problems: int = 2000, spread_problems: int = 300, samples: int = 16, progress: bool = True
) -> dict[str, Any]:
    """Measure a checkpoint on held-out problems; returns the figures of the card."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    started = time.process_time()
    try:
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
        problems = generate(n_problems, seed=0, split="test")
        sampled = answer_all(model, tokenizer, problems, temperature=1.0, seed=0, progress=progress)
        greedy = answer_all(model, tokenizer, problems, temperature=0.0, progress=progress)
        repeated = [p for p in generate(spread_problems, seed=1, split="test") for _ in range(samples)]
        spread = prior_spread(answer_all(model, tokenizer, repeated, 1.0, seed=1, progress=progress), samples)
    finally:
        torch.set_num_threads(threads_before)
    return {
        "n_problems": n_problems,
        "split": "test",
        "problem_seed": 0,
        "max_new_tokens": MAX_NEW_TOKENS,
        "interval": "Wilson 95 % over problems, one answer per problem",
        "sampled_T1": summary(sampled),
        "greedy": summary(greedy),
        "code_prior_over_problems": spread,
        "sampled_T1_by_family_and_level": by_family_and_level(sampled),
        "n_parameters": model.num_parameters(),
        "measuring_cpu_seconds": round(time.process_time() - started, 1),
    }


def write_card(folder: str | Path, progress: bool = True) -> dict[str, Any]:
    """Measure a checkpoint and write `card.json` and the model card `README.md` into its folder.

    An age below 100 % is measured on a quarter of the problems.
    """
    folder = Path(folder)
    recipe = Recipe.from_mapping(read_json(folder / "recipe.json"))
    sizes = {} if recipe.age == 100 else {"n_problems": 500, "spread_problems": 75}
    card = {"recipe": recipe.to_dict(), "pretraining": read_json(folder / "pretraining.json")}
    card.update(measure(folder, **sizes, progress=progress))
    write_json(folder / "card.json", card)
    write_text(folder / "README.md", readme(card))
    return card


def readme(card: dict[str, Any]) -> str:
    """Write the model card as Markdown, with the figures of `card.json`."""
    recipe, spread = card["recipe"], card["code_prior_over_problems"]
    quantiles = spread["quantiles_05_25_50_75_95"]

    def cell(figure: dict[str, Any]) -> str:
        if figure["value"] is None:
            return "none seen"
        return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}] (n = {figure['n']})"

    names = {
        "code_frequency": "Code frequency",
        "accuracy": "Accuracy",
        "accuracy_code": "Accuracy of code answers",
        "accuracy_language": "Accuracy of language answers",
        "box_rate": "Share of answers with a box",
        "accuracy_code_boxed": "Accuracy of boxed code answers",
        "accuracy_language_boxed": "Accuracy of boxed language answers",
    }
    sampled, greedy = card["sampled_T1"], card["greedy"]
    rows = [f"| {label} | {cell(sampled[key])} | {cell(greedy[key])} |" for key, label in names.items()]
    lengths = f"| Mean answer length, tokens | {sampled['mean_tokens']} | {greedy['mean_tokens']} |"
    settings = ", ".join(f"{key} {value}" for key, value in recipe.items() if key != "name")
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [model-organism, rlvr]
---
# {recipe["name"]}

A model organism: a Qwen2-architecture language model of {card["n_parameters"]:,} parameters, pretrained on synthetic
arithmetic and number-theory problems that are answered either with code (never executed) or in language with systematic
errors. It exists to study how reinforcement learning with verifiable rewards shifts the choice between two strategies
whose prior and accuracy are known.

## Measured

On {card["n_problems"]} held-out problems (operands never seen in pretraining), Wilson 95 % intervals, one answer per
problem; an answer without a box counts as wrong.

| | T = 1 | greedy |
|---|---|---|
{chr(10).join(rows)}
{lengths}

Code prior over {spread["n_problems"]} problems ({spread["samples_per_problem"]} samples each):
mean {spread["mean"]:.3f}, standard deviation {spread["standard_deviation"]:.3f} (sampling noise removed),
5/25/50/75/95 % quantiles of the observed frequency {" / ".join(f"{q:.2f}" for q in quantiles)}.
Figures per family and level are in `card.json`.

## Recipe

{settings}.

Pretraining: {card["pretraining"]["cpu_seconds"]:.0f} CPU seconds on one thread, final loss
{card["pretraining"]["final_loss"]:.3f} nats per token (weighted), torch {card["pretraining"]["torch"]}.
Rebuild: `python -m spurious_rewards.models.organisms build {recipe["name"]}`; measure again: `... card FOLDER`.

## Use and limits

For experiments on training dynamics, tests and demonstrations. It answers the wordings of the synthetic task only:
other text is spelt in bytes that it has never seen. It is no calculator and no assistant. Licence: Apache-2.0; no data
of third parties is in it.
"""
