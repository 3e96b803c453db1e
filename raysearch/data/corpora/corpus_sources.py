"""The corpora that a study names: their readers, folders and options, and what these give."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raysearch.data.corpora import (
    audformat_tables,
    casia,
    cremad,
    demo,
    emobox,
    emodb,
    emovo,
    hugging_face,
    iemocap,
    librispeech,
    manifest,
    msp_improv,
    msp_podcast,
    ravdess,
    savee,
)
from raysearch.data.corpora.agreement import count_votes, labels_by_votes
from raysearch.data.corpora.corpus import PART, CorpusInfo, Options, Problem, Progress, Raw
from raysearch.data.corpora.names import look_alikes, looks_missing
from raysearch.data.corpora.simulate import simulated, with_attributes
from raysearch.data.corpora.tasks import as_numbers, as_task
from raysearch.data.rules import Task, Votes
from raysearch.errors import BadInput, near
from raysearch.stages.methods import plugins


def known() -> dict[str, CorpusInfo]:
    """Every corpus by name: the built-in ones, then those of the group `raysearch.corpora`."""
    files = (emodb, ravdess, cremad, iemocap, msp_improv, msp_podcast, emovo, savee, casia)
    anyone = (librispeech, emobox, manifest, audformat_tables, hugging_face)
    built_in = (*demo.INFOS, *(f.INFO for f in (*files, *anyone)))
    infos = {info.name: info for info in built_in}
    return plugins("raysearch.corpora", CorpusInfo) | infos


@dataclass(frozen=True)
class CorpusSource:
    """One corpus: what its reader gave, with votes and labels as the study's rules want them."""

    name: str
    info: CorpusInfo
    raw: Raw


@dataclass(frozen=True)
class CorpusSources:
    """The corpora of a study, those whose labels are used and those whose are not."""

    labelled: tuple[CorpusSource, ...]
    unlabelled: tuple[CorpusSource, ...]

    @property
    def every(self) -> tuple[CorpusSource, ...]:
        """All of them, the labelled ones first."""
        return (*self.labelled, *self.unlabelled)


def naming_problems(
    names: Sequence[str],
    unlabelled: Sequence[str],
    root: Mapping[str, object],
    options: Options,
) -> list[str]:
    """What is wrong with the names of corpora, their folders' keys and their options.

    Nothing is read; whether a folder exists is not asked.

    Args:
        names: values of `corpus.name`.
        unlabelled: values of `corpus.unlabelled`.
        root: the folder of each corpus, by name.
        options: `corpus.options`, flat or by corpus name.
    """
    infos = known()
    every = [*names, *unlabelled]
    problems = _name_problems(names, unlabelled, infos)
    problems += [
        f"corpus.root.{name} is the folder of a corpus that the study does not use"
        f"{near(name, every)}; its corpora are {', '.join(every) or 'none'}"
        for name in root
        if name not in every
    ]
    for info in (infos[name] for name in dict.fromkeys(every) if name in infos):
        if info.root == "needed" and not root.get(info.name):
            key = "corpus.root" if len(names) == 1 else f"corpus.root.{info.name}"
            origin = f" (get it from {info.source})" if info.source else ""
            problems.append(
                f"corpus {info.name!r} needs its folder; {info.layout}: {key}=DIR{origin}"
            )
    if all(name in infos for name in every):
        problems += _option_problems([infos[name] for name in every], options)
    return problems


def _name_problems(
    names: Sequence[str], unlabelled: Sequence[str], infos: Mapping[str, CorpusInfo]
) -> list[str]:
    listing = ", ".join(infos)
    problems = []
    for key, values in (("corpus.name", names), ("corpus.unlabelled", unlabelled)):
        for name in dict.fromkeys(values):
            if name not in infos:
                problems.append(
                    f"{key}: there is no corpus {name!r}{near(name, infos)}; known corpora: "
                    f"{listing}; anyone's speech is corpus=manifest corpus.root=FOLDER"
                )
            elif list(values).count(name) > 1:
                problems.append(f"{key} lists {name} twice; list each once")
    problems += [
        f"{name} is in corpus.name and in corpus.unlabelled; name it in one of them"
        for name in sorted(set(names) & set(unlabelled))
    ]
    return problems


