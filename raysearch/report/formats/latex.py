"""A report as LaTeX: text and booktabs tables, to be pasted or `\\input` into a paper."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from raysearch.report.cells import term, texts
from raysearch.report.document import Column, Report, Section, Table
from raysearch.study.wording import graves

_WIDE = 34
"""characters beyond which a column of text is broken into lines"""
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "¼": r"1/4",
    "√": r"$\sqrt{}$",
    "∞": r"$\infty$",
    "\u00a0": "~",
}
_NAMES = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma "
    "tau upsilon varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _NAMES.split(" "), strict=True))
_HEAD = """\
% {study}
% Needs: \\usepackage{{booktabs}}, \\usepackage{{array}}, \\usepackage[T1]{{fontenc}},
% \\usepackage{{textcomp}}
"""


def render(report: Report) -> str:
    """The report as a LaTeX fragment; the same report gives the same bytes.

    It compiles inside a document with `booktabs` and `array` in T1 encoding. What pdfLaTeX has no
    letter for (a speaker's name in Chinese) is written as "?".
    """
    lines = [_HEAD.format(study=_ascii(f"Study {report.study}"))]
    lines += [rf"\section*{{Study {tex(report.study)}}}", *map(tex, report.headline), ""]
    for warning in report.warnings:
        lines += [rf"\textbf{{Note.}} {tex(warning)}", ""]
    for section in report.sections:
        if section.table is None and not section.before and not section.after:
            continue
        lines += [rf"\subsection*{{{tex(section.title)}}}", *map(tex, section.before), ""]
        if section.table is not None:
            lines += [_table(section, section.table, graves(report.warnings)), ""]
        for line in section.after:
            lines += [_line(line), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _line(line: str) -> str:
    explanation = term(line)
    if explanation is None:
        return tex(line)
    word, rest = explanation
    return rf"\emph{{{tex(word)}}}: {tex(rest)}"


def tex(text: str) -> str:
    """`text` with all that LaTeX would take for a command, and letters that it lacks, written out.

    Example:
        >>> tex("50 % of γ_1")
        '50 \\\\% of $\\\\gamma$\\\\_1'
    """
    return "".join(map(_letter, text))


def _letter(x: str) -> str:
    if x in _SPECIAL:
        return _SPECIAL[x]
    if x in _GREEK:
        return rf"$\{_GREEK[x]}$"
    # Latin-1 and Latin Extended-A are what T1 has
    return x if x < "\u0180" else _ascii(x)


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode()
    return re.sub(r"\s+", " ", plain)


def _heading(column: Column) -> str:
    """A heading, its lines above each other."""
    stacked = r"\\".join(map(tex, column.heading.split("\n")))
    side = "l" if column.left else "r"
    return rf"\shortstack[{side}]{{{stacked}}}" if "\n" in column.heading else stacked


def _table(section: Section, table: Table, kinds: str) -> str:
    """A table environment with rules, the strong row bold.

    `kinds`: what its caption warns of, as a table may be taken out of its report.
    """
    body = texts(table)
    heads = [_heading(column) for column in table.columns]
    # headings may repeat ("95 % interval"), which a styler does not allow of a frame's columns
    frame = pd.DataFrame(body, columns=range(len(heads)), dtype=object)
    layout = ""
    for i, column in enumerate(table.columns):
        longest = max((len(row[i]) for row in body), default=0)
        if column.kind in ("text", "params") and longest > _WIDE:
            layout += r">{\raggedright\arraybackslash}p{0.32\linewidth}"
        else:
            layout += "l" if column.left else "r"
    styled = frame.style.format(lambda x: tex(str(x))).hide(axis="index")
    styled = styled.format_index(lambda i: heads[int(str(i))], axis=1)
    if table.strong is not None and len(frame):
        strong = frame.index[table.strong]
        styled = styled.apply(
            lambda row: ["textbf:--rwrap" if row.name == strong else ""] * len(row), axis=1
        )
    text: str = styled.to_latex(
        hrules=True,
        column_format=layout,
        position="htbp",
        position_float="centering",
        caption=tex(f"{section.title} ({kinds})" if kinds else section.title),
        label=f"tab:{re.sub(r'[^A-Za-z0-9]+', '-', section.name)}",
    )
    return text.replace(r"\begin{tabular}", "\\small\n\\begin{tabular}").rstrip("\n")
