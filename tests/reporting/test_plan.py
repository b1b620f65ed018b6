"""Plans of the project's own profiles, in seconds and without a network."""

import socket

import pytest

from spurious_rewards.reporting.plan import main, plan, table, within_budget
from spurious_rewards.storage.paths import code_root
from spurious_rewards.training.footprint import CARDS
from spurious_rewards.workflow.profiles import load_profile

GPU_PROFILES = ["paper", "paper-pilot", "families", "one-gpu"]


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a plan asks no network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.chdir(code_root())


def entries(name):
    return plan(load_profile(name), CARDS["h100"])


@pytest.mark.parametrize("name", GPU_PROFILES)
def test_profiles_ask_for_what_their_runs_take(name):
    profile, found = load_profile(name), entries(name)
    assert all(entry.memory_gb <= CARDS["h100"].memory_gb for entry in found)
    disk_gb = sum(entry.disk_gb for entry in found) + max(entry.writing_gb for entry in found)
    assert disk_gb <= profile.disk_gb <= 1.5 * disk_gb
    for stage in dict.fromkeys(entry.job.stage for entry in found if entry.gpus):
        of_stage = [entry for entry in found if entry.job.stage == stage]
        minutes = max(entry.hours for entry in of_stage) * 60
        # the time limit on a cluster is 1.5 times the profile's minutes
        assert minutes <= of_stage[0].job.resources["minutes"] <= max(20, 3 * minutes), stage


def test_the_paper_covers_the_claims():
    jobs = [entry.job for entry in entries("paper") if entry.job.notebook == "02_train_grpo"]
    arms = [(job.parameters["reward"], job.parameters.get("clip_mode", "two_sided")) for job in jobs]
    assert arms.count(("random", "two_sided")) == 5 + 4  # five seeds, and four other gammas
    assert arms.count(("random", "none")) == 5
    assert {reward for reward, _ in arms} == {
        "ground_truth", "majority_vote", "one_shot", "format", "incorrect", "random", "python", "random_and_no_python",
        "format_and_no_python",
    }  # fmt: skip
    assert all(
        entry.job.parameters["engine"] == "vllm" for entry in entries("paper") if "benchmark" in entry.job.parameters
    )


def test_a_budget_keeps_the_first_seeds_with_what_they_need():
    found = entries("paper-pilot")
    total = sum(entry.gpu_hours for entry in found)
    one_run = max(entry.gpu_hours for entry in found)
    kept = within_budget(found, one_run + 1)
    assert [e.job.parameters["reward"] for e in kept if e.job.stage == "train"] == ["random"]
    names = [entry.job.name for entry in kept]
    assert "base" in names and "evaluate-random-two_sided-seed0" in names
    assert all(need in names for e in kept if e.gpus and e.job.stage == "evaluate" for need in e.job.needs)
    assert sum(entry.gpu_hours for entry in kept) <= one_run + 1
    assert within_budget(found, total + 1) == found
    seeds = {e.job.parameters["seed"] for e in within_budget(entries("paper"), 750) if e.job.stage in ("arms", "seeds")}
    assert seeds == {0}


def test_the_table_adds_up(capsys):
    found = entries("one-gpu")
    last = next(line for line in table(found, 2.0, "h100").splitlines() if line.startswith("all ")).split()
    assert float(last[-2]) == pytest.approx(sum(entry.gpu_hours for entry in found), abs=0.05)
    assert float(last[-1]) == pytest.approx(2 * sum(entry.gpu_hours for entry in found), abs=0.5)
    made_of = next(
        line for line in table(entries("paper-pilot"), 2.0, "h100").splitlines() if "stage train: update" in line
    )
    # 16 N / 8, 4 N, 28 layers' inputs and one layer, head, context: tests/training/test_footprint.py has them by hand
    assert "update state 15.2 + accumulation 30.5 + activations 10.9 + head 4.4 + process 4.0 = 64.9; " in made_of
    assert made_of.endswith("of it vLLM 25.5 with weights 15.2 and keys and values at most 10.3 GB.")
    assert main(["one-gpu", "--budget", "3"]) == 0
    assert (
        "Left out to stay within 3 GPU-hours: train-random-two_sided-rollout_batches300-seed0"
        in capsys.readouterr().out
    )
    assert main(["one-gpu", "--card", "h10"]) == 2
    assert "did you mean 'h100'" in capsys.readouterr().err
    assert main(["paper", "--card", "a100-40"]) == 0
    assert "Does not fit into 42 GB: " in capsys.readouterr().out
