"""The notebooks run: strictly by this project, by plain papermill, and with clear errors for bad parameters."""

import json
import os
import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.storage.paths import code_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.workflow.execute import main
from spurious_rewards.workflow.notebook import execute

NOTEBOOKS = code_root() / "notebooks"
SMALL = {
    "rollout_batches": 2,
    "prompts_per_batch": 4,
    "group_size": 4,
    "updates_per_batch": 4,
    "micro_batch": 4,
    "n_train_problems": 32,
    "reward": "random",
    "clip_mode": "none",
}
ALLOWED = {"text/plain", "text/html", "text/markdown", "image/png", "application/vnd.plotly.v1+json"}


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def trained(folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("executed") / "02.ipynb"
    return output, execute(NOTEBOOKS / "02_train_grpo.ipynb", output, SMALL).run_ids


def test_training_notebook_leaves_a_whole_run(trained):
    output, (run_id,) = trained
    run = RunFolder.load(run_id)
    assert run.manifest()["config"]["clip_mode"] == "none"
    assert len(pd.read_parquet(run.path("metrics.parquet"))) == 8
    kinds = {
        kind
        for cell in nbformat.read(output, 4).cells
        if cell.cell_type == "code"
        for out in cell.outputs
        for kind in out.get("data", {})
    }
    assert "application/vnd.plotly.v1+json" in kinds and kinds <= ALLOWED
    assert output.stat().st_size < 1_000_000


def test_evaluation_notebook_evaluates_the_trained_run(trained, tmp_path):
    _, (run_id,) = trained
    done = execute(
        NOTEBOOKS / "03_evaluate.ipynb", tmp_path / "03.ipynb", {"trained": run_id, "n_problems": 12, "n_samples": 2}
    )
    greedy, sampled = (pd.read_parquet(RunFolder.load(one).path("records.parquet")) for one in done.run_ids)
    assert len(greedy) == 12 and len(sampled) == 24
    assert (greedy["problem_id"].nunique(), sampled["problem_id"].nunique()) == (12, 12)
    assert greedy["text"].str.len().gt(0).all()


def test_evaluation_notebook_under_every_prompt_and_beside_the_base_model(trained, tmp_path):
    _, (run_id,) = trained
    output = tmp_path / "03.ipynb"
    done = execute(
        NOTEBOOKS / "03_evaluate.ipynb",
        output,
        {"trained": run_id, "n_problems": 4, "n_samples": 0, "prompt_style": "all", "compare": "base"},
    )
    styles = [RunFolder.load(one).config()["prompt_style"] for one in done.run_ids]
    text = output.read_text()
    assert {"organism", "organism_python", "none", "qwen_default"} <= set(styles) and "lipsum" not in styles
    assert "refused: lipsum" in text and "after random" in text and "qwen-like, greedy" in text
    kinds = {
        kind
        for cell in nbformat.read(output, 4).cells
        if cell.cell_type == "code"
        for out in cell.outputs
        for kind in out.get("data", {})
    }
    assert "application/vnd.plotly.v1+json" in kinds and kinds <= ALLOWED


@pytest.mark.parametrize("name", ["03_evaluate", "04_code_reasoning"])
def test_outputs_made_elsewhere_before_and_after(folders, tmp_path, name):
    for file, texts in (("a.jsonl", ["The answer is 1.", "It is 2."]), ("b.jsonl", [r"\boxed{1}", r"\boxed{1}"])):
        rows = [{"id": i, "question": "?", "gold": 1, "response": texts[i % 2]} for i in range(40)]
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"outputs": str(tmp_path / "a.jsonl"), "outputs_after": str(tmp_path / "b.jsonl")}
    more = {"probe_problems": 0} if name == "04_code_reasoning" else {}
    done = execute(NOTEBOOKS / f"{name}.ipynb", tmp_path / "out.ipynb", files | more)
    assert [RunFolder.load(one).manifest()["summary"]["accuracy"] for one in done.run_ids] == [0.5, 1.0]
    said = (tmp_path / "out.ipynb").read_text()
    assert "Accuracy rose by +50.0 [" in said and "without box → boxed" in said


