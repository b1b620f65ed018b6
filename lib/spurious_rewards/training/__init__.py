"""GRPO with one clean cut at the clip: configuration, clip modes, trainer, diagnostics, resume.

Shapes in annotations (`Float[Tensor, "batch tokens"]`) are jaxtyping's. The tests check them at run time, in the
modules that `tests/conftest.py` lists.
"""
