"""From what a user writes for "the trained model" to the run that trained it.

Usage: `trained_run, model = trained_model("micro/train-random-none-seed0", "qwen-like")`.
"""

from __future__ import annotations

from spurious_rewards.errors import InputError
from spurious_rewards.workflow.profiles import job_result
from spurious_rewards.workflow.runs import RunFolder


def trained_model(trained: str, model: str) -> tuple[str, str]:
    """The training run that `trained` names and the model that it started from; ("", model) when it is empty.

    Args:
        trained: empty, a run id, or `<profile>/<job>` of a finished training job.
        model: what is evaluated when `trained` is empty.

    Raises:
        InputError: the job is not done or trained nothing, or the run does not exist or is not complete.
    """
    if not trained:
        return "", model
    run_id = trained
    if "/" in trained:
        run_ids = job_result(trained)["run_ids"]
        if len(run_ids) != 1:
            raise InputError(f"Job {trained} made {len(run_ids)} runs; `trained` must name a job of 02_train_grpo.")
        run_id = run_ids[0]
    run = RunFolder.load(run_id)
    if run.manifest().get("kind") != "training":
        raise InputError(f"Run {run_id} is no training run; `trained` must name one.")
    return run_id, run.config()["model"]
