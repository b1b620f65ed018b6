"""Executed notebooks that are committed: small, without noise, and with the numbers that records and tables hold now."""

import html
import re

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from spurious_rewards.mechanism.questions import questions_table
from spurious_rewards.reporting.mechanism_claims import mechanism_tables
from spurious_rewards.storage.files import read_json
from spurious_rewards.storage.paths import code_root
from spurious_rewards.workflow.completion import find_marker
from spurious_rewards.workflow.notebook import execute
from spurious_rewards.workflow.parameters import notebook_parameters

RESULTS = code_root() / "results"
COPIES = sorted((RESULTS / "notebooks").glob("*/*.ipynb"))
KINDS = {"text/plain", "text/html", "text/markdown", "text/latex", "image/png", "application/vnd.plotly.v1+json"}


def named(*notebooks):
    """The copies of some notebooks, with a name for each test."""
    return [pytest.param(path, id=f"{path.parent.name}-{path.stem}") for path in COPIES if path.stem in notebooks]


EVERY = named(*{path.stem for path in COPIES})


def outputs(path):
    return [out for cell in nbformat.read(path, 4).cells if cell.cell_type == "code" for out in cell.outputs]


def printed(path):
    return "".join(out.text for out in outputs(path) if out.output_type == "stream")


def tables(path):
    """The tables of a notebook: rows of texts, heads included."""
    found = []
    for out in outputs(path):
        for table in re.findall(r"(?s)<table.*?</table>", out.get("data", {}).get("text/html", "")):
            rows = [re.findall(r"(?s)<t([hd])[^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"(?s)<tr.*?</tr>", table)]
            found.append([[(kind, html.unescape(text).strip()) for kind, text in row] for row in rows])
    return found


def runs(path):
    """The manifests of the runs that a notebook made or found."""
    ids = find_marker(printed(path), path.stem)
    return [read_json(RESULTS / "manifests" / path.parent.name / f"{one}.json") for one in ids]


def test_the_default_profile_has_a_copy_of_each_notebook_but_the_report():
    stems = {path.stem for path in COPIES if path.parent.name == "micro"}
    assert {stem[:3].rstrip("_") for stem in stems} == {"01", "02", "03", "04", "05a", "05b", "06", "08"}


@pytest.mark.parametrize("path", EVERY)
def test_form(path):
    assert path.stat().st_size <= 500_000
    assert find_marker(printed(path), path.stem) is not None
    for out in outputs(path):
        assert out.output_type != "error" and out.get("name") != "stderr", out
        assert set(out.get("data", {})) <= KINDS
    for table in tables(path):
        assert max(sum(kind == "d" for kind, _ in row) for row in table) <= 8, table[0]


@pytest.mark.parametrize("path", named("02_train_grpo"))
def test_a_training_is_the_committed_run(path):
    [run] = runs(path)
    line = f"{run['n_updates']} updates, {run['completion_tokens']} tokens, {run['seconds']:.0f} s, "
    assert line in printed(path)


@pytest.mark.parametrize("path", named("03_evaluate"))
def test_evaluations_are_the_committed_ones(path):
    accuracies = [run["summary"]["accuracy"] for run in runs(path) if run["kind"] == "evaluation"]
    head, *rows = next(table for table in tables(path) if ("h", "accuracy") in table[0])
    shown = [float(row[head.index(("h", "accuracy"))][1]) for row in rows]
    assert shown == [pytest.approx(value, abs=0.00051) for value in accuracies]


@pytest.mark.parametrize("path", named("01_prepare_data"))
def test_labels_are_the_committed_ones(path):
    [run] = runs(path)
    assert f"label accuracy {100 * run['label_accuracy']['estimate']:.1f}" in printed(path)


@pytest.mark.parametrize("path", named("05a_bandit", "05b_counterfactual"))
def test_what_the_mechanism_says_is_in_its_tables(path):
    """The last table of both notebooks, from the committed tables."""
    mechanism = mechanism_tables(RESULTS)
    chosen = path.stem == "05a_bandit"
    said = questions_table({name: table for name, table in mechanism.items() if (name == "bandit_map") == chosen})
    head, *rows = tables(path)[-1]
    effects = [row[head.index(("h", "effect"))][1] for row in rows]
    assert [float(text) for text in effects] == [pytest.approx(v, abs=5e-5, nan_ok=True) for v in said["effect"]]
    assert len(pd.unique(pd.Series(effects))) > 5


@pytest.mark.parametrize("path", named("05b_counterfactual"))
def test_what_is_read_from_tables_is_read_again(path, tmp_path, monkeypatch):
    """The cells that need no pairs of this run, executed on the committed tables, show the same tables."""
    monkeypatch.setenv("BROWSER_PATH", "")
    monkeypatch.setenv("PATH", "")
    notebook = nbformat.read(code_root() / "notebooks" / path.name, 4)
    computing = ("run_size(", "table[wanted]", "pair_runs[")
    kept = [cell for cell in notebook.cells if not any(words in cell.source for words in computing)]
    assert len(kept) == len(notebook.cells) - len(computing)
    notebook.cells = kept
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(code_root())}}).execute()
    nbformat.write(notebook, tmp_path / path.name)
    again = tables(tmp_path / path.name)
    assert len(again) > 5 and again == tables(path)[-len(again) :]


@pytest.mark.parametrize("path", named("04_code_reasoning", "06_clip_ablation", "08_control"))
def test_what_is_read_from_records_is_read_again(path, tmp_path, monkeypatch):
    """The notebook, executed on the committed records, shows the same tables; the probe, which generates, is left out."""
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path))
    monkeypatch.setenv("BROWSER_PATH", "")
    monkeypatch.setenv("PATH", "")  # no browser: figures are not compared
    source = code_root() / "notebooks" / path.name
    less = {"probe_problems": 0} if "probe_problems" in notebook_parameters(source) else {}
    execute(source, tmp_path / path.name, {"profile": path.parent.name, **less})
    again = tables(tmp_path / path.name)
    assert len(again) > 3 and again == tables(path)[: len(again)]
