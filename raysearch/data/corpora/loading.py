"""From names to a corpus: find the readers, choose classes, look at the audio, check, merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from raysearch.data.corpora import (
    casia,
    cremad,
    demo,
    emodb,
    emovo,
    iemocap,
    librispeech,
    manifest,
    msp_improv,
    msp_podcast,
    ravdess,
    savee,
)
from raysearch.data.corpora.corpus import (
    RATING_COLUMNS,
    TABLE_COLUMNS,
    Corpus,
    CorpusInfo,
    Progress,
    Raw,
    Report,
    sentences,
)
from raysearch.data.corpora.names import Choice, choose, in_order
from raysearch.data.corpora.problems import clip_problems, count_notices
from raysearch.data.corpora.simulate import simulated
from raysearch.data.corpora.sound import Clip, inspect_all
from raysearch.data.corpora.tasks import Task, as_task
from raysearch.data.corpora.votes import Votes, count_votes, labels_by_votes, vote_partition
from raysearch.errors import BadInput, near
from raysearch.stages.methods import plugins


def known() -> dict[str, CorpusInfo]:
    """Every corpus by name: the built-in ones, then those of the group `raysearch.corpora`."""
    files = (emodb, ravdess, cremad, iemocap, msp_improv, msp_podcast, emovo, savee, casia)
    built_in = (*demo.INFOS, *(f.INFO for f in files), librispeech.INFO, manifest.INFO)
    infos = {info.name: info for info in built_in}
    return plugins("raysearch.corpora", CorpusInfo) | infos


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
    votes: Votes | None = None,
    task: Task | None = None,
    per_rater: bool = False,
) -> Corpus:
    """Load and merge corpora.

    `root[name]` is a corpus's folder. `classes` selects and orders classes by their common names
    ('happy+excited' merges two into one named by the first); None takes what the corpora share.
    `unlabelled` names corpora whose labels, if any, are not used. `options` holds options of the
    readers, flat or by corpus name. `votes` says where votes come from, and how clips divide by
    them; `task` what the classes are. Under `per_rater` labels matter to no one: levels of a task's
    attribute are classes if a rater gave them, though they lead nowhere. Audio is read once and
    remembered in HOME/audio-index.json.

    Raises BadInput with all problems together: of names, roots, options and classes, and, under
    on_bad="stop", of clips (`check` lists them). Under "skip" such clips are left out with a note.
    """
    if on_bad not in ("stop", "skip"):
        raise BadInput(f"corpus.on_bad={on_bad!r} is unknown: it is 'stop' or 'skip'.")
    rules, task = votes or Votes(), task or Task()
    parts, silent = _read_all(names, unlabelled, root, options, seed, home, progress, rules, task)
    levels = task.graded and per_rater
    present = {p.name: set(p.raw.table["label"]) - {""} for p in parts}
    for part in parts if levels else ():
        if part.raw.ratings is not None:
            present[part.name] |= set(part.raw.ratings["label"])
    declared = {p.name: p.raw.classes for p in parts}
    choice = choose(classes, declared, present)
    if choice.problems:
        raise BadInput(choice.problems)
    table, notes = _select(parts, silent, choice.member, rules)
    clips = _look(table, home, progress)
    problems = [q for p in (*parts, *silent) for q in p.raw.problems]
    if not task.graded:
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
    if not levels:
        _enough(table, choice.classes, on_bad)
    notes = [*(n for p in (*parts, *silent) for n in p.raw.notes), *choice.notes, *notes]
    notes += sentences([p for p in problems if p.severity == "notice"])
    if errors:
        notes.append(f"corpus.on_bad=skip left out {len(errors)} clips or rows:")
        notes += sentences(errors)
    return _merge(table, parts, choice, notes, (*parts, *silent), rules)


def check(
    names: Sequence[str],
    *,
    root: Mapping[str, str],
    home: Path,
    unlabelled: Sequence[str] = (),
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    classes: Sequence[str] | None = None,
    votes: Votes | None = None,
) -> Report:
    """Look at every clip of whole corpora, whatever their classes, and report all that is found.

    `classes` and `votes` only say how the raters' agreement is counted. Raises BadInput only if
    there is nothing to look at (unknown names, absent roots, ...).
    """
    rules = votes or Votes()
    parts, silent = _read_all(names, unlabelled, root, options or {}, seed, home, progress, rules)
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
        votes={p.name: said for p in parts if (said := _agreement(p.raw, classes, rules))},
    )


def _agreement(raw: Raw, wanted: Sequence[str] | None, rules: Votes) -> tuple[str, ...]:
    """How the raters of one corpus agree: over all it has, then over the classes wanted."""
    if raw.votes is None:
        return ()
    all_votes = raw.votes.to_numpy(dtype=np.float64)
    kinds = vote_partition(all_votes)
    clips = int((all_votes.sum(axis=1) > 0).sum())
    said = [
        f"{all_votes.sum():g} votes for {clips} clips: unanimous {kinds.unanimous}, majority above "
        f"one half {kinds.majority}, unique plurality at or below one half {kinds.plurality}, tie "
        f"{kinds.tie}"
    ]
    present = set(raw.table["label"]) - {""}
    choice = choose(wanted, {"": raw.classes}, {"": present})
    if choice.problems:
        return tuple(said)  # of several corpora, this one lacks the classes wanted
    position = {name: i for i, name in enumerate(choice.classes)}
    serving = _serving(raw, choice.member, rules)
    label = np.array([position.get(name, -1) for name in serving.label], dtype=np.int64)
    inside, outside, _ = _columns(raw.votes, choice)
    rows = ~(serving.foreign | serving.mute).to_numpy()
    sets = rules.divide(inside[rows], outside[rows], label[rows])
    said.append(f"{rules.said(sets)}, over the classes {', '.join(choice.classes)}")
    return tuple(said)


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
    rules: Votes,
    task: Task | None = None,
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
            if name in names:
                raw = _voted(name, raw, rules, task or Task())
        except BadInput as error:
            problems.extend(error.problems)
            continue
        parts.append(_Part(name, info, raw))
    if problems:
        raise BadInput(problems)
    labelled, silent = parts[: len(names)], parts[len(names) :]
    _distinct(labelled, problems)
    if rules.source == "simulate" and not any("votes" in p.raw.simulated for p in labelled):
        problems.append(
            f"votes=simulate needs labelled clips, and {', '.join(names)} has none: name another "
            "corpus."
        )
    if problems:
        raise BadInput(problems)
    return labelled, silent


def _voted(name: str, raw: Raw, rules: Votes, task: Task) -> Raw:
    """The corpus with its votes as the rules want them: simulated, of all raters, as labels."""
    if rules.source == "simulate":
        raw = simulated(name, raw, rules, attributes=task.graded)
    raw = as_task(name, raw, task)
    own = None if raw.ratings is None else raw.ratings.get("own")
    if rules.self_ratings == "count" and raw.ratings is not None and own is not None:
        extra = count_votes(raw.ratings[own.to_numpy(dtype=bool)], raw.table)
        raw = replace(raw, votes=extra if raw.votes is None else raw.votes.add(extra, fill_value=0))
    if (rules.labels == "votes" or task.graded) and raw.votes is not None:
        table, _, said = labels_by_votes(name, raw.table, raw.votes, "keep")
        why = f"task={task.name}" if task.graded else "votes.labels=votes"
        note = f"{name}: {why}: the label is the class that leads the votes."
        raw = replace(raw, table=table, notes=(*raw.notes, note, *said))
    return raw


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


@dataclass(frozen=True)
class _Serving:
    """What becomes of one corpus's rows, each a series with the table's index."""

    label: pd.Series  # of the study's classes where the row serves; "" where it has none
    kept: pd.Series  # labelled otherwise, and kept without a label
    foreign: pd.Series  # labelled otherwise, and left out
    mute: pd.Series  # without a label, voted for, but for no class of the study: left out


def _serving(raw: Raw, member: Mapping[str, str], rules: Votes) -> _Serving:
    own = raw.table["label"]
    foreign = (own != "") & ~own.isin(list(member))
    kept = mute = foreign & False
    if raw.votes is not None:
        inside = raw.votes[[c for c in raw.votes if c in member]].sum(axis=1) > 0
        mute = (own == "") & ~inside & (raw.votes.sum(axis=1) > 0)
        kept = foreign & inside & (rules.others == "keep")
    label = own.map(lambda name: member.get(name, name)).mask(kept, "")
    return _Serving(label, kept, foreign & ~kept, mute)


def _select(
    parts: Sequence[_Part], silent: Sequence[_Part], member: Mapping[str, str], rules: Votes
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that serve, labelled ones first, and sentences on those left out."""
    notes: list[str] = []
    labelled: list[pd.DataFrame] = []
    bare: list[pd.DataFrame] = []
    for part in parts:
        table, serving = part.raw.table, _serving(part.raw, member, rules)
        if serving.kept.any():
            notes.append(
                f"{part.name}: votes.others=keep: {int(serving.kept.sum())} clips of other "
                "classes, with a vote for a class of the study, are kept without a label."
            )
        if serving.foreign.any():
            counts = table["label"][serving.foreign].value_counts(sort=False)
            listed = ", ".join(f"{name} {count}" for name, count in counts.items())
            notes.append(
                f"{part.name}: {int(serving.foreign.sum())} clips of other classes ({listed}) "
                "unused."
            )
        if serving.mute.any():
            notes.append(
                f"{part.name}: {int(serving.mute.sum())} clips without a label, all of whose votes "
                "are for other classes, unused."
            )
        table = table.assign(label=serving.label)[~serving.foreign & ~serving.mute]
        labelled.append(table[table["label"] != ""])
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


