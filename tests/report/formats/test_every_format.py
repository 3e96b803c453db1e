"""LaTeX that compiles, a page that asks nothing of the network, and files of figures and tables."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from raysearch.report import Column, Report, Section, Table
from raysearch.report.formats import directory as files
from raysearch.report.formats import html, latex, text
from raysearch.report.formats.latex import tex
from tests.support.study_folders import report_of

Write = Callable[..., Path]
NASTY = r"a_b & 50 % #1 ^ ~ \x {y} $z$ γ λ − ± “q” <i> é 李 ¼ 'p' `r`"


def scores(c: int = 12, k: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    quality = np.linspace(0, 0.1, c)[:, None, None]
    return 0.6 + quality + rng.normal(0, 0.05, (1, k, 1)) + rng.normal(0, 0.01, (c, k, 4))


@pytest.fixture
def report(write: Write) -> Report:
    params = [{"gamma": 0.1 * (c % 5 + 1), "strategy": ["lr", "a_b&<c>"][c % 2]} for c in range(12)]
    space = {
        "gamma": {"float": [0.1, 0.5], "step": 0.1},
        "strategy": {"choice": ["lr", "a_b&<c>"]},
    }
    return report_of(write(scores(), params=params, space=space), whole=True)


def report_of_table(table: Table | None, *lines: str) -> Report:
    section = Section("nasty", NASTY, lines, table, (NASTY, f"term: {NASTY}"))
    return Report("s_1", (NASTY,), (NASTY,), (section,), {}, {}, (), 0, 0, 0.0)


def test_tex_writes_out_what_latex_would_take_for_commands() -> None:
    assert tex("50 % of a_b & $x$") == r"50 \% of a\_b \& \$x\$"
    assert tex("γ −1.2 ± 0.3") == r"$\gamma$ $-$1.2 $\pm$ 0.3"
    assert tex("\\{}") == r"\textbackslash{}\{\}"
    assert tex("李é") == "?é"


def test_latex_has_booktabs_one_row_a_row_and_the_first_in_bold(report: Report) -> None:
    text = latex.render(report)
    assert text.count(r"\begin{table}") == sum(s.table is not None for s in report.sections)
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == text.count(r"\begin{table}")
    assert r"\textbf{honest}" in text
    assert r"a\_b\&\textless{}c\textgreater{}" in text
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(labels) == len(set(labels)) > 3
    assert text == latex.render(report)


@pytest.mark.slow
def test_latex_compiles(report: Report, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex, which is not installed")
    frame = pd.DataFrame({"x": [NASTY, "b"], "y": [0.5, float("nan")], "p": [{"a_b": NASTY}, {}]})
    columns = (Column("x", NASTY), Column("y", "y\n%", "percent"), Column("p", "p", "params"))
    nasty = report_of_table(Table(frame, columns, strong=0), NASTY)
    for i, one in enumerate((report, nasty)):
        (tmp_path / f"part{i}.tex").write_text(latex.render(one))
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{textcomp,booktabs,array}"
        r"\begin{document}\input{part0}\input{part1}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_a_selected_line_stays_bold_among_those_it_shares_a_name_with(write: Write) -> None:
    frame = pd.DataFrame({"a": ["x", "x", "y"], "b": [1, 2, 3]})
    columns = (Column("a", "a", once=True), Column("b", "b", "count"))
    section = Section("s", "t", (), Table(frame, columns, strong=1))
    report = Report("s_1", (), (), (section,), {}, {}, (), 0, 0, 0.0)
    assert "\x1b[1m2\x1b[0m" in text.render(report, colour=True)
    assert "\x1b[1m1" not in text.render(report, colour=True)
    assert [line.split() for line in text.render(report).splitlines()[-3:]] == [
        ["x", "1"],
        ["2"],
        ["y", "3"],
    ]


def test_the_page_is_whole_and_asks_nothing_of_the_network(report: Report) -> None:
    page = html.render(report)
    assert page == html.render(report)
    sources = re.findall(r'(?:src|href)="(.*?)"', page)
    assert sources
    assert all(one.startswith(("data:image/svg+xml;base64,", "#")) for one in sources)
    assert "<script" not in page
    assert "@import" not in page
    assert page.count("<img") == sum(len(section.plots) for section in report.sections) > 5
    targets = {one[1:] for one in sources if one.startswith("#")}
    assert targets == {section.name for section in report.sections}
    assert all(f'id="{name}"' in page for name in targets)
    assert "a_b&amp;&lt;c&gt;" in page
    assert "<c>" not in page
    # what was found stands before the cautions and the tables
    assert page.index("Honest result:") < page.index("<table>")


def test_a_page_of_what_is_not_finished_says_so(write: Write) -> None:
    cut = scores(3)
    cut[:, 2:] = np.nan
    page = html.render(report_of(write(cut), whole=True))
    assert "there are no estimates" in page
    assert "<img" not in page


def test_figures_and_tables_as_files(report: Report, tmp_path: Path) -> None:
    paths = files.write(report, tmp_path / "out")
    names = {path.name for path in paths}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    pictures = {plot.name for section in report.sections for plot in section.plots}
    assert len(pictures) > 5
    assert {f"{name}.{kind}" for name in pictures for kind in ("png", "svg")} <= names
    images = [Image.open(io.BytesIO(path.read_bytes())) for path in paths if path.suffix == ".png"]
    assert len(images) == len(pictures)
    assert min(image.width for image in images) >= 690
    # not an empty sheet
    assert min(len(image.convert("L").getcolors(1 << 16) or ()) for image in images) > 2
    table = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert len(table) == 12 * 6
    assert report.estimates is not None
    table_read = pd.read_csv(tmp_path / "out" / "estimates.csv").set_index("estimate")
    assert table_read.loc["honest", "ua"] == pytest.approx(report.estimates.honest["ua"].mean)
    assert table_read.loc["honest", "ua_interval_low"] == pytest.approx(
        report.estimates.honest["ua"].low
    )
    settings = pd.read_csv(tmp_path / "out" / "settings.csv")
    assert {"params.gamma", "params.strategy"} <= set(settings.columns)
