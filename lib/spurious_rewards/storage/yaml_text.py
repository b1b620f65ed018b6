"""Read YAML without its two traps: `5e-7` is a number, and a key given twice is an error.

>>> read_mapping("learning_rate: 5e-7\\nname: a", "demo")
{'learning_rate': 5e-07, 'name': 'a'}
>>> read_mapping("a: 1\\na: 2", "demo")
Traceback (most recent call last):
    ...
spurious_rewards.errors.InputError: Cannot read demo, line 2: the key 'a' is given twice.
"""

from __future__ import annotations

import copy
import functools
import re
from typing import Any

import yaml

from spurious_rewards.errors import InputError


class _Loader(yaml.SafeLoader):
    """Load YAML as PyYAML's safe loader does, but strictly."""


def _strict_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in keys:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark)
        keys.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _strict_mapping)
# PyYAML follows YAML 1.1, which wants a dot in the mantissa and a sign in the exponent.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_mapping(text: str, where: str) -> dict[str, Any]:
    """Read the mapping in a YAML (or JSON) text.

    Args:
        text: the YAML text.
        where: the text's name in an error message.

    Raises:
        InputError: the text is no YAML, repeats a key, or is not a mapping with names as keys.
    """
    try:
        value = copy.deepcopy(_loaded(text))
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"Cannot read {where}{line}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise InputError(f"Cannot read {where}: it is not YAML ({error}).") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{where} must be a mapping of names to values.")
    return value


@functools.lru_cache(maxsize=32)
def _loaded(text: str) -> Any:
    """Parse a text once: the pages ask hundreds of times for the same profile, at 0.1 s each."""
    return yaml.load(text, Loader=_Loader)