def _columns(votes: pd.DataFrame, choice: Choice) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """[N, K] votes for the classes of the study, [N, M] for others, and the others' names."""
    others = tuple(str(name) for name in votes.columns if name not in choice.member)
    inside = np.zeros((len(votes), len(choice.classes)))
    for name, values in votes.items():
        if name in choice.member:
            inside[:, choice.classes.index(choice.member[str(name)])] += values.to_numpy(float)
    return inside, votes[list(others)].to_numpy(dtype=np.float64), others


def _merge(
    table: pd.DataFrame,
    parts: Sequence[_Part],
    choice: Choice,
    notes: Sequence[str],
    everyone: Sequence[_Part],
    rules: Votes,
) -> Corpus:
    table = table[list(TABLE_COLUMNS)].reset_index(drop=True)
    position = {clip: i for i, clip in enumerate(table["id"])}
    voted = [
        (part.raw, *_columns(part.raw.votes, choice))
        for part in parts
        if part.raw.votes is not None
    ]
    foreign = in_order(name for *_, names in voted for name in names)
    votes = np.zeros((len(table), len(choice.classes)), np.float32) if voted else None
    outside = np.zeros((len(table), len(foreign)), np.float32) if voted else None
    for raw, own, other, names in voted:
        rows = np.array([position.get(clip, -1) for clip in raw.table["id"]], dtype=np.int64)
        kept = rows >= 0
        assert votes is not None
        assert outside is not None
        votes[rows[kept]] = own[kept]
        for column, name in enumerate(names):
            outside[rows[kept], foreign.index(name)] = other[kept, column]
    graded = [_ratings(ratings, position, choice) for ratings in _distinct_raters(parts)]
    corpus = Corpus(
        table=table,
        classes=choice.classes,
        votes=votes,
        ratings=pd.concat(graded, ignore_index=True) if graded else None,
        notes=tuple(dict.fromkeys(notes)),
        simulated=frozenset().union(*(p.raw.simulated for p in everyone)),
        outside=outside,
        outside_classes=foreign,
        rules=rules,
    )
    sets = corpus.sets
    if sets is None:
        return corpus
    return replace(corpus, notes=(*corpus.notes, f"The raters' agreement: {rules.said(sets)}."))


