"""Read the protocol of a study, fixed before its runs: what each claim is measured by and what counts as which verdict.

A profile may carry it under the key `protocol` (docs/protocol.md explains the choices); a profile without one is judged
by the same rules with the values of `Protocol()`.

    protocol:
      confidence: 0.95                        # of the intervals; 1 − confidence is the level of Holm's family
      smallest: {accuracy: 0.03, code: 0.05}  # smallest effects that matter: the bounds of equivalence
      destruction: 0.20                       # without the clip: a loss whose whole interval lies beyond this
      seeds: {least: 8, most: 32}             # the family is judged at 8, 16 and 32 seeds, and at no others
      collapse: {loss: 0.20, share: 0.10, seeds: 32}   # arms of which only some seeds lose so much need so many seeds
      per: model                              # or recipe: pretraining checkpoints are the units, not seeds
      settings: {learning_rate: [0.0001]}     # only runs with these values count
      family: [C1, C3, C4, C5]                # claims whose tests are adjusted together; the others stand alone
      claims:
        C1: {outcome: accuracy, effect: change, arms: [{reward: random}, {reward: ground_truth, expect: context}]}

Usage: `protocol_of("decide").claims["C4"].effect`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.evaluation.crossed import SEEDS_FOR_A_VERDICT
from spurious_rewards.evaluation.statistics import CONFIDENCE
from spurious_rewards.evaluation.verdicts import EXPECTED, level_at
from spurious_rewards.storage.files import read_text
from spurious_rewards.storage.paths import project_root
from spurious_rewards.storage.yaml_text import read_mapping
from spurious_rewards.workflow.stages import checked_mapping

OUTCOMES = {"accuracy": "correct", "code": "uses_code"}
"""Outcome → column of the records."""
EFFECTS = ("change", "paired", "apart", "spread")
"""`change`: after minus before; `paired`: minus an arm with the same seeds; `apart`: minus an arm with seeds of its
own, where the arm alone gains; `spread`: the largest minus the smallest change over models."""
UNITS = ("model", "recipe")
CONTEXT = "context"
"""What a claim expects of an arm that stands beside the others for comparison and has no part in the verdict."""


def is_variant(model: str) -> bool:
    """Tell whether a model is a further checkpoint of a recipe: another seed of pretraining, or an earlier age.

    >>> is_variant("qwen-like-s1"), is_variant("qwen-like-at25"), is_variant("qwen-like")
    (True, True, False)
    """
    return re.search(r"-(s|at)\d+$", model) is not None


@dataclass(frozen=True)
class Arm:
    """Name an arm that a claim speaks of, and what the claim expects of it."""

    reward: str
    gamma: float = 0.5
    clip_mode: str = "two_sided"
    expect: str = "gain"

    def but(self, against: Mapping[str, str]) -> Arm:
        """Return the arm to compare with: fields exchanged, or a `suffix` added to the reward."""
        changed = {name: value for name, value in against.items() if name != "suffix"}
        reward = self.reward + against.get("suffix", "")
        return Arm(**{"reward": reward, "gamma": self.gamma, "clip_mode": self.clip_mode, **changed})


@dataclass(frozen=True)
class Rule:
    """Say what a claim is measured by: an outcome, a kind of effect, and the arms that have to show it."""

    outcome: str
    effect: str
    arms: tuple[Arm, ...]
    against: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, values: Any, where: str) -> Rule:
        """Build and check a rule of the YAML text."""
        values = _mapping(values, where, [f.name for f in fields(cls)], ("outcome", "effect", "arms"))
        check_name(f"outcome of {where}", values["outcome"], OUTCOMES)
        check_name(f"effect of {where}", values["effect"], EFFECTS)
        known = [f.name for f in fields(Arm)]
        arms = tuple(Arm(**_mapping(arm, f"an arm of {where}", known, ("reward",))) for arm in values["arms"])
        for arm in arms:
            check_name(f"expect of {where}", arm.expect, (*EXPECTED, CONTEXT))
        against = _mapping(values.get("against", {}), f"against of {where}", ("reward", "gamma", "clip_mode", "suffix"))
        if bool(against) != (values["effect"] in ("paired", "apart")):
            raise InputError(f"{where}: `against` belongs to the effects paired and apart, and both need it.")
        return cls(values["outcome"], values["effect"], arms, against)


RANDOM, GAMMAS = Arm("random"), (0.7, 0.5, 0.3, 0.001)
CLAIMS = {
    "C1": Rule("accuracy", "change", (RANDOM, Arm("ground_truth", expect=CONTEXT))),
    "C2": Rule("accuracy", "change", tuple(map(Arm, ("majority_vote", "one_shot", "incorrect", "format")))),
    "C3": Rule("accuracy", "spread", (RANDOM,)),
    "C4": Rule("code", "paired", (RANDOM,), {"clip_mode": "none"}),
    "C5": Rule("code", "change", (RANDOM,)),
    "C9": Rule("accuracy", "change", (*(Arm("random", g) for g in GAMMAS), Arm("random", 0.0, expect="nothing"))),
    "C10": Rule("accuracy", "apart", (RANDOM, Arm("format")), {"suffix": "_and_no_python"}),
}
"""The claims about training, as the paper states them."""
PRIMARY = ("C1", "C3", "C4", "C5")
"""Those about the random reward and the clip, whose tests are adjusted together."""


@dataclass(frozen=True)
class Protocol:
    """Hold the numbers and rules by which the claims about training are judged; effects are in proportions."""

    confidence: float = CONFIDENCE
    smallest: Mapping[str, float] = field(default_factory=lambda: {"accuracy": 0.03, "code": 0.05})
    destruction: float = 0.20
    least: int = SEEDS_FOR_A_VERDICT
    most: int = 0
    collapse_loss: float = 0.20
    collapse_share: float = 0.10
    collapse_seeds: int = 32
    per: str = "model"
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    family: tuple[str, ...] = PRIMARY
    claims: Mapping[str, Rule] = field(default_factory=lambda: CLAIMS)
    models: tuple[str, ...] = ()
    """Models that the profile plans to train with as many seeds as `most`; without `most`, all but variants."""

    @classmethod
    def from_mapping(cls, values: Any, where: str = "protocol") -> Protocol:
        """Build and check a protocol from the mapping in a profile.

        Raises:
            InputError: an unknown key, claim, outcome or effect, or a number that makes no sense.
        """
        known = ("confidence", "smallest", "destruction", "seeds", "collapse", "per", "settings", "family", "claims")
        values = dict(_mapping(values, where, known))
        values |= _mapping(values.pop("seeds", {}), f"seeds of {where}", ("least", "most"))
        collapse = _mapping(values.pop("collapse", {}), f"collapse of {where}", ("loss", "share", "seeds"))
        values |= {f"collapse_{name}": number for name, number in collapse.items()}
        settings = _mapping(values.get("settings", {}), f"settings of {where}")
        values["settings"] = {k: tuple(v) if isinstance(v, list) else (v,) for k, v in settings.items()}
        if "claims" in values:
            rules = _mapping(values["claims"], f"claims of {where}", CLAIMS)
            values["claims"] = {name: Rule.from_mapping(rule, f"{where}, claim {name}") for name, rule in rules.items()}
        values["family"] = tuple(values.get("family", PRIMARY))
        smallest = _mapping(values.get("smallest", {}), f"smallest of {where}", OUTCOMES)
        values["smallest"] = {**cls().smallest, **smallest}
        protocol = cls(**values)
        protocol.check(where)
        return protocol

    def check(self, where: str = "protocol") -> None:
        """Raise `InputError` for values that cannot work."""
        for name in self.family:
            check_name(f"family of {where}", name, CLAIMS)
        check_name(f"per of {where}", self.per, UNITS)
        for name, number in {"confidence": self.confidence, "destruction": self.destruction, **self.smallest}.items():
            if not 0 < number < 1:
                raise InputError(f"{name} of {where} must lie between 0 and 1, but it is {number!r}.")
        if self.least < SEEDS_FOR_A_VERDICT:
            raise InputError(
                f"seeds of {where}: a verdict takes at least {SEEDS_FOR_A_VERDICT} seeds, because the interval of "
                f"fewer misses too often, but `least` is {self.least}."
            )
        if self.most and self.most not in self.looks:
            raise InputError(
                f"seeds of {where}: `most` must be `least` doubled once or more, since the data are looked at when the "
                f"number of seeds has doubled, but they are {self.least} and {self.most}."
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """List the numbers of seeds at which the family is judged: `least`, doubled up to `most` (none without it)."""
        return tuple(look for i in range(self.most.bit_length()) if (look := self.least << i) <= self.most)

    def counts(self, values: Mapping[str, object]) -> bool:
        """Tell whether verdicts rest on runs with these settings; one that is not among them is as the study has it.

        >>> study = Protocol(settings={"learning_rate": (3e-5,)})
        >>> study.counts({"learning_rate": 1e-4}), study.counts({"updates_per_batch": 8})
        (False, True)
        """
        return all(values.get(name, allowed[0]) in allowed for name, allowed in self.settings.items())

    def speaks(self, model: str) -> bool:
        """Tell whether claims may rest on a model: one with `most` planned seeds; without a plan, no variant.

        >>> Protocol(models=("qwen-like", "olmo-like-s1")).speaks("olmo-like"), Protocol().speaks("olmo-like-s1")
        (False, False)
        """
        return model in self.models if self.models and self.per == "model" else not is_variant(model)

    def beside(self, model: str) -> bool:
        """Tell whether a model is beside those that a study plans, so that no claim rests on it.

        >>> Protocol(models=("qwen-like",)).beside("qwen-like-s1"), Protocol().beside("qwen-like-s1")
        (True, False)
        """
        return bool(self.models) and self.per == "model" and model not in self.models

    def look(self, n_seeds: int, claim: str) -> tuple[int, float]:
        """Return the number of seeds to use of those there are, and the level of a test on them.

        Between two looks at a claim of the family, the seeds beyond the earlier one wait; before the first, none can be
        used. The other claims are judged on all seeds there are.
        """
        level = 1 - self.confidence
        if not self.most or claim not in self.family:
            return n_seeds, level
        reached = [look for look in self.looks if look <= n_seeds]
        return (reached[-1], level_at(reached[-1], self.looks, level)) if reached else (0, level)


def protocol_of(profile: str) -> Protocol:
    """Read the protocol of a profile; the default one if the profile has none, or is not on this machine.

    Raises:
        InputError: the profile's protocol cannot be read.
    """
    path = project_root() / "profiles" / f"{profile}.yaml"
    values = read_mapping(read_text(path), path.name) if path.is_file() else {}
    if "protocol" not in values:
        return Protocol()
    protocol = Protocol.from_mapping(values["protocol"], f"protocol of {path.name}")
    planned: dict[str, set[int]] = {}
    for stage in values["stages"].values():
        grid = stage.get("grid", {}) if "config" in stage else {}
        if protocol.counts({**stage.get("parameters", {}), **{name: found[0] for name, found in grid.items()}}):
            for model in grid.get("model", ()):
                planned.setdefault(model, set()).update(grid.get("seed", ()))
    enough = (
        name
        for name, seeds in planned.items()
        if len(seeds) >= protocol.most and (protocol.most or not is_variant(name))
    )
    return replace(protocol, models=tuple(enough))


def _mapping(value: Any, where: str, known: Any = None, needed: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Return `value` if it is a mapping with known keys that has the needed ones, else raise `InputError`."""
    checked_mapping(value, where, known)
    for name in needed:
        if name not in value:
            raise InputError(f"{where} lacks {name}.")
    return value
