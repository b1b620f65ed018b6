"""From stages to jobs."""

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.stages import expand

STAGES = """
prepare: {notebook: 01_prepare_data}
train:
  notebook: 02_train_grpo
  needs: [prepare]
  grid: {reward: [ground_truth, random], seed: [0, 1]}
  runs: [{clip_mode: two_sided}, {clip_mode: none, epsilon: 5e-1}]
  parameters: {model: Qwen/Qwen2.5-Math-7B}
  resources: {threads: 2, minutes: 3}
evaluate:
  notebook: 03_evaluate
  each: {trained: train}
  grid: {benchmark: [math500, amc]}
report: {notebook: 07_report, needs: [evaluate], outputs: [results/index.html]}
"""


def jobs(text):
    return expand("micro", read_mapping(text, "micro.yaml"))


def test_grid_runs_and_each_multiply(project):
    found = jobs(STAGES)
    by_stage = {stage: [job for job in found if job.stage == stage] for stage in ("prepare", "train", "evaluate")}
    assert [len(of_stage) for of_stage in by_stage.values()] == [1, 8, 16]  # 2 runs × 2 × 2; each × 2 benchmarks
    assert [job.name for job in by_stage["train"][:2]] == [
        "train-two_sided-ground_truth-seed0",
        "train-two_sided-ground_truth-seed1",
    ]
    last = by_stage["train"][-1]
    assert last.name == "train-none-epsilon0.5-random-seed1" and last.needs == ("prepare",)
    assert last.parameters == {
        "model": "Qwen/Qwen2.5-Math-7B",
        "clip_mode": "none",
        "epsilon": 0.5,
        "reward": "random",
        "seed": 1,
    }
    assert last.resources == {"threads": 2, "memory_mb": 1000, "minutes": 3, "gpus": 0}
    evaluation = by_stage["evaluate"][-1]
    assert evaluation.name == "evaluate-none-epsilon0.5-random-seed1-amc" and evaluation.needs == (last.name,)
    assert evaluation.parameters == {"benchmark": "amc", "trained": f"micro/{last.name}"}
    report = found[-1]
    assert report.needs == tuple(job.name for job in by_stage["evaluate"]) and report.outputs == ("results/index.html",)
    assert report.result_file == project / "runs" / "profiles" / "micro" / "jobs" / "report.json"


def test_each_goes_through_several_stages(project):
    text = "a: {notebook: n, grid: {seed: [0, 1]}}\nb: {notebook: n}\nc: {notebook: e, each: {trained: [a, b]}}"
    assert [job.name for job in jobs(text) if job.stage == "c"] == ["c-seed0", "c-seed1", "c"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("t: {notebok: n}", "Unknown key in stage t of profile micro 'notebok' (did you mean 'notebook'?)"),
        ("t: {parameters: {}}", "Stage t of profile micro must name its notebook"),
        ("t: [1]", "Stage t of profile micro must be a mapping"),
        ("T x: {notebook: n}", "must be lower case letters"),
        ("all: {notebook: n}", "and not all"),
        ("{}", "Profile micro has no stages"),
        ("t: {notebook: n, needs: [later]}\nlater: {notebook: n}", "Unknown earlier stage, needed by stage t"),
        ("t: {notebook: n, needs: later}", "Needs of stage t of profile micro must be a list of names"),
        ("t: {notebook: n, each: {trained: nothing}}", "Unknown earlier stage"),
        ("t: {notebook: n, each: t}", "Each of stage t of profile micro must be a mapping"),
        ("t: {notebook: n, grid: {seed: 0}}", "must give a list of values for seed, but gives 0"),
        ("t: {notebook: n, grid: {seed: []}}", "must give a list of values for seed"),
        ("t: {notebook: n, grid: {seed: [0, 0]}}", "Two jobs of stage t of profile micro would have the name t-seed0"),
        ("t: {notebook: n, grid: {seed: [0]}, parameters: {seed: 1}}", "gives seed both in grid and in parameters"),
        ("t: {notebook: n, grid: {seed: [0]}, runs: [{seed: 1}]}", "gives seed both in grid and in runs"),
        ("t: {notebook: n, grid: {seed: [[0]]}}", "seed (value 1) must be a text, a number, true or false"),
        ("t: {notebook: n, parameters: {seed: null}}", "seed must be a text, a number, true or false, but it is None"),
        ("t: {notebook: n, runs: []}", "The runs of stage t of profile micro must be a list"),
        ("t: {notebook: n, resources: {cores: 2}}", "Unknown key in resources of stage t of profile micro 'cores'"),
        ("t: {notebook: n, resources: {threads: 0}}", "threads must be a whole number of at least 1"),
        ("t: {notebook: n, resources: {gpus: 1.5}}", "gpus must be a whole number of at least 0"),
        ("u: {notebook: n}\nt: {notebook: n, each: {x: u}, parameters: {x: a}}", "both in each and as a parameter"),
        ("t: {notebook: n}\nt: {notebook: m}", "Cannot read micro.yaml, line 2: the key 't' is given twice"),
        ("t: {notebook: n", "Cannot read micro.yaml, line 1"),
        ("t: !!python/object/apply:os.getpid []", "Cannot read micro.yaml, line 1"),
        ("- t", "micro.yaml must be a mapping"),
    ],
)
def test_a_profile_with_a_mistake_is_an_error_that_names_it(project, text, sentence):
    with pytest.raises(InputError) as caught:
        jobs(text)
    assert sentence in str(caught.value)
