"""The files of cohort downloads as the connector reads them. Source: Amplitude docs, Behavioral Cohorts API."""

from __future__ import annotations

import csv
import io
from itertools import product

import pytest

from connector import membership

HEADER = '"amplitude_id","user_id"\n'
PARTS = ["", "a", '"', "\n", ",", "\r\n"]
NAMES = ["".join(each) for each in product(PARTS, repeat=3)]
"""Every user id of three such parts."""


def written(names: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(enumerate(names, 1))
    return (HEADER + text.getvalue()).encode()


@pytest.mark.parametrize("name", sorted(set(NAMES)), ids=repr)
def test_a_user_id_is_read_as_it_was_written(name: str) -> None:
    names = ["first", name, "last"]
    rows = membership.read(written(names)).rows()
    assert {row["amplitude_id"]: row["user_id"] for row in rows} == {str(n): each for n, each in enumerate(names, 1)}


def test_all_of_them_in_one_file() -> None:
    file = membership.read(written(NAMES))
    assert len(file.lines) == len(NAMES)
    assert {row["amplitude_id"]: row["user_id"] for row in file.rows()} == {
        str(n): each for n, each in enumerate(NAMES, 1)
    }


def test_a_file_without_amplitude_ids_is_unreadable() -> None:
    with pytest.raises(membership.Unreadable):
        membership.read(b'"user_id"\n"a"\n')
