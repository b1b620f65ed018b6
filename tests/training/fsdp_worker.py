"""Train under profiles/accelerate/eight_gpu_fsdp.yaml, resume a copy, and write down what a test wants to know.

    torchrun --nproc_per_node N fsdp_worker.py CONFIG_JSON FOLDER

On a GPU as it is; on gloo processes Accelerate is told that FSDP may be used there too, which it does not offer by
itself. FOLDER/facts.json comes last, from the first process.
"""

import inspect
import json
import os
import shutil
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
    from spurious_rewards.training.config import RunConfig
    from spurious_rewards.training.trainer import ClipGRPOTrainer

    facts = {"dtypes": set(), "reduce": set(), "shards": set()}
    make = run_module.make_trainer
    made = []
    run_module.make_trainer = lambda *args: made.append(make(*args)) or made[-1]
    scored = ClipGRPOTrainer._get_per_token_logps_and_entropies

    def noted(self, *args, **kwargs):
        result = scored(self, *args, **kwargs)
        facts["dtypes"] |= {str(x.dtype) for x in result[:2] if x is not None}
        for module in self.model.modules():
            if hasattr(module, "_get_fsdp_state"):
                group = module._get_fsdp_state()._fsdp_param_group
                facts["reduce"].add(str(group.mp_policy.reduce_dtype))
                facts["shards"] |= {str(p.sharded_param.dtype) for p in group.fsdp_params}
        return result

    ClipGRPOTrainer._get_per_token_logps_and_entropies = noted

    def train(name):
        os.environ["SPURIOUS_RUNS_DIR"] = str(folder / name)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        run = run_module.train(RunConfig(**config), progress=False)
        dist.barrier()
        return run

    run = train("whole")
    if torch.cuda.is_available():
        facts["allocated"] = torch.cuda.memory_allocated()
        facts["peak"] = torch.cuda.max_memory_allocated()
    if dist.get_rank() == 0:
        kept = checkpoints.all_checkpoints(run.path("checkpoints"))
        facts["parameters"] = sum(p.numel() for p in made[0].model.parameters())
        facts["type"] = made[0].accelerator.distributed_type.value
        facts["checkpoints"] = {path.name: {f.name: f.stat().st_size for f in path.iterdir()} for path in kept}
        copy = folder / "resumed" / run.run_id
        shutil.copytree(run.folder, copy)
        shutil.rmtree(copy / "model")
        last = copy / "checkpoints" / kept[-1].name
        shutil.copytree(folder / "before", copy / "checkpoints", dirs_exist_ok=True)
        shutil.rmtree(last)
        for name in ("manifest.json", "metrics.parquet", "rollouts.parquet"):
            (copy / name).unlink()
    dist.barrier()
    resumed = train("resumed")
    if dist.get_rank() == 0:
        facts |= {"run": str(run.folder), "again": str(resumed.folder)}
        shown = {name: sorted(value) if isinstance(value, set) else value for name, value in facts.items()}
        (folder / "facts.json").write_text(json.dumps(shown))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
