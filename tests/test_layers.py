"""The house rule: a module imports only from its own package or from packages that stand before it in LAYERS."""

import ast
from pathlib import Path

import pytest

import spurious_rewards
from spurious_rewards import LAYERS

ROOT = Path(spurious_rewards.__file__).parent
MODULES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def imported_layers(source: str) -> set[str]:
    """Packages of this project that a source imports, at any depth of the file."""
    layers = set()
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [node.module]
                if node.module != "spurious_rewards"
                else [f"spurious_rewards.{alias.name}" for alias in node.names]
            )
        layers |= {name.split(".")[1] for name in names if name.startswith("spurious_rewards.")}
    return layers


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_downwards(path):
    own = path.relative_to(ROOT).parts[0]
    above = {
        name for name in imported_layers(path.read_text()) if name in LAYERS and LAYERS.index(name) > LAYERS.index(own)
    }
    assert not above, f"{path.relative_to(ROOT)} imports from {', '.join(sorted(above))}, which stands above {own}"


def test_the_check_sees_a_wrong_import():
    assert imported_layers("def f():\n    from spurious_rewards.training.run import train") == {"training"}
    assert imported_layers("from spurious_rewards import errors") == {"errors"}


def test_every_package_is_a_layer():
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").is_file()} <= set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_are_short_and_say_what_they_do(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 420
    assert ast.get_docstring(ast.parse(source))
