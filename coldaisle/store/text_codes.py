"""Columns of text as numbers, so that millions of rows cost no Python object each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Codes = NDArray[np.int64]
"""One number for the text of each row; -1 where there is none."""


class Words:
    """Every text met so far, numbered in the order of their first appearance."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.texts)

    def code(self, text: str | None) -> int:
        """Return the number of ``text``, a new one where it is new; -1 for None."""
        if text is None:
            return -1
        code = self._codes.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code

    def codes(self, column: Any) -> Codes:
        """Return the numbers of an Arrow array of texts, plain or dictionary-encoded."""
        if pa.types.is_null(column.type):
            return np.full(len(column), -1, np.int64)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        table = np.array([self.code(text) for text in column.dictionary.to_pylist()] or [-1], np.int64)
        indices = column.indices.cast(pa.int64())
        found = table[indices.fill_null(0).to_numpy(zero_copy_only=False)]
        if indices.null_count:
            found[indices.is_null().to_numpy(zero_copy_only=False)] = -1
        return np.asarray(found)


def distinct(parts: list[Codes], size: int) -> tuple[Codes, Codes]:
    """
    Return for each row the number of its combination of ``parts``, and a row where each combination stands.

    Codes are at least -1 and less than ``size - 1``. Two columns at a time are folded into one number and
    numbered anew, so nothing overflows.
    """
    dense = _numbered(parts[0])
    for part in parts[1:]:
        dense = _numbered(dense * size + part + 1)
    firsts = np.zeros(int(dense.max(initial=-1)) + 1, np.int64)
    firsts[dense] = np.arange(len(dense))
    return dense, firsts


def _numbered(values: Codes) -> Codes:
    return np.asarray(pa.array(values).dictionary_encode().indices.cast(pa.int64()).to_numpy())
