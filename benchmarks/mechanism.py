"""Speed of the bandit simulator against a plain NumPy loop of the same experiment, measured in one run.

The loop is what one would write first: one seed at a time, every rollout kept, vectorised over the rollouts of a
mini-batch. Both run the documented example (two arms, two-sided clip, SGD step 2, 64 × 16 rollouts, 8 updates) on one
thread, alternating; times are process CPU seconds, so that other work on the machine does not count. The two must also
agree: the difference of their mean changes is given in standard errors.

    python benchmarks/mechanism.py --quick
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import torch

from spurious_rewards.mechanism.bandit import simulate
from spurious_rewards.mechanism.config import BanditConfig


def plain_loop(config: BanditConfig, rng: np.random.Generator) -> np.ndarray:
    """Change of the likelier arm's log-odds for each seed, [S]."""
    prior, epsilon = config.probabilities(), config.epsilon
    size = config.rollouts // config.updates
    changes = []
    for _ in range(config.seeds):
        theta = np.log(prior)
        for _ in range(config.batches):
            old = np.exp(theta) / np.exp(theta).sum()
            arms = rng.choice(len(prior), size=config.rollouts, p=old)
            rewards = (rng.random((config.groups, config.group_size)) < config.gamma).astype(float)
            centred = rewards - rewards.mean(axis=1, keepdims=True)
            advantage = (centred / (rewards.std(axis=1, ddof=1, keepdims=True) + 1e-4)).ravel()
            order = rng.permutation(config.rollouts)
            for part in order.reshape(config.updates, size):
                policy = np.exp(theta) / np.exp(theta).sum()
                a, r = advantage[part], (policy / old)[arms[part]]
                binds = ((a > 0) & (r > 1 + epsilon)) | ((a < 0) & (r < 1 - epsilon))
                weight = np.where(binds, 0.0, a * r)
                gradient = np.bincount(arms[part], weight, len(prior)) - policy * weight.sum()
                theta = theta + config.step_size * gradient / size
        changes.append(theta[0] - theta[1] - np.log(prior[0] / prior[1]))
    return np.array(changes)


def main() -> None:
    """Time both, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller problem (about 15 seconds)")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    batches, repetitions = (10, 3) if quick else (40, 5)
    ours = BanditConfig(prior="0.65,0.35", batches=batches, seeds=1000)
    loop = BanditConfig(prior="0.65,0.35", batches=batches, seeds=100 if quick else 200)
    simulate(BanditConfig(prior="0.65,0.35", batches=1, seeds=200))  # first-use costs of torch stay out of the times
    settings = ours.to_dict()
    runs = {
        "ours": (ours, lambda seed: simulate(BanditConfig(**{**settings, "seed": seed})).per_seed["logit_change"]),
        "loop": (loop, lambda seed: plain_loop(loop, np.random.default_rng(seed))),
    }
    rates: dict[str, list[float]] = {name: [] for name in runs}
    moved: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for repetition in range(repetitions):
        for name, (config, run) in runs.items():
            start = time.process_time()
            moved[name].append(run(repetition))
            rates[name].append(config.seeds * batches * config.updates / (time.process_time() - start))
    speed = {name: statistics.median(values) for name, values in rates.items()}
    changes = {name: np.concatenate(values) for name, values in moved.items()}
    mean = {name: values.mean() for name, values in changes.items()}
    error = {name: values.std(ddof=1) / len(values) ** 0.5 for name, values in changes.items()}
    apart = (mean["ours"] - mean["loop"]) / float(np.hypot(error["ours"], error["loop"]))
    print(f"{'':24}seeds·updates/s   mean change of log-odds")
    for name, label in (("ours", "vectorised simulator"), ("loop", "plain NumPy loop")):
        print(f"{label:24}{speed[name]:15,.0f}   {mean[name]:.4f} ± {error[name]:.4f} (s.e.)")
    print(json.dumps({"seeds_updates_per_second": round(speed["ours"]), "numpy_loop": round(speed["loop"]),
                      "speedup": round(speed["ours"] / speed["loop"], 1), "standard_errors_apart": round(apart, 2),
                      "batches": batches, "repetitions": repetitions}))  # fmt: skip


if __name__ == "__main__":
    main()
