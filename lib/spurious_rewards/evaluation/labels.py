r"""Make majority-vote labels: the most frequent of k answers of a given model under a given prompt (paper §2).

The paper labels with the mode of 64 samples at temperature 1 on the raw prompt. Here the votes are counted by
equivalence (`0.5` and `\frac{1}{2}` are one answer) after equal strings have been joined; samples without an answer do
not vote; a tie goes to the answer that was sampled first and is recorded. How many labels are right is part of the
result: for a weak model "majority vote" *is* an incorrect reward.

    runs/<label_id>/labels.parquet   one row per problem, see LABEL_COLUMNS
                    manifest.json    last, with the label accuracy and its interval

Usage: `run = make_labels(LabelConfig(train_set="synthetic", n_problems=512)); labels = load_labels(run.folder)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from spurious_rewards.data.labelled import load_labels
from spurious_rewards.data.problem import Problem
from spurious_rewards.evaluation.config import GenerationConfig
from spurious_rewards.evaluation.parts import computed, problems_of
from spurious_rewards.evaluation.statistics import Interval, wilson
from spurious_rewards.generation.engine import Sample
from spurious_rewards.models.prompts import answer_format, answer_prefix
from spurious_rewards.rewards.extraction import extract_answer
from spurious_rewards.rewards.grading import same_answer
from spurious_rewards.storage.config import slug
from spurious_rewards.storage.files import write_parquet
from spurious_rewards.storage.runs import RunFolder

__all__ = ["LabelConfig", "label_accuracy", "load_labels", "make_labels", "vote"]

LABEL_COLUMNS = {
    "problem_id": "id within the problem set",
    "label": "the answer with most votes as it was sampled first, null if no sample has an answer",
    "n_votes": "samples that gave it",
    "n_valid": "samples with an answer",
    "tie": "whether another answer has as many votes",
    "gold": "reference answer",
    "label_correct": "label and reference agree by the robust grader (false without a label)",
    "votes": "all answers and their votes, as JSON, in the order they were sampled first",
}
_DTYPES = {"label": "str", "n_votes": "int64", "n_valid": "int64", "tie": "bool", "label_correct": "bool"}


@dataclass(frozen=True)
class LabelConfig(GenerationConfig):
    """Describe one labelling: who votes on what, under which prompt."""

    temperature: float = 1.0
    """Sampling temperature of the votes; paper: 1."""
    n_samples: int = 64
    """Votes per problem; paper: 64."""
    problem_order: str = "shuffled"
    """As training draws its problems; a training run of the same `n_problems` and seed then finds all its labels."""
    train_set: str = "synthetic"
    """Problem set to label, see `data.problem_sets`."""

    def label_id(self) -> str:
        """Name the folder of the labelling's run."""
        parts = (slug(self.model), slug(self.train_set), slug(self.prompt_style), self.decoding(), self.digest())
        return "labels-" + "-".join(parts)


@dataclass(frozen=True)
class Vote:
    """Hold the result of a vote; `votes` maps each answer, as sampled first, to its number of votes."""

    label: str | None
    n_votes: int
    n_valid: int
    tie: bool
    votes: dict[str, int]


def vote(answers: Iterable[str | None]) -> Vote:
    r"""Find the most frequent answer by equivalence; empty ones do not vote, a tie goes to the first sampled.

    >>> vote(["2", "0.5", None, r"\frac{1}{2}", "2", ""])
    Vote(label='2', n_votes=2, n_valid=4, tie=True, votes={'2': 2, '0.5': 2})
    """
    by_string: dict[str, int] = {}
    for answer in answers:
        if answer is not None and answer.strip():
            by_string[answer.strip()] = by_string.get(answer.strip(), 0) + 1
    votes: dict[str, int] = {}
    for answer, count in by_string.items():
        known = next((other for other in votes if same_answer(answer, other)), answer)
        votes[known] = votes.get(known, 0) + count
    if not votes:
        return Vote(None, 0, 0, False, {})
    label = max(votes, key=votes.__getitem__)  # the first of several maxima
    return Vote(label, votes[label], sum(votes.values()), list(votes.values()).count(votes[label]) > 1, votes)


def make_labels(config: LabelConfig, progress: bool = True) -> RunFolder:
    """Label a problem set, or return the labelling if it is there; resumable per batch like an evaluation.

    Raises:
        InputError: unknown model, problem set, prompt style or engine; context overflow; another process computes the
            labels; or problems, model files or prompt have changed since it was started.
    """
    problems = problems_of(config, config.train_set)

    def rows_of(problem: Problem, _: str, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        prefix, style = answer_prefix(config.prompt_style), answer_format(config.prompt_style)
        result = vote(extract_answer(prefix + sample.text, style=style) for sample in samples)
        right = result.label is not None and same_answer(result.label, problem.answer)
        row = {"problem_id": problem.id, "gold": problem.answer, "label_correct": right, **asdict(result)}
        return [row | {"votes": json.dumps(result.votes, ensure_ascii=False)}]

    def finish(run: RunFolder, frame: pd.DataFrame, facts: dict[str, Any]) -> None:
        write_parquet(run.path("labels.parquet"), frame[list(LABEL_COLUMNS)])
        n_labelled = int(frame["label"].notna().sum())
        accuracy = asdict(label_accuracy(frame)) if n_labelled else None
        counts = {"n_labelled": n_labelled, "n_ties": int(frame["tie"].sum()), "label_accuracy": accuracy}
        run.finish({"kind": "labels", "config": config.to_dict(), "seed": config.seed, **facts, **counts})

    return computed(config.label_id(), config, config.model, problems, rows_of, _DTYPES, finish, progress)


def label_accuracy(labels: pd.DataFrame) -> Interval:
    """Estimate the share of right labels among the labelled problems, with Wilson's interval."""
    labelled = labels[labels["label"].notna()]
    return wilson(int(labelled["label_correct"].sum()), len(labelled))
