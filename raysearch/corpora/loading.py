"""From names to a corpus: find the readers, choose classes, look at the audio, check, merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from raysearch.corpora import cremad, demo, emodb, manifest, ravdess
from raysearch.corpora.audio import Clip, inspect_all
from raysearch.corpora.base import (
    TABLE_COLUMNS,
    Corpus,
    CorpusInfo,
    Progress,
    Raw,
    Report,
    sentences,
)
from raysearch.corpora.checks import clip_problems, count_notices
from raysearch.corpora.names import choose
from raysearch.errors import BadInput, near

__all__ = ["check", "known", "load"]


def known() -> dict[str, CorpusInfo]:
    """Every corpus by name: the built-in ones, then those of the group `raysearch.corpora`."""
    built_in = (*demo.INFOS, emodb.INFO, ravdess.INFO, cremad.INFO, manifest.INFO)
    infos = {info.name: info for info in built_in}
    for point in entry_points(group="raysearch.corpora"):
        if point.name not in infos:
            info = point.load()
            if not isinstance(info, CorpusInfo):
                raise BadInput(
                    f"The plugin {point.value!r} of raysearch.corpora must be a CorpusInfo, but "
                    f"is a {type(info).__name__}."
                )
            infos[point.name] = info
    return infos


def load(
    names: Sequence[str],
    *,
    root: Mapping[str, str],
    classes: Sequence[str] | None,
    on_bad: Literal["stop", "skip"],
    unlabelled: Sequence[str],
    seed: int,
    home: Path,
    options: Mapping[str, Any],
    progress: Progress | None = None,
) -> Corpus:
    """Load and merge corpora.

    `root[name]` is a corpus's folder. `classes` selects and orders classes by their common names
    ('happy+excited' merges two into one named by the first); None takes what the corpora share.
    `unlabelled` names corpora whose labels, if any, are not used. `options` holds options of the
    readers, flat or by corpus name. Audio is read once and remembered in HOME/audio-index.json.

    Raises BadInput with all problems together: of names, roots, options and classes, and, under
    on_bad="stop", of clips (`check` lists them). Under "skip" such clips are left out with a note.
    """
    if on_bad not in ("stop", "skip"):
        raise BadInput(f"corpus.on_bad={on_bad!r} is unknown: it is 'stop' or 'skip'.")
    parts, silent = _read_all(names, unlabelled, root, options, seed, home, progress)
    present = {p.name: set(p.raw.table["label"]) - {""} for p in parts}
    declared = {p.name: p.raw.classes for p in parts}
    choice = choose(classes, declared, present)
    if choice.problems:
        raise BadInput(choice.problems)
    table, notes = _select(parts, silent, choice.member)
    clips = _look(table, home, progress)
    problems = [q for p in (*parts, *silent) for q in p.raw.problems]
    problems += [q for p in parts for q in count_notices(p.info, p.raw.table)]
    problems += clip_problems(table, clips)
    errors = [p for p in problems if p.severity == "error"]
    if errors and on_bad == "stop":
        remedy = (
            "Mend these clips, or set corpus.on_bad=skip to leave them out."
            if len(errors) > 1
            else "Mend this clip, or set corpus.on_bad=skip to leave it out."
        )
        raise BadInput((*sentences(errors), remedy))
    bad = {p.utterance for p in errors}
    keep = ~table["id"].isin(bad)
    table["audio"] = [clip.digest for clip in clips]
    table["seconds"] = [clip.seconds for clip in clips]
    table = table[keep]
    _enough(table, choice.classes, on_bad)
    notes = [*(n for p in (*parts, *silent) for n in p.raw.notes), *choice.notes, *notes]
    notes += sentences([p for p in problems if p.severity == "notice"])
    if errors:
        notes.append(f"corpus.on_bad=skip left out {len(errors)} clips or rows:")
        notes += sentences(errors)
    return _merge(table, parts, choice.classes, choice.member, notes, (*parts, *silent))


def check(
    names: Sequence[str],
    *,
    root: Mapping[str, str],
    home: Path,
    unlabelled: Sequence[str] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look at every clip of whole corpora, whatever their classes, and report all that is found.

    Raises BadInput only if there is nothing to look at (unknown names, absent roots, ...).
    """
    parts, silent = _read_all(names, unlabelled, root, options or {}, seed, home, progress)
    table = pd.concat([p.raw.table for p in (*parts, *silent)], ignore_index=True)
    clips = _look(table, home, progress)
    problems = [q for p in (*parts, *silent) for q in p.raw.problems]
    problems += [q for p in parts for q in count_notices(p.info, p.raw.table)]
    problems += clip_problems(table, clips)
    table["seconds"] = [clip.seconds for clip in clips]
    usable = table[~table["id"].isin({p.utterance for p in problems if p.severity == "error"})]
    by = usable.groupby("corpus")
    return Report(
        problems=tuple(problems),
        counts={
            str(n): {str(k): int(v) for k, v in g["label"].value_counts().items()} for n, g in by
        },
        speakers={str(n): int(g["speaker"].nunique()) for n, g in by},
        seconds={str(n): float(g["seconds"].sum()) for n, g in by},
        notes=tuple(n for p in (*parts, *silent) for n in p.raw.notes),
    )


