"""Every table of the five papers: the space that runs it, or why there is none.

Numbers are those that the papers print. What a table without a space shows is said in a command's
output where it can be, and the entry says in which.
"""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "spaces"

TABLES: dict[str, dict[str, tuple[str, ...] | str]] = {
    "label_correction": {
        "1": "pieces of S_A, S_B and S_C by speaker: counts, which `plan` prints by clip",
        "2": ("label_correction/paper",),  # its settings
        "3": ("label_correction/table_3",),
        "4": ("label_correction/table_4",),
        "5": ("label_correction/table_5",),
        "6": ("label_correction/table_6",),
    },
    "emoboost": {
        "1": ("emoboost/paper",),  # its grid
        "2": ("emoboost/table_2",),
        "3": ("emoboost/table_3",),
        "4": ("emoboost/table_4",),
        "5": ("emoboost/table_5",),
    },
    "rdlr": {
        "1": "clips and speakers by corpus: counts, which `corpora` prints",
        "2": ("rdlr/table_2",),
        "3": ("rdlr/table_2", "rdlr/table_3_wav2vec", "rdlr/table_3_bert"),
    },
    "self_learning": {
        "I": "languages, clips and speakers by corpus: counts, which `corpora` prints",
        "II": ("self_learning/table_2",),
        "III": ("self_learning/table_3",),
        "IV": ("self_learning/table_4",),
        "V": ("self_learning/table_5",),
        "VI (text)": ("self_learning/segment_lengths",),
    },
    "corater": {
        "1": ("corater/table_1",),
        "2": ("corater/table_2",),
        "3": "distances between ratings: nothing is trained, and `plan` prints them",
    },
}
"""method -> the table's number as printed -> its spaces, or the reason why it has none"""


@pytest.mark.parametrize("method", TABLES)
def test_every_table_has_its_space_or_a_reason(method: str) -> None:
    spaces = {x for of in TABLES[method].values() if isinstance(of, tuple) for x in of}
    for name in spaces:
        assert (FOLDER / f"{name}.yaml").is_file(), name
    there = {
        path.relative_to(FOLDER).with_suffix("").as_posix()
        for path in (FOLDER / method).glob("*.yaml")
    }
    assert there - {f"{method}/paper"} <= spaces, "a table that no paper prints"


@pytest.mark.parametrize("method", TABLES)
def test_a_space_names_the_table_that_it_is_listed_for(method: str) -> None:
    for number, of in TABLES[method].items():
        for name in of if isinstance(of, tuple) else ():
            if name.endswith("/paper"):
                continue
            text = " ".join((FOLDER / f"{name}.yaml").read_text().split())
            word = "section VI" if "text" in number else f"Table {number}"
            assert word in text or name == "rdlr/table_2", (name, number)
