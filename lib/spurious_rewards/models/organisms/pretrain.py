"""Pretrain an organism: a seeded function of its recipe that ends in an ordinary Transformers folder.

Plain next-token prediction on the recipe's corpus, one CPU thread, a cosine schedule; Muon for the matrices, AdamW for
the rest. The loss is taken on the answer only: the numbers of a problem are uniformly random, so nothing could be
learnt from predicting them, and a model that has never been trained on problem texts cannot complete them from memory.

A run that is interrupted goes on from its last tenth, with the same weights at the end. On the way it writes the
younger ages that are asked for, each a folder of its own.

Usage: ``folder = pretrain(recipe_named("qwen-like"), "runs/organisms/qwen-like")``
"""

from __future__ import annotations

import math
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from spurious_rewards.models.organisms import corpus
from spurious_rewards.models.organisms.muon import Muon
from spurious_rewards.models.organisms.recipe import Recipe, at_age
from spurious_rewards.models.organisms.surface import DIGITS
from spurious_rewards.models.organisms.tokenizer import build_tokenizer
from spurious_rewards.storage.files import atomic_path, write_json

if TYPE_CHECKING:
    from torch import Tensor

FINAL_RATE = 0.01  # share of the peak learning rates that is left at the end
MICRO_BATCHES = 3


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> Qwen2ForCausalLM:
    """Make an untrained network of the recipe's size, initialised from the recipe's seed, in fp32."""
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden_size, intermediate_size=recipe.intermediate_size,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=recipe.max_positions, tie_word_embeddings=True, dtype="float32", **ids,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(**ids, do_sample=True, temperature=1.0, top_k=0, top_p=1.0)
    return model


