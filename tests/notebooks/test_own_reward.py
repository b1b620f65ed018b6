"""A reward of one's own through notebook, profile and several processes, after a kernel restart, and edited."""

import shutil

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.rewards.registry import register, unregister
from spurious_rewards.storage.paths import code_root
from spurious_rewards.storage.runs import RunFolder
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.launch import launch_run
from spurious_rewards.training.run import train
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


def test_notebook_with_a_module_and_a_cells_reward(project):
    (run_id,) = execute(NOTEBOOK, project / "a.ipynb", {**SMALL, "reward": "my_rewards:short_and_short"}).run_ids
    assert run_id.startswith("train-qwen-like-my_rewards.short_and_short-two_sided-s0-")
    assert len(RunFolder.load(run_id).manifest()["config"]["reward_source"]) == 10


def test_several_processes_a_kernel_restart_and_an_edit(project):
    """The notebook's kernel, its two training processes and this process are strangers to each other."""
    (run_id,) = execute(NOTEBOOK, project / "a.ipynb", {**SMALL, "reward": REWARD, "hardware": "cpu"}).run_ids
    manifest = RunFolder.load(run_id).manifest()
    assert manifest["processes"] == 2 and manifest["config"]["reward"] == REWARD
    config = RunConfig.from_mapping(manifest["config"])
    assert config.run_id() == run_id and train(config, progress=False).manifest()["sessions"] == 1
    (project / "my_rewards.py").write_text(SHORT.format(70))
    edited = RunConfig.from_mapping(manifest["config"])
    assert edited.run_id() != run_id and edited.reward_source != config.reward_source


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
