"""The files of cohort downloads as the connector reads them. Source: Amplitude docs, Behavioral Cohorts API."""

from __future__ import annotations

import csv
import io
import random
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
    assert {row["amplitude_id"]: row["user_id"] for row in file.rows()} == {
        str(n): each for n, each in enumerate(NAMES, 1)
    }


def test_a_file_without_amplitude_ids_is_unreadable() -> None:
    with pytest.raises(membership.Unreadable):
        membership.read(b'"user_id"\n"a"\n')


def told(before: list[list[str]], after: list[list[str]]) -> tuple[set[str], set[str]]:
    """Which members are read as having changed: in the newer file, in the older."""
    files = []
    for lines in (before, after):
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(lines)
        files.append(membership.read((HEADER + text.getvalue()).encode()))
    new, old = files[1].changes(files[0])
    return {row["user_id"] for row in new}, {row["user_id"] for row in old}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_members_that_entered_and_left_are_told_apart(seed: int, share: float) -> None:
    rng = random.Random(seed)
    everybody = [[str(n), f"person-{n}"] for n in sorted(rng.sample(range(10**9), 600))]
    before, after = ([each for each in everybody if rng.random() > share / 2] for _ in range(2))
    names = [{name for _, name in lines} for lines in (before, after)]
    assert told(before, after) == (names[1] - names[0], names[0] - names[1])


def test_a_member_at_another_place_has_not_left() -> None:
    lines = [[str(n), f"person-{n}"] for n in range(50)]
    mixed = random.Random(1).sample(lines, 50)
    new, old = told(lines, [*mixed[:49], ["99", "late"]])
    assert (new - old, old - new) == ({"late"}, {mixed[49][1]})


@pytest.mark.parametrize("name", sorted({each for each in NAMES if each}), ids=repr)
def test_odd_names_enter_change_and_leave(name: str) -> None:
    plain = [["1", "first"], ["3", "last"]]
    odd = [plain[0], ["2", name], plain[1]]
    new, old = told(plain, odd)
    assert (new - old, old - new) == ({name}, set())
    new, old = told(odd, plain)
    assert (new - old, old - new) == (set(), {name})
    new, old = told(odd, [plain[0], ["2", f"{name}x"], plain[1]])
    assert (new - old, old - new) == ({f"{name}x"}, {name})


def test_a_difference_within_a_value_of_several_lines_is_one_of_its_member() -> None:
    for first, second in (('a\n"1\nb', 'a\n"2\nb'), ("a\n5\nb", "a\n6\nb"), ("a\n\nb", "a\nb"), ("a\n", "a\nx")):
        new, old = told([["1", first]], [["1", second]])
        assert (new, old) == ({second}, {first})


def test_many_in_one_place_are_told_apart() -> None:
    lines = [[str(n), f"person-{n}"] for n in range(9000)]
    names = {f"person-{n}" for n in range(1000, 8000)}
    new, old = told([*lines[:1000], *lines[8000:]], lines)
    assert (new - old, old - new) == (names, set())
    new, old = told(lines, lines[:1000])
    assert (new, len(old)) == (set(), 8000)
