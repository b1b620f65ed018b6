"""The parameters cell: read without executing, names and types strict."""

import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.workflow.parameters import (
    check_parameters,
    from_text,
    notebook_parameters,
    parse_parameters,
    source_cells,
    source_digest,
)

CELL = """# what to train
reward: str = "random"  # a name
gamma: float = 1
seed: int = -3

live: bool = True
"""
DEFAULTS = {"reward": "random", "gamma": 1.0, "seed": -3, "live": True}


def test_names_types_and_defaults_are_read(notebook):
    path = notebook("toy", parameters=CELL)
    found = notebook_parameters(path)
    assert found == DEFAULTS and list(found) == list(DEFAULTS)
    assert [type(value) for value in found.values()] == [str, float, int, bool]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("seed: int = 0\nx = 5", "line 2: `x = 5` is not `name: type = literal`"),
        ("x: list = []", "is not `name: type = literal` with type str, int, float, bool"),
        ("x: float | None = None", "is not `name: type = literal`"),
        ("x: float = 0.5  # P(x = 1)", "has an = in its comment"),
        ("x: int", "is not `name: type = literal`"),
        ("import os", "line 1: `import os` is not"),
        ("x: int = 2 * n", "value that is not a literal"),
        ("x: int = 0.5", "Parameter x must be int, but 0.5 is float"),
        ("x: float = True", "must be float, but True is bool"),
        ("x: int = 1\nx: int = 2", "repeats the parameter x"),
        ("x: int = (", "line 1: this is not Python"),
    ],
)
def test_any_other_line_is_an_error_that_names_it(source, sentence):
    with pytest.raises(InputError) as caught:
        parse_parameters(source, "toy.ipynb")
    assert sentence in str(caught.value) and "toy.ipynb" in str(caught.value)


def test_a_notebook_needs_exactly_one_parameters_cell(notebook):
    path = notebook("toy")
    path.write_text(path.read_text().replace('"parameters"', '"other"'))
    with pytest.raises(InputError, match="exactly one cell tagged 'parameters', but it has 0"):
        notebook_parameters(path)


@pytest.mark.parametrize("text", ["{", "[]", '{"cells": 3}', '{"cells": [{}]}'])
def test_a_broken_file_is_no_traceback(project, text):
    (project / "x.ipynb").write_text(text)
    with pytest.raises(InputError, match="not a readable notebook"):
        source_cells(project / "x.ipynb")
    with pytest.raises(InputError, match="no notebook"):
        source_cells(project / "y.ipynb")


def test_given_values_are_checked():
    assert check_parameters({"gamma": 1, "live": False}, DEFAULTS, "toy") == {"gamma": 1.0, "live": False}
    with pytest.raises(InputError, match=r"'rewrd' \(did you mean 'reward'\?\)"):
        check_parameters({"rewrd": "format"}, DEFAULTS, "toy")
    for name, value in (("seed", "3"), ("seed", 3.0), ("gamma", "high"), ("live", 1), ("gamma", float("nan"))):
        with pytest.raises(InputError, match=f"Parameter {name} must be"):
            check_parameters({name: value}, DEFAULTS, "toy")


def test_texts_of_a_command_line_become_the_declared_types():
    texts = {"reward": "a=b", "gamma": "5e-7", "seed": "4", "live": "False"}
    assert from_text(texts, DEFAULTS, "toy") == {"reward": "a=b", "gamma": 5e-7, "seed": 4, "live": False}
    for name, text in (("seed", "4.5"), ("live", "yes"), ("gamma", "much"), ("gamma", "inf")):
        with pytest.raises(InputError, match=f"Parameter {name}"):
            from_text({name: text}, DEFAULTS, "toy")
    with pytest.raises(InputError, match="did you mean 'seed'"):
        from_text({"sed": "4"}, DEFAULTS, "toy")


def test_the_digest_is_that_of_the_sources_alone(notebook):
    path = notebook("toy", "1")
    before = source_digest(path)
    notebook("toy", "1")  # other cell ids
    text = path.read_text()
    printed = '"outputs": [{"output_type": "stream", "name": "stdout", "text": ""}]'
    path.write_text(text.replace('"outputs": []', printed))
    assert path.read_text() != text and source_digest(path) == before
    notebook("toy", "2")
    assert source_digest(path) != before
