"""Train the organism for eight updates on rollouts that are recorded (`draw`) or replayed (`replay`).

    python organism_replay.py draw|replay FOLDER NAME

The device is whatever this process sees. `draw` writes FOLDER/rollouts.pt, `replay` FOLDER/NAME.pt: losses per update
and the weights at the end.
"""

import os
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))

CONFIG = {"rollout_batches": 2, "learning_rate": 1e-5, "save_every_batches": 10}


def main(mode, folder, name):
    import tiny

    from spurious_rewards.training import run as run_module

    os.environ["SPURIOUS_RUNS_DIR"] = str(folder / name)
    stored = [] if mode == "draw" else torch.load(folder / "rollouts.pt")
    trainer = run_module.make_trainer(tiny.config(**CONFIG), tiny.problems(), folder / name / "trl")
    generate = trainer._generate_single_turn

    def single_turn(prompt_ids, *args, **kwargs):
        if mode == "replay":
            return stored.pop(0), None
        result = generate(prompt_ids, *args, **kwargs)
        stored.append([list(map(int, ids)) for ids in result[0]])
        return result

    trainer._generate_single_turn = single_turn
    trainer.train()
    if mode == "draw":
        torch.save(stored, folder / "rollouts.pt")
        return
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    weights = {key: p.detach().cpu() for key, p in trainer.model.named_parameters()}
    torch.save({"losses": losses, "weights": weights, "device": str(trainer.model.device)}, folder / f"{name}.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
