"""Which executed notebooks are copied for a reader."""

from types import SimpleNamespace

from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.jobs import copy_notebooks
from spurious_rewards.workflow.stages import expand

STAGES = """
train: {notebook: train, grid: {seed: [0, 1]}}
evaluate: {notebook: evaluate, needs: [train]}
report: {notebook: report, needs: [evaluate], outputs: [results/index.html]}
"""


def test_the_first_of_each_kind_that_was_executed_and_writes_no_pages(project):
    jobs = expand("toy", read_mapping(STAGES, "toy.yaml"))
    for job in jobs:
        if job.notebook != "evaluate":  # not executed
            job.output_notebook.parent.mkdir(parents=True, exist_ok=True)
            job.output_notebook.write_text(job.name)
    folder = project / "results" / "notebooks" / "toy"
    [copy] = copy_notebooks(SimpleNamespace(jobs=jobs), folder)
    assert copy == folder / "train.ipynb" and copy.read_text() == "train-seed0"
    assert list(folder.iterdir()) == [copy]
    before = copy.stat().st_mtime_ns
    assert copy_notebooks(SimpleNamespace(jobs=jobs), folder) == [copy] and copy.stat().st_mtime_ns == before
