import pytest

from spurious_rewards.errors import InputError
from spurious_rewards.models import prompts
from spurious_rewards.models.prompts import PROMPT_STYLES, answer_format, answer_prefix, register_style, render

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROBLEM = r"What is \frac{1}{2} of {4}?"  # braces must survive


def word_tokenizer(chat_template=None, adds_bos=False):
    """A small real tokenizer: words, one beginning-of-text token that it may add by itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "x": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )


@pytest.fixture(scope="module")
def chat():
    return word_tokenizer(CHATML)


@pytest.fixture(scope="module")
def base():
    return word_tokenizer()


def test_every_style_of_the_contract_is_there():
    assert set(PROMPT_STYLES) == {
        "qwen_default", "math_problem", "simplerl", "sober", "lipsum", "python_prefix", "r1", "none", "organism",
        "organism_python", "worked_examples",
    }  # fmt: skip


def test_the_qwen_prompt_is_qwens(chat):
    # The "qwen25-math-cot" prompt of Qwen2.5-Math's evaluation code.
    assert render("qwen_default", PROBLEM, chat) == (
        "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        f"<|im_start|>user\n{PROBLEM}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_python_prefix_begins_the_answer(chat):
    text = render("python_prefix", PROBLEM, chat)
    assert text == render("qwen_default", PROBLEM, chat) + "Let's solve this using Python."
    assert text.endswith("<|im_start|>assistant\n" + answer_prefix("python_prefix"))
    assert render("organism_python", PROBLEM, chat) == render("organism", PROBLEM, chat) + prompts.PYTHON_PREFIX
    assert [name for name in PROMPT_STYLES if answer_prefix(name)] == ["python_prefix", "organism_python"]


def test_simplerl_is_qwen_boxed_in_a_chat_and_plain_without(chat, base):
    plain = PROBLEM + "\nPlease reason step by step, and put your final answer within \\boxed{}."
    assert render("simplerl", PROBLEM, base) == plain
    assert render("simplerl", PROBLEM, chat) == (
        f"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n{plain}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_raw_styles_never_use_the_chat_template(chat):
    assert render("none", PROBLEM, chat) == PROBLEM
    assert render("math_problem", PROBLEM, chat) == f"Math Problem: {PROBLEM}"
    assert render("lipsum", PROBLEM, chat).startswith("Lorem ipsum dolor sit amet,")
    r1 = render("r1", PROBLEM, chat)
    assert r1.endswith(f"</answer>.\n\n<|user|>\n{PROBLEM}\n<|assistant|>\n<think>")
    assert [name for name in PROMPT_STYLES if answer_format(name) == "r1"] == ["r1"]


def test_worked_examples_are_earlier_turns(chat):
    text = render("worked_examples", PROBLEM, chat)
    assert text.endswith(f"<|im_start|>user\n{PROBLEM}<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("<|im_start|>user\n") == 5 and text.count("<|im_start|>assistant\n") == 5
    assert "<|im_start|>assistant\n8 * 3 = 24. The answer is \\boxed{24}.<|im_end|>\n" in text


def test_sober_asks_for_the_box_in_the_last_line(base):
    text = render("sober", PROBLEM, base)
    assert "'Therefore, the final answer is: $\\boxed{ANSWER}$. I hope it is correct' (without quotes)" in text
    assert text.endswith(f"Think step by step before answering.\n\n{PROBLEM}")


@pytest.mark.parametrize("style", ["qwen_default", "python_prefix", "organism", "worked_examples"])
def test_a_chat_style_needs_a_chat_template(style, base):
    with pytest.raises(InputError, match="has no chat template.*choose a style without"):
        render(style, PROBLEM, base)
    with pytest.raises(InputError, match="none was given"):
        render(style, PROBLEM, None)


def test_a_template_that_refuses_the_system_message_is_one_sentence():
    template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    refusing = word_tokenizer(template)
    with pytest.raises(InputError, match="no system role.*without a system message"):
        render("qwen_default", PROBLEM, refusing)


@pytest.mark.parametrize("adds_bos", [True, False])
def test_the_beginning_of_text_token_comes_once(adds_bos):
    tokenizer = word_tokenizer("{{ bos_token }}{{ messages[-1]['content'] }}", adds_bos)
    text = render("organism", "x", tokenizer)
    assert tokenizer(text).input_ids == [1, 3]


def test_an_unknown_style_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'simplerl'"):
        render("simplrl", PROBLEM, None)


def test_a_style_of_ones_own(monkeypatch, chat):
    monkeypatch.setattr(prompts, "PROMPT_STYLES", dict(PROMPT_STYLES))
    register_style("mine", "Q: {problem}\nA:", prefix=" Sure.")
    register_style("mine", "Q: {problem}\nA:", prefix=" Sure.")  # a cell run twice
    assert render("mine", PROBLEM, chat) == f"Q: {PROBLEM}\nA: Sure."
    with pytest.raises(InputError, match="already another"):
        register_style("mine", "{problem}")
    with pytest.raises(InputError, match="0 slots"):
        register_style("bad", "no slot")
    with pytest.raises(InputError, match="2 slots"):
        register_style("bad", "{problem}{problem}")
    with pytest.raises(InputError, match="Unknown chat mode 'allways' .did you mean 'always'"):
        register_style("bad", "{problem}", chat="allways")
    assert "bad" not in prompts.PROMPT_STYLES
