# The DAG of one profile: every stage is a rule, every job one notebook executed strictly.
#
#   make reproduce PROFILE=micro                                one machine, with checks and progress
#   snakemake --config profile=paper --ignore-incomplete --executor slurm --jobs 16        a cluster
#
# The output of a job is its small result file, which is renamed into place when all else is done: one that exists is
# whole. Run folders and executed notebooks are not outputs: Snakemake deletes the outputs of a job before it runs it
# again, and a finished run is never to be deleted. What makes a job run again is in its identity (`params`): source
# cells, parameters and needs, by content; the time of a notebook file does not matter.
import json
import os
import shlex
import sys

from spurious_rewards.storage.paths import project_root
from spurious_rewards.workflow.profiles import identity, load_profile

workdir: str(project_root())

PROFILE = load_profile(config.get("profile", "micro"))
JOBS = {job.name: job for job in PROFILE.jobs}


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
    rule:
        name: _stage
        wildcard_constraints: job="|".join(re.escape(job.name) for job in _jobs)
        input: lambda wildcards: [relative(JOBS[name].result_file) for name in JOBS[wildcards.job].needs]
        output: f"{_folder}/jobs/{{job}}.json"
        log: f"{_folder}/logs/{{job}}.log"
        params: identity=lambda wildcards: json.dumps(identity(JOBS[wildcards.job]), sort_keys=True)
        threads: _jobs[0].resources["threads"]
        resources:
            mem_mb=_jobs[0].resources["memory_mb"],
            runtime=_jobs[0].resources["minutes"] * 3 or 24 * 60,
            gpus=_jobs[0].resources["gpus"],
        shell:
            f"{shlex.quote(sys.executable)} -m spurious_rewards.workflow.profiles run"
            f" {shlex.quote(PROFILE.name)} {{wildcards.job}} --verbose > {{log}} 2>&1"
