r"""Answers outside a box: many spellings of each kind, each right for its gold and wrong for another one.

The tables are templates; numbers, names and nouns are drawn with a fixed seed, so that a rule that fits one example and
not its kind fails here.
"""

from __future__ import annotations

import json
import random
import time

import pytest

from spurious_rewards.rewards.extraction import extract_answer
from spurious_rewards.rewards.grader.sentences import is_sentence
from spurious_rewards.rewards.grader.unboxed import marked, unboxed
from spurious_rewards.rewards.grading import grade

WHO = ["Mia", "Tom", "The farmer", "Each student", "She", "The shop"]
NOUNS = ["coins", "apples", "pages", "liters of milk", "square meters", "miles", "kg of rice", "students"]
SENTENCES = """\
{w} has {a} {n}.
{w} needs {a} {n} in order to make {b} cakes.
After {b} days, {w} has {a} {n}.
{w} sold {a} {n} in {b} days.
There are {a} {n} in the box
{w} will have {a} {n} after {b} weeks
{w} earns ${a}.
{w} earns ${a} per week.
{w} earned a total of ${a} from {b} jobs.
The total number of {n} is {a}.
The number of {n} left is {b} - {c} = {a}.
{b} + {c} = {a}
{b} * {c} = {a} {n}
It takes {w} {a} minutes to walk {b} miles.
The total weight of the {b} boxes is {a} {n}.
{w} spent {a} dollars on {b} books.
The final answer is {a} {n}.
Therefore, {w} bought {a} {n}.
{a} {n}
{a}
${a}
{a}%
Answer: {a}
The price increased by {a}%.
{w} will be {a} years old in {b} years.
In {b} years, {w} will be {a} years old.
Total {n}: {a}
Total = {a} {n}
x = {a}
{w} drove at a speed of {a} miles per hour.
Out of {b} {n}, {a} are red.
For {b} people, {w} needs {a} {n}.
{w} gets {a} {n} more than Tom.
It will cost {w} ${a} to buy the {b} {n}.
{w} can make {a} bags with {b} {n}.
{w} has to pay {a} dollars each month for {b} months.
All {b} of them together have {a} {n}.
**{a} {n}**
**The answer is {a}.**
Since {b} + {c} = {a}, {w} has {a} {n}.
{w} has {b} {n} and then {c} more, for a total of {a} {n}.
The sum of {b} and {c} is {a}.
{b} plus {c} equals {a}.
{a} (that is, {b} + {c})
{a} {n} out of {b}.
{a} {n}, as {b} - {c} = {a}.
{a}, which is {b} more than {c}.
{w} paid ${b} + ${c} = ${a}
They are on the {a}th floor.""".splitlines()
PLACES = {
    "answer tag": ("<think>We add {b} and {c}.</think> <answer> {s} </answer>", "r1"),
    "answer tag over lines": ("<think>We add.</think>\n<answer>\n{s}\n</answer>", "r1"),
    "answer tag, not closed": ("<think>We add.</think> <answer>{s}", "r1"),
    "answer tag, other style": ("<think>We add.</think> <answer>{s}</answer>", "boxed"),
    "final answer": ("We compute {b} first.\nFinal Answer: {s}", "boxed"),
    "bold cue": ("We compute {b} first.\n\n**Answer:** {s}", "boxed"),
    "heading": ("We compute {b} first.\n\n### Final Answer\n\n{s}", "boxed"),
    "JSON": ('{{"reasoning": "We use {b} and {c}.", "answer": "{s}"}}', "boxed"),
    "JSON in a fence": (
        'Here it is:\n```json\n{{\n "reasoning": "The answer is {b}.",\n "answer": "{s}"\n}}\n```',
        "r1",
    ),
    "last line": ("We compute {b} first, then {c}.\n{s}", "boxed"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_sentence_is_read_alike_in_every_place(place):
    generator = random.Random(place)
    frame, style = PLACES[place]
    wrong = []
    for sentence in SENTENCES:
        a, b, c = generator.sample(range(3, 400), 3)
        stated = sentence.format(a=a, b=b, c=c, w=generator.choice(WHO), n=generator.choice(NOUNS))
        text = frame.format(s=stated, b=b, c=c)
        if not grade(text, str(a), style=style).correct or grade(text, str(a + 1), style=style).correct:
            wrong.append((text, a, extract_answer(text, style)))
    assert wrong == []


FORMULAS = [  # gold, another answer
    ("-7", "-8"),
    (r"\frac{3}{4}", r"\frac{3}{5}"),
    ("0.25", "0.35"),
    (r"3\sqrt{2}", r"2\sqrt{3}"),
    (r"2\pi", r"3\pi"),
    ("(3,4)", "(4,3)"),
    ("[2,5)", "(2,5)"),
    ("x^2+1", "x^2-1"),
    ("1,2,3", "1,2,4"),
    (r"\{1,2\}", r"\{1,3\}"),
    ("10^6", "10^5"),
    ("12,500", "12,600"),
    ("5+2i", "5-2i"),
    (r"\log_2 5", r"\log_5 2"),
    ("y=2x+1", "y=2x-1"),
    (r"x\ge 3", "x>3"),
    ("3:4", "4:3"),
    (r"90^\circ", r"80^\circ"),
    ("5!", "4!"),
]
FORMULA_PLACES = r"""
The answer is $§$.
Therefore, the final answer is $§$.
Thus the result is \(§\).
**Final Answer:** \[§\]
The final answer is:@@$$§$$
### Answer@@$§$
Hence the value we want is $§$, as desired.
The solution is $§$. I hope it is correct.
Answer: $§$, because we did it right in 2 steps.
We conclude that the answer must be $§$.
<answer>$§$</answer>
<answer> § </answer>
<answer> The answer is $§$. </answer>
<answer>@So, after 3 steps, we obtain $§$.@</answer>
#### $§$
#### §
The steps give the desired quantity, so #### $§$
Final answer: §
Since $a=2$ and $b=3$, the answer is $§$.
In conclusion, $§$ is the answer.
Therefore, the expression simplifies to $§$.
$\text{Answer: } §$
\[ \text{The final answer is } § \]
Final Answer:@The value of \(2003^{2002^{2001}}\) is:@\[Answer: §\]
Finally, the required value is $$ § . $$
{"answer": ¶}
{"thought": "We try 3.", "answer" : ¶, "confidence": 0.9}
```json@{"steps": ["a", "b"], "final_answer": ¶}@```""".strip().splitlines()


@pytest.mark.parametrize("place", FORMULA_PLACES)
def test_a_formula_is_read_alike_in_every_place(place):
    wrong = []
    for gold, other in FORMULAS:
        if gold == "5!" and not any(quoted in place for quoted in ("$§$", r"\(§", r"\[§", "¶")):
            continue  # an exclamation mark behind a number of a plain sentence ends the sentence
        text = "We start with $a=2$ and 5 steps.\n" * ("¶" not in place)
        text += place.replace("@", "\n").replace("¶", json.dumps(gold)).replace("§", gold)
        style = "r1" if "<answer>" in place else "boxed"
        if not grade(text, gold, style=style).correct or grade(text, other, style=style).correct:
            wrong.append((text, gold, extract_answer(text, style)))
    assert wrong == []


LETTERS = """\
#### L
So our selection is option L. #### L
The value 31.5 N is option L.@So our selection is option L. #### L
The answer is L.
The answer is (L).
The answer is (L) 31.5 N.
The correct answer is option L.
The correct option is L.
Answer: L
Answer: L. 12 km
**Answer: (L)**
Final answer: Option L
Therefore, the correct choice is L.
The correct answer is **L**.
The correct answer is: **L) 12**
So the best answer is L, since 12 km is right.
So it is choice L.
Hence, option L is correct.
Thus, (L) is the right option.
<answer>L</answer>
<answer>Option L</answer>
<answer>(L)</answer>
<answer>L. 12 km</answer>
<answer>The answer is L</answer>
{"answer": "L"}
{"answer": "Option L"}
{"answer": "(L) 12"}""".splitlines()


@pytest.mark.parametrize("place", LETTERS)
def test_a_choice_letter_is_read_alike_in_every_place(place):
    for letter, other in zip("ABCDE", "BCDEA", strict=True):
        text = "We see that 3 + 4 = 7 and the result is 31.5 N.\n" * ("{" not in place)
        text += place.replace("@", "\n").replace("L", letter)
        style = "r1" if "<answer>" in place else "boxed"
        assert grade(text, letter, style=style).correct, text
        assert not grade(text, other, style=style).correct, text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### Step 1: add\nWe get 7.\n#### Step 2: double\nThe answer is 14.", "14"),  # headings are no answers
        ("What's the final answer?\nReasoning: 3 * 10 = 30.\nAnswer: 45", "45"),  # a question is no cue
        ("The final answer is as follows.\nWe get 12.", "12"),
        ("The answer is 4.\n\n[Q]: Which is the least number?\n\n[A]: 9 animals", "4"),  # a new question
        ("It is 4. #### 4\n\nQuestion: What is 3 + 4?\nAnswer: 7. #### 7", "4"),
        ("The answer is 12. Wait, I forgot one. So there are 13 apples.", "13"),
        ("The answer is 12. Wait, let me check: 3 * 4 = 12. Yes.", "12"),
        ("The answers are $3$ and $-3$.", "3, -3"),
        ("She has seven coins. The answer is seven.", "seven"),
        ("The train arrives at 5:30 pm.", "5:30 pm"),
        ("She needs 2 1/2 cups.", "2 1/2"),
        ("The angle is $\\frac{180}{2}$ degrees.\n\nSo the angle is $\\frac{18", r"\frac{180}{2}degrees"),  # cut off
        ("Now, what is left:\n\n- She has 13 coins -", "13"),
        ("The last line is of this form:\n\n\\[x < 0.\\]\n\nThis is a kind of inequality.", "x < 0"),
        ("Mr. Smith has 5 cats.", "5"),
        ("The price of one book is $4, so 3 books cost $12.", "$12"),
        ("25 is half of 50.", "25"),
        ("I give up.", None),
        ("The answer is unclear to me.", None),
        ("", None),
    ],
)
def test_where_the_answer_stands(text, answer):
    assert unboxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Saturday", "Saturday"),
        ("It is Saturday.", "Saturday"),
        ("no real solutions", "no real solutions"),
        ("Mia has seven coins.", "seven"),
        (r"$\frac{3}{4}$ of the cake", r"\frac{3}{4}\text{ of the cake}"),
        ("", None),
    ],
)
def test_words_count_where_the_answer_is_marked(text, answer):
    assert marked(text) == answer


