"""The commands `corpora` and `features`: the speech, and what extractors make of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.cli.commands import COMMANDS, SPACE
from raysearch.cli.words import read_words
from raysearch.errors import BadInput, near
from raysearch.study import Study, load_study
from raysearch.study.folder import check_home, features_of, ray_log

if TYPE_CHECKING:
    from raysearch.data.corpora import CorpusInfo


def corpora(words: Sequence[str]) -> str | int:
    """The corpora that are known; after the word check, everything wrong with clips."""
    if words[:1] == ["check"]:
        return _check(words[1:])
    read_words(words, ())
    return _list()


def _list() -> str:
    """Every corpus that is known, with its published counts and where its clips must lie."""
    from raysearch.data import corpora

    lines = []
    for info in corpora.known().values():
        lines.append(f"{info.name}: {info.description}")
        lines += [f"    {line}" for line in _published(info)]
        if info.root != "unused" and info.layout:
            lines.append(f"    corpus.root: {info.layout}")
        for name, meaning in info.options.items():
            lines.append(f"    corpus.options.{name}: {meaning}")
        if info.source:
            lines.append(f"    source: {info.source}")
    return "\n".join(lines)


def _published(info: CorpusInfo) -> list[str]:
    """The published counts of a corpus, where they are from, and its remarks."""
    lines = []
    if info.published:
        counts = ", ".join(f"{name or 'unlabelled'} {n}" for name, n in info.published.items())
        total = sum(info.published.values())
        who = f", {info.speakers} speakers" if info.speakers else ""
        lines.append(f"published: {total} clips{who}: {counts}")
    if info.counted:
        lines.append(f"counts from: {info.counted}")
    return [*lines, *info.remarks]


def _check(words: Sequence[str]) -> int:
    """Print everything wrong with the clips of the corpora named; 1 where it stops a study."""
    from raysearch.data import corpora

    study = _study("corpora", words)
    findings = corpora.check(
        study.corpus.name,
        root=study.corpus.root,
        unlabelled=study.corpus.unlabelled,
        seed=int(study.corpus.options.get("seed", 0)),
        home=Path(study.home),
        options=study.corpus.options,
        classes=study.corpus.classes,
        votes=study.votes,
    )
    known = corpora.known()
    lines = []
    for corpus, counts in findings.counts.items():
        classes = ", ".join(f"{name or 'unlabelled'} {n}" for name, n in counts.items())
        lines.append(
            f"{corpus}: {sum(counts.values())} clips, {findings.speakers.get(corpus, 0)} speakers, "
            f"{findings.seconds.get(corpus, 0.0) / 60:.1f} minutes: {classes}"
        )
    lines += findings.omissions
    for name in study.corpus.name:
        lines += [f"{name}: {line}" for line in _published(known[name])]
        lines += [f"{name}: votes: {line}" for line in findings.votes.get(name, ())]
    lines += [f"note: {note}" for note in findings.notes]
    lines += findings.sentences()
    lines.append(
        f"{len(findings.errors)} problems that stop a study; corpus.on_bad=skip leaves these clips "
        "out"
        if findings.errors
        else f"nothing that stops a study, {len(findings.notices)} notices"
    )
    print("\n".join(lines))
    return 1 if findings.errors else 0


def features(words: Sequence[str]) -> str:
    """Extract the features of a corpus into the home and say where they are."""
    from raysearch.cluster.code_copy import modules_of
    from raysearch.cluster.connection import connection
    from raysearch.data import corpora, features
    from raysearch.tuning.progress import Progress

    study = _study("features", words)
    home = Path(study.home)
    with Progress(quiet=study.quiet) as progress:
        corpus = corpora.load(
            study.corpus.name,
            root=study.corpus.root,
            classes=study.corpus.classes,
            on_bad=study.corpus.on_bad,
            unlabelled=study.corpus.unlabelled,
            seed=int(study.corpus.options.get("seed", 0)),
            home=home,
            options=study.corpus.options,
            progress=progress.stage,
            votes=study.votes,
        )
        folder = features_of(home)
        started = time.monotonic()
        if features.stored(study.features, corpus, folder):
            sets = features.extract(
                study.features, corpus, folder=folder, run_chunks=features.local_chunks
            )
        else:
            log = ray_log(home)
            with connection(study.cluster, log, modules_of(study)):
                sets = features.extract(
                    study.features,
                    corpus,
                    folder=folder,
                    run_chunks=features.ray_chunks,
                    progress=lambda done, of: progress.stage(f"features {done}/{of}"),
                )
    seconds = time.monotonic() - started
    return "\n".join(
        f"{one.name} {one.version}: {one.extent}, in {folder} ({seconds:.1f} s)" for one in sets
    )


def _study(command: str, words: Sequence[str]) -> Study:
    """A study that a command reads the corpus and the features of; any space names the rest."""
    takes = COMMANDS[command].study
    problems = [
        f"{word} has no effect here{near(name, takes)}; the keys are {', '.join(takes)}"
        for word in words
        if (name := word.partition("=")[0]).partition(".")[0] not in takes
    ]
    if not any(word.startswith(("corpus=", "corpus.name=")) for word in words):
        problems.append(
            f"{command} needs corpus=NAME; python -m raysearch corpora lists the corpora"
        )
    if problems:
        raise BadInput(problems)
    space = [] if any(word.startswith("space=") for word in words) else [f"space={SPACE}"]
    study = load_study([*space, *words], cwd=Path.cwd())
    check_home(Path(study.home))
    return study
