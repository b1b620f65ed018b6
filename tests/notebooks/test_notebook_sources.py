"""The notebooks as they are committed: no outputs, short cells, no definitions, one parameters cell, a last marker."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from spurious_rewards.storage.paths import code_root
from spurious_rewards.workflow.notebook import check_source
from spurious_rewards.workflow.parameters import notebook_parameters

NOTEBOOKS = sorted((code_root() / "notebooks").glob("*.ipynb"))
PARAMETER_LINE = re.compile(r"\w+: (str|int|float|bool) = .+  # \S.+")


def cells(path: Path, kind: str = "code"):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path):
    code = cells(path)
    check_source(path)
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "committed with outputs"
    assert all(len(cell.source.splitlines()) <= 25 for cell in code), "a cell has more than 25 lines"
    for cell in code:
        kinds = {type(node).__name__ for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {"FunctionDef", "AsyncFunctionDef", "ClassDef"}, "logic belongs in lib/"
    parameters = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(parameters) == 1
    for line in parameters[0].source.splitlines():
        if line.startswith("# Leave these"):
            continue
        assert PARAMETER_LINE.fullmatch(line), f"not `name: type = literal  # comment`: {line}"
    assert f'completed("{path.stem}"' in code[-1].source
    assert cells(path, "markdown")[0].source.startswith(f"# {path.stem[:2]} · ")


def test_parameters_of_training_are_fields_of_its_configuration():
    from spurious_rewards.training.config import RunConfig

    path = next(path for path in NOTEBOOKS if path.stem == "02_train_grpo")
    defaults = notebook_parameters(path)
    RunConfig.from_mapping({name: value for name, value in defaults.items() if name not in ("options", "hardware")})


OTHER_PEOPLES = {"text", "gold", "answer", "extracted", "beginning", "rest", "problem_id"}
"""Columns whose texts a model or another tool's file brought."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_texts_of_models_are_printed_without_control_characters(path):
    trees = [ast.parse(cell.source) for cell in cells(path)]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]

    def texts(of):
        columns = [node for call in calls if ast.unparse(call.func) == of for node in ast.walk(call)]
        subscripts = [node for node in columns if isinstance(node, ast.Subscript)]
        return {node for node in subscripts if getattr(node.slice, "value", None) in OTHER_PEOPLES}

    assert texts("print") <= texts("printable")
    assert texts("printable") or path.stem[:2] in ("01", "05", "06", "07")
