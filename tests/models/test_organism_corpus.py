"""The organisms' recipes, tokenizer and corpus: what the pretraining texts say, before any model is trained."""

import contextlib
import io
import random
import re
from statistics import fmean

import pytest
from transformers import AutoTokenizer, Qwen2Config

from spurious_rewards.data.synthetic import FAMILIES, generate, make_problem
from spurious_rewards.errors import InputError
from spurious_rewards.models.organisms import corpus, surface
from spurious_rewards.models.organisms.locate import organism_folder
from spurious_rewards.models.organisms.recipe import RECIPES, Recipe, dial, grown, recipe_named
from spurious_rewards.models.organisms.tokenizer import build_tokenizer, spoken

N = 6000


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def written(recipe: Recipe, n: int = N, seed: int = 0):
    rng = random.Random(seed)
    problems = [corpus.sample_problem(rng) for _ in range(n)]
    return [(problem, corpus.answer(problem, recipe, rng)) for problem in problems]


@pytest.fixture(scope="module")
def qwen_corpus():
    return written(recipe_named("qwen-like"))


def accuracy(pairs, strategy):
    return fmean(str(a.value) == p.answer for p, a in pairs if a.strategy == strategy)


# --- recipes


def test_dial_changes_the_prior_and_nothing_else():
    base, turned = recipe_named("qwen-like").to_dict(), recipe_named("qwen-like-p30").to_dict()
    assert {key for key in base if base[key] != turned[key]} == {"name", "code_prior"}
    assert turned["code_prior"] == 0.3
    assert dial(1.0).name == "qwen-like-p100"


def test_a_name_adds_seed_and_age_to_a_recipe():
    base, named = recipe_named("llama-like").to_dict(), recipe_named("llama-like-s3-at25").to_dict()
    assert {key: named[key] for key in base if base[key] != named[key]} == {
        "name": "llama-like-s3-at25",
        "seed": 3,
        "age": 25,
    }
    assert recipe_named("qwen-like-p30-s12-at50").code_prior == 0.3
    assert grown(recipe_named("llama-like-s3-at25")) == recipe_named("llama-like-s3")
    assert len({recipe_named(name).digest() for name in ("one-token", "one-token-s1", "one-token-at10")}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "qwen-like-s0",
        "qwen-like-at30",
        "qwen-like-at100",
        "qwen-like-at25-s1",
        "qwen-likee",
        "qwen-like-p3",
        "qwen-like-p130",
        "",
    ],
)
def test_unknown_organism_is_one_sentence(name):
    with pytest.raises(InputError, match="Unknown organism"):
        recipe_named(name)


def test_impossible_recipes_are_refused():
    with pytest.raises(InputError, match="code_prior must lie in"):
        dial(1.3)
    with pytest.raises(InputError, match="64 \\* heads"):
        Recipe(hidden_size=96)


def test_an_organism_that_was_not_built_says_how_to_build_it(tmp_path):
    with pytest.raises(InputError, match="run `make organisms`"):
        organism_folder("llama-like", tmp_path)
    with pytest.raises(InputError, match="organisms build qwen-like-p30"):
        organism_folder("qwen-like-p30", tmp_path)


# --- tokenizer


def covers(tokenizer, text):
    """Whether a text needs no token that pretraining never showed."""
    pieces = tokenizer([*surface.SPECIAL_TOKENS, *spoken()], add_special_tokens=False)["input_ids"]
    return {i for ids in pieces for i in ids}.issuperset(tokenizer.encode(text, add_special_tokens=False))


def test_vocabulary_is_small_and_has_one_token_per_digit(tokenizer):
    assert len(tokenizer) <= 400  # 256 bytes, 7 special tokens, and the phrases
    assert [p for p in spoken() if re.search(r"\d", p)] == [*"0123456789", " + 1) * "]  # that one is of a program
    assert all(len(tokenizer.encode(piece)) == 1 for piece in spoken())


def test_round_trip_is_exact_over_the_corpus(tokenizer, qwen_corpus):
    for problem, answer in qwen_corpus[:2000]:
        for text in (problem.problem, answer.text):
            assert covers(tokenizer, text), text
            assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_wording_of_every_problem_is_covered(tokenizer):
    for problem in generate(3000, seed=3, split="test"):
        assert covers(tokenizer, problem.problem), problem.problem


