"""Run the controls of one model and answer: how much of its gain would a coin have given?

From a template of `profiles/` a profile for this model is written to the runs folder and run like any other, so that an
interrupted report goes on where it stopped. Templates: `control` for the organisms, `control-lm` for models that know
language where there is no GPU (small numbers: it shows the way), `control-gpu` where there is one.

Usage: python -m spurious_rewards.reporting.control_run MODEL [--data mine.jsonl] [--reward ground_truth] [--dry-run]
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spurious_rewards.command_line import command
from spurious_rewards.data.own import is_own, load_own
from spurious_rewards.errors import InputError, unknown_name
from spurious_rewards.models.chat_templates import has_chat_template
from spurious_rewards.models.registry import load_tokenizer, resolve
from spurious_rewards.reporting.collect import collect
from spurious_rewards.reporting.control import CLIPPED, control_report
from spurious_rewards.reporting.control_page import PAGE
from spurious_rewards.reporting.plan import PRICE, plan, table
from spurious_rewards.rewards.names import check_reward
from spurious_rewards.storage.config import slug
from spurious_rewards.storage.files import read_text, write_text
from spurious_rewards.storage.paths import project_root
from spurious_rewards.storage.provenance import hardware
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.training.footprint import CARDS
from spurious_rewards.workflow.profiles import load_profile
from spurious_rewards.workflow.reproduce import missing_requirements, reproduce
from spurious_rewards.workflow.stages import profile_folder

TEMPLATES = ("control", "control-lm", "control-gpu")
ALL_PROMPTS = "base"
"""The stage that asks the untrained model under every prompt, whatever the own prompt is."""


def run_controls(
    model: str,
    /,
    data: str = "",
    test: str = "",
    reward: str = "ground_truth",
    prompt: str = "",
    set_: str = "",
    template: str = "",
    card: str = "h100",
    cores: int = 0,
    dry_run: bool = False,
) -> None:
    """Run the controls of a model: every prompt, a coin, the format alone, memory, the verifier.

    Args:
        model: registry name, hub id or folder.
        data: training problems, a problem set or a .jsonl file.
        test: test problems; without them, a quarter of a .jsonl file.
        reward: yours.
        prompt: your prompt style; without one, by the model.
        set_: parameters of notebooks 02 and 03, as in 'learning_rate: 1e-6'.
        template: control, control-lm or control-gpu; without one, by model and machine.
        card: GPU of the plan.
        cores: 0 takes all usable ones.
        dry_run: check everything and print the plan; nothing runs.
    """
    template = template or template_for(model)
    profile = personal(template, model, data, test, reward, prompt, read_mapping(f"{{{set_}}}", "--set"))
    name = save(profile, model)
    print(f"Profile {name}, from template {template}. What it takes:\n{cost(name, card)}", flush=True)
    missing = missing_requirements(load_profile(name))
    if dry_run:
        print("\n".join(f"To run it here: {line}" for line in missing) or "This machine can run it.")
        return
    reproduce(name, cores or hardware()["cores"])
    report = control_report(collect(name), reward)
    print("\n".join(["", report.answer(), *report.others(), *(f"Beware: {line}" for line in report.warnings)]))
    print(f"The page: {profile_folder(name) / PAGE}")


main = command(run_controls)


def cost(name: str, card: str) -> str:
    """Write the plan of a profile: memory, disk, hours and cost of its stages, and what does not fit.

    Raises:
        InputError: an unknown card.
    """
    if card not in CARDS:
        raise unknown_name("card", card, CARDS)
    entries = plan(load_profile(name), CARDS[card])
    lines = table(entries, PRICE, card).split("\n")
    too_big = [entry.job.name for entry in entries if entry.gpus and entry.memory_gb > CARDS[card].memory_gb]
    if too_big:
        lines.append(f"{len(too_big)} jobs do not fit into {CARDS[card].memory_gb:g} GB, the first is {too_big[0]}.")
    rules = [i for i, line in enumerate(lines) if line.startswith("---")]
    return "\n".join([lines[0], *lines[rules[-1] :]])


def template_for(model: str) -> str:
    """Choose the template for a model on this machine: by what it knows, and by the GPUs."""
    if resolve(model).task == "synthetic":
        return "control"
    return "control-gpu" if hardware()["gpus"] else "control-lm"


def personal(
    template: str, model: str, data: str, test: str, reward: str, prompt: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Put the user's choices into a template and return the mapping of a profile.

    Args:
        template: one of `TEMPLATES`.
        model: registry name, hub id or folder; a folder is kept by its whole path.
        data, test: problem sets or files; empty takes the template's, or of a file its parts.
        reward: the user's; if it is no control already, an arm is added for it.
        prompt: style; empty takes the template's, or the raw problem for a model without a chat template.
        settings: further parameters of the notebooks, by name.

    Raises:
        InputError: an unknown template, model or reward.
    """
    if template not in TEMPLATES:
        raise unknown_name("template", template, TEMPLATES)
    spec = resolve(model)
    check_reward(reward, 0.5, "given")
    profile = read_mapping(read_text(project_root() / "profiles" / f"{template}.yaml"), template)
    name = str(Path(spec.name).resolve()) if spec.kind == "path" else model
    data, test = (str(Path(path).resolve()) if is_own(path) and "#" not in path else path for path in (data, test))
    if is_own(data) and not test and "#" not in data:
        data, test = f"{data}#train", f"{data}#test"
    for problems in filter(is_own, (data, test)):
        load_own(problems)  # raises before anything runs
    style = prompt or ("" if spec.task == "synthetic" or has_chat_template(load_tokenizer(model)) else "none")
    chosen = {"model": name, "probe_model": name, "train_set": data, "benchmark": test, "prompt_style": style}
    chosen = {key: value for key, value in chosen.items() if value}
    if test:
        chosen["probe_benchmarks"] = f"{test}, synthetic_test" if test != "synthetic_test" else test
        chosen.setdefault("n_problems", 0)
    if data:
        chosen.setdefault("n_train_problems", 0)
    stages = profile["stages"]
    for stage in stages.values():
        stage.setdefault("parameters", {})
    _put({**chosen, **settings}, profile)
    runs = stages["train"]["runs"]
    if all(run["reward"] != reward for run in runs):
        runs.insert(0, {"reward": reward, "clip_mode": CLIPPED})
    stages["control"]["parameters"] = {"reward": reward}
    profile["status"] = "not run"
    profile["description"] = f"Controls of {model}: {profile['description']}"
    return profile


