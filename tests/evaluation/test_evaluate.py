"""Evaluation cells with a tiny random model: records, resuming after a kill, locks, and every way to go wrong."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
from tiny_lm import save_tiny

from spurious_rewards.data.problem_sets import load_problems
from spurious_rewards.errors import InputError
from spurious_rewards.evaluation import parts
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import RECORD_COLUMNS, evaluate
from spurious_rewards.evaluation.fit import context_length
from spurious_rewards.evaluation.records import load_records
from spurious_rewards.generation.engine import encode
from spurious_rewards.generation.transformers_engine import TransformersEngine
from spurious_rewards.models import prompts
from spurious_rewards.models.registry import load_tokenizer
from spurious_rewards.rewards.grading import grade
from spurious_rewards.storage.files import read_json, sha256_file, write_json
from spurious_rewards.storage.runs import RunFolder


def cell(tiny, **fields):
    return EvalConfig(
        **{
            "model": str(tiny),
            "prompt_style": "none",
            "n_problems": 10,
            "temperature": 1.0,
            "n_samples": 2,
            "max_new_tokens": 12,
            "batch_size": 4,
            **fields,
        }
    )


def records_of(run):
    return pd.read_parquet(run.path("records.parquet"))


class Watch:
    """Counts what is generated."""

    def __init__(self, monkeypatch):
        self.keys: list[list[str]] = []
        generate = TransformersEngine.generate

        def watched(engine, prompts, sampling, keys, bar=None):
            self.keys.append(list(keys))
            return generate(engine, prompts, sampling, keys, bar)

        monkeypatch.setattr(TransformersEngine, "generate", watched)


def test_records_of_a_cell(tiny, runs, monkeypatch):
    watch = Watch(monkeypatch)
    config = cell(tiny)
    run = evaluate(config, progress=False)
    records, problems = records_of(run), load_problems("synthetic_test", 10, 0, order="first")
    assert list(records) == list(RECORD_COLUMNS)
    assert records["problem_id"].tolist() == [p.id for p in problems for _ in range(2)]
    assert records["sample"].tolist() == [0, 1] * 10
    assert [len(keys) for keys in watch.keys] == [2] * 5  # ten problems × 2 samples in batches of 4 samples
    by_id = {p.id: p for p in problems}
    for row in records.itertuples():
        problem = by_id[row.problem_id]
        assert row.prompt == problem.problem and row.gold == problem.answer
        assert row.correct == grade(row.text, problem.answer).correct
        assert row.correct_paper == grade(row.text, problem.answer, mode="paper").correct
        assert (row.family, row.level) == (problem.meta["family"], problem.meta["level"])
        assert 1 <= row.n_tokens <= 12 and row.logprob < 0
    manifest = run.manifest()
    assert manifest["n_problems"] == 10 and manifest["n_records"] == 20
    assert manifest["completion_tokens"] == records["n_tokens"].sum()
    assert manifest["summary"]["k"] == 2 and manifest["engines"][0]["batch_size"] == 4
    assert not run.path("parts").exists()


def test_samples_do_not_depend_on_the_batch_size(tiny, runs):
    small, large = (records_of(evaluate(cell(tiny, batch_size=size), progress=False)) for size in (4, 64))
    pd.testing.assert_frame_equal(small.drop(columns=["logprob", "batch"]), large.drop(columns=["logprob", "batch"]))
    assert large["batch"].eq(0).all()
    # ten problems, two samples each, in batches of four samples: five batches of two problems
    assert small.groupby("batch").size().tolist() == [4] * 5
    assert small.groupby("batch")["problem_id"].nunique().eq(2).all()


def test_a_finished_cell_is_not_computed_again(tiny, runs, monkeypatch):
    first = evaluate(cell(tiny), progress=False)
    before = first.path("records.parquet").stat().st_mtime_ns
    watch = Watch(monkeypatch)
    again = evaluate(cell(tiny), progress=False)
    assert again.folder == first.folder and watch.keys == []
    assert again.path("records.parquet").stat().st_mtime_ns == before


KILLED = """
import sys, time
from spurious_rewards.evaluation.config import EvalConfig
from spurious_rewards.evaluation.evaluate import evaluate
from spurious_rewards.generation.transformers_engine import TransformersEngine
from spurious_rewards.storage.files import sha256_file, write_json
generate = TransformersEngine.generate
def slow(*arguments):
    time.sleep(0.3)
    return generate(*arguments)
TransformersEngine.generate = slow
evaluate(EvalConfig(model=sys.argv[1], prompt_style="none", n_problems=10, temperature=1.0, n_samples=2,
                    max_new_tokens=12, batch_size=4), progress=False)