def corpus_sequences(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> list[tuple[list[int], int, int]]:
    """Write the recipe's corpus: sequences as (token ids, first position of the answer, of its closing)."""
    rng = random.Random(f"corpus:{recipe.seed}")
    prompts, workings, closings = [], [], []
    for _ in range(recipe.corpus_size):
        problem = corpus.sample_problem(rng)
        answer = corpus.answer(problem, recipe, rng)
        prompts.append(f"<|bos|><|user|>{problem.problem}<|assistant|>")
        workings.append(answer.working)
        closings.append(answer.closing + "<|eos|>")
    parts = [tokenizer(texts)["input_ids"] for texts in (prompts, workings, closings)]
    return [(p + w + c, len(p), len(p) + len(w)) for p, w, c in zip(*parts, strict=True)]


def batches(
    sequences: list[tuple[list[int], int, int]], recipe: Recipe, digit_ids: list[int], skip: int = 0
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield endless training batches after the first `skip`, each a list of `MICRO_BATCHES` (input_ids, weights).

    The order of the sequences is seeded, epoch by epoch.

    Both tensors have shape (sequences, longest sequence), right-padded. A weight says how much the loss on predicting
    that token counts: 0 on prompt and padding, 1 on the answer, `digit_weight` on the digits of its working. The
    style of an answer is random and its gradient mostly noise; the digits are where there is something to learn. No
    choice of style or strategy is biased by this, since none of them is between a digit and a phrase.

    A batch is cut into micro-batches of similar length, which wastes less on padding than one rectangle; its gradient
    is that of the whole batch, so lengths (and with them strategies) stay mixed in every update.
    """
    rng = random.Random(f"order:{recipe.seed}")
    order: list[int] = []
    while True:
        while len(order) < recipe.batch_size:
            order += rng.sample(range(len(sequences)), len(sequences))
        drawn = [sequences[order.pop()] for _ in range(recipe.batch_size)]
        if skip > 0:
            skip -= 1
            continue
        batch = sorted(drawn, key=lambda item: len(item[0]))
        size = math.ceil(len(batch) / MICRO_BATCHES)
        starts = range(0, len(batch), size)
        yield [_padded(batch[start : start + size], digit_ids, recipe.digit_weight) for start in starts]


def _padded(
    batch: list[tuple[list[int], int, int]], digit_ids: list[int], digit_weight: float
) -> tuple[Tensor, Tensor]:
    longest = len(batch[-1][0])
    input_ids = torch.zeros(len(batch), longest, dtype=torch.long)  # id 0 is <|pad|>
    weights = torch.zeros(len(batch), longest)
    for row, (ids, answer, closing) in enumerate(batch):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        weights[row, answer : len(ids)] = 1
        working = input_ids[row, answer:closing]
        weights[row, answer:closing] += (digit_weight - 1) * torch.isin(working, torch.tensor(digit_ids))
    return input_ids, weights


def schedule(recipe: Recipe, step: int) -> float:
    """Return the factor on all learning rates: linear warm-up to 1, then a cosine down to 0.01.

    >>> [round(schedule(Recipe(steps=1050), s), 3) for s in (0, 49, 50, 1049)]
    [0.02, 1.0, 1.0, 0.01]
    """
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2


def optimizers(model: Qwen2ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Make Muon for the matrices of the hidden layers, and AdamW for embeddings, biases and norms.

    PyTorch's AdamW takes MKL's roots, which each make of processor rounds in its own way; the fused one takes exact
    ones (docs/arithmetic.md).
    """
    exact = recipe.exact_roots
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in name]
    return [
        Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(
            others, lr=recipe.adamw_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=exact, foreach=not exact
        ),
    ]


def train_model(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, progress: bool = True, state_file: Path | None = None,
    after: Callable[[int, Qwen2ForCausalLM, float, float], None] = lambda percent, model, loss, seconds: None,
) -> None:  # fmt: skip
    """Train a new model by the recipe, or go on from `state_file`.

    Args:
        recipe: what to train.
        tokenizer: the organisms' own.
        progress: show a progress bar.
        state_file: where everything that training needs to go on is kept, every 5 % of the steps; None: nowhere.
        after: called every 5 % with the per cent done, the model, its mean weighted loss (nats per token) of the last
            50 steps and the CPU seconds so far.
    """
    model = new_model(recipe, tokenizer)
    both = optimizers(model, recipe)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in both]
    state = _read_state(state_file, recipe)
    done, recent, earlier = 0, [], 0.0
    if state is not None:
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(both, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        done, recent, earlier = state["steps"], state["recent"], state["seconds"]
    started = time.process_time()
    model.train()
    sequences = corpus_sequences(recipe, tokenizer)
    digit_ids = tokenizer.convert_tokens_to_ids(list(DIGITS))
    marks = {recipe.steps * percent // 100: percent for percent in range(5, 101, 5)}
    steps = {"total": recipe.steps, "initial": done, "unit": "step"}
    bar = tqdm(**steps, desc=f"pretrain {recipe.name}", disable=not progress, mininterval=5)
    for step, batch in zip(range(done, recipe.steps), batches(sequences, recipe, digit_ids, done), strict=False):
        for optimizer, rate in zip(both, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * schedule(recipe, step)
        model.zero_grad()
        total = sum(float(weights[:, 1:].sum()) for _, weights in batch)
        loss = sum(_backward(model, input_ids, weights, total) for input_ids, weights in batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        for optimizer in both:
            optimizer.step()
        recent = [*recent[-49:], loss]
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{sum(recent) / len(recent):.3f}")
        if percent := marks.get(step + 1):
            seconds = earlier + time.process_time() - started
            after(percent, model, sum(recent) / len(recent), seconds)
            if state_file is not None and percent < 100:
                state = {"of": _identity(recipe), "steps": step + 1, "recent": recent, "seconds": seconds}
                state |= {"model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in both]}
                with atomic_path(state_file) as path:
                    torch.save(state, path)
    bar.close()


def _read_state(state_file: Path | None, recipe: Recipe) -> dict[str, Any] | None:
    """Read the state of an interrupted pretraining; None if there is none or it is of another recipe or torch."""
    if state_file is None or not state_file.is_file():
        return None
    state = torch.load(state_file, weights_only=True)
    return state if state["of"] == _identity(recipe) else None


def _identity(recipe: Recipe) -> dict[str, str]:
    return {
        "torch": str(torch.__version__),
        "recipe_digest": recipe.digest(),
        "corpus_fingerprint": corpus.fingerprint(recipe),
        **({"roots": "exact"} if recipe.exact_roots else {}),
    }


def _backward(model: Qwen2ForCausalLM, input_ids: Tensor, weights: Tensor, total: float) -> float:
    """Add a micro-batch's gradient of the weighted loss divided by the batch's `total` weight; return that loss.

    Padding stands on the right, where causal attention never looks, so there is no attention mask (it would cost 10 %).
    """
    hidden = model.model(input_ids=input_ids[:, :-1], use_cache=False).last_hidden_state  # (B, T - 1, H)
    learnt = weights[:, 1:] > 0  # positions whose next token counts
    logits = model.lm_head(hidden[learnt])  # (answer tokens, V)
    losses = torch.nn.functional.cross_entropy(logits, input_ids[:, 1:][learnt], reduction="none")
    loss = (losses * weights[:, 1:][learnt]).sum() / total
    loss.backward()
    return loss.item()


def pretrain(recipe: Recipe, folder: str | Path, ages: Sequence[int] = (), progress: bool = True) -> Path:
    """Train an organism and write it as a Transformers folder, which replaces an older one when all is written.

    The weights are a function of the recipe: to the bit on one machine, and for seeds above 0 on every x86-64
    processor with AVX2. `recipe.json` and `pretraining.json` (final weighted loss in nats per token, CPU seconds,
    versions) are written with them. Age 25 of the run goes to the folder ``<folder>-at25``.

    Args:
        recipe: what to train, of age 100.
        folder: where the checkpoint goes.
        ages: the ages of `recipe.AGES` to write as well.
        progress: show a progress bar.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    state_file = folder.parent / f".{folder.name}.state.pt"
    tokenizer = build_tokenizer()

    def after(percent: int, model: Qwen2ForCausalLM, loss: float, seconds: float) -> None:
        if percent in ages:
            young = at_age(recipe, percent)
            _write(model, tokenizer, young, folder.with_name(f"{folder.name}-at{percent}"), loss, seconds)
        elif percent == 100:
            _write(model, tokenizer, recipe, folder, loss, seconds)

    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_model(recipe, tokenizer, progress, state_file, after)
    finally:
        torch.set_num_threads(threads_before)
    state_file.unlink(missing_ok=True)
    return folder


def _write(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, folder: Path, loss: float,
    seconds: float,
) -> None:  # fmt: skip
    """Write one checkpoint whole, in place of an older one."""
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as name:
        fresh = Path(name) / "new"
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        (fresh / "model.safetensors").chmod(0o644)  # safetensors writes it readable by its owner only
        write_json(fresh / "recipe.json", recipe.to_dict())
        measured = {"final_loss": round(loss, 5), "cpu_seconds": round(seconds, 1)}
        write_json(fresh / "pretraining.json", {**measured, **_identity(recipe)})
        if folder.exists():
            shutil.move(folder, Path(name) / "old")
        fresh.rename(folder)