def _option_problems(infos: Sequence[CorpusInfo], options: Options) -> list[str]:
    """Options that no corpus of the study takes, or that are under the name of another one."""
    by_name = {info.name: info for info in infos}
    problems = []
    for key, value in options.items():
        if key in by_name and isinstance(value, Mapping):
            takers, words = [by_name[key]], [(f"{key}.{inner}", str(inner)) for inner in value]
        else:
            takers, words = list(infos), [(key, key)]
        allowed = sorted({option for info in takers for option in info.options})
        problems += [
            f"corpus.options.{whole} is no option of {', '.join(info.name for info in takers)}"
            f"{near(word, allowed)}; options here are {', '.join(allowed) or 'none'}"
            for whole, word in words
            if word not in allowed
        ]
    return problems


def read_sources(
    names: Sequence[str],
    unlabelled: Sequence[str],
    *,
    root: Mapping[str, str],
    options: Options,
    seed: int,
    home: Path,
    progress: Progress | None,
    rules: Votes,
    task: Task,
) -> CorpusSources:
    """Read the tables of all corpora of a study. No audio is heard.

    Args:
        names: corpora whose labels are used.
        unlabelled: corpora whose labels are not.
        root: the folder of each corpus, by name.
        options: options of the readers, flat or by corpus name.
        seed: of corpora that are made, as the demo.
        home: the folder of what such corpora write.
        progress: told a sentence whenever something long begins.
        rules: where votes come from.
        task: what the classes are.

    Raises:
        BadInput: everything that is wrong with names, folders, options, tables and rules.
    """
    if not names:
        raise BadInput(f"No corpus is named: corpus=NAME takes one of {', '.join(known())}.")
    naming = naming_problems(names, unlabelled, root, options)
    problems = [f"{line}." for line in (*naming, *rules.problems(), *task.problems())]
    infos = known()
    sources: list[CorpusSource] = []
    for name in (*names, *unlabelled):
        info = infos.get(name)
        folder = None if info is None else _folder(info, root, problems)
        if info is None or (folder is None and (info.root == "needed" or name in root)):
            continue
        own = _own_options(info, options)
        try:
            raw = info.read(folder, options=own, seed=seed, home=home, progress=progress)
            raw = with_alikes(name, with_one_id_each(name, in_one_form(raw)))
            raw = with_rules(name, raw, rules, task) if name in names else raw
        except BadInput as error:
            problems.extend(error.problems)
            continue
        sources.append(CorpusSource(name, info, raw))
    if problems:
        raise BadInput(problems)
    labelled = tuple(sources[: len(names)])
    problems += _owner_problems(labelled)
    if rules.source == "simulate" and not any("votes" in s.raw.simulated for s in labelled):
        problems.append(
            f"votes=simulate needs labelled clips, and {', '.join(names)} has none: name another "
            "corpus."
        )
    if problems:
        raise BadInput(problems)
    return CorpusSources(labelled, tuple(sources[len(names) :]))


def _folder(info: CorpusInfo, root: Mapping[str, str], problems: list[str]) -> Path | None:
    text = root.get(info.name)
    if not text:
        return None
    folder = Path(text).expanduser().absolute()
    if not os.path.exists(folder) and info.root != "optional":
        problems.append(f"corpus.root={text} does not exist: {info.layout}.")
        return None
    return folder


def _own_options(info: CorpusInfo, options: Options) -> dict[str, object]:
    """The options of one corpus: those under its name, and the flat ones that it takes."""
    inner = options.get(info.name)
    flat = {key: value for key, value in options.items() if key in info.options}
    return {**flat, **(inner if isinstance(inner, Mapping) else {})}


def in_one_form(raw: Raw) -> Raw:
    """The corpus with every identity in Unicode's composed form (NFC).

    Files from a Mac and tables from elsewhere write one name in two forms, and a speaker in two
    forms would be two speakers: trained on, and tested.
    """
    columns = [name for name in raw.table.columns if name not in ("path", PART)]
    if raw.votes is None:
        votes = None
    else:
        votes = raw.votes.rename(columns=lambda name: _composed(str(name)))
        votes = (
            votes.T.groupby(level=0, sort=False).sum().T if votes.columns.has_duplicates else votes
        )
    ratings = raw.ratings
    if ratings is not None:
        ratings = ratings.assign(**{n: ratings[n].map(_composed) for n in ("id", "rater", "label")})
    table = raw.table.assign(**{name: raw.table[name].map(_composed) for name in columns})
    return replace(
        raw,
        table=table,
        classes=tuple(dict.fromkeys(map(_composed, raw.classes))),
        votes=votes,
        ratings=ratings,
    )


