"""Reading the files of cohort downloads, and telling two of them apart without reading what is the same in both.

Source: Amplitude docs, Behavioral Cohorts API, Download: every cell is quoted, one member to a line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass

Row = Mapping[str, str]

_LEAP = 4_096
"""Bytes that are compared at once."""
_FAR = 2_000
"""How many lines on a line is looked for with which both files go on."""
_WHOLE = re.compile(rb'"\d[^"]*"(?:,"(?:[^"]|"")*")*\r?')
"""A line that is a whole member: within a value, no line begins with a quote and a digit after it."""


class Unreadable(ValueError):
    """Not a file of members."""


@dataclass(frozen=True)
class File:
    """A file as its header and the rest, which ends with a line break."""

    header: bytes
    body: bytes

    def rows(self) -> list[Row]:
        """The members as mappings by the header's names. Raises Unreadable."""
        return self._read(self.body)

    def changes(self, before: File) -> tuple[list[Row], list[Row]]:
        """The rows that only this file has, and those that only ``before`` has, whose header is the same one.

        A member that both have comes out on both sides when its place among the others is another one. Unreadable.
        """
        found = _walk(before.body, self.body)
        if found is None:
            return self.rows(), before.rows()
        new, old = found
        return self._read(b"\n".join(new)), self._read(b"\n".join(old))

    def _read(self, body: bytes) -> list[Row]:
        text = b"\n".join([self.header, body]).decode("utf-8", "replace")
        try:
            found: list[Row] = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise Unreadable(str(error)) from None
        if any(each.get("amplitude_id") is None for each in found):
            raise Unreadable("a line has no amplitude_id")
        return found


def read(content: bytes) -> File:
    """The file of a download. Raises Unreadable."""
    header, _, body = content.partition(b"\n")
    if b"amplitude_id" not in header:
        raise Unreadable("the first line names no amplitude_id")
    return File(header, body if not body or body.endswith(b"\n") else body + b"\n")


def _walk(old: bytes, new: bytes) -> tuple[list[bytes], list[bytes]] | None:
    """The lines that only ``new`` and only ``old`` has, walking along both in leaps over what is the same.

    None when that does not tell: lines that differ are too many in one place, or no whole members (a value may hold a
    line break).
    """
    i = j = 0
    added: list[bytes] = []
    gone: list[bytes] = []
    while i < len(old) and j < len(new):
        same = _same(old, i, new, j)
        if not same:
            meeting = _meeting(old, i, new, j)
            if meeting is None:
                return None
            gone += _lines(old, i, meeting[0])
            added += _lines(new, j, meeting[1])
            i, j = meeting
        i, j = i + same, j + same
    gone += _lines(old, i, len(old))
    added += _lines(new, j, len(new))
    return (added, gone) if all(map(_WHOLE.fullmatch, (*added, *gone))) else None


def _lines(text: bytes, begin: int, end: int) -> list[bytes]:
    return text[begin : end - 1].split(b"\n") if begin < end else []


def _same(old: bytes, i: int, new: bytes, j: int) -> int:
    """How many bytes are the same from here on, in whole lines."""
    begin, step = i, _LEAP
    while step:
        part = old[i : i + step]
        if part and part == new[j : j + len(part)]:
            i, j = i + len(part), j + len(part)
        else:
            step //= 2
    return max(0, old.rfind(b"\n", begin, i) + 1 - begin)


def _meeting(old: bytes, i: int, new: bytes, j: int) -> tuple[int, int] | None:
    """Where both go on with the same line; None when that is far away."""
    olds: dict[bytes, int] = {}
    news: dict[bytes, int] = {}
    for _ in range(_FAR):
        if i < len(old):
            end = old.index(b"\n", i) + 1
            line = old[i:end]
            if line in news:
                return i, news[line]
            olds[line], i = i, end
        if j < len(new):
            end = new.index(b"\n", j) + 1
            line = new[j:end]
            if line in olds:
                return olds[line], j
            news[line], j = j, end
    return (i, j) if i == len(old) and j == len(new) else None
