"""Select the answers that the page shows: greedy ones to the first problems, of one seed per arm.

All others are in `results/records/`. Equal texts are stored once.

Usage: `answers_script(profiles)` is the file `site/answers-data.js`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from spurious_rewards.data.synthetic import FAMILIES, make_problem
from spurious_rewards.reporting.arms import arm_name
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.evidence import WITHIN
from spurious_rewards.reporting.reasoning_tables import main_prompt
from spurious_rewards.reporting.words import arm_words, settings_told

PROBLEMS = 50
"""Problems per benchmark."""
SYNTHETIC_ID = re.compile(r"(\w+)-(\d)-(\d+(?:-\d+)*)-p(\d)")
"""Ids of the problems that this project makes itself, so that the page may show their text."""


def script(name: str, value: Any) -> str:
    """Write a value as a script that a page opened from disk can load; no text in it can end the script.

    >>> script("DATA", {"a": "</script>"})
    'window.DATA = {"a":"\\\\u003c/script>"};\\n'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"window.{name} = {text.replace('<', chr(92) + 'u003c')};\n"


def question(problem_id: str) -> str:
    """Return the text of a synthetic problem, made again from its id; empty for any other problem.

    >>> question("gcd-2-18-4-p1"), question("test/algebra/1.json")
    ('Compute gcd(18, 4).', '')
    """
    found = SYNTHETIC_ID.fullmatch(problem_id)
    if found is None or found[1] not in FAMILIES:
        return ""
    return make_problem(found[1], int(found[2]), tuple(map(int, found[3].split("-"))), int(found[4])).problem


def model_names(records: Records) -> dict[str, str]:
    """Map the run id of the lowest seed of each arm to the trained model in words."""
    columns = records.arm_columns()
    names = {}
    for _, seeds in records.runs.groupby(columns, sort=False) if len(records.runs) else ():
        row = seeds.sort_values("seed").iloc[0]
        settings = {name: row[name] for name in columns if name not in (*WITHIN, "model")}
        told = settings_told(settings)
        names[row["run_id"]] = ", ".join([f"{row['model']} after {arm_words(arm_name(row, columns))}", *told])
    return names


def chosen(records: Records) -> pd.DataFrame:
    """Return the greedy answers of a profile that the page holds, with the model in words in `subject`."""
    names = model_names(records)
    samples = records.samples
    samples = samples[(samples["temperature"] == 0) & (samples["checkpoint"] == 0) & (samples["sample"] == 0)]
    samples = samples[samples["trained_run"].isin(names) | (samples["trained_run"] == "")]
    samples = samples[(samples["prompt_style"] == main_prompt(records)) & samples["text"].notna()]
    samples = samples[samples["engine"] == samples["engine"].iloc[0]] if len(samples) else samples
    first = samples.drop_duplicates(["benchmark", "problem_id"]).groupby("benchmark", sort=False).head(PROBLEMS)
    samples = samples.merge(first[["benchmark", "problem_id"]], on=["benchmark", "problem_id"])
    before = samples["model"] + " before training"
    subject = samples["trained_run"].map(names).where(samples["trained_run"] != "", before)
    return samples.assign(subject=subject + f" ({records.profile})")


def answers(profiles: Sequence[Records]) -> dict[str, Any]:
    """Return texts, problems, models and rows of the browser of answers."""
    tables = [chosen(records) for records in profiles if "text" in records.samples]
    table = pd.concat([table for table in tables if len(table)], ignore_index=True)
    texts = {text: i for i, text in enumerate(dict.fromkeys(table["text"]))}
    models = {name: i for i, name in enumerate(dict.fromkeys(table["subject"]))}
    keys = table["benchmark"] + ": " + table["problem_id"].astype(str)
    problems = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    facts = table.assign(key=keys).drop_duplicates("key")
    asked = [
        {"name": row["key"], "gold": str(row["gold"]), "text": question(str(row["problem_id"]))}
        for row in facts.to_dict("records")
    ]
    rows = []
    for key, row in zip(keys, table.to_dict("records"), strict=True):
        numbers = [int(row[name]) for name in ("correct", "uses_code", "n_tokens")]
        extracted = None if pd.isna(row["extracted"]) else str(row["extracted"])
        rows.append([problems[key], models[row["subject"]], texts[row["text"]], *numbers, extracted])
    return {"texts": list(texts), "models": list(models), "problems": asked, "rows": rows}


def answers_script(profiles: Sequence[Records]) -> str:
    """Return the data of the browser of answers, as a script."""
    return script("ANSWERS", answers(profiles))
