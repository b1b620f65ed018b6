"""What a checkpoint holds once a newer one is sealed, and what a death on the way leaves."""

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from spurious_rewards.storage.files import read_json
from spurious_rewards.training import checkpoints

STATE_FILES = ("optimizer.pt", "optimizer.bin", "pytorch_model_fsdp.bin", "scheduler.pt", "rng_state_0.pth")


@pytest.fixture
def folder(tmp_path):
    """Three sealed checkpoints after updates 4, 8, 12."""
    for update in (4, 8, 12):
        checkpoint = tmp_path / f"checkpoint-{update}"
        (checkpoint / "global_step4").mkdir(parents=True)
        weights = {"w": torch.full((3, 2), 1 + 2**-12), "n": torch.tensor([update])}
        save_file(weights, checkpoint / "model.safetensors", {"format": "pt"})
        for name in (*STATE_FILES, "config.json", "tokenizer.json", "global_step4/part"):
            (checkpoint / name).write_text("{}")
        checkpoints.seal(checkpoint, pd.DataFrame({"update": [update]}), pd.DataFrame())
    return tmp_path


def names(folder, update):
    return {path.name for path in (folder / f"checkpoint-{update}").iterdir()}


def test_older_checkpoints_keep_weights_tables_and_mark_only(folder):
    checkpoints.prune(folder, keep=2, bf16=True)
    assert not (folder / "checkpoint-4").exists()
    kept = {
        "model.safetensors",
        "config.json",
        "tokenizer.json",
        "metrics.parquet",
        "rollouts.parquet",
        "complete.json",
    }
    assert names(folder, 8) == kept
    assert set(STATE_FILES) <= names(folder, 12), "the newest can be resumed from"
    weights = load_file(folder / "checkpoint-8" / "model.safetensors")
    assert weights["w"].dtype == torch.bfloat16 and torch.equal(weights["w"], torch.ones(3, 2, dtype=torch.bfloat16))
    assert weights["n"].tolist() == [8], "whole numbers stay"
    assert load_file(folder / "checkpoint-12" / "model.safetensors")["w"].dtype == torch.float32


def test_weights_of_an_fp32_run_stay_as_they_are(folder):
    checkpoints.prune(folder, keep=0)
    for update in (4, 8):
        assert not set(STATE_FILES) & names(folder, update)
        assert load_file(folder / f"checkpoint-{update}" / "model.safetensors")["w"][0, 0] == 1 + 2**-12


def test_only_a_checkpoint_with_state_is_resumed_from(folder):
    checkpoints.prune(folder, keep=0)
    assert checkpoints.latest(folder).name == "checkpoint-12"
    (folder / "checkpoint-12" / checkpoints.MARKER).unlink()
    assert checkpoints.latest(folder) is None
    assert not list(folder.iterdir()), "a run that begins anew writes all of them anew"


def test_what_lies_before_the_newest_stays(folder):
    checkpoints.prune(folder, keep=0)
    (folder / "checkpoint-4" / checkpoints.MARKER).unlink()
    assert checkpoints.latest(folder).name == "checkpoint-12"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-12", "checkpoint-8"], "4 is not whole"


@pytest.mark.parametrize("dies_at", range(9))
def test_a_death_on_the_way_is_ended_by_the_next_call(folder, monkeypatch, dies_at):
    """The process dies before the n-th write or removal in checkpoint-8."""
    calls = 0

    def dying(function):
        def called(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls > dies_at:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return called

    with monkeypatch.context() as patch:
        for name in ("write_json", "_in_bf16"):
            patch.setattr(checkpoints, name, dying(getattr(checkpoints, name)))
        patch.setattr(checkpoints.Path, "unlink", dying(checkpoints.Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            checkpoints.prune(folder, keep=3, bf16=True)
    assert read_json(folder / "checkpoint-12" / checkpoints.MARKER)["update"] == 12
    assert checkpoints.latest(folder).name == "checkpoint-12"
    load_file(folder / "checkpoint-4" / "model.safetensors")
    checkpoints.prune(folder, keep=3, bf16=True)
    for update in (4, 8):
        assert not set(STATE_FILES) & names(folder, update) and not [n for n in names(folder, update) if n[0] == "."]
        assert load_file(folder / f"checkpoint-{update}" / "model.safetensors")["w"].dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "config.json", "metrics.parquet"])
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_damaged_checkpoint_is_not_resumed_from(folder, capsys, name, how):
    path = folder / "checkpoint-12" / name
    if how == "removed":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert checkpoints.latest(folder).name == "checkpoint-8"
    printed = capsys.readouterr().out
    assert f"checkpoint-12 is removed: {name} is missing, damaged" in printed and not path.parent.exists()


@pytest.mark.parametrize("mark", [b"", b"{", b"\xcd\x00", b"[]"])
def test_a_damaged_mark_is_none(folder, mark):
    (folder / "checkpoint-12" / checkpoints.MARKER).write_bytes(mark)
    assert checkpoints.latest(folder).name == "checkpoint-8"
