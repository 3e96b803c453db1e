"""The pages of docs/evidence: their figures are those of their JSON, which follows from folds."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy import stats

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "evidence"
PAGES = sorted(path.stem for path in FOLDER.glob("*.json"))
NUMBER = r"\d+\.\d+"


@pytest.fixture(scope="module")
def page() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence_page", FOLDER / "page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_there_are_pages_and_no_half_of_one() -> None:
    assert PAGES
    for kind in ("md", "svg", "yaml"):
        assert sorted(path.stem for path in FOLDER.glob(f"*.{kind}")) == PAGES


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_its_json_says(name: str, page: ModuleType) -> None:
    facts = page.facts_there(name)
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text == page.text_of(facts)
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
    _, _, rest = text.partition(facts["finding"].strip())
    claimed = re.findall(NUMBER, facts["finding"])
    assert claimed, "a finding names its figures"
    assert set(claimed) <= set(re.findall(NUMBER, rest)), "and they stand in the table"


@pytest.mark.parametrize("name", PAGES)
def test_what_the_json_says_of_rows_follows_from_their_folds(name: str, page: ModuleType) -> None:
    """By scipy's t tests, and Holm by hand."""
    facts = page.facts_there(name)
    first = next(row for row in facts["rows"] if row["name"] == facts["reference"])
    base = np.array(list(first["folds"].values()))
    for study in {row["study"] for row in facts["rows"]}:
        rows = [r for r in facts["rows"] if r["study"] == study and "difference" in r]
        p = [float(stats.ttest_rel([*row["folds"].values()], base).pvalue) for row in rows]
        highest = 0.0
        for rank, i in enumerate(np.argsort(p)):
            highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
            assert rows[i]["difference"]["p_holm"] == pytest.approx(highest, abs=1e-9)
        for row in rows:
            values = np.array(list(row["folds"].values()))
            assert list(row["folds"]) == list(first["folds"])
            assert row["ua"]["mean"] == pytest.approx(values.mean())
            d = values - base
            level = 1 - 0.05 / len(rows)
            ends = stats.t.interval(level, len(d) - 1, d.mean(), stats.sem(d))
            mine = row["difference"]
            assert (mine["low"], mine["high"]) == pytest.approx(ends)
            assert mine["family"] == len(rows)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_part_of_the_urdu_page_again(
    page: ModuleType, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first row, in this process, on all ten groups of speakers."""
    from raysearch.study import load_study
    from raysearch.study.folder import StudyFolder
    from raysearch.study.record import Record
    from tests.support.whole_study import run

    monkeypatch.chdir(page.ROOT)
    name = "label_strategies_urdu"
    facts: dict[str, Any] = page.facts_there(name)
    words = [word.replace("space=.", f"space={page.ROOT}") for word in facts["studies"][0]]
    words += [f"corpus.root={shared_data}/urdu/table.csv", "tracking=false"]
    path = run(tmp_path, *words, trials=1)
    assert StudyFolder.of(load_study([*words, f"home={tmp_path}"], cwd=tmp_path)).path == path
    (row,) = facts["rows"][:1]
    record = Record.read(StudyFolder(path))
    again = {one.fold: one.scores["test_ua"] for one in record.fold_rows}
    assert row["name"] == "hard labels"
    # other machines and versions of torch round otherwise, and a clip or two may change sides
    assert again == pytest.approx(row["folds"], abs=0.15)
    assert np.mean(list(again.values())) == pytest.approx(row["ua"]["mean"], abs=0.03)
