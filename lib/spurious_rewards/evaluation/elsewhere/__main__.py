"""Grade outputs made elsewhere from the command line, and compare two files as before and after.

Usage: python -m spurious_rewards.evaluation.elsewhere BEFORE [AFTER] [--reference math500] [--fields gold=answer]
"""

from __future__ import annotations

import sys
from dataclasses import replace

from spurious_rewards.command_line import command
from spurious_rewards.evaluation.cautions import cautions
from spurious_rewards.evaluation.comparison import before_after
from spurious_rewards.evaluation.elsewhere.outputs import Outputs, described, import_outputs
from spurious_rewards.evaluation.published import published_sentence
from spurious_rewards.evaluation.records import load_records, summary
from spurious_rewards.storage.runs import RunFolder

SHOWN = (
    "n_problems k accuracy accuracy_low accuracy_high accuracy_paper pass_at_k boxed parsable code accuracy_code "
    "accuracy_language cut_off mean_tokens"
).split()


def grade(
    before: str,
    after: str = "",
    /,
    reference: str = "",
    fields: str = "",
    select: str = "",
    select_after: str | None = None,
    samples: int = 0,
    model: str = "",
) -> None:
    """Grade a file of outputs made elsewhere; with two files, compare before and after.

    Args:
        before: JSON lines, JSON, CSV or parquet file of outputs, or a folder of them.
        after: the same problems after training.
        reference: problem set or .jsonl file that the golds come from.
        fields: those that are not found by themselves, as in gold=answer,output=text.
        select: rows to keep, as in step=100.
        select_after: the same for the second file, if it differs.
        samples: answers asked for per problem; 0 takes them as found.
        model: its name; without one, as the file says.
    """
    first = Outputs(before, model, reference, fields, select, samples)
    one = import_outputs(first)
    print(described(one))
    if not after:
        _print_cell(one)
        return
    two = import_outputs(replace(first, file=after, select=select if select_after is None else select_after))
    print(f"{described(two)}\n")
    print(before_after(one, two).text(), end="")


main = command(grade)


def _print_cell(run: RunFolder) -> None:
    """Print the figures of one evaluation and what to beware of."""
    table = summary(load_records([run]))
    print(table[SHOWN].astype(object).T.to_string(header=False, float_format=lambda value: f"{value:.3f}"))
    config = run.config()
    sentences = [*cautions(run), published_sentence(config["model"], config["benchmark"])]
    for sentence in filter(None, sentences):
        print(f"Beware: {sentence}")
    print(f"Kept in {run.folder.name}")


if __name__ == "__main__":
    sys.exit(main())
