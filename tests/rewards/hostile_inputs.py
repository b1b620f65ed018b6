r"""Fifty inputs that freeze, crash or bloat graders: power towers, factorials, nesting, length, regex traps, odd text.

Each entry is (prediction, gold); none is a right answer. Used from the main thread, from threads and from a notebook.
"""

from __future__ import annotations


def _boxed(answer: str) -> str:
    return f"The answer is $\\boxed{{{answer}}}$."


_ANSWERS: list[tuple[str, str]] = [
    # power towers and huge powers
    (r"9^{9^{9^{9}}}", "5"),
    (r"9^{9^{9^{9^{9}}}}", r"9^{9^{9^{9}}}"),
    (r"2^{2^{2^{2^{2^{2}}}}}", "65536"),
    (r"10^{10^{10}}", "1"),
    (r"(9^{99999})^{99999}", "3"),
    (r"((9^{9})^{9^{9}})^{9^{9}}", "3"),
    (r"7^{7777777777}", "7"),
    (r"\left(1+\frac{1}{10^{12}}\right)^{10^{12}}", "e"),
    (r"x^{999999999}-x^{999999998}", "x"),
    (r"(x+1)^{100000}", "x"),
    (r"(x+y+z+w+1)^{900}", r"(x+y+z+w)^{900}"),
    (r"((x+1)^{500}+(y+1)^{500})^{500}", "x"),
    ("9**9**9**9", "5"),
    ("9^9^9^9", "5"),
    (r"\sqrt{2}^{\sqrt{2}^{\sqrt{2}^{\sqrt{2}^{\sqrt{2}}}}}", "2"),
    # factorials and binomials
    ("10000000!", "1"),
    ("((9!)!)!", "1"),
    ("100!!!!!!!", "1"),
    (r"\frac{1000000!}{999999!}", "1000001"),
    (r"\binom{10000000}{5000000}", "2"),
    (r"\frac{(10^{7})!}{2}", "2"),
    # sums, products, integrals, limits
    (r"\sum_{k=1}^{1000000000} \frac{1}{k^2}", "2"),
    (r"\prod_{k=1}^{10000000} k", "2"),
    (r"\int_0^1 e^{e^{e^{x}}} \sin(x^{x^{x}}) dx", "2"),
    (r"\int \frac{\sin(x^{7})\cos(x^{5})}{\ln(x^{3}+1)} dx", "x"),
    (r"\lim_{n\to\infty} \sum_{k=1}^{n} \frac{k^{99}}{n^{100}}", "5"),
    # symbolic work without end
    (r"\sqrt{1+\sqrt{2+\sqrt{3+\sqrt{4+\sqrt{5+\sqrt{6+\sqrt{7+\sqrt{8+x}}}}}}}}", r"\sqrt{1+x}"),
    (r"\sin(\cos(\tan(\sin(\cos(\tan(\sin(\cos(\tan(x+y^{z})))))))))", r"\sin(x)"),
    (" + ".join(rf"\sin({k}x)\cos({k}y)" for k in range(1, 60)), " + ".join(rf"\sin({k}(x+y))" for k in range(1, 60))),
    (r"\sqrt[17]{x^{13}+\sqrt[19]{y^{11}+\sqrt[23]{z^{7}+w}}}", r"\sqrt[29]{x+y}"),
    (r"x^{7}+3x^{5}y^{3}+y^{9}-\sin(xy)=\cos(x^{y})", r"y^{7}+3y^{5}x^{3}+x^{9}=\sin(y^{x})"),
    (r"\frac{" * 40 + "1" + "}{x+1}" * 40, r"\frac{1}{x}"),
    # nesting
    ("(" * 1000 + "1" + ")" * 1000 + "+x", "2"),
    ("{" * 5000 + "5" + "}" * 5000, "6"),
    (r"\sqrt{" * 500 + "2" + "}" * 500, "3"),
    (r"\frac{1}{1+" * 300 + "x" + "}" * 300, "3"),
    (r"\left(" * 400 + "x" + r"\right)" * 400, "y"),
    # length
    ("1" * 100_000, "1"),
    ("x+" * 50_000 + "x", "50001x"),
    ("1," * 50_000 + "1", "1,2"),
    (r"\pm 1" * 200, "1"),
    (r"\begin{pmatrix}" + " & ".join(["1"] * 3000) + r"\end{pmatrix}", r"\begin{pmatrix}1\end{pmatrix}"),
    ("0." + "3" * 5000, r"\frac{1}{4}"),
    (r"\text{" + "a " * 20_000 + "}", r"\text{b}"),
]

HOSTILE: list[tuple[str, str]] = [(_boxed(answer), gold) for answer, gold in _ANSWERS] + [
    (r"\boxed{" * 20_000, "5"),  # boxes opened and never closed
    (r"\boxed{1}" + " and " * 30_000 + r"\boxed{2", "3"),
    ("$" * 50_000 + "the answer is " * 5_000, "7"),
    ("**" * 30_000 + "#### " + "(" * 10_000, "7"),
    ("\x00\ud83d\u202e" + "￼" * 1000 + r"\boxed{\x00}", "7"),  # a lone surrogate, controls
    (_boxed(r"__import__('os').system('sleep 60')"), "7"),
]

assert len(HOSTILE) == 50