@pytest.mark.parametrize("cut", range(14, 60, 3))
def test_json_that_is_cut_off_has_a_reason_of_its_own(cut):
    text = '{"reasoning": "We add 3 and 4, so we get 7 coins in total", "answer": "7"}'[:cut]
    assert grade(text, "7") == (False, None, "no_json_answer")


def test_a_sentence_in_a_box_is_read_too_but_a_list_of_numbers_is_not_searched():
    assert grade(r"\boxed{\text{Mia has 70 coins.}}", "70").correct
    assert grade(r"\boxed{The total is 30 + 40 = 70 coins}", "70").correct
    assert not grade(r"\boxed{The total is 30 + 40 = 70 coins}", "40").correct
    assert not is_sentence("1 or 2 or 3 or 4 or 70")
    assert not grade(r"\boxed{1 or 2 or 3 or 4 or 70}", "70").correct


def test_sentences_never_reach_the_symbolic_engine(monkeypatch):
    from spurious_rewards.rewards import grading
    from spurious_rewards.rewards.grader import worker_client

    calls = []

    def asked(gold, prediction):
        calls.append((gold, prediction))
        return False, "symbolic_differs"

    grading._judged.cache_clear()
    monkeypatch.setattr(worker_client, "equal", asked)
    for sentence in SENTENCES:
        stated = sentence.format(a=70, b=30, c=40, w="Mia", n="coins")
        for text in (rf"\boxed{{{stated}}}", rf"\boxed{{\text{{{stated}}}}}"):
            assert not grade(text, "71").correct, text
    assert calls == []