def save(profile: Mapping[str, Any], model: str) -> str:
    """Write a profile to the runs folder and return its name, which is the same for the same content."""
    text = json.dumps(profile, indent=1, ensure_ascii=False, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"control-{slug(model)[:40].strip('-.') or 'model'}-{digest}"
    write_text(profile_folder(name) / "profile.yaml", text + "\n")  # JSON is YAML
    return name


def _put(values: Mapping[str, Any], profile: dict[str, Any]) -> None:
    """Set parameters for all notebooks: in `common`, and wherever a stage sets them itself.

    Raises:
        InputError: a parameter that the template varies (`grid`, `runs`) cannot be set; `seed` is the exception.
    """
    for name, value in values.items():
        found = False
        for stage_name, stage in profile["stages"].items():
            grid, runs = stage.get("grid", {}), stage.get("runs", [])
            if name in grid and not (stage_name == ALL_PROMPTS and name == "prompt_style"):
                if name != "seed":
                    raise InputError(f"The controls vary {name} themselves; leave it out of --set.")
                grid[name], found = [value], True
            elif any(name in run for run in runs):
                raise InputError(f"The controls vary {name} themselves; leave it out of --set.")
            elif name in stage["parameters"]:
                stage["parameters"][name], found = value, True
        if not found:
            profile["common"][name] = value


if __name__ == "__main__":
    sys.exit(main())
