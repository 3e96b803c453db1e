"""From names to a corpus, or to a check of it: read, choose classes, hear the audio, join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from raysearch.data.corpora.corpus import PART, RATED, Corpus, Options, Problem, Progress
from raysearch.data.corpora.corpus_sources import CorpusSources, read_sources
from raysearch.data.corpora.joining import agreement_sentences, join, select_rows, stacked
from raysearch.data.corpora.names import ClassChoice, choose
from raysearch.data.corpora.omissions import omissions
from raysearch.data.corpora.problems import (
    CorpusCheck,
    clip_problems,
    count_notices,
    length_notices,
    sentences,
    transcript_notices,
)
from raysearch.data.corpora.sound import Clip, audio_index, inspect_all
from raysearch.data.rules import Task, Votes
from raysearch.errors import BadInput


def load(
    names: Sequence[str],
    *,
    root: Mapping[str, str],
    classes: Sequence[str] | None,
    on_bad: Literal["stop", "skip"],
    unlabelled: Sequence[str],
    seed: int,
    home: Path,
    options: Options,
    progress: Progress | None = None,
    votes: Votes | None = None,
    task: Task | None = None,
    per_rater: bool = False,
) -> Corpus:
    """Load and join corpora.

    Args:
        names: corpora whose labels are used.
        root: the folder of each corpus, by name.
        classes: the classes and their order, by their common names ('happy+excited' merges two
            into one named by the first); None takes what the corpora share.
        on_bad: stop at clips and rows that cannot be used, or skip them with a note.
        unlabelled: corpora whose labels, if any, are not used.
        seed: of corpora that are made, as the demo.
        home: the folder of what such corpora write, and of the index of the audio.
        options: options of the readers, flat or by corpus name.
        progress: told a sentence whenever something long begins.
        votes: where votes come from, and how clips divide by them.
        task: what the classes are.
        per_rater: labels matter to no one: levels of a task's attribute are classes if a rater
            gave them, though they lead nowhere.

    Raises:
        BadInput: all problems together: of names, folders, options and classes, and, under
            on_bad="stop", of clips (`check` lists them).
    """
    if on_bad not in ("stop", "skip"):
        raise BadInput(f"corpus.on_bad={on_bad!r} is unknown: it is 'stop' or 'skip'.")
    rules, task = votes or Votes(), task or Task()
    sources = read_sources(
        names,
        unlabelled,
        root=root,
        options=options,
        seed=seed,
        home=home,
        progress=progress,
        rules=rules,
        task=task,
    )
    levels = task.graded and per_rater
    choice = _rated(classes, per_rater) if task.continuous else _choice(sources, classes, levels)
    table, notes = select_rows(sources, choice.member, rules)
    table, problems = _hear(table, sources, home, progress, counted=not task.names)
    table, problem_notes = _usable(table, problems, on_bad)
    if not levels:
        _check_enough(table, choice.classes, on_bad)
    own_notes = [note for source in sources.every for note in source.raw.notes]
    notes = [*own_notes, *choice.notes, *notes, *problem_notes]
    return join(table, sources, choice, rules, notes)


def check(
    names: Sequence[str],
    *,
    root: Mapping[str, str],
    home: Path,
    unlabelled: Sequence[str] = (),
    seed: int = 0,
    options: Options | None = None,
    progress: Progress | None = None,
    classes: Sequence[str] | None = None,
    votes: Votes | None = None,
) -> CorpusCheck:
    """Hear every clip of whole corpora, whatever their classes, and report every problem.

    The arguments are those of `load`; `classes` and `votes` only decide how the raters' agreement
    is counted.

    Raises:
        BadInput: there is nothing to look at (unknown names, folders that do not exist, ...).
    """
    rules = votes or Votes()
    sources = read_sources(
        names,
        unlabelled,
        root=root,
        options=options or {},
        seed=seed,
        home=home,
        progress=progress,
        rules=rules,
        task=Task(),
    )
    whole = stacked([source.raw.table for source in sources.every])
    table, problems = _hear(whole, sources, home, progress, counted=True)
    usable = table[~table["id"].isin({p.utterance for p in problems if p.severity == "error"})]
    by = usable.groupby("corpus")
    return CorpusCheck(
        problems=tuple(problems),
        counts={
            str(n): {str(k): int(v) for k, v in g["label"].value_counts().items()} for n, g in by
        },
        speakers={str(n): int(g["speaker"].nunique()) for n, g in by},
        seconds={str(n): float(g["seconds"].sum()) for n, g in by},
        notes=tuple(note for source in sources.every for note in source.raw.notes),
        votes={
            source.name: lines
            for source in sources.labelled
            if (lines := agreement_sentences(source.raw, classes, rules))
        },
        omissions=tuple(
            sentence
            for name, clips in whole.groupby("corpus")
            if (sentence := omissions(str(name), clips, _of(problems, str(name)), classes))
        ),
    )


def _of(problems: Sequence[Problem], corpus: str) -> list[Problem]:
    return [problem for problem in problems if problem.corpus == corpus]


def _choice(sources: CorpusSources, classes: Sequence[str] | None, levels: bool) -> ClassChoice:
    """The study's classes; under `levels` those that only a single rater gave are there too.

    Raises:
        BadInput: classes that no corpus has, or too few of them.
    """
    present = {s.name: set(s.raw.table["label"]) - {""} for s in sources.labelled}
    for source in sources.labelled if levels else ():
        if source.raw.ratings is not None:
            present[source.name] |= set(source.raw.ratings["label"])
    choice = choose(classes, {s.name: s.raw.classes for s in sources.labelled}, present)
    if choice.problems:  # rows with faults, which all may be, are why
        errors = [p for s in sources.every for p in s.raw.problems if p.severity == "error"]
        raise BadInput((*sentences(errors), *choice.problems))
    return choice


def _rated(classes: Sequence[str] | None, per_rater: bool) -> ClassChoice:
    """The one label of a continuous task.

    Raises:
        BadInput: classes are asked for, or a method that learns one rater's.
    """
    if classes is not None:
        raise BadInput(
            f"corpus.classes=[{','.join(classes)}] chooses classes, but task.kind=continuous "
            "predicts numbers of all rated clips; leave one of them out"
        )
    if per_rater:
        raise BadInput(
            "task.kind=continuous learns the mean of the raters, but this method learns single "
            "raters' classes; take space=attributes, or leave task.kind out"
        )
    return ClassChoice((RATED,), {RATED: RATED})


def _hear(
    table: pd.DataFrame,
    sources: CorpusSources,
    home: Path,
    progress: Progress | None,
    counted: bool,
) -> tuple[pd.DataFrame, list[Problem]]:
    """The table with each clip's digest and seconds, and every problem of rows, counts and clips.

    Audio is read once and remembered in HOME/audio-index.json. Clips that are bad as published are
    left out of the table.
    """
    clips = _inspect(table, home, progress)
    problems = [problem for source in sources.every for problem in source.raw.problems]
    for source in sources.labelled if counted else ():
        problems += count_notices(source.info, source.raw.table)
    bad = {clip: why for source in sources.every for clip, why in source.info.bad.items()}
    published: set[str] = set()
    for problem in clip_problems(table, clips):
        if problem.kind in ("empty", "unreadable") and problem.utterance in bad:
            published.add(problem.utterance)
            sentence = f"{problem.utterance} is left out: {bad[problem.utterance]}."
            problem = replace(problem, kind="published", severity="notice", sentence=sentence)
        problems.append(problem)
    table = table.assign(
        audio=[clip.digest for clip in clips], seconds=[clip.seconds for clip in clips]
    )
    problems += [*length_notices(table), *transcript_notices(table)]
    return table[~table["id"].isin(published)], problems


def _usable(
    table: pd.DataFrame, problems: Sequence[Problem], on_bad: str
) -> tuple[pd.DataFrame, list[str]]:
    """The rows without errors, and what to tell of the others.

    Raises:
        BadInput: there are errors, and `on_bad` is "stop".
    """
    errors = [p for p in problems if p.severity == "error"]
    if errors and on_bad == "stop":
        these, them = ("these clips", "them") if len(errors) > 1 else ("this clip", "it")
        remedy = f"Mend {these}, or set corpus.on_bad=skip to leave {them} out."
        raise BadInput((*sentences(errors), remedy))
    notes = list(sentences([p for p in problems if p.severity == "notice"]))
    if errors:
        notes.append(f"corpus.on_bad=skip left out {len(errors)} clips or rows:")
        notes += sentences(errors)
    return table[~table["id"].isin({p.utterance for p in errors})], notes


def _inspect(table: pd.DataFrame, home: Path, progress: Progress | None) -> list[Clip]:
    last = 0

    def tell(done: int, of: int) -> None:
        nonlocal last
        if progress is not None and of >= 200 and (done == of or done - last >= of / 4):
            last = done
            progress(f"Checked {done} of {of} audio files.")

    parts = list(table[PART]) if PART in table else None
    return inspect_all(list(table["path"]), parts, index=audio_index(home), progress=tell)


def _check_enough(table: pd.DataFrame, classes: Sequence[str], on_bad: str) -> None:
    counts = table["label"].value_counts()
    few = [name for name in classes if counts.get(name, 0) < 2]
    after = " after corpus.on_bad=skip" if on_bad == "skip" else ""
    if few:
        raise BadInput(
            [
                f"The class {name!r} has {counts.get(name, 0)} clip(s){after}: a class needs at "
                "least 2; leave it out with corpus.classes=[..], or add clips."
                for name in few
            ]
        )
