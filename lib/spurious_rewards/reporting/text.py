"""Name the tables (captions) and write them as text.

Usage: `markdown(table)`; `CAPTIONS["arms"]`.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from spurious_rewards.storage.markdown import pipe_table

CAPTIONS = {
    "arms": "Accuracy and code frequency of every arm, with the change from the base model (95 % limits over seeds "
    "and problems).",
    "clip_effect": "Each clip mode minus `none`, paired by seed and problem (95 % limits over seeds and problems).",
    "clip_activity": "Where the clip acts: share of tokens clipped at update 1 of a rollout batch (must be 0) and "
    "later.",
    "first_updates": "Control: arms that differ in the clip alone have bit-equal losses at the first update.",
    "tests": "Every test behind the claims about training: effect and limits, p-value before and after Holm's "
    "adjustment, verdict and reason, and the seeds that would decide.",
    "runs": "What each training run cost, and the commit it came from.",
    "strategies": "Code reasoning (Table 1 of the paper): frequency of code, accuracy with and without it, agreement "
    "of two detectors (Cohen's kappa). That frequency × accuracy adds up holds by construction. 95 % limits are over "
    "problems; the seeds of an arm are taken together as they are.",
    "switches": "What problems contribute to the change of greedy accuracy (Fig 7), by strategy before and after "
    "training (C code, L language; 95 % limits over seeds and problems). Where the limits of total_gain include 0 "
    "the contributions mean little; where it is negative they are shares of the loss.",
    "contributions": "Contributions averaged over the arms that gained (Table 2; 95 % limits over seeds and problems).",
    "behaviour": "Code frequency and mean reward of the rollouts in fifths of training (Fig 6): mean of the seeds, and "
    "the lowest and highest seed.",
    "checkpoints": "Evaluated checkpoints along training (95 % limits over problems and seeds).",
    "forced_code": "The base model with the answer forced to begin with “Let's solve this using Python.”, against the "
    "same prompt without (Table 3): paired by problem, exact McNemar test, Holm correction within the "
    "table.",
    "prompts": "The base model under every prompt, against the profile's own (first row of a model; Table 5): paired "
    "by problem, exact McNemar test, Holm correction within the table; refused styles carry a `reason`.",
    "probe": "Completion of problems from their first 40, 60, 80 % (contamination probe): exact match of the rest, "
    "ROUGE-L, and right answers from the beginning alone (95 % limits; Wilson, bootstrap for ROUGE-L). "
    "`exact_match_numbers`: only rests that hold a number, since wording can be guessed; `…_minus_clean`: "
    "difference to freshly generated problems (Newcombe).",
    "pass_at_k": "Unbiased pass@k from n samples per problem (95 % limits over problems and seeds); k = 1 is avg@n.",
    "verifier_quality": "A verifier with errors: change of accuracy and code by its quality J = 1 − false positives − "
    "false negatives, with and without the clip (95 % limits over seeds and problems).",
    "recipes": "Checkpoints of one recipe, pretrained from several seeds: what training changes in each, and in the "
    "mean of them (95 % limits over seeds and problems; those of the mean over checkpoints and problems).",
    "drift_in_training": "Does the drift of one rollout batch (antithetic pairs) explain what a run does? Change of "
    "the share of code among sampled rollouts: first batch's drift times the run's length, and the change in training "
    "(95 % limits over pairs, over seeds). A pair's rollout batch is smaller than a run's.",
    "bandit_map": "The bandit with coins for rewards: change of the prior, of its log-odds and of entropy in each "
    "setting, with and without the clip (95 % limits over seeds).",
    "bandit_bins": "Where the clip acts in the bandit: share of tokens clipped from above and from below, by the "
    "probability that the token had in the rollouts (95 % limits over seeds).",
    "bandit_grid": "The settings of the bandit page: share of seeds in which the likelier arm rises, and the change "
    "of its probability, enumerated.",
    "antithetic": "One rollout batch replayed with and without the clip, each pair with the advantages and with their "
    "negatives: drift and the clip's effect (95 % limits over pairs).",
    "antithetic_smollm2": "SmolLM2 in fp32: one rollout batch replayed with and without the clip, each pair with the "
    "advantages and with their negatives (95 % limits over pairs). Hardly any answer is code.",
    "antithetic_smollm2_bf16": "SmolLM2 in bf16 with weights in fp32, as runs on a GPU have it, but on a CPU: one "
    "rollout batch replayed with and without the clip (95 % limits over pairs).",
    "counterfactual": "One rollout batch replayed with and without the clip on the same rollouts and advantages: "
    "change and the clip's effect (95 % limits over pairs).",
    "decision": "Where a model decides for code: share of the choice that the first token settles, over how many "
    "equally likely tokens it is spread, and how likely the likeliest is.",
    "dose_counterfactual": "Dose and response, one rollout batch: the clip's effect on models that differ in their "
    "prior for code (95 % limits over pairs).",
    "dose_response": "Dose and response, short runs: change with and without the clip, by the prior for code (95 % "
    "limits over seeds).",
    "drift": "What one rollout batch leaves: the part of noise, and what each clip mode adds (95 % limits over pairs).",
    "questions": "Every question to the mechanism with its effect, limits and p-value, adjusted by Holm.",
    "claims": "The paper's claims beside what was measured here. Figures in the column `paper` are paper-reported.",
}

BENCHMARKS = {
    "generation/agreement": "The same greedy evaluation cell through two engines: verdicts, texts, and how near the "
    "top two tokens were where the texts first differ.",
    "generation/engines": "Speed of the two engines in one run (benchmarks/generation.py).",
    "training/grpo_step": "CPU seconds of one rollout batch, 32 × 16 rollouts and 8 updates (benchmarks/grpo_step.py); "
    "100 rollout batches extrapolated, one whole run measured.",
    "training/real_model_trl": "One rollout batch of SmolLM2-135M on one core, medians of one run "
    "(benchmarks/real_model.py): stock TRL; this project's trainer with rollouts by TRL (default diagnostics); and "
    "with rollouts that share the prompt (prefix).",
    "training/real_model_ways": "Ways to make SmolLM2-135M fit, one change at a time, each in a process of its own: "
    "seconds of one rollout batch on one core, and peak memory (benchmarks/real_model.py).",
    "training/scaling": "Time and memory against model size, completion length and group size.",
    "training/clip_noise_floor": "The clip noise floor: share of tokens whose ratio leaves the band by rounding alone, "
    "when log π_old comes from other batches than the update's (benchmarks/clip_noise_floor.py). The literature puts "
    "all clipping in real runs under 0.2 % of tokens (arXiv 2512.16912).",
    "training/task_search": "SmolLM2 on graded tasks under every prompt that leaves the answer's beginning to it: "
    "pass@1 and pass@16 of 64 problems, and the cell that the rule of evaluation.task_search chose.",
    "training/step_size_search": "SmolLM2 on the chosen task, ground truth: mean reward of the first and last five of "
    "15 rollout batches, and the step size that the rule chose.",
    "training/perplexity": "SmolLM2 before and after training (benchmarks/profile_runs.py): perplexity of the "
    "problems, of the reference answers behind the prompt, and of its own greedy answers. Spurious rewards are said to "
    "make a model surer of its answers and less sure of the problems (arXiv 2601.11061).",
    "grader_benchmark": "Speed of the graders (benchmarks/grader.py).",
}
"""Tables that benchmarks write, below results/tables, and their captions."""


def shown(value: Any) -> str:
    """Write a table's value: four significant digits, a dash for what does not exist.

    >>> shown(0.123456), shown(float("nan")), shown(pd.NA), shown(float("-inf")), shown(12)
    ('0.1235', '–', '–', '−∞', '12')
    """
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "−∞"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def markdown(table: pd.DataFrame) -> str:
    """Write a table as a Markdown pipe table."""
    return pipe_table(list(table.columns), (map(shown, row) for row in table.itertuples(index=False)))
