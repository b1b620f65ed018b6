"""Hand-made records: two clip modes × two seeds and a base model, on four problems, with known figures."""

import pandas as pd
import pytest

from spurious_rewards.reporting.collect import Records
from spurious_rewards.training.config import RunConfig
from spurious_rewards.workflow.doctor import browser_path

# right answers per problem (greedy), by run
CORRECT = {
    "": [1, 1, 0, 0],
    "clip-0": [1, 1, 1, 0],
    "clip-1": [1, 1, 1, 1],
    "none-0": [1, 0, 0, 0],
    "none-1": [1, 1, 0, 0],
}
CODE = {
    "": [1, 1, 1, 0],
    "clip-0": [1, 1, 1, 1],
    "clip-1": [1, 1, 1, 1],
    "none-0": [1, 1, 0, 0],
    "none-1": [1, 1, 1, 0],
}


def sample_rows(run_id):
    return [
        {
            "problem_id": f"p{i}",
            "sample": 0,
            "seed": 0,
            "n_tokens": 10,
            "finish_reason": "stop",
            "correct": bool(right),
            "correct_paper": bool(right),
            "uses_code": bool(code),
            "uses_code_structural": bool(code),
            "boxed": True,
            "extracted": "1",
            "gold": "1",
            "reason": "string",
            "run_id": f"eval-{run_id}",
            "model": "qwen-like",
            "trained_run": run_id,
            "benchmark": "synthetic_test",
            "prompt_style": "organism",
            "temperature": 0.0,
            "checkpoint": 0,
            "engine": "transformers",
            "dtype": "float32",
            "max_new_tokens": 64,
        }
        for i, (right, code) in enumerate(zip(CORRECT[run_id], CODE[run_id], strict=True))
    ]


def metric_rows(run_id, mode):
    clipped = 0.02 if mode == "two_sided" else 0.0
    return [
        {
            "run_id": run_id,
            "update": u + 1,
            "rollout_batch": u // 2,
            "update_in_batch": u % 2 + 1,
            "clip_fraction": clipped * (u % 2),
            "would_clip_high": 0.01 * (u % 2),
            "would_clip_low": 0.01 * (u % 2),
            "clip_force_high": -0.01,
            "clip_force_low": 0.01,
            "kl_old": 0.1 * (u % 2),
            "entropy": 0.3 - 0.01 * u,
            "code_frequency": None if u % 2 else 0.5 + 0.1 * u,
            "reward_mean": None if u % 2 else 0.5,
            "surrogate_loss": 0.125 + u,
            "seconds_tokens_rate": None if u % 2 else 100.0,
        }
        for u in range(4)
    ]


@pytest.fixture
def records():
    runs, metrics = [], []
    for mode, name in (("two_sided", "clip"), ("none", "none")):
        for seed in (0, 1):
            config = RunConfig(model="qwen-like", reward="random", clip_mode=mode, seed=seed).to_dict()
            runs.append(
                {
                    "run_id": f"{name}-{seed}",
                    **config,
                    "seconds": 60.0,
                    "sessions": 1,
                    "peak_memory_mb": 700.0,
                    "completion_tokens": 1000,
                    "n_updates": 4,
                    "commit": "abc",
                    "dirty": False,
                }
            )
            metrics += metric_rows(f"{name}-{seed}", mode)
    samples = [row for run_id in CORRECT for row in sample_rows(run_id)]
    kinds = {run["run_id"]: "training" for run in runs} | {f"eval-{run_id}": "evaluation" for run_id in CORRECT}
    manifests = {name: {"run_id": name, "kind": kind, "commit": "abc", "dirty": False} for name, kind in kinds.items()}
    return Records("toy", pd.DataFrame(runs), pd.DataFrame(metrics), pd.DataFrame(samples), manifests)


@pytest.fixture(scope="session")
def chromium():
    """The browser; `make test-browser` installs Playwright, and BROWSER_PATH or the PATH names a Chromium."""
    from playwright.sync_api import sync_playwright

    path = browser_path()
    assert path, "make test-browser needs a Chrome-family browser (BROWSER_PATH)"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """A function (path, width, dark) → a loaded page; console errors and failed requests are in its `problems`."""
    contexts = []

    def opened(path, width=1280, dark=False):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("requestfailed", lambda request: page.problems.append(f"not loaded: {request.url}"))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        return page

    yield opened
    for context in contexts:
        context.close()