def test_code_reasoning_notebook_with_its_defaults_reads_the_committed_records(folders, tmp_path):
    output = tmp_path / "04.ipynb"
    done = execute(NOTEBOOKS / "04_code_reasoning.ipynb", output, {"probe_problems": 3})
    (probe,) = done.run_ids
    assert RunFolder.load(probe).manifest()["kind"] == "probe"
    text = output.read_text()
    for part in ("true reward, with clip", "language_to_code", "identity_residual", "exact_match"):
        assert part in text, part
    kinds = {
        kind
        for cell in nbformat.read(output, 4).cells
        if cell.cell_type == "code"
        for out in cell.outputs
        for kind in out.get("data", {})
    }
    assert kinds <= ALLOWED and output.stat().st_size < 1_000_000


def test_data_notebook(folders, tmp_path, monkeypatch):
    monkeypatch.delenv("SPURIOUS_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)  # results, if any, go here
    (tmp_path / "pyproject.toml").touch()
    done = execute(
        NOTEBOOKS / "01_prepare_data.ipynb",
        tmp_path / "01.ipynb",
        {"label_problems": 8, "label_samples": 3, "synthetic_n": 100},
    )
    labels = pd.read_parquet(RunFolder.load(done.run_ids[0]).path("labels.parquet"))
    assert len(labels) == 8 and labels["n_valid"].max() <= 3


def test_plain_papermill_by_hand(trained, tmp_path):
    """As in the README: papermill itself, from the project's root, with -p."""
    flags = [part for name, value in SMALL.items() for part in ("-p", name, str(value))]
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        "--log-level",
        "ERROR",
        "-k",
        "python3",
        str(NOTEBOOKS / "02_train_grpo.ipynb"),
        str(tmp_path / "out.ipynb"),
        *flags,
    ]
    subprocess.run(
        command, check=True, cwd=code_root(), capture_output=True, timeout=300, env={**os.environ, "JUPYTER_PATH": ""}
    )
    text = (tmp_path / "out.ipynb").read_text()
    assert trained[1][0] in text, "the same parameters find the finished run"


@pytest.mark.parametrize("parameters, words", [({"rewrd": "random"}, "did you mean 'reward'"), ({"seed": 0.5}, "seed")])
def test_bad_parameters_stop_before_anything_runs(parameters, words, tmp_path):
    with pytest.raises(InputError, match=words):
        execute(NOTEBOOKS / "02_train_grpo.ipynb", tmp_path / "out.ipynb", parameters)
    assert not list(tmp_path.iterdir())


def test_an_unknown_reward_ends_with_one_sentence(tmp_path, capsys):
    code = main([str(NOTEBOOKS / "02_train_grpo.ipynb"), str(tmp_path / "out.ipynb"), "-p", "reward", "randon"])
    error = capsys.readouterr().err.strip()
    assert code == 2 and "Unknown reward 'randon' (did you mean 'random'?)" in error
    assert not (tmp_path / "out.ipynb").exists()


def test_missing_data_folder_names_both_ways(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SPURIOUS_DATA_DIR", str(tmp_path / "nowhere"))
    code = main(
        [
            str(NOTEBOOKS / "03_evaluate.ipynb"),
            str(tmp_path / "out.ipynb"),
            "-y",
            json.dumps({"benchmark": "math500", "n_problems": 2, "n_samples": 0}),
        ]
    )
    error = capsys.readouterr().err
    assert code == 2 and "SPURIOUS_DATA_DIR" in error and "hub" in error.lower()


def test_a_checkpoint_folder_without_weights(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    code = main(
        [str(NOTEBOOKS / "03_evaluate.ipynb"), str(tmp_path / "out.ipynb"), "-p", "model", str(tmp_path / "model")]
    )
    assert code == 2 and "weights" in capsys.readouterr().err
