"""Compare two generation engines on one greedy evaluation, and see whether ties between tokens explain differences.

Greedy decoding in another engine (or another batch) rounds the logits differently. Where the two most likely tokens are
nearly tied, the other one may come out, and from there on the texts differ. So for every pair of answers that differ
the first differing token is located, and the gap between the top two log-probabilities at that place is computed by a
teacher-forced forward pass of the Transformers model, and how far the less likely of the two chosen tokens falls short
of the best one. A shortfall far above the rounding of the number format would mean that the engines compute different
things.

Records of finished evaluations hold texts, not tokens. `recover` encodes a text again and checks the outcome against
the record: the number of tokens must be the recorded one, and the teacher-forced sum of their log-probabilities must be
the recorded sum. What fails the check (a model may write a word in other pieces than the tokenizer would) is
counted as not located, and no gap is claimed for it.

Usage: `pairs = answer_pairs(records_a, records_b); verdicts(pairs); explain(pairs, model, tokenizer, eos)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.significance import mcnemar
from spurious_rewards.evaluation.statistics import wilson
from spurious_rewards.generation.engine import encode
from spurious_rewards.storage.runs import RunFolder

if TYPE_CHECKING:
    import torch

MAY_DIFFER = ("engine", "batch_size", "batch_invariant")
"""Fields in which two evaluations of one cell may differ; they change the rounding and nothing else."""
KEY = ["problem_id", "sample"]
LOGPROB_TOLERANCE = 0.05
"""Nats per answer within which a recovered answer's log-probability must be the recorded one, in float32."""
NEAR_TIE = 1e-3
"""Shortfall in nats below which a token counts as tied with the best in float32; its rounding is 1e-5 to 1e-4."""
DIFFERENCE_COLUMNS = [*KEY, *"located position token_a token_b gap shortfall correct_a correct_b".split()]


@dataclass(frozen=True)
class Tie:
    """Hold one place of a text where two engines chose different tokens, in nats."""

    gap: float
    """Log-probability of the most likely token minus that of the second."""
    shortfall: float
    """Log-probability of the most likely token minus that of the less likely of the two chosen ones."""


def config_of_run(run_id: str) -> Mapping[str, Any]:
    """Read the configuration of an evaluation of this machine."""
    return RunFolder.load(run_id).config()


def same_cell(a: str, b: str, config_of: Callable[[str], Mapping[str, Any]] = config_of_run) -> EvalConfig:
    """Return the configuration of evaluation `a`, after checking that `b` is of the same greedy cell.

    Args:
        a: run id.
        b: run id.
        config_of: where the configuration of a run id comes from.

    Raises:
        InputError: an evaluation does not exist, is sampled, or they differ in more than `MAY_DIFFER`.
    """
    one, two = (config_of(run_id) for run_id in (a, b))
    different = [name for name in one if name not in MAY_DIFFER and one[name] != two.get(name)]
    if different:
        raise InputError(
            f"{a} and {b} are not of one cell: they differ in {', '.join(different)}; compare evaluations "
            f"that differ in {', '.join(MAY_DIFFER)} only."
        )
    if one["temperature"]:
        raise InputError(
            f"{a} and {b} are sampled (temperature {one['temperature']}), and each engine draws random "
            "numbers of its own: compare greedy evaluations."
        )
    return EvalConfig.from_mapping({**one, "engine": "transformers", "batch_invariant": False})