@pytest.mark.parametrize(
    "text", ["the answer is (" * 20_000, "a is 1, " * 20_000, '{"answer": "' * 20_000, "1 to " * 50_000]
)
def test_long_texts_are_quick(text):
    started = time.perf_counter()
    unboxed(text), marked(text)
    assert time.perf_counter() - started < 3


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("The limit does not exist.", "DNE", True),
        ("So the limit does not exist", r"\text{does not exist}", True),
        ("There are no real solutions.", r"\text{no solution}", True),
        ("There is no solution.", r"\text{no solution}", True),
        ("There is no solution that I know of.", r"\text{no solution}", False),
        ("There is no solution.", "0", False),
        ("The limit is 3 and the inverse does not exist.", "DNE", False),
    ],
)
def test_a_text_without_a_value_may_end_in_a_denial(text, gold, right):
    assert grade(text, gold).correct is right


FROM_LIFE = [  # what an answer without a box looks like, its gold, and golds that it does not have
    # several values, pairs, intervals
    ("The roots are 2 and -3.", "2,-3", "2"),
    (r"The roots of the equation are $\frac{1}{2}$ and $3$.", r"\frac12, 3", "3"),
    ("Therefore, x = 2 or x = -3.", "2,-3", "-3"),
    ("So x = 3 and y = -2.", "(3,-2)", "-2"),
    ("The vertex is at (2, -1).", "(2,-1)", "2"),
    ("The answer is the ordered pair (3, 4).", "(3,4)", "4"),
    (r"The domain is $(-\infty, 2) \cup (2, \infty)$.", r"(-\infty,2)\cup(2,\infty)", "2"),
    ("The probability is 3/4 or 75%.", r"\frac34", "3"),
    # sums of unknowns, derivations in rows, units that belong together
    ("So $m+n = 72$.", "72", "71"),
    (r"Thus $100m+n = 100 \cdot 3 + 7 = 307$.", "307", "7"),
    (r"Thus, $\sin 2x = \frac{24}{25}$.", r"\frac{24}{25}", "24"),
    (r"$$\begin{aligned} x &= 8 \cdot 9 \\ &= 72 \end{aligned}$$", "72", "9"),
    (r"\begin{align*} x &= 8 \cdot 9 \\ &= 72. \end{align*}", "72", "8"),
    ("so the equation is x^2 + y^2 = 25.", "x^2+y^2=25", "x^2+y^2=5"),
    ("#### 72 dollars and 50 cents", "72.5", "50"),
    ("It takes 2 hours and 15 minutes.", "135", "15"),
    ("The polynomial factors as (x + 2)(x + 3).", "(x+2)(x+3)", "3"),
    ("$$x^2 + 5x + 6 = (x+2)(x+3)$$", "(x+2)(x+3)", "(x+1)(x+3)"),
    (r"$$[ABC] = \frac{1}{2} \cdot 6 \cdot 8 = 24.$$", "24", "8"),
    ("The set {3, 5}", "3,5", "5"),
    ("<answer>two thirds</answer>", r"\frac23", "2"),
    ("<answer>25π cm²</answer>", r"25\pi", "25"),
    # bases, roots, π, exponents, shares
    ("The answer is 4210 (base 5).", "4210_5", "4210_6"),
    ("So we get 11001 in binary.", "11001_2", "11001_3"),
    ("Therefore, $555_{10} = 4210_5$.", "4210_5", "555"),
    ("The circumference is 2π cm.", r"2\pi", "2"),
    ("So the exact value is 6√3 - 4.", r"6\sqrt3-4", "4"),
    ("The answer is 3 + sqrt(2).", r"3+\sqrt2", "3"),
    ("The number is 1.2 x 10^6.", "1200000", "1.2"),
    ("<answer>1/5 of the students</answer>", r"\frac15", "5"),
    ("<answer>Seven people</answer>", "7", "2"),
    ("Answer: $18/day", "18", "9"),
    ("The ratio of boys to girls is 3 : 4.", "3:4", "4"),
    # what explains the value
    ("The answer is 12: 5 red and 7 blue.", "12", "5"),
    ("Mark has planted 35 flowers: 10 yellow, 18 purple and 7 green.", "35", "10"),
    ("The maximum value is 72, attained at x = 5.", "72", "5"),
    ("It takes 160 minutes (40 + 20 + 100).", "160", "100"),
    ("The answer is 0.75 (or 3/4).", r"\frac34", "4"),
    ("The store made a profit of $450 on the sale of 30 shirts.", "450", "30"),
    ("Betty needs $5 more to buy the wallet that costs $100.", "5", "100"),
    ("Raymond is 23 years older than his son, who is 3.", "23", "3"),
    ("The profit is 25% of $500, which is $125.", "125", "25"),
    ("He has 7 red and 5 blue balls, making a total of 12 balls.", "12", "5"),
    ("The final result is 252, i.e. 36 × 7.", "252", "36"),
    ("<answer>He earns $252 in 7 days by working 6 hours a day.</answer>", "252", "6"),
    ("The solutions are x = -2 and x = -3, and their sum is -5.", "-5", "-3"),
    ("Therefore $4$ values of $n$ work.", "4", "3"),
    ("20 of 50 students walk to school.", "20", "50"),
    ("So 17 is the largest prime factor of 2023.", "17", "2023"),
    ("so the center is at $(1, -2)$ with radius $3$.", "(1,-2)", "3"),
    ("so $x > 3$ or $x < -1$.", r"(-\infty,-1)\cup(3,\infty)", "3"),
    ("Total = 30 ✅", "30", "3"),
    ("thirty", "30", "3"),
    # denials, doubts, repetitions, ends
    ("The answer is not 42. It is 72.", "72", "42"),
    ("The answer is not 42 but 72.", "72", "42"),
    ("So the answer is 42? No, it should be 72.", "72", "42"),
    ("The answer is 42. Hmm, let me check again. 8*9 is 72, so it is 72.", "72", "42"),
    ("The answer is $72$.@The answer is $7", "72", "7"),
    ("So the total is 5 + 7 = 12.@So the total is 5 + 7 = 12.@So the total is 5 + 7 = 1", "12", "1"),
    ("The answer is 72.</s>What is 3+4? The answer is 7.", "72", "7"),
    ("The answer is 72.<|im_end|>@<|im_start|>user@What is 3+4?<|im_end|>@The answer is 7.", "72", "7"),
    ("She has 12 apples.@@Question: Tom has 3 apples. How many?@@Answer: 3", "12", "3"),
    ("We add 5 and 7.@A: 12@@Q: Tom has 3 apples. How many?@A: 3", "12", "3"),
    ("The answer is 12.@@Exercise 2:@What is 3 + 4? The answer is 7.", "12", "7"),
    ("<think>Maybe the answer is 13.</think>@@Adding gives 12.", "12", "13"),
    ("### 72", "72", "3"),
    ("<answer><b>72</b></answer>", "72", "7"),
    # choices
    ("So the answer is option C, i.e., 45 km/h.", "C", "B"),
    ("Therefore the answer is C (45).", "C", "A"),
    ("Selected option: C", "C", "A"),
    ("We get 42. I would go with C.", "C", "A"),
    ("Thus, the answer is **C**, since A and B are wrong.", "C", "A"),
    ("The best option is C.", "C", "A"),
    ("We get 42, so I choose C.", "C", "A"),
    ("We get 42.@@(C)", "C", "A"),
    ("We get 42.@@**C**", "C", "42.5"),
    # JSON
    ('{"reasoning": "5 + 7 = 12", "answer": {"value": 72, "unit": "km"}}', "72", "12"),
    ('{"answer": {"x": 3, "y": 4}}', "(3,4)", "4"),
    ('{"answers": ["12"]}', "12", "5"),
    ('{"ans": 12}', "12", "5"),
    ('<answer>{"value": 12, "unit": "km"}</answer>', "12", "5"),
]


