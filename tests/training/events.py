"""Points of a training run at which it can be made to die, numbered in the order in which they come.

An event is the beginning or the end of a micro-step (the end: gradients are there, the optimizer has not stepped), the
beginning of a reward computation, and the moment before each file of a checkpoint, of the final tables and of the model
is written. The manifest is none: whoever dies at an event leaves a run without one.

As a program, `python events.py CONFIG N` trains and sends itself SIGKILL at event N.
"""

import functools
import json
import os
import signal
import sys

from spurious_rewards.training import checkpoints, run
from spurious_rewards.training.config import RunConfig
from spurious_rewards.training.run_trainer import RunTrainer


def watch(setattr_, on_event):
    """Have `on_event(name)` called at every event; `setattr_` is `setattr` or that of a monkeypatch."""

    def before(owner, name, label):
        original = getattr(owner, name)

        @functools.wraps(original)
        def wrapped(*args, **kwargs):
            on_event(label(*args))
            return original(*args, **kwargs)

        setattr_(owner, name, wrapped)

    step = RunTrainer.training_step

    def training_step(self, *args, **kwargs):
        where = f"update {self.state.global_step + 1}, micro-step {self._step % self.args.gradient_accumulation_steps}"
        on_event(f"{where} begins")
        result = step(self, *args, **kwargs)
        on_event(f"{where} ends")
        return result

    setattr_(RunTrainer, "training_step", training_step)
    before(RunTrainer, "_calculate_rewards", lambda self, *_: f"rewards after update {self.state.global_step}")
    for owner, name in ((checkpoints, "write_parquet"), (checkpoints, "write_json"), (run, "write_parquet")):
        before(owner, name, lambda path, *_: "/".join(path.parts[-2:]))
    before(run, "save_model", lambda trainer, target, *_: target.name)


def main():
    """Train the configuration of the command line until the event of the command line."""
    events = []

    def die(name):
        if len(events) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        events.append(name)

    watch(setattr, die)
    run.train(RunConfig(**json.loads(sys.argv[1])), progress=False)


if __name__ == "__main__":
    main()
