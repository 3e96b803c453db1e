"""A paper's table beside a study's own trials: each figure beside the same metric."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysearch.report import Report, to_plain
from raysearch.report.formats import directory as files
from raysearch.report.formats import html, latex, markdown, text
from raysearch.selection import compare, interval
from raysearch.study import load_study, spaces
from raysearch.study.ledger import Ledger
from raysearch.study.published import published_table
from raysearch.study.space import NAME
from tests.support.study_folders import report_of, speakers

Write = Callable[..., Path]
UA, WA = 2, 3
PARAMS = [{"gamma": 0.0, "strategy": "hard"}, {"gamma": 0.1 + 0.2, "strategy": "lr"}]
ROWS = [
    {"name": "CE", "params": {"strategy": "hard"}, "values": {"ua": 0.431, "wa": 0.452}},
    {"name": "RD + LR", "params": {"gamma": 0.3}, "values": {"ua": 0.455}},
    {"name": "Self-KD", "params": {"strategy": "kd"}, "values": {"ua": 0.314, "wa": 0.330}},
]


def scores(c: int = 2, k: int = 8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return 0.6 + rng.normal(0, 0.05, (1, k, 1)) + rng.normal(0, 0.01, (c, k, 4))


def reported(
    write: Write,
    rows: Sequence[Mapping[str, Any]],
    table: np.ndarray | None = None,
    params: Sequence[Mapping[str, Any]] = PARAMS,
    metrics: Sequence[str] = ("ua", "wa"),
    fact: Mapping[str, Any] | None = None,
) -> Report:
    folder = write(scores() if table is None else table, params=params)
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    table_fact = {"source": "Table 2 of a paper", "metrics": list(metrics), "rows": list(rows)}
    ledger.set_fact("published", fact or table_fact)
    ledger.close()
    return report_of(folder)


def lines(report: Report) -> dict[tuple[str, str], dict[str, Any]]:
    return {(x["name"], x["metric"]): x for x in to_plain(report)["tables"]["published"]}


def test_each_figure_stands_beside_the_same_metric_of_its_trial(write: Write) -> None:
    table = scores()
    by_row = lines(reported(write, ROWS, table))
    assert list(by_row) == [(row["name"], m) for row in ROWS for m in ("UA", "WA")]
    assert [line["trial"] for line in by_row.values()] == [0, 0, 1, 1, None, None]
    for metric, column in (("UA", UA), ("WA", WA)):
        printed = ROWS[0]["values"][metric.lower()]
        first = by_row["CE", metric]
        assert first["published"] == printed
        assert first["here"] == pytest.approx(table[0, :, column].mean())
        assert first["difference"] == pytest.approx(table[0, :, column].mean() - printed)
        assert (first["published_gain"], first["gain"], first["interval"]) == (None, None, None)
        gain = compare(table[1, :, column], table[0, :, column], speakers(8))
        second = by_row["RD + LR", metric]
        assert second["here"] == pytest.approx(table[1, :, column].mean())
        assert second["gain"] == pytest.approx(gain.mean)
        assert second["interval"] == pytest.approx([gain.low, gain.high])
        missing = by_row["Self-KD", metric]
        assert (missing["here"], missing["difference"], missing["gain"]) == (None, None, None)
    assert by_row["RD + LR", "UA"]["published_gain"] == pytest.approx(0.024)
    assert by_row["Self-KD", "WA"]["published_gain"] == pytest.approx(0.330 - 0.452)


def test_a_metric_that_the_paper_does_not_print_has_no_difference(write: Write) -> None:
    line = lines(reported(write, ROWS))["RD + LR", "WA"]
    assert (line["published"], line["published_gain"], line["difference"]) == (None, None, None)
    assert line["mark"] == ""
    assert line["here"] is not None


def test_each_metric_is_marked_by_its_own_interval(write: Write) -> None:
    table = scores()
    _, _, ua_high, _ = interval(table[0, :, UA])
    _, wa_low, _, _ = interval(table[0, :, WA])
    assert ua_high is not None
    assert wa_low is not None
    for inside, marks in ((1e-6, ["", ""]), (-1e-6, ["*", "*"])):
        values = {"ua": ua_high - inside, "wa": wa_low + inside}
        report = reported(write, [{"name": "CE", "params": {}, "values": values}], table)
        assert [line["mark"] for line in lines(report).values()] == marks
        assert ("*: the published" in " ".join(report.section("published").after)) == ("*" in marks)
    values = {"ua": ua_high - 1e-6, "wa": wa_low - 1e-6}
    report = reported(write, [{"name": "CE", "params": {}, "values": values}], table)
    assert [line["mark"] for line in lines(report).values()] == ["", "*"]


def test_rows_without_a_trial_are_counted_once(write: Write) -> None:
    after = reported(write, ROWS).section("published").after
    assert "1 row of the table has no complete trial here." in after
    assert "Gains are over CE, here paired by fold." in after


def test_a_paper_of_one_metric_has_one_line_a_row(write: Write) -> None:
    rows = [{**row, "values": {"ua": row["values"]["ua"]}} for row in ROWS]
    by_row = lines(reported(write, rows, metrics=["ua"]))
    assert list(by_row) == [(row["name"], "UA") for row in ROWS]


def test_no_table_without_rows(write: Write) -> None:
    with pytest.raises(KeyError):
        reported(write, []).section("published")


def test_files_hold_a_line_for_each_metric(write: Write) -> None:
    csv = dict(files.tables(reported(write, ROWS)))["published.csv"].splitlines()
    assert csv[0].startswith("name,trial,metric,published,")
    assert csv[1].startswith("CE,0,UA,0.431,")
    assert csv[2].startswith("CE,0,WA,0.452,")


# -- where people read -------------------------------------------------------------------------
def test_markdown_and_latex_name_a_row_once(write: Write) -> None:
    report = reported(write, ROWS)
    for by_row, dash in ((markdown.render(report), "–"), (latex.render(report), "--")):
        by_row = (
            by_row[by_row.index("Table 2 of a paper") :]
            .split("Best settings")[0]
            .replace("&", "|")
            .replace("\\", "")
        )
        split_rows = [
            [cell.strip() for cell in x.split("|")] for x in by_row.splitlines() if "A |" in x
        ]
        rows = [row[1:] if row[0] == "" and len(row) == 12 else row for row in split_rows]
        assert [row[:4] for row in rows] == [
            ["CE", "0", "UA", "43.1"],
            ["", "", "WA", "45.2"],
            ["RD + LR", "1", "UA", "45.5"],
            ["", "", "WA", dash],
            ["Self-KD", dash, "UA", "31.4"],
            ["", "", "WA", "33.0"],
        ]
    assert r"\shortstack[r]{paper\\gain}" in latex.render(report)


def test_on_the_page_a_row_spans_its_metrics_and_no_metric_is_broken(write: Write) -> None:
    page = html.render(reported(write, ROWS))
    part = page[page.index('<h2 id="published"') :]
    part = part[: part.index("</section>")]
    assert part.count('<td class="left" rowspan="2">') == part.count('<td rowspan="2">') == 3
    assert part.count('<td class="left name">UA</td>') == 3
    assert part.count('<td class="left name">WA</td>') == 3
    assert "td.name { white-space: nowrap; }" in page
    cells = [len(re.findall("<td", row)) for row in part.split("<tr")[2:]]
    assert cells == [10, 8] * 3


def test_a_papers_best_stands_beside_the_best_on_test_scores(write: Write) -> None:
    table = scores()
    fact = {"source": "x", "metrics": ["ua"], "rows": [], "best": {"ua": 0.5, "wa": 0.99}}
    report = reported(write, (), table, fact=fact)
    by_row = lines(report)
    assert list(by_row) == [("best setting (oracle)", "UA"), ("best setting (oracle)", "WA")]
    for metric, column in (("UA", UA), ("WA", WA)):
        means = table[:, :, column].mean(axis=1)
        line = by_row["best setting (oracle)", metric]
        assert line["trial"] == means.argmax()
        assert line["here"] == pytest.approx(means.max())
        assert line["difference"] == pytest.approx(means.max() - fact["best"][metric.lower()])
        assert (line["gain"], line["interval"], line["mark"]) == (None, None, "*")
    words = " ".join(text.render(report).split())
    assert "is chosen on test scores for each metric, here as in the paper" in words
    assert "Gains are over" not in words


def test_recalls_of_classes_are_means_over_the_folds_that_test_them(write: Write) -> None:
    """By hand: 8 folds, of which the first has no clip of the second class."""
    counts = np.tile([[3, 1], [2, 2]], (2, 8, 1, 1))
    counts[1, :, 1] = [1, 3]
    counts[:, 0, 1] = 0
    folder = write(scores(), params=PARAMS, confusions=counts, facts={"classes": ["low", "high"]})
    ledger = Ledger(folder / "ledger.sqlite", write=True)
    printed = {"recall_low": 0.75, "recall_high": 0.1}
    rows = [
        {"name": name, "params": {"strategy": strategy}, "values": printed}
        for name, strategy in (("Rater", "hard"), ("Others", "lr"))
    ]
    ledger.set_fact("published", {"source": "x", "metrics": [*printed], "rows": rows})
    ledger.close()
    by_row = lines(report_of(folder))
    assert list(by_row) == [(n, m) for n in ("Rater", "Others") for m in ("low", "high")]
    assert [line["here"] for line in by_row.values()] == pytest.approx([0.75, 0.5, 0.75, 0.75])
    assert by_row["Others", "low"]["gain"] == 0
    assert by_row["Others", "high"]["gain"] == pytest.approx(0.25)
    assert [line["mark"] for line in by_row.values()] == ["", "*", "", "*"]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("space", [name for name in spaces(Path("/")) if "/table_" in name])
def test_shipped_tables_are_whole_in_a_terminal(
    write: Write, space: str, width: int, tmp_path: Path
) -> None:
    """With wide numbers no figure is cut; 80 columns may break a word of more than 12 letters."""
    study = load_study([f"space={space}"], cwd=tmp_path)
    enqueued = [
        (str(entry[NAME]), {n: x for n, x in entry.items() if n != NAME}) for entry in study.enqueue
    ]
    corpora, figures = next(iter(study.published["corpora"].items()))
    task = next(iter(figures.get("tasks", {"categories": {}})))
    table_fact = published_table(study.published, corpora.split("+"), task, enqueued)
    assert table_fact is not None
    table = scores(len(enqueued), 4)
    table[0, :, UA:] = 0.95, 0.99
    table[1, :, UA:] = np.array([[0.1, 0.9, 0.5, 0.2]]).T
    report = reported(
        write, (), table, [setting for _, setting in enqueued], fact=asdict(table_fact)
    )
    by_row = text.render(report, width=width)
    part = by_row[by_row.index("Beside the published") :].split("\n\n")[0]
    assert max(map(len, part.splitlines())) <= width
    for (name, _), line in lines(report).items():
        if not line["metric"].islower():  # recalls: these folds have other classes
            assert f"{100 * line['here']:.1f}" in part
        if line["published"] is not None:
            assert f"{100 * line['published']:.1f}" in part
        if line["interval"] is not None:
            low, high = (f"{100 * x:+.1f}".replace("-", "−") for x in line["interval"])
            assert f"{low} to {high}" in part.replace("−0.0", "+0.0")
        for word in name.split():
            assert word in part or (width == 80 and len(word) > 12), word
