"""A reward of one's own through notebook, profile and several processes, after a kernel restart, and edited."""

import shutil

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.registry import register, unregister
from spurious_rewards.storage.paths import code_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.launch import launch_run
from spurious_rewards.workflow.notebook import execute
from spurious_rewards.workflow.profiles import load_profile

NOTEBOOK = code_root() / "notebooks" / "02_train_grpo.ipynb"
SHORT = "def short(texts, problems, **options):\n    return [float(len(text) <= {}) for text in texts]\n"
REWARD = "my_rewards:short_and_no_repetition"
SMALL = {
    "rollout_batches": 1,
    "prompts_per_batch": 4,
    "group_size": 4,
    "updates_per_batch": 2,
    "micro_batch": 4,
    "n_train_problems": 32,
}
PROFILE = """
stages:
  train:
    notebook: 02_train_grpo
    config: spurious_rewards.training.config.RunConfig
    grid: {reward: ["my_rewards:short_and_no_repetition", "inverse_my_rewards:short"]}
"""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A project of one's own: a folder with pyproject.toml, my_rewards.py and the notebooks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPURIOUS_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "my_rewards.py").write_text(SHORT.format(60))
    return tmp_path


def test_notebook_kernel_restart_edit_and_several_processes(project):
    """Every execution is a new kernel, so the second one is a restart; the third is edited, and on two processes."""
    (first,) = execute(NOTEBOOK, project / "a.ipynb", {**SMALL, "reward": REWARD}).run_ids
    (again,) = execute(NOTEBOOK, project / "b.ipynb", {**SMALL, "reward": REWARD}).run_ids
    assert first == again and first.startswith("train-qwen-like-my_rewards.short_and_no_repetition-")
    manifest = RunFolder.load(first).manifest()
    assert manifest["sessions"] == 1 and manifest["config"]["reward"] == REWARD
    (project / "my_rewards.py").write_text(SHORT.format(70))
    parameters = {**SMALL, "reward": REWARD, "hardware": "cpu"}
    (edited,) = execute(NOTEBOOK, project / "c.ipynb", parameters).run_ids
    assert edited != first
    config = RunFolder.load(edited).manifest()["config"]
    assert config["reward_source"] != manifest["config"]["reward_source"]
    assert {k: v for k, v in config.items() if k != "reward_source"} == {
        k: v for k, v in manifest["config"].items() if k != "reward_source"
    }
    assert RunFolder.load(edited).manifest()["processes"] == 2


def test_the_notebooks_own_cell_registers_one(project):
    (run_id,) = execute(NOTEBOOK, project / "a.ipynb", {**SMALL, "reward": "short_and_format"}).run_ids
    assert len(RunFolder.load(run_id).manifest()["config"]["reward_source"]) == 10


def test_profile(project):
    (project / "profiles").mkdir()
    (project / "profiles" / "mine.yaml").write_text(PROFILE)
    shutil.copytree(NOTEBOOK.parent, project / "notebooks")
    rewards = [job.parameters["reward"] for job in load_profile("mine").jobs]
    assert rewards == ["my_rewards:short_and_no_repetition", "inverse_my_rewards:short"]
    for reward in rewards:
        assert RunConfig(reward=reward).reward_source


def test_a_reward_of_this_process_alone_is_refused_in_others():
    @register("mine")
    def mine(texts, problems, **options):
        return [0.0 for _ in texts]

    try:
        with pytest.raises(InputError, match="move the function into a module.*set reward to my_rewards:mine"):
            launch_run(RunConfig(reward="mine_and_format"), "cpu")
    finally:
        unregister("mine")
    with pytest.raises(InputError, match="Unknown reward 'mine'.*registered before it is named"):
        RunConfig(reward="mine")


def test_a_reward_edited_between_configuration_and_training_is_refused(project):
    config = RunConfig(reward=REWARD)
    (project / "my_rewards.py").write_text(SHORT.format(70))
    with pytest.raises(InputError, match="was edited after this run was configured"):
        config.reward_function()
