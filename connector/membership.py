"""Reading the files of cohort downloads, and telling two of them apart without reading what is the same in both.

Source: Amplitude docs, Behavioral Cohorts API, Download: every cell is quoted, one member to a line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Row = Mapping[str, str]


class Unreadable(ValueError):
    """Not a file of members."""


@dataclass(frozen=True)
class File:
    """A file as its header and its lines."""

    header: bytes
    lines: frozenset[bytes]

    def rows(self, lines: Iterable[bytes] | None = None) -> list[Row]:
        """Some of the lines, or all of them, as mappings by the header's names. Raises Unreadable."""
        wanted = self.lines if lines is None else lines
        text = b"\n".join([self.header, *wanted]).decode("utf-8", "replace")
        try:
            found: list[Row] = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise Unreadable(str(error)) from None
        if any(each.get("amplitude_id") is None for each in found):
            raise Unreadable("a line has no amplitude_id")
        return found


def read(content: bytes) -> File:
    """The file of a download. Raises Unreadable."""
    header, _, rest = content.partition(b"\n")
    if b"amplitude_id" not in header:
        raise Unreadable("the first line names no amplitude_id")
    lines = rest.split(b"\n")
    # A value may hold a line break: then its quotes are open at the end of the line, and the two belong together.
    if not _plain(rest) and any(line.count(b'"') % 2 for line in lines):
        lines = list(_joined(lines))
    return File(header, frozenset(line for line in lines if line))


def _plain(text: bytes) -> bool:
    """Whether it is seen at a glance that every line break is one between two lines: True is sure, False is not.

    A break within a value has something else than quotes around it, or quotes of its own, which are doubled or the
    value's first.
    """
    between = text.count(b'"\n"') + text.endswith(b'"\n')
    return text.count(b"\n") == between and b'""\n' not in text and b',"\n' not in text


def _joined(lines: list[bytes]) -> Iterable[bytes]:
    open_ = b""
    for line in lines:
        whole = open_ + b"\n" + line if open_ else line
        if whole.count(b'"') % 2:
            open_ = whole
        else:
            open_ = b""
            yield whole
