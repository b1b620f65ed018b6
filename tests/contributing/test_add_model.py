"""Add a model: any local folder that Transformers can read, by its path."""

import shutil

from spurious_rewards.models.organisms.locate import organism_folder
from spurious_rewards.models.registry import load, resolve


def test_add_model(tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(organism_folder("qwen-like"), mine)
    assert resolve(str(mine)).kind == "path"
    model, tokenizer = load(str(mine))
    assert model.config.model_type == "qwen2"
    assert tokenizer.decode(tokenizer("What is 4 + 3?")["input_ids"], skip_special_tokens=True) == "What is 4 + 3?"
