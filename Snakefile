# The DAG of one profile: every stage is a rule, every job one notebook executed strictly.
#
#   make reproduce PROFILE=micro                                one machine, with checks and progress
#   make reproduce PROFILE=paper CLUSTER=profiles/slurm         a cluster
#
# The output of a job is its small result file, which is renamed into place when all else is done: one that exists is
# whole. Run folders and executed notebooks are not outputs: Snakemake deletes the outputs of a job before it runs it
# again, and a finished run is never to be deleted. What is out of date is decided before, by content
# (workflow.jobs.forget_outdated); here a job runs if its result file is missing.
import os
import re
import shlex
import sys

from spurious_rewards.storage.paths import project_root
from spurious_rewards.workflow.profiles import read_profile

workdir: str(project_root())

PROFILE = read_profile(config.get("profile", "micro"))
JOBS = {job.name: job for job in PROFILE.jobs}
PYTHON = config.get("python", sys.executable)  # of the jobs; Snakemake may run in an environment of its own


def relative(path):
    """Relative to the project's root where possible, so that Snakemake's records survive a move of the checkout."""
    inside = os.path.relpath(path, project_root())
    return str(path) if inside.startswith("..") else inside


rule all:
    default_target: True
    localrule: True
    input: [relative(job.result_file) for job in PROFILE.jobs]


for _stage in dict.fromkeys(job.stage for job in PROFILE.jobs):
    _jobs = [job for job in PROFILE.jobs if job.stage == _stage]
    _folder = relative(_jobs[0].folder)
    _needs = _jobs[0].resources
    rule:
        name: _stage
        wildcard_constraints: job="|".join(re.escape(job.name) for job in _jobs)
        input: lambda wildcards: [relative(JOBS[name].result_file) for name in JOBS[wildcards.job].needs]
        output: f"{_folder}/jobs/{{job}}.json"
        log: f"{_folder}/logs/{{job}}.log"
        threads: _needs["threads"]
        resources:
            mem_mb=_needs["memory_mb"],
            # Half as long again as planned, and longer after a job was stopped at its limit.
            runtime=lambda wildcards, attempt, planned=_needs["minutes"]: attempt * max(10, planned * 3 // 2 or 24 * 60),
            gpu=_needs["gpus"],
            nodes=1,
        shell:
            f"exec {shlex.quote(PYTHON)} -m spurious_rewards.workflow.jobs"
            f" {shlex.quote(PROFILE.name)} {{wildcards.job}} --verbose > {{log}} 2>&1"