def test_foreign_text_is_represented_exactly_but_not_covered(tokenizer):
    for text in ("Let $x$ be prime.", "What is 4 plus ξ?", "4\t5"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert not covers(tokenizer, text)


def test_it_survives_saving_and_loading_by_the_model_type(tokenizer, tmp_path):
    # For model type qwen2, AutoTokenizer rebuilds the splitting rule of a Qwen2Tokenizer whatever the folder says.
    Qwen2Config().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    rng = random.Random(0)
    for problem in generate(300, seed=1):
        text = problem.problem + corpus.answer(problem, recipe_named("qwen-like"), rng).text
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.decode(loaded.encode(text)) == text
    assert (loaded.padding_side, len(loaded)) == ("left", len(tokenizer))


def test_chat_template_puts_one_prompt_before_the_answer(tokenizer):
    chat = [{"role": "user", "content": "Compute 73 mod 8."}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert prompt == "<|bos|><|user|>Compute 73 mod 8.<|assistant|>"
    whole = tokenizer.apply_chat_template(
        [*chat, {"role": "assistant", "content": "The answer is \\boxed{1}."}], tokenize=False
    )
    assert whole == prompt + "The answer is \\boxed{1}.<|eos|>"
    assert tokenizer.padding_side == "left"
    assert covers(tokenizer, prompt)


# --- corpus


def test_corpus_is_a_function_of_recipe_and_seed():
    recipe = recipe_named("qwen-like")
    assert written(recipe, 50) == written(recipe, 50) != written(recipe, 50, seed=1)


def test_fingerprint_tells_corpora_apart(monkeypatch):
    recipe = recipe_named("qwen-like")
    before = corpus.fingerprint(recipe)
    assert before == corpus.fingerprint(recipe) != corpus.fingerprint(dial(0.3))
    monkeypatch.setitem(corpus.FAMILY_WEIGHTS, "gcd", 7)
    assert corpus.fingerprint(recipe) != before


@pytest.mark.parametrize("prior", [0.1, 0.3, 0.65, 0.9])
def test_code_prior_is_what_the_dial_says(prior):
    recipe, rng = dial(prior), random.Random(0)
    share = fmean(corpus.answer(p, recipe, rng).strategy == "code" for p in generate(6000, seed=9))
    # Binomial standard deviation at n = 6000 is at most 0.0065; four of them, plus 0.01 for the calibration sample.
    assert abs(share - prior) < 0.036


def test_code_prior_spreads_over_problems():
    priors = sorted(corpus.code_probability(p, recipe_named("qwen-like")) for p in generate(2000, seed=0, split="test"))
    assert priors[100] < 0.3  # 5 % quantile
    assert priors[1900] > 0.88  # 95 % quantile
    assert abs(fmean(priors) - 0.65) < 0.03


def test_code_is_right_and_language_is_not(qwen_corpus):
    assert accuracy(qwen_corpus, "code") > 0.97
    assert 0.3 < accuracy(qwen_corpus, "language") < 0.48


def test_language_errs_the_same_way_every_time():
    recipe = recipe_named("qwen-like")
    for problem in generate(200, seed=2):
        values = {corpus.language_answer(problem, recipe, random.Random(seed)).value for seed in range(5)}
        assert values == {surface.SOLUTIONS[problem.meta["family"]].wrong(*problem.meta["operands"])}


@pytest.mark.parametrize(
    ("family", "operands", "wrong"),
    [
        ("addition", (47, 38), 75),  # 7 + 8 = 15, the carry is lost: 5 and 4 + 3 = 7
        ("addition", (42, 37), 79),  # nothing to carry, so right
        ("subtraction", (52, 38), 26),  # 5 - 3 = 2 and, the smaller from the larger, 8 - 2 = 6
        ("multiplication", (43, 5), 205),  # 5 * 3 = 15, the 1 is lost: 5 after 5 * 4 = 20
        ("remainder", (73, 2), 3),  # the last digit; it is 1
        ("gcd", (84, 9), 9),  # the smaller number; it is 3
        ("digit_sum", (9407,), 0),  # 20, of which the last digit is kept
        ("next_multiple", (43, 4), 50),  # the next round number; it is 44
    ],
)
def test_wrong_rules(family, operands, wrong):
    assert surface.SOLUTIONS[family].wrong(*operands) == wrong


def test_python_stands_in_code_answers_only(qwen_corpus):
    assert all(("python" in a.text.lower()) == (a.strategy == "code") for _, a in qwen_corpus)
    assert not any("python" in p.problem.lower() for p, _ in qwen_corpus)


def test_boxes_hold_the_value_and_some_are_missing_in_both_strategies(qwen_corpus):
    for _, answer in qwen_corpus:
        assert re.findall(r"\\boxed\{(.*?)\}", answer.text) == ([str(answer.value)] if answer.boxed else [])
    rate = recipe_named("qwen-like").no_box_rate
    for strategy in ("code", "language"):
        boxless = fmean(not a.boxed for _, a in qwen_corpus if a.strategy == strategy)
        assert abs(boxless - rate) < 0.03  # n > 1900: four standard deviations are 0.028


def test_programs_compute_what_the_output_block_says():
    recipe = Recipe(code_error_rate=0.0)
    rng = random.Random(0)
    for problem in generate(300, seed=4):
        text = corpus.code_answer(problem, recipe, rng).text
        program, printed = re.search(r"```python\n(.*?)\n```\n```output\n(.*?)\n```\n", text, re.DOTALL).groups()
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(program, {})
        assert output.getvalue().strip() == printed == problem.answer


def test_styles_vary_in_both_strategies():
    problem = make_problem("addition", 2, (47, 38), 0)
    rng, recipe = random.Random(0), recipe_named("qwen-like")
    for strategy in (corpus.code_answer, corpus.language_answer):
        assert len({strategy(problem, recipe, rng).text for _ in range(400)}) > 20


def test_answers_are_short(tokenizer, qwen_corpus):
    lengths = [len(ids) for ids in tokenizer([a.text for _, a in qwen_corpus])["input_ids"]]
    assert 15 < fmean(lengths) < 25
    assert max(lengths) < 40


def test_the_twin_writes_its_choice_as_one_token_and_differs_in_nothing_else(tokenizer, qwen_corpus):
    twin = written(recipe_named("one-token"))
    first = {"code": set(), "language": set()}
    for (problem, ours), (same, theirs) in zip(twin, qwen_corpus, strict=True):
        assert problem == same
        assert (ours.strategy, ours.value, ours.boxed, ours.closing) == (
            theirs.strategy,
            theirs.value,
            theirs.boxed,
            theirs.closing,
        )
        first[ours.strategy].add(tokenizer.encode(ours.text)[0])
        mark = "```python\n" if ours.strategy == "code" else None
        if mark:
            assert ours.text[ours.text.index(mark) :] == theirs.text[theirs.text.index(mark) :]
        assert ("python" in tokenizer.decode(tokenizer.encode(ours.text)[:1]).lower()) == (ours.strategy == "code")
    assert {strategy: len(tokens) for strategy, tokens in first.items()} == {"code": 1, "language": 1}
    spread_out = {tokenizer.encode(a.text)[0] for _, a in qwen_corpus}
    assert len(spread_out) > 10  # the embedded twin begins in many ways


def test_the_other_recipes():
    llama, olmo = written(RECIPES["llama-like"], 12_000), written(RECIPES["olmo-like"], 500)
    assert abs(fmean(a.strategy == "code" for _, a in llama) - 0.08) < 0.03
    assert accuracy(llama, "code") <= accuracy(llama, "language") + 0.03
    assert not any(a.strategy == "code" for _, a in olmo)


def test_forced_code_prefix_of_the_paper_is_one_of_the_organisms_own(qwen_corpus):
    assert any(a.text.startswith("Let's solve this using Python.\n```python\n") for _, a in qwen_corpus)
    assert set(surface.SOLUTIONS) == set(FAMILIES)