def answer_pairs(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Put records side by side, columns `…_a` and `…_b`, in the order of `a`; `same` marks equal answers.

    Raises:
        InputError: the records are not of the same problems and prompts.
    """
    pairs = a.merge(b, on=KEY, suffixes=("_a", "_b"), validate="one_to_one")
    if not len(pairs) == len(a) == len(b) or (pairs["prompt_a"] != pairs["prompt_b"]).any():
        raise InputError(
            "The two sets of records are not of the same problems and prompts: evaluate the same cell "
            "with both engines."
        )
    same = pd.Series(True, index=pairs.index)
    for column in ("text", "n_tokens", "finish_reason"):
        same &= pairs[f"{column}_a"] == pairs[f"{column}_b"]
    return pairs.assign(same=same)


def verdicts(pairs: pd.DataFrame) -> dict[str, Any]:
    """Measure agreement of the robust grader's verdicts and of the texts: proportions with 95 % limits (Wilson).

    `p_value` is McNemar's for a difference in accuracy; `only_a` and `only_b` count answers right in one alone.
    """
    a, b = (pairs[f"correct_{side}"].to_numpy(bool) for side in "ab")
    agree = wilson(int((a == b).sum()), len(pairs))
    return {
        "n": len(pairs),
        "accuracy_a": float(a.mean()),
        "accuracy_b": float(b.mean()),
        **agree.columns("agree"),
        "only_a": int((a & ~b).sum()),
        "only_b": int((b & ~a).sum()),
        "p_value": mcnemar(a, b).p_value,
        "same_text": float(pairs["same"].mean()),
    }


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Find the first token in which two sequences differ; None if they are equal or one only goes on.

    >>> first_difference([5, 6, 7], [5, 8]), first_difference([5, 6], [5, 6]), first_difference([5], [5, 6])
    (1, None, None)
    """
    return next((t for t, (one, two) in enumerate(zip(a, b, strict=False)) if one != two), None)


def teacher_forced(model: Any, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> torch.Tensor:
    """Compute log-probabilities (T + 1, V) in float32: row t is the distribution from which token t is chosen."""
    import torch

    ids = torch.tensor([[*prompt_ids, *token_ids]], device=model.device)
    with torch.no_grad():
        logits_T_V = model(ids, logits_to_keep=len(token_ids) + 1).logits[0]
    return logits_T_V.float().log_softmax(-1)


def tie(logprobs_V: torch.Tensor, token_a: int, token_b: int) -> Tie:
    """Describe the tie between the tokens `a` and `b` that were chosen from one distribution."""
    first, second = logprobs_V.topk(2).values.tolist()
    return Tie(first - second, first - min(float(logprobs_V[token_a]), float(logprobs_V[token_b])))


def near_tie(dtype: str) -> float:
    """Return the shortfall below which tokens count as tied: 1e-3 nats in float32, 16 roundings in half formats.

    >>> near_tie("float32"), near_tie("bfloat16")
    (0.001, 0.125)
    """
    import torch

    return max(NEAR_TIE, 16 * torch.finfo(getattr(torch, dtype)).eps)


def recover(
    text: str, finish_reason: str, n_tokens: int, logprob: float, prompt_ids: Sequence[int], model: Any,
    tokenizer: Any, eos: Sequence[int],
) -> tuple[list[int], torch.Tensor] | None:  # fmt: skip
    """Recover token ids of a recorded greedy answer and their teacher-forced distributions; None if that is impossible.

    Args:
        text: what the model wrote, without a forced beginning.
        finish_reason: of the record; after "stop" the likeliest of the end tokens is appended.
        n_tokens: of the record, the end token included.
        logprob: of the record, the sum over all tokens in nats.
        prompt_ids: of the rendered prompt.
        model: a Transformers causal LM.
        tokenizer: its tokenizer.
        eos: end-of-sequence tokens.
    """
    import torch

    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) + (finish_reason == "stop") != n_tokens:
        return None
    logprobs_T_V = teacher_forced(model, prompt_ids, ids)
    if finish_reason == "stop":
        ids = [*ids, max(eos, key=lambda token: float(logprobs_T_V[-1, token]))]
    chosen_T = logprobs_T_V[range(len(ids)), ids]
    tolerance = LOGPROB_TOLERANCE + 4 * torch.finfo(model.dtype).eps * len(ids)
    if abs(float(chosen_T.sum(dtype=torch.float64)) - logprob) > tolerance:
        return None
    return ids, logprobs_T_V


def explain(
    pairs: pd.DataFrame,
    model: Any,
    tokenizer: Any,
    eos: Sequence[int],
    prefix: str = "",
    tokens: Mapping[tuple[str, int], tuple[list[int], list[int]]] | None = None,
) -> pd.DataFrame:
    """Explain each pair of answers that differ: one row each, columns `DIFFERENCE_COLUMNS`.

    Args:
        pairs: from `answer_pairs`.
        model: the evaluated model as a Transformers causal LM, in the dtype of the evaluations.
        tokenizer: its tokenizer.
        eos: its end-of-sequence tokens.
        prefix: what the answers were forced to begin with (part of both prompt and text).
        tokens: (problem id, sample) → token ids of both answers, where they are known and need not be recovered.
    """
    rows = []
    for pair in pairs[~pairs["same"]].to_dict("records"):
        row = {name: pair[name] for name in (*KEY, "correct_a", "correct_b")} | {"located": False}
        (prompt_ids,) = encode(tokenizer, [pair["prompt_a"]])
        if tokens is not None:
            ids_a, ids_b = tokens[pair["problem_id"], pair["sample"]]
            row |= located(ids_a, ids_b, teacher_forced(model, prompt_ids, ids_a), tokenizer)
        else:
            facts = [[pair[f"{name}_{side}"] for name in ("finish_reason", "n_tokens", "logprob")] for side in "ab"]
            texts = [pair[f"text_{side}"].removeprefix(prefix) for side in "ab"]
            given: dict[str, Any] = {"prompt_ids": prompt_ids, "model": model, "tokenizer": tokenizer, "eos": eos}
            a, b = (recover(text, *fact, **given) for text, fact in zip(texts, facts, strict=True))
            if a is not None and b is not None:
                row |= located(a[0], b[0], a[1], tokenizer)
        rows.append(row)
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS).astype(
        {"position": "Int64", "gap": "float64", "shortfall": "float64"}
    )


def located(ids_a: Sequence[int], ids_b: Sequence[int], logprobs_T_V: torch.Tensor, tokenizer: Any) -> dict[str, Any]:
    """Find where two answers part, and the tie at that place; `logprobs_T_V` is teacher-forced on answer `a`."""
    t = first_difference(ids_a, ids_b)
    if t is None:
        return {}
    tokens = {"token_a": tokenizer.decode([ids_a[t]]), "token_b": tokenizer.decode([ids_b[t]])}
    return {"located": True, "position": t, **tokens, **asdict(tie(logprobs_T_V[t], ids_a[t], ids_b[t]))}


def ties(differences: pd.DataFrame, near: float = NEAR_TIE) -> dict[str, Any]:
    """Summarise `explain`: how many differ, how many could be located, their gaps, how many are explained.

    `near_ties` counts located differences with a shortfall of at most `near` nats, see `near_tie`.
    """
    known = differences[differences["located"].astype(bool)]
    return {
        "n_different": len(differences),
        "n_located": len(known),
        "largest_gap": float(known["gap"].max()),
        "median_gap": float(known["gap"].median()),
        "largest_shortfall": float(known["shortfall"].max()),
        "near_ties": int((known["shortfall"] <= near).sum()),
    }
