"""Strict execution with real kernels: what papermill takes for success is caught, what was good is kept."""

import json
import sys

import pytest

from spurious_rewards.errors import InputError, NotebookError
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.execute import main
from spurious_rewards.workflow.notebook import check_source, execute


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_equal_executions_give_equal_files_and_use_this_python(notebook, project, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    path = notebook(
        "toy",
        "import os, sys, pathlib\n"
        "pathlib.Path('python.txt').write_text(sys.executable + ' ' + os.environ['OMP_NUM_THREADS'])\n"
        "print(seed, name, os.environ['SPURIOUS_NOTEBOOK'])",
        "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass",
        "object()",
        "from spurious_rewards.storage.runs import RunFolder\n"
        "run = RunFolder.open(f'toy-{seed}', {'seed': seed})\n"
        "if not run.complete:\n    run.finish()",
        marker="completed('toy', run_id=run.run_id)",
    )
    done = execute(path, "out/first.ipynb", {"seed": 3}, output_files=["python.txt"])
    assert (done.parameters, done.run_ids) == ({"seed": 3}, ["toy-3"])
    execute(path, "out/second.ipynb", {"seed": 3})
    first = (project / "out" / "first.ipynb").read_bytes()
    assert first == (project / "out" / "second.ipynb").read_bytes()
    assert leftovers(project / "out") == ["first.ipynb", "second.ipynb"]
    assert (project / "python.txt").read_text() == f"{sys.executable} 3"
    cells = json.loads(first)["cells"]
    assert cells[3]["outputs"][0]["text"] == ["3 a toy\n"]
    assert cells[4]["outputs"] == [], "a progress bar is not kept"
    assert RunFolder.load("toy-3").manifest()["notebook"] == "toy"


def test_bad_parameters_end_with_one_sentence_before_anything_runs(notebook, project, capsys):
    path = str(notebook("toy", "open('ran', 'w')"))
    for arguments, sentence in (
        (["-p", "sed", "3"], "Unknown parameter of toy.ipynb 'sed' (did you mean 'seed'?); known: name, seed.\n"),
        (["-p", "seed", "3.5"], "Parameter seed of toy.ipynb must be int, but '3.5' was given.\n"),
        (["-y", "{seed: many}"], "toy.ipynb: Parameter seed must be int, but 'many' is str.\n"),
        (["--params-file", "none.yaml"], "There is no parameter file none.yaml.\n"),
    ):
        assert main([path, "out.ipynb", *arguments]) == 2
        assert capsys.readouterr().err == sentence
    assert not (project / "ran").exists() and not (project / "out.ipynb").exists()


def test_a_failed_execution_keeps_the_earlier_good_one(notebook, project, capsys):
    output = project / "out" / "toy.ipynb"
    output.parent.mkdir()
    output.write_text("the earlier good one")
    sentence = "γ = 1.5 is no probability; use 0 to 1."
    source = f"from spurious_rewards.errors import InputError, NotebookError\nraise InputError({sentence!r})"
    path = str(notebook("toy", "print('before')", source, "open('after', 'w')"))
    assert main([path, str(output)]) == 2  # bad input inside the notebook: its own sentence, nothing else
    assert capsys.readouterr().err == sentence + "\n"
    assert output.read_text() == "the earlier good one"
    assert leftovers(output.parent) == ["toy.failed.ipynb", "toy.ipynb"]
    assert "before" in (output.parent / "toy.failed.ipynb").read_text() and not (project / "after").exists()
    notebook("toy", "1 / 0")
    assert main([path, str(output)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("toy.ipynb failed in cell 2 (ZeroDivisionError: division by zero); look at ")
    assert message.count("\n") == 1
    notebook("toy", "1")
    assert main([path, str(output)]) == 0
    assert leftovers(output.parent) == ["toy.ipynb"]  # the notebook of the failure is out of date now


@pytest.mark.parametrize(
    ("cell", "marker", "sentence"),
    [
        ("import sys; sys.exit(0)", None, "called sys.exit in cell 2 and skipped the rest"),
        ("import os; os.kill(os.getpid(), 9)", None, r"died in cell 2 \(killed, or out of memory\)"),
        ("1", "if seed: completed('toy')", "ended without the line 'NOTEBOOK COMPLETE toy'"),
        ("1", "completed('toy', run_id='gone')", "There is no run 'gone'"),
        ("import subprocess; subprocess.run(['false'])", None, "did not write made.csv"),
        (
            "import sys, traceback\ntry:\n    1 / 0\nexcept Exception:\n    traceback.print_exc()",
            None,
            r"toy.ipynb went on after an error in cell 2 \(ZeroDivisionError: division by zero\); look at",
        ),
    ],
    ids=["sys.exit", "killed kernel", "no marker", "run not complete", "declared output missing", "traceback"],
)
def test_no_failure_passes_for_success(notebook, project, cell, marker, sentence):
    path = notebook("toy", cell, marker=marker)
    with pytest.raises((NotebookError, InputError), match=sentence):
        execute(path, "out.ipynb", output_files=["made.csv"])
    assert not (project / "out.ipynb").exists() and (project / "out.failed.ipynb").exists()


def test_a_notebook_whose_failure_could_go_unnoticed_is_refused(notebook):
    with pytest.raises(InputError, match=r"must call completed\('toy'\)"):
        check_source(notebook("toy", "1", marker="completed('other')"))
    for line in ("!false", "files = !ls"):
        with pytest.raises(InputError, match="would go unnoticed"):
            check_source(notebook("toy", f"x = 1\n{line}"))
    check_source(notebook("toy", "x = 1 != 2"))


def test_a_full_disk_is_one_sentence_and_the_next_execution_works(notebook, project, monkeypatch):
    path = notebook("toy", "1")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("papermill.execute_notebook", full)
        with pytest.raises(InputError, match="No space left on the disk while running toy.ipynb: free some and run"):
            execute(path, "out/a.ipynb")
    assert leftovers(project / "out") == []
    execute(path, "out/a.ipynb")


def test_a_notebook_cut_off_while_it_was_written_is_a_failure(notebook, project, monkeypatch):
    path = notebook("toy", "1")
    monkeypatch.setattr("papermill.execute_notebook", lambda source, target, *_, **__: target.write_text('{"cells": ['))
    with pytest.raises(NotebookError, match="ended without the line"):
        execute(path, "out/a.ipynb")