def _distinct_raters(parts: Sequence[_Part]) -> list[pd.DataFrame]:
    """Each corpus's ratings; a name that several have is that of different people.

    Simulated raters are the same ones everywhere.
    """
    rated = [(part, part.raw.ratings) for part in parts if part.raw.ratings is not None]
    people = [part.name for part, _ in rated if "votes" not in part.raw.simulated]
    owners: dict[str, set[str]] = {}
    for part, ratings in rated:
        for rater in set(ratings["rater"]):
            owners.setdefault(rater, set()).add(part.name)
    made = []
    for part, ratings in rated:
        if part.name in people:
            names = [f"{part.name}/{r}" if len(owners[r]) > 1 else r for r in ratings["rater"]]
            ratings = ratings.assign(rater=names)
        made.append(ratings)
    return made


def _ratings(ratings: pd.DataFrame, position: Mapping[str, int], choice: Choice) -> pd.DataFrame:
    """The ratings of clips that serve, with all RATING_COLUMNS and the study's classes."""
    frame = ratings[ratings["id"].isin(position)]
    for name in RATING_COLUMNS:
        if name not in frame:
            frame = frame.assign(**{name: False if name == "own" else np.nan})
    label = frame["label"].map(lambda name: choice.member.get(name, ""))
    said = frame[["valence", "activation", "dominance"]].notna().any(axis=1)
    return frame.assign(label=label)[list(RATING_COLUMNS)][(label != "") | said]
