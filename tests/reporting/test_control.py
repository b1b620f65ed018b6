"""The control report: the rule by hand, reports from invented records, the profile of a model of one's own."""

import json

import numpy as np
import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.evaluation.statistics import Interval
from spurious_rewards.reporting.collect import Records
from spurious_rewards.reporting.control import WORDS, control_report, verdict, verifiers
from spurious_rewards.reporting.control_page import rows_of, tables, write_page
from spurious_rewards.reporting.control_run import main, personal, save
from spurious_rewards.storage.paths import code_root
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.profiles import load_profile

P = 200
SEEDS = range(4)


def answers(share, *, trained_run="", train_seed=None, prompt="organism", text=r"\boxed{1}", correct_paper=None):
    """One greedy answer to each of P problems, of which the first share · P are right."""
    right = np.arange(P) < round(share * P)
    return pd.DataFrame(
        {
            "run_id": f"eval-{trained_run or prompt}", "problem_id": [f"p{i}" for i in range(P)], "sample": 0,
            "correct": right, "correct_paper": right if correct_paper is None else correct_paper, "extracted": "1",
            "gold": "1", "reason": "string_equal", "text": text, "n_tokens": 10, "finish_reason": "stop",
            "uses_code": False, "uses_code_structural": False, "boxed": True, "trained_run": trained_run,
            "train_seed": pd.array([train_seed] * P, dtype="Int64"), "checkpoint": 0, "temperature": 0.0,
            "n_samples": 1,
            "model": "m", "benchmark": "synthetic_test", "prompt_style": prompt, "max_new_tokens": 64, "top_p": 1.0,
            "engine": "transformers", "dtype": "float32", "family": "sums", "level": 1,
        }
    )  # fmt: skip


def records(shares, base=0.5, prompts=()):
    """Records of trainings: (reward, clip mode) → share of right answers after it, a little different by seed."""
    runs, samples = [], [answers(base)]
    for (reward, mode), share in shares.items():
        for seed in SEEDS:
            run_id = f"train-{reward}-{mode}-{seed}"
            fields = {"model": "m", "reward": reward, "gamma": 0.5, "clip_mode": mode, "seed": seed}
            runs.append({"run_id": run_id, **fields, "learning_rate": 1e-4, "labels": ""})
            samples.append(answers(share + 0.01 * (seed - 1.5), trained_run=run_id, train_seed=seed))
    samples += [answers(share, prompt=name) for name, share in prompts]
    frame = pd.concat(samples, ignore_index=True)
    fields = pd.DataFrame(runs)
    for name in ("train_set", "prompt_style", "rollout_batches"):
        fields[name] = "same"
    return Records("invented", fields, pd.DataFrame(), frame, {}, pd.DataFrame())


@pytest.mark.parametrize(
    ("gain", "difference", "expected"),
    [
        ((0.01, -0.02, 0.04), (0.10, 0.05, 0.15), "nothing"),
        ((-0.10, -0.15, -0.05), (0.20, 0.15, 0.25), "a loss"),
        ((0.05, 0.02, 0.08), (0.10, 0.05, 0.15), "a part"),
        ((0.10, 0.05, 0.15), (0.00, -0.05, 0.05), "as much"),
        ((0.20, 0.15, 0.25), (-0.10, -0.15, -0.05), "more"),
    ],
)
def test_the_rule(gain, difference, expected):
    assert verdict(Interval(*gain, 4), Interval(*difference, 4)) == expected
    assert expected in WORDS


def test_a_coin_that_gives_nothing():
    report = control_report(records({("ground_truth", "two_sided"): 0.8, ("random", "two_sided"): 0.5}))
    assert report.gain.estimate == pytest.approx(0.3)
    (row,) = report.controls.to_dict("records")
    assert (row["verdict"], row["n_seeds"]) == ("nothing", 4)
    assert row["yours_minus_it"] == pytest.approx(0.3)
    assert report.answer().startswith("True reward changed the accuracy of m by +30.0 [")
    assert "A coin would have given you nothing of it" in report.answer()


