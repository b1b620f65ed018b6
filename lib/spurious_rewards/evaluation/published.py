"""Look up what others measured for an untrained model, to compare with any "before".

One model has many base accuracies: prompt, decoding and environment move it by points. `seen` says whether the source
was read by us or is quoted by somebody else.

>>> sorted(published("Qwen/Qwen2.5-Math-7B", "math500")["accuracy"])[0::9]
[49.4, 69.0]
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def published(model: str, benchmark: str) -> pd.DataFrame:
    """Look up published base accuracies (per cent) of a model on a benchmark; an empty table where none is known.

    Args:
        model: hub id, or a name or folder that ends like one, upper case aside.
        benchmark: problem set.
    """
    table = pd.read_csv(Path(__file__).with_name("published.csv"), keep_default_na=False)
    wanted = model.rstrip("/").rsplit("/", 1)[-1].lower()
    same = table["model"].str.rsplit("/", n=1).str[-1].str.lower() == wanted
    return table[same & (table["benchmark"] == benchmark)].sort_values("accuracy", ignore_index=True)


def published_sentence(model: str, benchmark: str) -> str:
    """Say in one sentence how far published base accuracies lie apart; empty where none is known."""
    table = published(model, benchmark)
    if table.empty:
        return ""
    name = table["model"].iloc[0]
    if len(table) == 1:
        return f"Published for untrained {name} on {benchmark}: {table['accuracy'].iloc[0]:.1f} %."
    low, high = table["accuracy"].iloc[0], table["accuracy"].iloc[-1]
    return f"Published for untrained {name} on {benchmark}: {low:.1f} to {high:.1f} % in {len(table)} measurements."