"""


def test_kill_and_restart_give_the_records_of_an_uninterrupted_run(tiny, runs, tmp_path, monkeypatch):
    config = cell(tiny)
    folder = runs / config.eval_id()
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tiny)])
    deadline = time.monotonic() + 120
    while len(list(folder.glob("parts/part-*.parquet"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline, "the evaluation ended before it was killed"
        time.sleep(0.02)
    with pytest.raises(InputError, match="in use by process"):  # two processes do not work on one cell
        evaluate(config, progress=False)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in folder.glob("parts/part-*.parquet")}
    assert 2 <= len(finished) < 5 and not (folder / "manifest.json").exists()
    kept = {key for name in finished for key in pd.read_parquet(folder / "parts" / name)["problem_id"]}

    monkeypatch.setattr(parts, "remove_parts", lambda run: None)
    watch = Watch(monkeypatch)
    resumed = evaluate(config, progress=False)
    assert {name: (folder / "parts" / name).stat().st_mtime_ns for name in finished} == finished
    computed = {key for keys in watch.keys for key in keys}
    assert len(watch.keys) == 5 - len(finished) and not computed & kept

    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "elsewhere"))
    whole = evaluate(config, progress=False)
    pd.testing.assert_frame_equal(records_of(resumed), records_of(whole))
    assert resumed.manifest()["summary"] == whole.manifest()["summary"]
    assert resumed.manifest()["completion_tokens"] == whole.manifest()["completion_tokens"]


def test_changed_inputs_are_an_error_not_a_mixture(tiny, runs, tmp_path, monkeypatch):
    model = tmp_path / "copy"
    shutil.copytree(tiny, model)
    evaluate(cell(model, n_problems=2), progress=False)
    shutil.copy(save_tiny(tmp_path / "other", seed=1) / "model.safetensors", model / "model.safetensors")
    with pytest.raises(InputError, match="The model files have changed since eval-copy"):
        evaluate(cell(model, n_problems=2), progress=False)
    evaluate(cell(tiny, n_problems=2), progress=False)
    monkeypatch.setattr(parts, "load_problems", lambda *a, **k: load_problems("synthetic_test", 3, 0))
    with pytest.raises(InputError, match="The problems have changed since"):
        evaluate(cell(tiny, n_problems=2), progress=False)


def test_evaluating_a_trained_run_and_its_checkpoints(tiny, runs, tmp_path):
    train = RunFolder.open("train-tiny-random-none-s0-0123456789", {"model": str(tiny), "seed": 0})
    shutil.copytree(save_tiny(tmp_path / "trained", seed=1), train.path("model"))
    for update in (8, 16):
        shutil.copytree(save_tiny(tmp_path / f"u{update}", seed=update), train.path(f"checkpoints/checkpoint-{update}"))
    write_json(train.path("checkpoints/checkpoint-8/complete.json"), {"update": 8})  # 16 was cut off by a kill
    config = cell(tiny, trained_run=train.run_id, n_problems=2)
    with pytest.raises(InputError, match="not complete"):
        evaluate(config, progress=False)
    train.finish({})
    texts = {"base": records_of(evaluate(cell(tiny, n_problems=2), progress=False))["text"].tolist()}
    for update in (0, 8):
        run = evaluate(cell(tiny, trained_run=train.run_id, n_problems=2, checkpoint=update), progress=False)
        texts[str(update)] = records_of(run)["text"].tolist()
        assert run.run_id.startswith("eval-tiny-random-none-s0-" + ("u8-" if update else "synthetic"))
    assert len(set(map(tuple, texts.values()))) == 3
    with pytest.raises(InputError, match="no checkpoint after update 16; it has 8"):
        evaluate(cell(tiny, trained_run=train.run_id, checkpoint=16), progress=False)
    with pytest.raises(InputError, match=r"trained .*, not 'qwen-like'"):
        evaluate(cell("qwen-like", trained_run=train.run_id), progress=False)
    with pytest.raises(InputError, match="There is no run 'train-nothing'"):
        evaluate(cell(tiny, trained_run="train-nothing"), progress=False)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"benchmark": "math50"}, "did you mean 'math500'"),
        ({"max_new_tokens": 200}, "exceeds the model's context of 128"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_bad_input_is_one_sentence(tiny, runs, fields, message):
    with pytest.raises(InputError, match=message):
        evaluate(cell(tiny, **fields), progress=False)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"n_samples": 0}, "n_samples"),
        ({"temperature": 0.0}, "2 equal samples"),
        ({"dtype": "float33"}, "float32"),
        ({"prompt_style": "nome"}, "did you mean 'none'"),
        ({"engine": "transfomers"}, "did you mean 'transformers'"),
        ({"problem_order": "last"}, "first, shuffled"),
        ({"checkpoint": 8}, "needs trained_run"),
        ({"batch_size": 0}, "batch_size"),
        ({"n_problems": 1.5}, "must be int"),
    ],
)
def test_a_configuration_that_cannot_work(tiny, fields, message):
    with pytest.raises(InputError, match=message):
        cell(tiny, **fields)


def test_engine_vllm_is_refused_only_where_it_would_have_to_run(tiny, runs, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    config = cell(tiny, engine="vllm")
    with pytest.raises(InputError, match="install the vllm extra"):
        evaluate(config, progress=False)
    assert not runs.exists(), "nothing is left behind"
    here = evaluate(cell(tiny), progress=False)
    there = RunFolder.open(config.eval_id(), config)  # as if it had been copied from a machine with vLLM
    for name in ("records.parquet", "inputs.json"):
        shutil.copy(here.path(name), there.path(name))
    there.finish({"kind": "evaluation"})
    assert evaluate(config, progress=False).run_id == there.run_id
    assert load_records([there])["engine"].unique().tolist() == ["vllm"]


def test_bad_input_leaves_no_folder(tiny, runs):
    for fields in (
        {"benchmark": "math50"},
        {"max_new_tokens": 200},
        {"model": "/nowhere/at/all"},
        {"model": "qwen-lik"},
        {"trained_run": "train-nothing"},
    ):
        with pytest.raises(InputError):
            evaluate(cell(tiny, **fields), progress=False)
    assert not runs.exists()


def test_another_wording_of_a_prompt_style_is_another_cell(tiny, runs, monkeypatch):
    monkeypatch.setattr(prompts, "PROMPT_STYLES", dict(prompts.PROMPT_STYLES))
    prompts.register_style("mine", "A: {problem}")
    config = cell(tiny, prompt_style="mine", n_problems=2)
    first = evaluate(config, progress=False)
    assert evaluate(config, progress=False).run_id == first.run_id
    del prompts.PROMPT_STYLES["mine"]
    prompts.register_style("mine", "B: {problem}")
    with pytest.raises(InputError, match="The wording of prompt style 'mine' has changed since eval-tiny"):
        evaluate(config, progress=False)
    first.path("manifest.json").unlink()  # the same for one that was interrupted
    with pytest.raises(InputError, match="The wording of prompt style 'mine' has changed since eval-tiny"):
        evaluate(config, progress=False)


def test_cells_from_before_the_prompt_was_hashed_stay_readable(tiny, runs):
    run = evaluate(cell(tiny, n_problems=2), progress=False)
    inputs = read_json(run.path("inputs.json"))
    assert set(inputs) == set(parts.INPUTS) and inputs.items() <= run.manifest().items()
    del inputs["prompt_hash"]
    write_json(run.path("inputs.json"), inputs)
    assert evaluate(cell(tiny, n_problems=2), progress=False).run_id == run.run_id
    run.path("inputs.json").unlink()  # then the manifest says what it was made from
    assert evaluate(cell(tiny, n_problems=2), progress=False).run_id == run.run_id
    write_json(run.path("manifest.json"), run.manifest() | {"data_hash": "other"})
    with pytest.raises(InputError, match="The problems have changed"):
        evaluate(cell(tiny, n_problems=2), progress=False)


def test_damaged_files(tiny, runs, monkeypatch):
    whole = records_of(evaluate(cell(tiny), progress=False))
    run = RunFolder.load(cell(tiny).eval_id())
    shutil.rmtree(run.folder)
    watch = Watch(monkeypatch)
    monkeypatch.setattr(parts, "remove_parts", lambda run: None)
    run = evaluate(cell(tiny), progress=False)
    for name in ("manifest.json", "records.parquet"):
        run.path(name).unlink()
    run.path("parts/part-00001.parquet").write_bytes(b"PAR1 half a file")
    watch.keys.clear()
    pd.testing.assert_frame_equal(records_of(evaluate(cell(tiny), progress=False)), whole)
    assert len(watch.keys) == 1, "a part that cannot be read is computed again, and no other"
    kept = run.path("records.parquet").read_bytes()
    run.path("records.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="records.parquet is not the file that run .* delete the folder"):
        load_records([run.run_id])
    with pytest.raises(InputError, match="records.parquet is not the file that run .* ended with"):
        evaluate(cell(tiny), progress=False)
    run.path("records.parquet").write_bytes(kept)
    run.path("inputs.json").write_text("{")
    with pytest.raises(InputError, match="inputs.json is damaged .*: delete the folder"):
        evaluate(cell(tiny), progress=False)


def test_batch_invariance_is_part_of_the_identity_where_it_is_on(tiny, runs):
    assert "batch_invariant" not in cell(tiny).identity() and cell(tiny).to_dict()["batch_invariant"] is False
    on = cell(tiny, engine="vllm", batch_invariant=True)
    assert on.eval_id() != cell(tiny, engine="vllm").eval_id()
    with pytest.raises(InputError, match="'transformers' has no batch-invariant kernels"):
        cell(tiny, batch_invariant=True)
    old = {name: value for name, value in cell(tiny).to_dict().items() if name != "batch_invariant"}
    RunFolder.open(cell(tiny).eval_id(), old)  # a folder from before the field existed
    assert evaluate(cell(tiny), progress=False).complete


def test_a_chat_prompt_needs_a_chat_template(runs, tmp_path):
    folder = save_tiny(tmp_path / "plain")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="chat template"):
        evaluate(cell(folder, prompt_style="organism"), progress=False)


def test_the_id_names_the_cell_and_follows_what_matters(tiny):
    greedy = EvalConfig(benchmark="math500", prompt_style="qwen_default")
    assert greedy.eval_id() == f"eval-qwen-like-math500-qwen-default-greedy-{greedy.digest()}"
    ids = {
        EvalConfig(**fields).eval_id()
        for fields in (
            {},
            {"seed": 1},
            {"batch_size": 8},
            {"dtype": "bfloat16"},
            {"n_problems": 5},
            {"trained_run": "train-x"},
        )
    }
    assert len(ids) == 6


def test_importing_the_configuration_does_not_import_torch():
    code = "import sys, spurious_rewards.evaluation.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_parts_are_cut_by_length():
    assert parts.cut([3, 1, 4, 1, 5], 2) == [[4, 2], [0, 1], [3]]


def test_long_problems_are_left_out_only_if_asked_and_said(tiny, runs):
    config = cell(tiny, n_samples=1, temperature=0.0)
    tokenizer, problems = load_tokenizer(str(tiny)), load_problems("synthetic_test", 10, 0, order="first")
    tokens = sorted(len(ids) for ids in encode(tokenizer, [p.problem for p in problems]))
    assert tokens[0] < tokens[-1]
    room = context_length(str(tiny)) - tokens[1]  # the two shortest fit
    with pytest.raises(InputError, match="leave_out_long"):
        evaluate(replace(config, max_new_tokens=room), progress=False)
    run = evaluate(replace(config, max_new_tokens=room, leave_out_long=True), progress=False)
    fitting = sum(n <= tokens[1] for n in tokens)
    assert len(records_of(run)) == fitting
    (warning,) = run.manifest()["warnings"]
    assert warning.startswith(f"{10 - fitting} of 10 problems do not fit the model's context and are left out (")
    assert config.eval_id() == replace(config, leave_out_long=False).eval_id()


def test_fewer_answers_than_asked_for_are_an_error(tiny, runs):
    run = evaluate(cell(tiny, n_problems=2, n_samples=8, batch_size=16), progress=False)
    records = records_of(run)
    records.drop(records.index[[1, 2, 3]]).to_parquet(run.path("records.parquet"))
    manifest = run.manifest()
    manifest["result_files"]["records.parquet"] = sha256_file(run.path("records.parquet"))
    write_json(run.path("manifest.json"), manifest)
    with pytest.raises(InputError, match="asked for 8 answers per problem, and its records hold 5 of problem"):
        load_records([run])


def test_parts_and_notes_of_others_are_not_taken(tiny, runs, monkeypatch):
    whole = records_of(evaluate(cell(tiny), progress=False))
    run = RunFolder.load(cell(tiny).eval_id())
    shutil.rmtree(run.folder)
    watch = Watch(monkeypatch)
    monkeypatch.setattr(parts, "remove_parts", lambda run: None)
    run = evaluate(cell(tiny), progress=False)
    for name in ("manifest.json", "records.parquet"):
        run.path(name).unlink()
    shutil.copy(run.path("parts/part-00000.parquet"), run.path("parts/part-00001.parquet"))
    watch.keys.clear()
    pd.testing.assert_frame_equal(records_of(evaluate(cell(tiny), progress=False)), whole)
    assert len(watch.keys) == 1, "the part that another took the place of is computed again"
    for name in ("manifest.json", "records.parquet"):
        run.path(name).unlink()
    for name, other in (("engines.json", "{}"), ("inputs.json", "[]")):
        kept = run.path(name).read_text()
        run.path(name).write_text(other)
        with pytest.raises(InputError, match=f"{name} is not the file that belongs there: delete the folder"):
            evaluate(cell(tiny), progress=False)
        run.path(name).write_text(kept)
