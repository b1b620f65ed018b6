r"""Speed of the grader: robust, paper and plain math-verify on the same outputs in one run.

The outputs are solutions of MATH-500 problems: the problem's own text and formulas as working, then a final answer that
is the gold as it stands, the gold in another spelling, a wrong answer, a sentence without a box, or a box cut off at
the token limit, in fixed proportions. A second set are answers in sentences, in an answer tag, after a cue or in the
box, as base models write them. If evaluation records of a real model are given (`--records`, a parquet file with
columns text and gold), they are measured as well.

Cold means that no pair was seen before (every cache emptied; the math-verify process already runs); warm is the second
pass over the same pairs, as when a trainer grades many equal answers. math-verify runs in this process, with its own
time-outs, `verify(parse(boxed gold), parse(text))`.

Usage: `SPURIOUS_DATA_DIR=… python benchmarks/grader.py [--quick] [--table results/tables/grader_benchmark.csv]`;
the last line is JSON.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import logging
import os
import random
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spurious_rewards.command_line import exit_code
from spurious_rewards.errors import InputError
from spurious_rewards.rewards.cases import print_json
from spurious_rewards.rewards.grader import normalization, paper, worker_client
from spurious_rewards.rewards.grading import grade, judge
from spurious_rewards.storage.files import write_text

Pair = tuple[str, str]  # text, gold
KINDS = {  # percent
    "gold as it stands": 45,
    "gold in another spelling": 15,
    "wrong answer": 30,
    "no box": 5,
    "cut off": 5,
}
SENTENCES = (
    "Mia has {a} coins.",
    "It takes {a} bolts of cloth in total",
    "So, he scored a total of {b} + {c} = {a} points.",
    "The share of spotted cats is {a}%.",
    "The total cost for {b} scoops is ${a}.",
    "They sell {a} books in {b} days and keep the rest",
    "{a} students, as {b} - {c} = {a}.",
)
PLACES = (
    "<think>We add.</think> <answer> SENTENCE </answer>",
    "We compute it.\nThe answer is: SENTENCE",
    "We compute it.\nSENTENCE",
    "so \\boxed{SENTENCE}",
)
COLUMNS = ("outputs", "n_pairs", "grader", "cache", "pairs_per_second", "share_correct", "times_math_verify")


def solutions(problems: list[dict[str, str]], per_problem: int, seed: int = 0) -> list[Pair]:
    """Outputs in the style of a model that solves MATH-500 problems, with their golds."""
    generator = random.Random(seed)
    golds = [problem["answer"] for problem in problems]
    pairs = []
    for problem in problems:
        for kind in generator.choices(list(KINDS), list(KINDS.values()), k=per_problem):
            formulas = generator.sample(golds, 4)
            steps = "\n\n".join(
                f"Step {n}: from this we obtain $$y_{n} = {formula}$$ and continue."
                for n, formula in enumerate(formulas, 1)
            )
            text = f"We are given the following. {problem['problem']}\n\n{steps}\n\n"
            pairs.append((text + _ending(kind, problem["answer"], golds, generator), problem["answer"]))
    return pairs


def _ending(kind: str, gold: str, golds: list[str], generator: random.Random) -> str:
    if kind == "wrong answer":
        number = re.fullmatch(r"-?\d+", gold)
        wrong = str(int(gold) + generator.choice([-2, -1, 1, 10])) if number else generator.choice(golds)
        return rf"Therefore the answer is $\boxed{{{wrong}}}$."
    if kind == "gold in another spelling":
        other = re.sub(r"\\frac\{(\d+)\}\{(\d+)\}", r"\1/\2", gold).replace("\\sqrt{", "\\sqrt {")
        other = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", ",", other) if gold.isdigit() else other
        return rf"Therefore the answer is \[\boxed{{ {other} }}\]"
    return {
        "gold as it stands": rf"Therefore the answer is $\boxed{{{gold}}}$.",
        "no box": f"Therefore, the final answer is ${gold}$.",
        "cut off": rf"Therefore the answer is $\boxed{{{gold}",
    }[kind]


def sentences(n: int, seed: int = 0) -> list[Pair]:
    """Answers in whole sentences, seven of ten with the gold that they state."""
    generator = random.Random(seed)
    pairs = []
    for _ in range(n):
        a, b = generator.sample(range(2, 5000), 2)
        stated = generator.choice(SENTENCES).format(a=a, b=b, c=a - b)
        text = generator.choice(PLACES).replace("SENTENCE", stated)
        pairs.append((text, str(a if generator.random() < 0.7 else a + 1)))
    return pairs


def read_records(path: str) -> list[Pair]:
    """Outputs and golds of an evaluation run."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path, columns=["text", "gold"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"Cannot read text and gold of {path}: give the records.parquet of an evaluation.") from error
    return list(frame.itertuples(index=False, name=None))


