"""Grade outputs made elsewhere from the command line, and compare two files as before and after.

Usage: python -m spurious_rewards.evaluation.elsewhere BEFORE [AFTER] [--reference math500] [--fields gold=answer]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from spurious_rewards.command_line import exit_code
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


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, grade, print, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m spurious_rewards.evaluation.elsewhere",
        description="Grade a file of outputs made elsewhere; with two files, compare before and after.",
    )
    parser.add_argument("before", help="JSON lines, JSON, CSV or parquet file of outputs")
    parser.add_argument("after", nargs="?", help="the same problems after training")
    parser.add_argument("--reference", default="", help="problem set or .jsonl file that the golds come from")
    parser.add_argument("--fields", default="", help="fields that are not found by themselves: gold=answer,output=text")
    parser.add_argument("--select", default="", help="rows to keep: step=100")
    parser.add_argument("--select-after", help="the same for the second file, if it differs")
    parser.add_argument("--samples", type=int, default=0, help="answers asked for per problem (default: as found)")
    parser.add_argument("--model", default="", help="name of the model (default: as the file says)")
    options = parser.parse_args(arguments)

    def program() -> None:
        first = Outputs(
            options.before, options.model, options.reference, options.fields, options.select, options.samples
        )
        before = import_outputs(first)
        print(described(before))
        if options.after is None:
            _print_cell(before)
            return
        selected = options.select if options.select_after is None else options.select_after
        after = import_outputs(replace(first, file=options.after, select=selected))
        print(f"{described(after)}\n")
        print(before_after(before, after).text(), end="")

    return exit_code(program)


def _print_cell(run: RunFolder) -> None:
    """Print the figures of one evaluation and what to beware of."""
    table = summary(load_records([run]))
    print(table[SHOWN].T.to_string(header=False, float_format=lambda value: f"{value:.3f}"))
    config = run.config()
    sentences = [*cautions(run), published_sentence(config["model"], config["benchmark"])]
    for sentence in filter(None, sentences):
        print(f"Beware: {sentence}")
    print(f"Kept in {run.folder.name}")


if __name__ == "__main__":
    sys.exit(main())