@dataclass(frozen=True)
class _Part:
    name: str
    info: CorpusInfo
    raw: Raw


def _read_all(
    names: Sequence[str],
    unlabelled: Sequence[str],
    root: Mapping[str, str],
    options: Mapping[str, Any],
    seed: int,
    home: Path,
    progress: Progress | None,
) -> tuple[list[_Part], list[_Part]]:
    infos = known()
    problems = _name_problems(names, unlabelled, root, infos)
    own = _own_options([*names, *unlabelled], options, infos, problems)
    parts: list[_Part] = []
    for name in (*names, *unlabelled):
        info = infos.get(name)
        if info is None:
            continue
        folder = _root(info, root, problems)
        if folder is None and (info.root == "needed" or name in root):
            continue
        try:
            raw = info.read(folder, options=own[name], seed=seed, home=home, progress=progress)
        except BadInput as error:
            problems.extend(error.problems)
            continue
        parts.append(_Part(name, info, raw))
    if problems:
        raise BadInput(problems)
    labelled, silent = parts[: len(names)], parts[len(names) :]
    _distinct(labelled, problems)
    if problems:
        raise BadInput(problems)
    return labelled, silent


def _name_problems(
    names: Sequence[str],
    unlabelled: Sequence[str],
    root: Mapping[str, str],
    infos: Mapping[str, CorpusInfo],
) -> list[str]:
    problems = []
    listed = ", ".join(infos)
    if not names:
        problems.append(f"No corpus is named: corpus=NAME takes one of {listed}.")
    for key, given in (("corpus", names), ("corpus.unlabelled", unlabelled)):
        for name in dict.fromkeys(given):
            if name not in infos:
                problems.append(
                    f"{key}={name} is unknown{near(name, infos)}: the corpora are {listed}."
                )
            elif list(given).count(name) > 1:
                problems.append(f"{key} names {name} twice: name each corpus once.")
    for name in sorted(set(names) & set(unlabelled)):
        problems.append(f"{name} is in corpus and in corpus.unlabelled: name it in one of them.")
    for name in root:
        if name not in {*names, *unlabelled}:
            chosen = [*names, *unlabelled]
            problems.append(
                f"corpus.root.{name} belongs to no chosen corpus{near(name, chosen)}: chosen are "
                f"{', '.join(chosen) or 'none'}."
            )
    return problems


def _root(info: CorpusInfo, root: Mapping[str, str], problems: list[str]) -> Path | None:
    given = root.get(info.name)
    if not given:
        if info.root == "needed":
            problems.append(
                f"corpus={info.name} needs its folder, corpus.root=DIR: {info.layout}"
                + (f" (from {info.source})." if info.source else ".")
            )
        return None
    folder = Path(given).expanduser().absolute()
    if not folder.exists() and info.root != "optional":
        problems.append(f"corpus.root={given} does not exist: {info.layout}.")
        return None
    return folder


def _own_options(
    names: Sequence[str],
    options: Mapping[str, Any],
    infos: Mapping[str, CorpusInfo],
    problems: list[str],
) -> dict[str, dict[str, Any]]:
    """Each corpus's options: flat keys go to every corpus that takes them."""
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    takes = {name: infos[name].options for name in names if name in infos}
    for key, value in options.items():
        if key in own and isinstance(value, Mapping):
            for inner, inner_value in value.items():
                if inner not in takes.get(key, {}):
                    known_keys = takes.get(key, {})
                    problems.append(
                        f"corpus.options.{key}.{inner} is unknown{near(inner, known_keys)}: {key} "
                        f"takes {', '.join(known_keys) or 'no options'}."
                    )
                own[key][inner] = inner_value
            continue
        takers = [name for name, keys in takes.items() if key in keys]
        if not takers:
            known_keys = {k: "" for keys in takes.values() for k in keys}
            problems.append(
                f"corpus.options.{key} is unknown{near(key, known_keys)}: the chosen corpora take "
                f"{', '.join(known_keys) or 'no options'}."
            )
        for name in takers:
            own[name].setdefault(key, value)
    return own


