"""The trajectory browser: which problems come first, what a table shows, and that it needs nothing but itself."""

import json

import pandas as pd
import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.reporting.browser import answers, browser, interesting, plain, subject, title

TEXTS = {"a": "```python\nprint(1)\n```", "b": "It is $\\boxed{1}$ <b>now</b>."}


def rows(run_id, trained_run, verdicts, codes, temperature=0.0, samples=1):
    return [
        {
            "problem_id": f"p{i}",
            "sample": s,
            "run_id": run_id,
            "model": "qwen-like",
            "trained_run": trained_run,
            "checkpoint": 0,
            "temperature": temperature,
            "prompt_style": "organism",
            "prompt": f"What is {i} < 9?",
            "gold": "1",
            "extracted": "1" if right else None,
            "correct": bool(right),
            "reason": "string_equal",
            "uses_code": bool(code),
            "n_tokens": 7,
            "finish_reason": "stop",
            "text": TEXTS["a" if code else "b"],
            "reward": "random" if trained_run else None,
            "gamma": 0.5,
            "clip_mode": "none",
            "train_seed": 1,
        }
        for i, (right, code) in enumerate(zip(verdicts, codes, strict=True))
        for s in range(samples)
    ]


@pytest.fixture
def records():
    # p0: the same everywhere; p1: another verdict; p2: another strategy; p3: both
    return pd.DataFrame(
        rows("eval-base", "", [1, 1, 1, 1], [1, 1, 1, 1]) + rows("eval-trained", "train-x", [1, 0, 1, 0], [1, 1, 0, 0])
    )


def test_problems_with_different_verdicts_come_first(records):
    assert interesting(answers(records)) == ["p3", "p1", "p2", "p0"]
    assert interesting(answers(records), 2) == ["p3", "p1"]


def test_each_problem_is_a_table_and_a_button(records):
    figure = browser(answers(records), n=3)
    (menu,) = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["1. p3", "2. p1", "3. p2"]
    assert [trace.visible for trace in figure.data] == [True, False, False]
    for i, button in enumerate(menu.buttons):
        assert button.args[0]["visible"] == [j == i for j in range(3)]
    who, verdicts, strategies, texts = figure.data[0].cells["values"]
    assert list(who) == ["qwen-like, greedy", "qwen-like after random γ=0.5, none, seed 1, greedy"]
    assert [v.split(" ")[0] for v in verdicts] == ["right", "wrong"] and verdicts[1].endswith("no answer")
    assert [s.split("<br>")[0] for s in strategies] == ["code", "language"]
    assert texts[0] == "```python<br>print(1)<br>```"
    assert texts[1] == "It is &#36;\\boxed{1}&#36; &lt;b&gt;now&lt;/b&gt;."
    assert figure.layout.title.text == "What is 3 &lt; 9?<br>reference answer: <b>1</b>"


def test_the_figure_is_plain_json_that_holds_every_text(records):
    text = json.dumps(json.loads(browser(answers(records)).to_json()), ensure_ascii=False)
    assert text.count("boxed{1}") == 2 and text.count("print(1)") == 6
    assert "http" not in text.replace("https://plot.ly", "")


def test_samples_are_limited_and_named():
    records = pd.DataFrame(rows("greedy", "", [1], [1]) + rows("sampled", "", [0], [0], temperature=0.6, samples=4))
    assert answers(records)["subject"].tolist() == [
        "qwen-like, greedy",
        "qwen-like, T = 0.6, sample 1",
        "qwen-like, T = 0.6, sample 2",
    ]


def test_only_common_problems(records):
    other = pd.DataFrame(rows("eval-other", "", [1, 1], [1, 1]))
    assert set(answers(pd.concat([records, other]))["problem_id"]) == {"p0", "p1"}
    with pytest.raises(InputError, match="no problem in common"):
        answers(pd.concat([records, other.assign(problem_id="q")]))


def test_prompts_are_named_where_they_differ(records):
    mixed = records.assign(prompt_style=["organism"] * 4 + ["none"] * 4)
    assert answers(mixed)["subject"].iloc[0] == "qwen-like, greedy, prompt organism"


def test_engines_formats_and_lengths_are_told_apart():
    one = pd.DataFrame(rows("eval-a-1", "", [1], [1])).assign(engine="transformers", dtype="float32", max_new_tokens=64)
    for column, value, words in (
        ("engine", "vllm", "vllm"),
        ("dtype", "bfloat16", "bfloat16"),
        ("max_new_tokens", 96, "at most 96 tokens"),
        ("seed", 1, "sampling seed 1"),
    ):
        two = one.assign(run_id="eval-a-2", **{"seed": 0, column: value})
        names = answers(pd.concat([one.assign(seed=0), two]))["subject"].tolist()
        assert len(set(names)) == 2 and names[1] == f"qwen-like, greedy, {words}"
    same = answers(pd.concat([one, one.assign(run_id="eval-a-2")]))["subject"].tolist()  # another batch size, say
    assert same == ["qwen-like, greedy, run 1", "qwen-like, greedy, run 2"]


def test_what_no_picture_can_hold_is_replaced():
    assert plain("a\x00b\tc\x0bd\n\ufffe") == "a�b c d<br>�"


def test_long_texts_say_how_long_they_are():
    assert plain("x" * 5000).endswith("x … (5000 characters)")


def test_a_checkpoint_is_named():
    row = {
        "model": "m",
        "trained_run": "t",
        "reward": "format",
        "clip_mode": "two_sided",
        "train_seed": 2,
        "checkpoint": 80,
        "temperature": 0.0,
        "sample": 0,
    }
    assert subject(pd.Series(row)) == "m after format, two_sided, seed 2, update 80, greedy"


def test_title_shows_the_end_of_a_long_prompt(records):
    table = answers(records.assign(prompt="lorem " * 200 + "What is 1 + 1?"))
    text = title(table, "p0").replace("<br>", " ")
    assert text.startswith("… ") and text.endswith("lorem What is 1 + 1? reference answer: <b>1</b>")
    assert title(table, "p0").count("<br>") == 6  # 602 characters in lines of at most 120, and the reference answer