def test_a_coin_that_gives_a_part_and_a_prompt_that_gives_more():
    shares = {("ground_truth", "two_sided"): 0.8, ("random", "two_sided"): 0.65, ("format", "none"): 0.3}
    report = control_report(records(shares, prompts=[("none", 0.2), ("simplerl", 0.95)]))
    verdicts = dict(zip(report.controls["control"], report.controls["verdict"], strict=True))
    assert verdicts == {
        "a coin, with clip": "a part",
        "format reward, without clip": "a loss",
        "prompt simplerl without training, the best of 2": "more",
    }
    assert "A coin would have given you a part of it (50%)" in report.answer()
    assert report.others() == [
        "Format reward, without clip, would have cost you accuracy.",
        "Prompt simplerl without training, the best of 2, would have given you more.",
    ]


def test_without_a_gain_there_is_nothing_to_explain():
    report = control_report(records({("ground_truth", "two_sided"): 0.5, ("random", "two_sided"): 0.5}))
    assert "no gain that could be explained" in report.answer() and report.others() == []
    assert set(report.controls["verdict"]) == {"no gain"}


def test_one_seed_decides_nothing(tmp_path):
    one = records({("ground_truth", "two_sided"): 0.8, ("random", "two_sided"): 0.5})
    first = one.runs["seed"] == 0
    kept = set(one.runs.loc[first, "run_id"]) | {""}
    few = Records("x", one.runs[first], one.metrics, one.samples[one.samples["trained_run"].isin(kept)], {})
    report = control_report(few)
    assert "one seed allows no limits, so nothing is decided" in report.answer()
    assert set(report.controls["verdict"]) == {"undecided"}
    assert "(no interval)" in write_page(report, tmp_path).read_text()


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="no training with reward 'python'"):
        control_report(records({("ground_truth", "two_sided"): 0.8}), "python")
    two = records({("ground_truth", "two_sided"): 0.8, ("random", "two_sided"): 0.5})
    two.runs.loc[0, "learning_rate"] = 3e-4
    with pytest.raises(InputError, match="The trainings differ in learning_rate: choose one setting"):
        control_report(two)
    assert control_report(two, where="learning_rate: 0.0001").gain.n > 0
    two.runs["learning_rate"] = 1e-4
    two.runs["false_positive"] = [0.1 * (reward == "random") for reward in two.runs["reward"]]
    assert control_report(two).gain.n > 0, "arms may differ in what belongs to a reward"
    two.runs.loc[0, "false_positive"] = 0.5
    with pytest.raises(InputError, match="The trainings differ in false_positive: choose"):
        control_report(two)
    two.runs["false_positive"], two.runs["updates_per_batch"] = 0.0, [1, 8] * (len(two.runs) // 2)
    with pytest.raises(InputError, match="The trainings differ in updates_per_batch: choose"):
        control_report(two)
    with pytest.raises(InputError, match="no trainings|has none"):
        control_report(Records("x", pd.DataFrame(), pd.DataFrame(), answers(0.5), {}, pd.DataFrame()))


def test_verifiers_are_counted_by_hand():
    # 200 answers, 100 right. The paper's verifier calls 10 of the right ones wrong and 5 of the wrong ones right.
    says = (np.arange(P) >= 10) & (np.arange(P) < 105)
    samples = answers(0.5, correct_paper=says)
    table, differing = verifiers(samples, "format")
    paper = table.set_index("verifier").loc["the paper's verifier"]
    assert (paper["n_right"], paper["called_wrong"], paper["n_wrong"], paper["called_right"]) == (100, 0.1, 100, 0.05)
    yours = table.set_index("verifier").loc["your reward: format"]  # pays for every box
    assert (yours["called_wrong"], yours["called_right"]) == (0.0, 1.0)
    assert len(differing) == 100


def test_a_draw_is_no_verifier():
    table, _ = verifiers(answers(0.5), "random")
    assert not any("your reward" in name for name in table["verifier"])


def test_the_page_stands_alone_and_texts_stay_texts(tmp_path):
    report = control_report(records({("ground_truth", "two_sided"): 0.8, ("random", "two_sided"): 0.5}))
    object.__setattr__(report, "model", "<script>alert(1)</script>")
    text = write_page(report, tmp_path).read_text()
    assert "<script>" not in text and "&lt;script&gt;" in text and "http" not in text.replace("http-equiv", "")
    assert "Explains" not in text and "explains of yours" in text and "no GPU" in text
    assert len(tables(report)) == 6 and rows_of(pd.DataFrame(), {"a": "b"}) == []


# ----------------------------------------------------------------------------------------------- a model of one's own


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(code_root())
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    path = tmp_path / "mine.jsonl"
    rows = [{"problem": f"What is {i} + 1?", "answer": i + 1} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_personal_profile_is_the_template_with_the_users_choices(mine):
    profile = personal("control", "qwen-like", str(mine), "", "python", "", {"learning_rate": 3e-5, "seed": 7})
    name = save(profile, "qwen-like")
    assert name.startswith("control-qwen-like-") and save(profile, "qwen-like") == name
    jobs = {job.name: job.parameters for job in load_profile(name).jobs}
    trainings = [parameters for job, parameters in jobs.items() if job.startswith("train-")]
    assert [(p["reward"], p["clip_mode"]) for p in trainings] == [
        ("python", "two_sided"), ("ground_truth", "two_sided"), ("format", "two_sided"), ("format", "none"),
        ("random", "two_sided"), ("random", "none"),
    ]  # fmt: skip
    assert {p["train_set"] for p in trainings} == {f"{mine}#train"}
    assert {p["learning_rate"] for p in trainings} == {3e-5} and {p["seed"] for p in trainings} == {7}
    assert jobs["base-all"]["benchmark"] == f"{mine}#test" and jobs["base-all"]["prompt_style"] == "all"
    assert jobs["control"]["reward"] == "python"
    assert jobs["probe"]["probe_benchmarks"] == f"{mine}#test, synthetic_test"


def test_a_folder_is_kept_by_its_whole_path(mine, monkeypatch):
    folder = code_root() / "lib" / "spurious_rewards" / "models" / "embedded" / "qwen-like"
    if not folder.is_dir():
        pytest.skip("the embedded model lies elsewhere")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr("spurious_rewards.reporting.control_run.project_root", code_root)
    profile = personal("control", "./qwen-like", "", "", "ground_truth", "organism", {})
    assert profile["common"]["model"] == str(folder)
    assert profile["stages"]["probe"]["parameters"]["probe_model"] == str(folder)


def test_what_the_controls_vary_cannot_be_set(mine):
    with pytest.raises(InputError, match="The controls vary clip_mode themselves"):
        personal("control", "qwen-like", "", "", "ground_truth", "", {"clip_mode": "none"})
    with pytest.raises(InputError, match="Unknown template"):
        personal("controls", "qwen-like", "", "", "ground_truth", "", {})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["qwen-lik"], "Unknown model 'qwen-lik'"),
        (["qwen-like", "--reward", "grund_truth"], "Unknown reward"),
        (["qwen-like", "--set", "learning_rat: 1e-5"], "learning_rat"),
        (["qwen-like", "--data", "none.jsonl", "--dry-run"], ""),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(mine, capsys, arguments, sentence):
    code = main([*arguments, "--dry-run"])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1) and sentence in error


def test_templates_differ_from_the_profile_only_where_they_must():
    specs = {name: read_mapping((code_root() / "profiles" / f"{name}.yaml").read_text(), name)
             for name in ("control", "control-lm", "control-gpu")}  # fmt: skip
    for spec in specs.values():
        assert list(spec["stages"]) == ["base", "train", "evaluate", "probe", "control"]
        assert spec["stages"]["train"]["runs"] == specs["control"]["stages"]["train"]["runs"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_command_ends_in_a_page(tmp_path, monkeypatch, capsys):
    """About three CPU-minutes: every job of the template, as small as it gets."""
    monkeypatch.chdir(code_root())
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = "rollout_batches: 2, save_every_batches: 2, n_problems: 20, seed: 0, probe_problems: 3"
    assert main(["qwen-like", "--set", small, "--cores", "1"]) == 0
    said = capsys.readouterr().out
    assert "one seed allows no limits" in said and "stage train" in said
    (page,) = (tmp_path / "runs" / "profiles").glob("control-qwen-like-*/control.html")
    assert "How much of the gain would a coin have given?" in page.read_text()
