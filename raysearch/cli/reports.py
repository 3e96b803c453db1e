"""The commands `report` and `compare`: which study, in which format, and where to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.cli.commands import COMMANDS
from raysearch.cli.words import read_words
from raysearch.errors import BadInput
from raysearch.report import Report
from raysearch.report.formats import directory as files
from raysearch.report.formats import html
from raysearch.report.formats.html import PAGE_MB
from raysearch.stages.atomic import write_whole
from raysearch.study.folder import StudyFolder, store_in, study_folder
from raysearch.study.record import Record

if TYPE_CHECKING:
    import pandas as pd

    from raysearch.report import Layers, NoiseTest
    from raysearch.report.sounds import ClipSound, Codec


_SUFFIXES = {"text": "txt", "md": "md", "latex": "tex", "json": "json", "html": "html"}


def report(words: Sequence[str]) -> str:
    """The report of a study of a home, the latest one where none is named."""
    from raysearch.report import build

    values = read_words(words, COMMANDS["report"].keys)
    kind, out = _target(values)
    snrs = _snrs(values)
    folder = study_folder(Path(values["home"]), values["study"])
    full, tsne = values["full"], values["tsne"]
    layers = None if tsne is None else _layers(folder, tsne)
    record = Record.read(folder)
    if values["baseline"] is not None:
        record = record.against(folder.home, str(values["baseline"]))
    files = _is_folder(out) or values["figures"] is not None
    predictions = _predictions(folder, files or kind == "html")
    noise = _noise(folder, snrs, values["noise_kinds"]) if snrs else None
    whole = build(record, True, layers, predictions, noise, store_in(folder))
    if kind == "html" and values["audio"] != "none":
        whole = replace(whole, sounds=_sounds(folder, whole.clips(), values["audio"]))
    return _give(whole, kind, out, values["figures"], full, values["page_mb"])


def compare(words: Sequence[str]) -> str:
    """Two studies of a home against each other, paired over the folds that they share."""
    from raysearch.report.compare import build

    values = read_words(words, COMMANDS["compare"].keys)
    kind, out = _target(values)
    studies = values["study"]
    if len(studies) == 1 and isinstance(studies[0], list):
        studies = studies[0]
    if len(studies) != 2 or not all(isinstance(x, str | int) for x in studies):
        got = ", ".join(f"study={name}" for name in studies)
        raise BadInput(
            f"compare needs two studies, as study=A study=B or study=[A,B], but got {got}; "
            "python -m raysearch studies lists them"
        )
    home = Path(values["home"])
    first, second = (study_folder(home, str(name)) for name in studies)
    if first == second:
        raise BadInput(f"compare needs two studies, but both names mean {first.name}")
    return _give(build(Record.read(first), Record.read(second)), kind, out, values["figures"])


def _target(values: Mapping[str, Any]) -> tuple[str, Path | None]:
    """The format and the place, before anything is read: a bad word costs no time."""
    out = None if values["out"] is None else Path(values["out"])
    kind = values["format"]
    if kind is None:
        # a file's name says what it is
        kinds = {suffix: name for name, suffix in _SUFFIXES.items()}
        kind = "text" if out is None else kinds.get(out.suffix.removeprefix("."), "text")
    if values["figures"] is not None and Path(values["figures"]).is_file():
        raise BadInput(
            f"figures={values['figures']} is a file; name a folder for the figures and tables"
        )
    return str(kind), out


def _give(
    report: Report,
    kind: str,
    out: Path | None,
    figures: object,
    full: bool = True,
    page_mb: float = PAGE_MB,
) -> str:
    """Write the files; what is to be printed: the report itself, or where it is now.

    Files of figures and tables, and JSON, hold all of a report, whether `full` or not.
    """
    text = _renderer(kind, page_mb)(report if full or kind == "json" else report.brief())
    lines = []
    if report.sounds:
        lines.append(
            "the page plays speech of the corpus, whose licence holds for the page too; audio=none "
            "leaves it out"
        )
    try:
        if figures is not None:
            folder = Path(str(figures))
            lines.append(f"{len(files.write(report, folder))} figures and tables in {folder}")
        if out is None:
            for line in lines:  # the report is what is printed
                print(line, file=sys.stderr)
            return text
        path = out
        if _is_folder(out):
            path = out / f"report.{_SUFFIXES[kind]}"
            if figures is None:
                lines.append(f"{len(files.write(report, out))} figures and tables in {out}")
        write_whole(path, text)
    except OSError as error:
        raise BadInput(f"{error.filename or out or figures} cannot be written: {error}") from error
    return "\n".join([f"report: {path}", *lines]) + "\n"


def _is_folder(out: Path | None) -> bool:
    """Whether a report goes into a folder, with all its files."""
    return out is not None and (out.is_dir() or not out.suffix)


def _predictions(folder: StudyFolder, files: bool) -> pd.DataFrame | None:
    """Every test clip's outcome; None, with the reason on stderr, where it cannot be had.

    Args:
        folder: of the study.
        files: whether they are made where the folder has none.
    """
    from raysearch.tuning.outcomes import incomplete, kept_predictions, predictions

    if not files:
        return kept_predictions(folder)
    try:
        frame = predictions(folder)
    except BadInput as error:
        print(f"without predictions, their errors and the label audit: {error}", file=sys.stderr)
        return None
    if text := incomplete(frame):
        print(text, file=sys.stderr)
    return frame


def _sounds(folder: StudyFolder, clips: Sequence[str], codec: Codec) -> dict[str, ClipSound]:
    """The speech of clips; none, with the reason on stderr, where the corpus cannot be had."""
    from raysearch.report.sounds import sounds_of
    from raysearch.tuning.prepare import prepare

    if not clips:
        return {}
    try:
        study = folder.study("quiet=true")
        inputs = prepare(study)
        folder.check_fingerprint(study, inputs.fingerprint)
    except BadInput as error:
        print(f"without speech: {error}", file=sys.stderr)
        return {}
    return sounds_of(inputs.corpus.table, clips, codec)


def _renderer(kind: str, page_mb: float) -> Callable[[Report], str]:
    from raysearch.report.formats import json as as_json
    from raysearch.report.formats import latex, markdown, text

    renderers: dict[str, Callable[[Report], str]] = {
        "text": text.render,
        "md": markdown.render,
        "latex": latex.render,
        "json": as_json.render,
        "html": partial(html.render, page_mb=page_mb),
    }
    return renderers[kind]


def _layers(folder: StudyFolder, request: Any) -> Layers:
    """What pictures of last layers need: the trials, and labels from the corpus itself."""
    from raysearch.report import SELECTED
    from raysearch.tuning.prepare import layers_of, prepare

    entries = request if isinstance(request, list) else [request]
    trials = [x for x in entries if _is_number(x) or x == SELECTED]
    if not trials or len(trials) < len(entries):
        raise BadInput(
            f"tsne must be {SELECTED}, a trial's number, or a list of these, but got {request!r}"
        )
    with folder.ledger() as ledger:
        numbers = {trial.number for trial in ledger.trials()}
    absent = [x for x in trials if x != SELECTED and x not in numbers]
    if absent:
        raise BadInput(f"tsne={absent[0]} is no trial of {folder.name}, which has {len(numbers)}")
    study = folder.study()
    inputs = prepare(study)
    folder.check_fingerprint(study, inputs.fingerprint)
    return layers_of(inputs, trials)


_LOUDEST, _QUIETEST = -30.0, 60.0
"""dB between which noise is mixed in: beyond, there is nothing but noise, or none"""


def _snrs(values: Mapping[str, Any]) -> tuple[float, ...]:
    """The ratios of `noise`, the quietest noise first; none where it is not asked for."""
    request = values["noise"]
    if request is None:
        if values["noise_kinds"] is not None:
            raise BadInput("noise_kinds says which noise, but not how loud; give noise=[20,10,0]")
        return ()
    entries = request if isinstance(request, list) else [request]
    for x in entries:
        number = isinstance(x, int | float) and not isinstance(x, bool)
        if not number or not _LOUDEST <= x <= _QUIETEST:
            raise BadInput(
                f"noise={x} must be a ratio of speech to noise in dB, from {_LOUDEST:g} to "
                f"{_QUIETEST:g}, or a list of such, as in noise=[20,10,0]"
            )
    if not entries:
        raise BadInput("noise=[] names no ratio; give some, as in noise=[20,10,0]")
    return tuple(sorted({float(x) for x in entries}, reverse=True))


def _noise(folder: StudyFolder, snrs: Sequence[float], kinds: Any) -> NoiseTest:
    """The selected setting on test clips with noise."""
    from raysearch.models.noisy_tests import noise_test

    names = [str(x) for x in (kinds if isinstance(kinds, list) else [kinds])]
    return noise_test(
        folder.path,
        snrs,
        ["pink", "babble"] if kinds is None else names,
        lambda text: print(f"raysearch: {text}", file=sys.stderr),
    )


def _is_number(x: object) -> bool:
    """Whether a value can be a trial's number."""
    return isinstance(x, int) and not isinstance(x, bool) and x >= 0
