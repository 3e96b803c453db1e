"""A report's figures and tables as files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from raysearch.report.document import Report, Table
from raysearch.report.figures import png, svg
from raysearch.stages.atomic import write_whole


def figures(report: Report) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every figure as PNG and as SVG: file name, and what draws it."""
    for section in report.sections:
        for plot in section.plots:
            yield f"{plot.name}.png", lambda plot=plot: png(plot)  # type: ignore[misc]
            yield f"{plot.name}.svg", lambda plot=plot: svg(plot)  # type: ignore[misc]


def tables(report: Report) -> Iterator[tuple[str, str]]:
    """Every table as CSV: file name and text. Values are raw: scores are fractions.

    Data of a section's own name are all rows of its table, and stand for it.
    """
    for section in report.sections:
        if section.table is not None and section.name not in section.data:
            yield f"{section.name}.csv", _csv(_flat(section.table))
        for name, frame in section.data.items():
            yield f"{name}.csv", _csv(frame)


def predictions(report: Report) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Every test clip's outcome as CSV and as Parquet: file name, and what makes it."""
    frame = report.predictions
    if frame is not None:
        yield "predictions.csv", lambda: _csv(frame).encode()
        yield "predictions.parquet", lambda: _parquet(frame)


def write(report: Report, folder: Path) -> list[Path]:
    """Write all figures, tables and predictions into `folder`, which is made where it is absent.

    Returns:
        The files, in their order.
    """
    paths = [write_whole(folder / name, text) for name, text in tables(report)]
    made = [*figures(report), *predictions(report)]
    return paths + [write_whole(folder / name, draw()) for name, draw in made]


def _flat(table: Table) -> pd.DataFrame:
    """One plain value a cell: an interval is two columns, a setting a column a parameter."""
    rows: list[dict[str, object]] = []
    for record in table.frame.to_dict("records"):
        row: dict[str, object] = {}
        for column in table.columns:
            x = record[column.name]
            if column.kind in ("interval", "range", "between", "changes"):
                low, high = x if isinstance(x, tuple) else (None, None)
                row |= {f"{column.name}_low": low, f"{column.name}_high": high}
            elif column.kind == "params":
                row |= {f"params.{name}": value for name, value in x.items()}
            else:
                row[str(column.name)] = x
        rows.append(row)
    return pd.DataFrame(rows, dtype=object)  # a trial that is missing makes no 3 a 3.0


def _parquet(frame: pd.DataFrame) -> bytes:
    data: bytes = frame.to_parquet(None, index=False)
    return data


def _csv(frame: pd.DataFrame) -> str:
    text: str = frame.to_csv(index=False, lineterminator="\n")
    return text
