"""GRPO with one clean cut at the clip: configuration, clip modes, trainer, diagnostics, resume.

Shapes in annotations (`Float[Tensor, "batch tokens"]`) are jaxtyping's and are for the reader: nothing checks them at
run time, since that needs a type checker (beartype, typeguard) which the locked environment does not have.
"""