def forget() -> None:
    """Empty every cache of the grader."""
    for function in (judge, normalization.normalize, paper._equal):
        function.cache_clear()


def plain_math_verify() -> Callable[[str, str], bool]:
    """math-verify as its documentation uses it, with the gold boxed."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    return lambda text, gold: verify(parse(rf"\boxed{{{gold}}}"), parse(text))


def measure(name: str, pairs: list[Pair]) -> list[dict[str, object]]:
    """One row per grader and cache state."""
    worker_client.warm_up()
    math_verify = plain_math_verify()
    math_verify("5", "5")  # imports and compiles before the clock runs
    graders = {
        "robust": lambda text, gold: grade(text, gold).correct,
        "paper": lambda text, gold: grade(text, gold, mode="paper").correct,
    }
    rows = []
    for grader, judge_pair in graders.items():
        forget()
        for cache in ("cold", "warm"):
            rows.append(_row(name, grader, cache, judge_pair, pairs))
    rows.append(_row(name, "math-verify", "cold", math_verify, pairs))
    reference = float(rows[-1]["pairs_per_second"])
    for row in rows:
        row["times_math_verify"] = round(float(row["pairs_per_second"]) / reference, 2)
    return rows


def _row(outputs: str, grader: str, cache: str, judge_pair: Callable[[str, str], bool], pairs: list[Pair]) -> dict:
    started = time.perf_counter()
    correct = sum(judge_pair(text, gold) for text, gold in pairs)
    seconds = time.perf_counter() - started
    return {
        "outputs": outputs,
        "n_pairs": len(pairs),
        "grader": grader,
        "cache": cache,
        "pairs_per_second": round(len(pairs) / seconds, 1),
        "share_correct": round(correct / len(pairs), 4),
    }


def main() -> None:
    """Run the benchmark and print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="100 problems, one output each (about 10 s)")
    parser.add_argument("--records", help="records.parquet of an evaluation, measured as well")
    parser.add_argument("--table", help="write the rows as CSV")
    options = parser.parse_args()
    folder = os.environ.get("SPURIOUS_DATA_DIR")
    if not folder or not (Path(folder) / "math500.jsonl").exists():
        raise InputError("No math500.jsonl: set SPURIOUS_DATA_DIR to the folder with the benchmark files.")
    lines = (Path(folder) / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    problems = [json.loads(line) for line in lines]
    sets = {
        "MATH-500-like": solutions(problems[:100], 1) if options.quick else solutions(problems, 4),
        "sentences": sentences(100 if options.quick else 1000),
    }
    if options.records:
        sets[Path(options.records).parent.name] = read_records(options.records)[: 100 if options.quick else None]
    rows = [row for name, pairs in sets.items() for row in measure(name, pairs)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    print(stream.getvalue())
    if options.table:
        write_text(options.table, stream.getvalue())
    speed = {f"{row['grader']}_{row['cache']}".replace("-", "_"): row["pairs_per_second"] for row in rows[:5]}
    print_json(
        {
            "n_pairs": rows[0]["n_pairs"],
            **{f"{name}_pairs_per_second": value for name, value in speed.items()},
            "robust_times_math_verify": rows[0]["times_math_verify"],
        }
    )


if __name__ == "__main__":
    sys.exit(exit_code(main))
