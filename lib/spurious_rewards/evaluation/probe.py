"""Probe for contamination: have a model continue the beginnings of problems, and grade what it writes.

A problem's text is cut at the boundary nearest to 40, 60 and 80 % of its characters; the model continues the
beginning as raw text (no template), greedily. A boundary is the end of a word, or where none is within 5 % of the
text, of a token of the model, so that a long word does not make a short text's "40 %" anything between 2 and 61;
column `shown` holds the share that it came to. A model that has not seen a problem cannot know numbers that are still
to come, so exact completions and right answers above those on freshly generated problems speak for memory (arXiv
2507.10532: Qwen2.5-Math-7B completes 54.6 % of MATH-500 from 60 %, *paper-reported*). Wording can be guessed ("… as a
common | fraction.") and numbers cannot: what speaks for memory is `exact_match_numbers`, the exact matches among
rests that hold a number.

- `exact_match`: the continuation begins with the rest of the problem, white space aside, and does not go on inside its
  last word or number. It is possible only where the rest `fits` into the longest continuation.
- `rouge_l`: ROUGE-L F1 over words, numbers and single symbols, lower case; of the continuation as many tokens count as
  the rest has, because a continuation goes on into an answer (our choice).
- `correct`: the robust grader on the continuation alone, the fallback to its last number included.

    runs/<probe_id>/probe.parquet    one row per problem and beginning, see PROBE_COLUMNS
                    manifest.json    last, with the summary table

Like an evaluation a probe stops and resumes per batch, and is computed once.

Usage: `run = probe(ProbeConfig(model="smollm2-135m-instruct", benchmark="math500")); summarise_probe(load_probe(run))`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import pandas as pd

from spurious_rewards.data.problem import Problem
from spurious_rewards.errors import InputError, check_name
from spurious_rewards.evaluation.config import GenerationConfig
from spurious_rewards.evaluation.parts import computed, problems_of
from spurious_rewards.evaluation.records import jsonable, read_rows
from spurious_rewards.evaluation.statistics import bootstrap_mean, wilson
from spurious_rewards.generation.engine import Sample
from spurious_rewards.models.registry import load_tokenizer
from spurious_rewards.rewards.grading import grade
from spurious_rewards.storage.config import slug
from spurious_rewards.storage.files import write_parquet
from spurious_rewards.storage.runs import RunFolder

BOUNDARIES = ("word", "token")
PROBE_COLUMNS = {
    "problem_id": "id within the problem set",
    "percent": "how much of the problem's text was to be shown, in per cent of its characters",
    "shown": "how much was shown, 0 to 1 of its characters",
    "beginning": "what was shown: the prompt",
    "rest": "what was held back",
    "text": "the continuation",
    "n_tokens": "generated tokens, the end-of-sequence token included",
    "finish_reason": "stop, or length if max_new_tokens cut it",
    "fits": "the rest has at most max_new_tokens tokens of the model: an exact match is possible",
    "exact_match": "the continuation begins with the rest, white space aside",
    "rouge_l": "ROUGE-L F1 of the continuation's beginning against the rest, 0 to 1",
    "gold": "reference answer",
    "extracted": "final answer found in the continuation, null if none",
    "correct": "verdict of the robust grader on the continuation",
    "batch": "number of the batch in which it was generated, from 0",
}
CELL_COLUMNS = ("model", "benchmark", "boundary", "max_new_tokens", "engine", "dtype", "batch_size")
"""What `load_probes` adds from a probe's configuration."""
NEAR = 0.05
"""How far from the wanted share, in characters per character of the text, a word may end to be cut at."""
_DTYPES = {"extracted": "str"}
_TOKEN = re.compile(r"\w+|[^\w\s]")
_GOES_ON = re.compile(r"\w\w|\d[.,^]\d|\d ?/ ?\d")


@dataclass(frozen=True)
class ProbeConfig(GenerationConfig):
    """Describe one probe: a model on the beginnings of a benchmark's problems."""

    prompt_style: str = "none"
    """Prompt style: a probe always continues the raw text."""
    max_new_tokens: int = 128
    """Longest continuation; it must have room for the rest of the problem and an answer."""
    benchmark: str = "synthetic_test"
    """Problem set, see `data.problem_sets`."""
    percents: str = "40,60,80"
    """How much of a problem is shown, in per cent of its characters, separated by commas."""
    boundary: str = "word"
    """Where a text may be cut: after a `word` (if one ends near), or between any two tokens of the model (`token`)."""

    def validate(self) -> None:
        """Raise `InputError` for values that cannot work, before anything is loaded."""
        super().validate()
        self.shown()
        check_name("boundary", self.boundary, BOUNDARIES)
        if self.prompt_style != "none" or self.n_samples != 1:
            raise InputError(
                "A probe continues the raw text once per problem: leave prompt_style at 'none' and n_samples at 1."
            )

    def shown(self) -> list[int]:
        """Return `percents` as numbers."""
        parts = [part.strip() for part in self.percents.split(",")]
        if not all(re.fullmatch(r"[1-9]\d?", part) for part in parts) or len(set(parts)) < len(parts):
            raise InputError(
                f"percents must be different whole numbers from 1 to 99 separated by commas, but they are "
                f"{self.percents!r}."
            )
        return [int(part) for part in parts]

    def probe_id(self) -> str:
        """Name the folder of the probe's run."""
        return "-".join(("probe", slug(self.model), slug(self.benchmark), self.digest()))