def _distinct(parts: Sequence[_Part], problems: list[str]) -> None:
    owner: dict[str, str] = {}
    for part in parts:
        for corpus in part.raw.table["corpus"].unique():
            if corpus in owner:
                problems.append(
                    f"{owner[corpus]} and {part.name} both hold the corpus {corpus}: give one."
                )
            owner[str(corpus)] = part.name


def _select(
    parts: Sequence[_Part], silent: Sequence[_Part], member: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that serve, labelled ones first, and sentences on those left out."""
    notes: list[str] = []
    labelled: list[pd.DataFrame] = []
    bare: list[pd.DataFrame] = []
    for part in parts:
        table = part.raw.table
        label = table["label"].map(lambda name: member.get(name, name))
        out = (table["label"] != "") & ~table["label"].isin(list(member))
        if out.any():
            counts = table["label"][out].value_counts(sort=False)
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            notes.append(f"{part.name}: {int(out.sum())} clips of other classes ({listed}) unused.")
        table = table.assign(label=label)
        labelled.append(table[(table["label"] != "") & ~out])
        bare.append(table[table["label"] == ""])
    there = {i for frame in (*labelled, *bare) for i in frame["id"]}
    for part in silent:
        table = part.raw.table.assign(label="")
        bare.append(table[~table["id"].isin(there)])
        there |= set(table["id"])
    return pd.concat([*labelled, *bare], ignore_index=True), notes


def _look(table: pd.DataFrame, home: Path, progress: Progress | None) -> list[Clip]:
    told = 0

    def tell(done: int, of: int) -> None:
        nonlocal told
        if progress is not None and of >= 200 and (done == of or done - told >= of / 4):
            told = done
            progress(f"Checked {done} of {of} audio files.")

    return inspect_all(list(table["path"]), index=home / "audio-index.json", progress=tell)


def _enough(table: pd.DataFrame, classes: Sequence[str], on_bad: str) -> None:
    counts = table["label"].value_counts()
    few = [name for name in classes if counts.get(name, 0) < 2]
    if few:
        after = " after corpus.on_bad=skip" if on_bad == "skip" else ""
        raise BadInput(
            [
                f"The class {name!r} has {counts.get(name, 0)} clip(s){after}: a class needs at "
                "least 2; leave it out with corpus.classes=[..], or add clips."
                for name in few
            ]
        )


def _merge(
    table: pd.DataFrame,
    parts: Sequence[_Part],
    classes: tuple[str, ...],
    member: Mapping[str, str],
    notes: Sequence[str],
    everyone: Sequence[_Part],
) -> Corpus:
    table = table[list(TABLE_COLUMNS)].reset_index(drop=True)
    position = {clip: i for i, clip in enumerate(table["id"])}
    index = {name: i for i, name in enumerate(classes)}
    votes: np.ndarray | None = None
    graded: list[pd.DataFrame] = []
    for part in parts:
        raw = part.raw
        if raw.votes is not None:
            votes = np.zeros((len(table), len(classes)), np.float32) if votes is None else votes
            rows = [position.get(clip, -1) for clip in raw.table["id"]]
            kept = np.array(rows, dtype=np.int64) >= 0
            for label in raw.votes.columns:
                if label in member:
                    column = index[member[label]]
                    values = raw.votes[label].to_numpy(dtype=np.float32)[kept]
                    votes[np.array(rows, dtype=np.int64)[kept], column] += values
        if raw.ratings is not None:
            frame = raw.ratings[raw.ratings["id"].isin(position)]
            frame = frame[frame["label"].isin(list(member))]
            graded.append(frame.assign(label=frame["label"].map(dict(member))))
    return Corpus(
        table=table,
        classes=classes,
        votes=votes,
        ratings=pd.concat(graded, ignore_index=True) if graded else None,
        notes=tuple(dict.fromkeys(notes)),
        simulated=frozenset().union(*(p.raw.simulated for p in everyone)),
    )
