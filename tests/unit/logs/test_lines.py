import json

from hypothesis import given
from hypothesis import strategies as st

from controlplane.logs.lines import gap_line, in_order, parse_line, valid, with_gaps

TIME = "2026-03-01T12:00:00.000001"


def line(seq: int, message: str = "x") -> list:
    return [seq, TIME, "stdout", message]


def numbers(lines) -> list:
    return [entry[3] if entry[2] == "status" else entry[0] for entry in lines]


def test_a_whole_log_is_as_it_is():
    lines = [line(1), line(2), line(3)]
    assert list(with_gaps(lines, 0, 3, over=True)) == lines


def test_missing_ranges_are_said():
    lines = [line(3), line(4), line(6)]
    found = numbers(with_gaps(lines, 0, 9, over=True))
    assert found == [
        "Gap: 2 lines (1 to 2) are missing.",
        3,
        4,
        "Gap: line 5 is missing.",
        6,
        "Gap: 3 lines (7 to 9) are missing.",
    ]


def test_what_may_still_come_is_not_called_missing():
    assert gap_line(1, 2, TIME, over=False)[3] == "Gap: 2 lines (1 to 2) are not here yet."


def test_only_lines_after():
    assert numbers(with_gaps([line(n) for n in range(1, 6)], 3, 5, over=True)) == [4, 5]


def test_repeated_lines_stand_once():
    again = [line(5), line(6), line(3, "new"), line(4), line(5, "other")]
    assert in_order(again) == [line(3, "new"), line(4), line(5), line(6)]


@given(
    st.lists(st.integers(1, 40), max_size=30),
    st.integers(0, 45),
    st.integers(0, 45),
)
def test_every_number_is_there_or_named(seqs, after, last):
    last = max([last, *seqs])
    covered = []
    for entry in with_gaps(in_order(line(seq) for seq in seqs), after, last, over=True):
        if entry[2] == "status":
            text = entry[3]
            bounds = text[text.index("(") + 1 : text.index(")")].split(" to ") if "(" in text else [text.split()[2]] * 2
            covered.extend(range(int(bounds[0]), int(bounds[1]) + 1))
        else:
            covered.append(entry[0])
    assert covered == list(range(after + 1, last + 1))


def test_malformed_lines_are_no_lines():
    good = [1, TIME, "stdout", "text"]
    bad = [
        None, {}, [], good[:3], [*good, 1], ["1", *good[1:]], [True, *good[1:]], [0, *good[1:]],
        [1, "12:00", "stdout", "x"], [1, TIME, "stdin", "x"], [1, TIME, "stdout", 5], [1, None, "stdout", "x"],
    ]  # fmt: skip
    assert valid(good) == good
    assert [valid(entry) for entry in bad] == [None] * len(bad)
    assert parse_line(b"not json", 0) is parse_line(b"[" * 100_000, 0) is None


def test_half_a_surrogate_pair_can_be_printed():
    found = valid([1, TIME, "stdout", "a\ud800b"])
    assert found
    found[3].encode()


def test_lines_before_are_not_even_decoded():
    assert parse_line(b"[5,broken", 5) is None
    assert parse_line(json.dumps(line(6), separators=(",", ":")).encode(), 5) == line(6)
    assert parse_line(json.dumps(line(6)).encode(), 6) is None