def probe(config: ProbeConfig, progress: bool = True) -> RunFolder:
    """Run one probe, or return it if it is there.

    Raises:
        InputError: unknown model, benchmark or engine; context overflow; a problem that cannot be cut; another process
            computes the probe; or problems or model files have changed since it was started.
    """
    problems = beginnings(config)

    def rows_of(problem: Problem, prompt: str, samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return [probe_record(problem, prompt, samples[0], config.max_new_tokens)]

    def finish(run: RunFolder, frame: pd.DataFrame, facts: dict[str, Any]) -> None:
        facts["n_problems"] = frame["problem_id"].nunique()
        write_parquet(run.path("probe.parquet"), frame[list(PROBE_COLUMNS)])
        summary = [jsonable(row) for row in summarise_probe(frame).to_dict("records")]
        run.finish({"kind": "probe", "config": config.to_dict(), "seed": config.seed, **facts, "summary": summary})

    return computed(config.probe_id(), config, config.model, problems, rows_of, _DTYPES, finish, progress)


def load_probe(run: RunFolder) -> pd.DataFrame:
    """Read the rows of a complete probe.

    Raises:
        InputError: it is not complete, or damaged.
    """
    return read_rows(run, "probe.parquet")


def load_probes(runs: Iterable[RunFolder]) -> pd.DataFrame:
    """Read the rows of complete probes, one below the other, with `run_id` and `CELL_COLUMNS`; empty for none."""
    frames = []
    for run in runs:
        config = run.config()
        frames.append(load_probe(run).assign(run_id=run.run_id, **{name: config[name] for name in CELL_COLUMNS}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def named_benchmarks(names: str) -> list[str]:
    """Read the problem sets in a text, separated by commas.

    >>> named_benchmarks("math500, synthetic_test")
    ['math500', 'synthetic_test']

    Raises:
        InputError: there is none, or the same one twice.
    """
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found or len(set(found)) < len(found):
        raise InputError(
            f"The problem sets to probe must be one name or different ones separated by commas, but they "
            f"are {names!r}; to leave the probe out set the number of problems to 0."
        )
    return found


def beginnings(config: ProbeConfig) -> list[Problem]:
    """Cut the problems and return their beginnings: id `<id>@<percent>`, the rest in `meta["rest"]`.

    Raises:
        InputError: a problem has no boundary to cut at, so that nothing or everything would be shown.
    """
    tokenizer, found = load_tokenizer(config.model), []
    for problem in problems_of(config, config.benchmark):
        text = problem.problem
        tokens = token_ends(text, tokenizer)
        words = word_ends(text) if config.boundary == "word" else []
        for percent in config.shown():
            beginning, rest = cut_text(text, percent, words, tokens)
            if not beginning or not rest:
                raise InputError(
                    f"Problem {problem.id} of {config.benchmark} is one token long and cannot be cut: "
                    "leave it out (n_problems)."
                )
            meta = {
                "rest": rest,
                "percent": percent,
                "shown": len(beginning) / len(text),
                "rest_tokens": len(tokenizer(rest, add_special_tokens=False)["input_ids"]),
            }
            found.append(replace(problem, id=f"{problem.id}@{percent}", problem=beginning, meta=problem.meta | meta))
    return found


def word_ends(text: str) -> list[int]:
    """Find the positions after each word (run of characters that are no white space).

    >>> word_ends("Find  4 plus 38.")
    [4, 7, 12, 16]
    """
    return [match.end() for match in re.finditer(r"\S+", text)]


def token_ends(text: str, tokenizer: Any) -> list[int]:
    """Find the positions after each token of a fast tokenizer."""
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return [end for _, end in offsets]


def cut_text(text: str, percent: int, words: Sequence[int], tokens: Sequence[int]) -> tuple[str, str]:
    """Cut a text at the boundary nearest to `percent` of its characters; the rest is stripped.

    Args:
        text: of a problem.
        percent: how much to show.
        words: positions after words; the nearest is taken if it is within `NEAR` of the mark.
        tokens: positions after tokens; else the nearest of these. Of two equally near ones the first is taken.

    Returns:
        Beginning and rest; both are empty where there is no boundary inside the text.

    >>> text = "Find 47 plus 38."
    >>> cut_text(text, 45, word_ends(text), [4, 6, 7, 12, 14, 15])
    ('Find 47', 'plus 38.')
    >>> cut_text(text, 90, word_ends(text), [4, 6, 7, 12, 14, 15])
    ('Find 47 plus 3', '8.')
    """
    mark, last = len(text) * percent / 100, len(text.rstrip())
    for ends, reach in ((words, NEAR * len(text)), (tokens, len(text))):
        inside = [end for end in ends if text[:end].strip() and end < last and abs(end - mark) <= reach]
        if inside:
            end = min(inside, key=lambda end: abs(end - mark))
            return text[:end], text[end:].strip()
    return "", ""


def probe_record(problem: Problem, prompt: str, sample: Sample, max_new_tokens: int) -> dict[str, Any]:
    """Make the row of one beginning, keys as in `PROBE_COLUMNS` but for `batch`, which the generation adds."""
    meta, rest, verdict = problem.meta, problem.meta["rest"], grade(sample.text, problem.answer)
    row = {"problem_id": problem.id.rsplit("@", 1)[0], "percent": meta["percent"], "shown": meta["shown"]}
    row |= {"beginning": prompt, "rest": rest, "text": sample.text, "n_tokens": len(sample.token_ids)}
    row |= {"finish_reason": sample.finish_reason, "fits": meta["rest_tokens"] <= max_new_tokens}
    row |= {"exact_match": completes(sample.text, rest), "rouge_l": rouge_l(sample.text, rest)}
    return row | {"gold": problem.answer, "extracted": verdict.extracted, "correct": verdict.correct}


def completes(text: str, rest: str) -> bool:
    """Tell whether a continuation begins with the rest of the problem, white space aside, and its last word ends there.

    >>> completes(" plus  38. The", "plus 38."), completes("plus 380", "plus 38"), completes("plus 3", "plus 38")
    (True, False, False)
    >>> completes("plus 38.5", "plus 38."), completes("plus 3,000", "plus 3"), completes("plus 3/4", "plus 3")
    (False, False, False)
    """
    text, rest = " ".join(text.split()), " ".join(rest.split())
    if not text.startswith(rest):
        return False
    seam = len(rest)  # a word or number that lies on both sides of it goes on
    return not any(
        (match := _GOES_ON.match(text, start)) is not None and match.end() > seam
        for start in range(max(0, seam - 2), seam)
    )


def rouge_l(text: str, rest: str) -> float:
    """Compute ROUGE-L F1 of the continuation's first tokens, as many as the rest has, against the rest.

    F1 = 2 · LCS / (m + n), with LCS the longest common subsequence of m and n tokens.

    >>> rouge_l("plus 30 . And so on", "plus 38.")  # two of three tokens in order: 2 · 2 / (3 + 3)
    0.6666666666666666
    """
    wanted = _TOKEN.findall(rest.lower())
    given = _TOKEN.findall(text.lower())[: len(wanted)]
    return 2 * lcs_length(given, wanted) / (len(given) + len(wanted))


def lcs_length(one: Sequence[str], two: Sequence[str]) -> int:
    """Compute the length of the longest common subsequence.

    >>> lcs_length("a b c d".split(), "b x d a".split())
    2
    """
    row = [0] * (len(two) + 1)
    for a in one:
        diagonal = 0
        for j, b in enumerate(two, start=1):
            diagonal, row[j] = row[j], diagonal + 1 if a == b else max(row[j], row[j - 1])
    return row[-1]


def holds_number(rest: pd.Series) -> pd.Series:
    """Tell whether each text has a digit: a stock phrase has none."""
    return rest.str.contains(r"\d", regex=True)


def summarise_probe(rows: pd.DataFrame) -> pd.DataFrame:
    """Summarise each share shown: exact match and accuracy with Wilson limits, ROUGE-L with a bootstrap over problems.

    `shown_min` and `shown_max` are the smallest and largest share that a problem showed, `rest_tokens` the mean length
    of what was held back in words, numbers and symbols, `fits` how often an exact match was possible, `cut_off` how
    often the continuation ran into its limit. `exact_match_numbers` counts only the `n_numbers` problems whose rest
    holds a digit.
    """
    table = []
    for percent, group in rows.groupby("percent", sort=True):
        row: dict[str, Any] = {"percent": int(percent), "n_problems": len(group)}
        for name, figure in (("shown", "mean"), ("shown_min", "min"), ("shown_max", "max")):
            row[name] = float(group["shown"].agg(figure))
        numbers = group[holds_number(group["rest"])]
        row["n_numbers"] = len(numbers)
        for name, interval in (
            ("exact_match", wilson(int(group["exact_match"].sum()), len(group))),
            ("exact_match_numbers", wilson(int(numbers["exact_match"].sum()), len(numbers))),
            ("rouge_l", bootstrap_mean(group["rouge_l"].to_numpy())),
            ("accuracy", wilson(int(group["correct"].sum()), len(group))),
        ):
            row |= interval.columns(name)
        row["rest_tokens"] = fmean(len(_TOKEN.findall(rest)) for rest in group["rest"])
        row["fits"] = float(group["fits"].mean())
        row["cut_off"] = float((group["finish_reason"] == "length").mean())
        table.append(jsonable(row))
    return pd.DataFrame(table)
