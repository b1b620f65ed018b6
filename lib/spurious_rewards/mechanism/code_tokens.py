"""Find the next tokens that turn an answer into code reasoning, by the detector that the project uses throughout.

Usage: `CodeTokens(tokenizer, vocabulary=len(tokenizer), before="").after(answer_ids)`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spurious_rewards.rewards.strategy import uses_code

TAIL = 5
"""Characters of a text that, with the next token, decide whether it becomes code; the detector's word has six."""


class CodeTokens:
    """Mark, for the tokens of a vocabulary, which of them turn a text into code.

    Args:
        tokenizer: of the model.
        vocabulary: width of the model's output.
        before: text that every answer begins with and that is not among its tokens.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, before: str):
        self.tokenizer, self.before, self.vocabulary = tokenizer, before, vocabulary
        self.special = set(tokenizer.all_special_ids)
        self.texts = [
            "" if i in self.special or i >= len(tokenizer) else tokenizer.decode([i]) for i in range(vocabulary)
        ]
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, answer: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return, for each token of the answer, which tokens in its place make the text code, and whether it did.

        Shapes (tokens, vocabulary) and (tokens,), bool; nothing after the text has become code.
        """
        marks = np.zeros((len(answer), self.vocabulary), dtype=bool)
        decides = np.zeros(len(answer), dtype=bool)
        for t in range(len(answer)):
            text = self.before + self.tokenizer.decode(answer[:t], skip_special_tokens=True)
            if uses_code(text):
                break
            marks[t] = self._completing(text[-TAIL:])
            decides[t] = uses_code(self.before + self.tokenizer.decode(answer[: t + 1], skip_special_tokens=True))
        return marks, decides

    def sparse(self, answer: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the same marks as (rows, tokens) of the entries that are true, and the second array as it is."""
        marks, decides = self(answer)
        rows, tokens = np.nonzero(marks)
        return rows, tokens, decides

    def after(self, answer: list[int]) -> np.ndarray:
        """Return which next tokens make this beginning code, bool (vocabulary,); none if it is code already."""
        text = self.before + self.tokenizer.decode(answer, skip_special_tokens=True)
        return np.zeros(self.vocabulary, dtype=bool) if uses_code(text) else self._completing(text[-TAIL:])

    def _completing(self, tail: str) -> np.ndarray:
        if tail not in self._known:
            self._known[tail] = np.array([uses_code(tail + text) for text in self.texts])
        return self._known[tail]