def with_one_id_each(name: str, raw: Raw) -> Raw:
    """The corpus without clips whose id another clip has; each of them is a problem."""
    again = raw.table["id"].duplicated()
    if not again.any():
        return raw
    first = dict(zip(raw.table["id"][~again], raw.table["path"][~again], strict=True))
    problems = [
        Problem(
            "row",
            "error",
            name,
            path,
            f"{path} is the clip {clip}, as {first[clip]} is already: rename or remove one of "
            "them, or set corpus.on_bad=skip.",
            cause="a file is a clip that another file is already",
        )
        for clip, path in zip(raw.table["id"][again], raw.table["path"][again], strict=True)
    ]
    return replace(
        raw,
        table=raw.table[~again],
        votes=None if raw.votes is None else raw.votes[~again],
        means=None if raw.means is None else raw.means[~again],
        problems=(*raw.problems, *problems),
    )


def with_alikes(name: str, raw: Raw) -> Raw:
    """The corpus with a note on speakers, sessions or raters that may be one under two names."""
    raters = () if raw.ratings is None else raw.ratings["rater"].unique()
    columns = {"speaker": raw.table["speaker"], "session": raw.table["session"]}
    names = {what: column.unique() for what, column in columns.items()} | {"rater": raters}
    notes = [
        f"{name}: {' and '.join(repr(x.partition('/')[2] or x) for x in several)} are "
        f"different {what}s, though only their spelling differs: write them alike if they are one."
        for what, here in names.items()
        for several in look_alikes(map(str, here))
    ]
    texts = {**columns, "transcript": raw.table["transcript"]}
    notes += [
        f"{name}: {count} clips have the {what} {text.partition('/')[2] or text!r}, which looks "
        "like none: write nothing there, or name the word in corpus.options.missing."
        for what, column in texts.items()
        for text, count in Counter(map(str, column[column != ""])).items()
        if looks_missing(text.partition("/")[2] or text)
        and (count > 1 or what != "transcript")  # somebody may say none
    ]
    return replace(raw, notes=(*raw.notes, *notes))


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def with_rules(name: str, raw: Raw, rules: Votes, task: Task) -> Raw:
    """One corpus with its votes as the rules want them: simulated, of all raters, as labels.

    Raises:
        BadInput: the corpus has votes that simulated ones would hide, or none of the task's.
    """
    if rules.source == "simulate":
        raw = simulated(name, raw, rules, attributes=bool(task.names))
    if task.continuous:
        return as_numbers(name, with_attributes(name, raw, rules.seed), task, rules.self_ratings)
    raw = as_task(name, raw, task)
    own = None if raw.ratings is None else raw.ratings.get("own")
    if rules.self_ratings == "count" and raw.ratings is not None and own is not None:
        extra = count_votes(raw.ratings[own.to_numpy(dtype=bool)], raw.table)
        raw = replace(raw, votes=extra if raw.votes is None else raw.votes.add(extra, fill_value=0))
    if (rules.labels == "votes" or task.graded) and raw.votes is not None:
        table, _, ties = labels_by_votes(name, raw.table, raw.votes, "keep")
        why = f"task={task.names[0]}" if task.graded else "votes.labels=votes"
        note = f"{name}: {why}: the label is the class that leads the votes."
        raw = replace(raw, table=table, notes=(*raw.notes, note, *ties))
    return raw


def _owner_problems(sources: Sequence[CorpusSource]) -> list[str]:
    """Corpora that two of the named ones both hold, as a manifest of two corpora may."""
    owner: dict[str, str] = {}
    problems = []
    for source in sources:
        for corpus in map(str, source.raw.table["corpus"].unique()):
            if corpus in owner:
                problems.append(
                    f"{owner[corpus]} and {source.name} both hold the corpus {corpus}: give one."
                )
            owner[corpus] = source.name
    return problems