@pytest.mark.parametrize(("text", "gold", "other"), FROM_LIFE)
def test_answers_as_models_write_them(text, gold, other):
    text = text.replace("@", "\n")
    style = "r1" if "<answer>" in text else "boxed"
    assert grade(text, gold, style=style).correct, extract_answer(text, style)
    assert not grade(text, other, style=style).correct, extract_answer(text, style)


def test_a_field_of_a_program_is_no_answer_of_json():
    assert unboxed('```python\nstate = {"value": 3}\n```\nThe answer is 7.') == "7"


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("2x+3=7", "7", False),  # an equation to be solved, not a quantity
        ("m+n=0", "0", False),
        ("x+y=5", "2x+2y=10", True),
        ("5", "x+y=5", False),
        ("x^2-4=(x-1)(x+4)", "(x-1)(x+4)", False),  # no identity
        (r"2\text{ hours and }15\text{ minutes}", "2.25", True),
        (r"2\text{ hours and }15\text{ minutes}", r"135\text{ minutes}", True),
        (r"2\text{ hours and }15\text{ minutes}", r"2\text{ hours and }25\text{ minutes}", False),
        (r"2\text{ hours and }15\text{ minutes}", r"135\text{ cm}", False),
        (r"\text{seven people}", r"\text{seven dogs}", False),
        (r"\text{two thirds}", "2", False),
        (r"0.75=75\%", r"\frac34", True),
    ],
)
def test_a_quantity_that_is_computed_and_one_in_two_units(answer, gold, right):
    assert grade(rf"so \boxed{{{answer}}}", gold).correct is right


@pytest.mark.parametrize(
    "text",
    ["$x = 1$ and ", "x = 1, ", "(1, 2, ", "The total is 12\n", "equation is ", "A: 1\nQ: 2?\n", "% of 3, which is "],
)
def test_long_repetitions_are_quick(text):
    started = time.perf_counter()
    unboxed(text * 20_000), marked(text * 20_000)
    assert time.perf_counter() - started < 3
