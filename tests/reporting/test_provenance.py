"""Where numbers come from: a command for every table, time of what is only partly run, runs in words."""

import importlib.util
import json
import re
import shlex
import shutil
from itertools import pairwise

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.mechanism.counterfactual_config import configs
from spurious_rewards.models.organisms.locate import build_command
from spurious_rewards.reporting import provenance
from spurious_rewards.reporting.site import run_rows
from spurious_rewards.storage.paths import code_root

RESULTS = code_root() / "results"
KNOWN = provenance.sources(RESULTS)


@pytest.mark.parametrize("name", KNOWN)
def test_every_measurement_has_a_command(name):
    for step in KNOWN[name].command.split(" && "):
        if "python" in step:
            module = re.search(r"\.venv/bin/python -m (\S+)", step)[1]
            assert importlib.util.find_spec(module), step
        else:
            step = step.removesuffix(f" {provenance.VLLM_HERE}")
            assert re.fullmatch(r"make organisms( SEEDS=\d)?|make reproduce PROFILE=[a-z-]+", step)
    assert (provenance.VLLM_HERE in KNOWN[name].command) == (name in ("engines", "smollm-eval"))


def test_no_row_of_reproduce_lacks_a_command():
    rows = [line for line in (RESULTS / "REPRODUCE.md").read_text().splitlines() if re.match(r"\| C\d", line)]
    assert len(rows) > 50
    assert not [row for row in rows if not re.search(r"`\S[^`]*`", row.split(" | ")[2])]


def test_a_manifest_without_a_known_command_is_one_sentence(tmp_path):
    (tmp_path / "manifests" / "mechanism").mkdir(parents=True)
    (tmp_path / "manifests" / "mechanism" / "new.json").write_text('{"commit": "abc"}')
    with pytest.raises(InputError, match="provenance.py .new.; known: antithetic"):
        provenance.sources(tmp_path)


@pytest.mark.parametrize("name", ["antithetic", "counterfactual"])
def test_the_command_of_the_pairs_computes_the_rows_of_their_table(name):
    words = shlex.split(KNOWN[name].command)
    options = {key: value for key, value in pairwise(words) if key.startswith("--")}
    wanted = {
        (config.model, config.optimizer, config.learning_rate)
        for config in configs(options["--size"], options.get("--settings", ""), options.get("--model", ""))
    }
    table = pd.read_csv(RESULTS / "tables" / "mechanism" / f"{name}.csv")
    assert wanted == set(table[["model", "optimizer", "learning_rate"]].itertuples(index=False, name=None))
    if "--max-pairs" in options:
        assert int(options["--max-pairs"]) == table["n_pairs"].max()


def test_organisms_that_are_not_embedded_are_built_first():
    assert provenance.profile_command("organism") == "make organisms && make reproduce PROFILE=organism"
    assert provenance.profile_command("decide") == "make organisms SEEDS=4 && make reproduce PROFILE=decide"
    assert provenance.profile_command("paper") == "make reproduce PROFILE=paper", "hub models are not built"
    assert build_command(["qwen-like", "one-token"]) == ""
    assert "qwen-like-p10 qwen-like-p30" in provenance.command_of("dose_response")


def test_a_profile_that_is_only_partly_run_says_so(tmp_path):
    job = provenance.read_profile("smollm-smoke").jobs
    assert KNOWN["smollm-smoke"].n_jobs == 0 and KNOWN["smollm-smoke"].time() == str(KNOWN["smollm-smoke"].minutes)
    folder = tmp_path / "manifests" / "smollm-smoke"
    shutil.copytree(RESULTS / "manifests" / "smollm-smoke", folder)
    [training] = folder.glob("train-*.json")
    training.unlink()
    one = provenance.sources(tmp_path)["smollm-smoke"]
    assert one.n_jobs == len(job) == 6
    said = "2 runs committed so far; the whole profile has 6 jobs, about 1 hour on two cores"
    assert one.time() == f"{one.minutes} minutes for the {said}"


def test_runs_of_a_model_that_a_profile_does_not_name_stand_for_none_of_its_jobs():
    manifests = [json.loads(path.read_text()) for path in (RESULTS / "manifests" / "organism").glob("*.json")]
    assert provenance.what_is_left("organism", manifests) == {}
    training = next(one for one in manifests if one["kind"] == "training")
    training["config"]["model"] = "qwen-like-s9"
    jobs = len(provenance.read_profile("organism").jobs)
    for seconds, hours in ((7200, 2 * 117), (720, 24)):  # of 117 trainings, on two cores; an evaluation takes none
        for one in manifests:
            one["cpu_seconds"] = seconds if one["kind"] == "training" else 1e-9
        left = provenance.what_is_left("organism", manifests)
        assert left["n_jobs"] == jobs and hours / 2 <= left["hours"] < hours / 2 + jobs / 2


def test_evaluations_of_trained_models_are_not_called_before_training():
    rows = {row["id"]: row for row in run_rows("smollm-smoke", RESULTS)}
    [trained] = [row for run_id, row in rows.items() if run_id.startswith("eval-") and "format" in run_id]
    model = "smollm2-135m-instruct"
    assert trained["words"] == f"{model} after training, format reward, with clip: math500, prompt sober"
    assert (trained["seed"], trained["rate"]) == (0, "5e-6"), "those of the training run"
    [base] = [row for run_id, row in rows.items() if run_id.startswith(f"eval-{model}-math500")]
    assert base["words"] == f"{model} before training: math500, prompt sober"
    for profile in ("micro", "decide"):
        for path in (RESULTS / "manifests" / profile).glob("*.json"):
            config = json.loads(path.read_text()).get("config") or {}
            if config.get("trained_run"):
                row = next(row for row in run_rows(profile, RESULTS) if row["id"] == path.stem)
                assert "before training" not in row["words"] and row["rate"] != "–", row
                break
        else:
            pytest.fail(f"profile {profile} has no evaluation of a trained model")
