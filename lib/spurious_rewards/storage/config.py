"""Define configurations whose fields are checked, and from which a run gets its id.

A configuration is a frozen dataclass deriving from `Config`. Fields marked `metadata={"identity": False}` (for example
where to write, how many rows per batch in evaluation) do not change what is computed and stay out of the run id.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True)
... class Example(Config):
...     gamma: float = 0.5
...     seed: int = 0
>>> Example.from_mapping({"gamma": 1, "seed": 3})
Example(gamma=1.0, seed=3)
>>> Example.from_mapping({"gama": 1})
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Unknown parameter of Example 'gama' (did you mean 'gamma'?); known: gamma, seed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_type_hints

from spurious_rewards.errors import InputError, check_name
from spurious_rewards.storage.yaml_text import read_mapping


@dataclass(frozen=True)
class Config:
    """Base of all run configurations; values are str, int, float or bool."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), hints[field.name]))
        self.validate()

    def validate(self) -> None:
        """Raise `InputError` for values that cannot work; subclasses override."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping; a name that is not a field raises `InputError`."""
        known = [field.name for field in fields(cls)]
        for name in values:
            check_name(f"parameter of {cls.__name__}", name, known)
        return cls(**values)

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, Any], options: str = "") -> Self:
        """Build from a notebook's variables: those named like a field, and `options` for fields without a parameter.

        Args:
            namespace: usually `globals()`.
            options: further fields as YAML, for example `"temperature: 0.7, whiten_advantages: true"`.

        Raises:
            InputError: `options` is no mapping, or names no field or one that is a parameter already.
        """
        values = {field.name: namespace[field.name] for field in fields(cls) if field.name in namespace}
        more = read_mapping(f"{{{options}}}", "options")
        twice = sorted(set(more) & set(values))
        if twice:
            raise InputError(f"{', '.join(twice)} is a parameter of this notebook; set it there, not in options.")
        return cls.from_mapping({**values, **more})

    def check_at_least(self, least: Mapping[str, float]) -> None:
        """Raise `InputError` for the first field that is below its entry in `least`."""
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise InputError(f"{name} must be at least {smallest}, but it is {getattr(self, name)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, in their order."""
        return asdict(self)

    def identity(self) -> dict[str, Any]:
        """Return the fields that change what is computed."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.metadata.get("identity", True)}

    def digest(self) -> str:
        """Compute ten hex digits of the SHA-256 of the identity; equal configurations have equal ones."""
        text = json.dumps(self.identity(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


def checked(name: str, value: Any, kind: type) -> Any:
    """Return `value` as `kind` if it is one (an int passes for a float), else raise `InputError`."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        hint = " (YAML reads a bare yes, no, on or off so: quote it)" if type(value) is bool and kind is str else ""
        raise InputError(f"Parameter {name} must be {kind.__name__}, but {value!r} is {type(value).__name__}{hint}.")
    if kind is float and not math.isfinite(value):
        raise InputError(f"Parameter {name} must be a finite number, but it is {value!r}.")
    return value


def slug(text: str) -> str:
    """Make a name fit for a folder: lower case letters, digits, dot and hyphen.

    >>> slug("Qwen/Qwen2.5-Math-7B")
    'qwen2.5-math-7b'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.rsplit("/", 1)[-1].lower()).strip("-.")
