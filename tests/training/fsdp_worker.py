"""Train under profiles/accelerate/eight_gpu_fsdp.yaml, resume a copy, and write down what a test wants to know.

    torchrun --nproc_per_node N fsdp_worker.py CONFIG_JSON FOLDER

On a GPU as it is; on gloo processes Accelerate is told that FSDP may be used there too, which it does not offer by
itself. FOLDER/facts.json comes last, from the first process.
"""

import inspect
import json
import os
import sys
import textwrap
from pathlib import Path


def environment(file):
    """What `accelerate launch` would set for the FSDP part of that file."""
    import yaml

    spec = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    values = {name.upper(): str(value) for name, value in spec["fsdp_config"].items()}
    lower = {name: value.lower() if value in ("True", "False") else value for name, value in values.items()}
    return lower | {"ACCELERATE_USE_FSDP": "true", "ACCELERATE_MIXED_PRECISION": spec["mixed_precision"]}


def allow_gloo():
    """Put MULTI_CPU into the list of launches for which Accelerate makes an FSDP plugin."""
    from accelerate import state

    source = textwrap.dedent(inspect.getsource(state.AcceleratorState.__init__))
    changed = source.replace("DistributedType.MULTI_GPU,", "DistributedType.MULTI_GPU, DistributedType.MULTI_CPU,", 1)
    assert changed != source, "Accelerate has changed: look at AcceleratorState.__init__"
    scope = {}
    exec(changed, vars(state), scope)
    state.AcceleratorState.__init__ = scope["__init__"]


def main(config, folder):
    os.environ.update(environment(Path(__file__).parents[2] / "profiles" / "accelerate" / "eight_gpu_fsdp.yaml"))
    import torch
    import torch.distributed as dist

    if not torch.cuda.is_available():
        allow_gloo()
    from spurious_rewards.training import checkpoints
    from spurious_rewards.training import run as run_module
    from spurious_rewards.training.callbacks import RunCallback
    from spurious_rewards.training.config import RunConfig

    dtypes, reduce, shards, made = set(), set(), set(), []
    make, begin = run_module.make_trainer, RunCallback.on_step_begin

    def noted_trainer(*args):
        trainer = make(*args)
        scored = trainer._get_per_token_logps_and_entropies

        def noted(*args, **kwargs):
            result = scored(*args, **kwargs)
            dtypes.update(str(x.dtype) for x in result[:2] if x is not None)
            for module in trainer.model_wrapped.modules():
                group = module._get_fsdp_state()._fsdp_param_group if hasattr(module, "_get_fsdp_state") else None
                if group is not None:
                    reduce.add(str(group.mp_policy.reduce_dtype))
                    shards.update(str(parameter.sharded_param.dtype) for parameter in group.fsdp_params)
            return result

        trainer._get_per_token_logps_and_entropies = noted
        made.append(trainer)
        return trainer

    def train(name):
        os.environ["SPURIOUS_RUNS_DIR"] = str(folder / name)
        run = run_module.train(RunConfig(**config), progress=False)
        dist.barrier()
        return run

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == stop_after:
            raise KeyboardInterrupt
        begin(self, args, state, control, **kwargs)

    run_module.make_trainer = noted_trainer
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    run = train("whole")
    memory = {"allocated": torch.cuda.memory_allocated(), "peak": torch.cuda.max_memory_allocated()} if on_gpu else {}
    # the same run again, stopped one update after its first checkpoint, then started again
    stop_after = config["save_every_batches"] * config["updates_per_batch"] + 1
    RunCallback.on_step_begin = interrupt
    try:
        train("resumed")
    except KeyboardInterrupt:
        made[-1].accelerator.gradient_state._set_sync_gradients(True)  # as a new process begins
        dist.barrier()
    RunCallback.on_step_begin = begin
    resumed = train("resumed")
    if dist.get_rank() == 0:
        kept = checkpoints.all_checkpoints(run.path("checkpoints"))
        facts = {
            "run": str(run.folder),
            "again": str(resumed.folder),
            "launch": made[0].accelerator.distributed_type.value,
            "parameters": sum(p.numel() for p in made[0].model.parameters()),
            "dtypes": sorted(dtypes),
            "reduce": sorted(reduce),
            "shards": sorted(shards),
            "checkpoints": {path.name: {f.name: f.stat().st_size for f in path.iterdir()} for path in kept},
            **memory,
        }
        (folder / "facts.json").write_text(json.dumps(facts))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
