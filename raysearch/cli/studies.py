"""The smaller commands: what they print, as text."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysearch.cli.words import options
from raysearch.errors import BadInput
from raysearch.study import load_study
from raysearch.study.folder import study_folder, study_folders, touched
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING, Ledger
from raysearch.study.status import stand

if TYPE_CHECKING:
    from raysearch.data.corpora import CorpusInfo


def list_corpora(words: Sequence[str]) -> str:
    """Every corpus that is known, with its published counts and where its clips must lie."""
    from raysearch.data import corpora

    options(words, {})
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


def check_corpora(words: Sequence[str]) -> tuple[str, bool]:
    """Everything wrong with the clips of the corpora named, and whether any of it stops a study."""
    from raysearch.data import corpora

    study = _with_corpus("corpora check", words)
    found = corpora.check(
        study.corpus.name,
        root=study.corpus.root,
        unlabelled=study.corpus.unlabelled,
        seed=int(study.corpus.options.get("seed", 0)),
        home=Path(study.home),
        options=study.corpus.options,
        classes=study.corpus.classes,
        votes=corpora.Votes(**dict(study.votes)),
    )
    known = corpora.known()
    lines = []
    for corpus, counts in found.counts.items():
        classes = ", ".join(f"{name or 'unlabelled'} {n}" for name, n in counts.items())
        lines.append(
            f"{corpus}: {sum(counts.values())} clips, {found.speakers.get(corpus, 0)} speakers, "
            f"{found.seconds.get(corpus, 0.0) / 60:.1f} minutes: {classes}"
        )
    for name in study.corpus.name:
        lines += [f"{name}: {line}" for line in _published(known[name])]
        lines += [f"{name}: votes: {line}" for line in found.votes.get(name, ())]
    lines += [f"note: {note}" for note in found.notes]
    lines += found.sentences()
    lines.append(
        f"{len(found.errors)} problems that stop a study (corpus.on_bad=skip leaves such clips out)"
        if found.errors
        else f"nothing that stops a study, {len(found.notices)} notices"
    )
    return "\n".join(lines), bool(found.errors)


def extract_features(words: Sequence[str]) -> str:
    """Extract the features of a corpus into the home and say where they are."""
    from raysearch.cluster.connecting import connected
    from raysearch.cluster.shipping import modules_of
    from raysearch.data import corpora, features
    from raysearch.tuning.progress import Progress

    study = _with_corpus("features", words)
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
            votes=corpora.Votes(**dict(study.votes)),
        )
        folder = home / "store" / "features"
        started = time.monotonic()
        if features.stored(study.features, corpus, folder):
            sets = features.extract(
                study.features, corpus, folder=folder, run_chunks=features.local_chunks
            )
        else:
            log = home.absolute() / "logs" / "ray.log"
            with connected(study.cluster, log, modules_of(study)):
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


def studies(words: Sequence[str]) -> str:
    """The studies of a home, latest first."""
    values = options(words, {"home": "runs"})
    folders = study_folders(Path(values["home"]))
    if not folders:
        return f"no study in {values['home']} yet; python -m raysearch tune space=rdlr makes one"
    lines = []
    for folder in folders:
        ledger = Ledger(folder / "ledger.sqlite")
        trials = ledger.trials()
        ledger.close()
        states = {
            state: sum(trial.state == state for trial in trials)
            for state in (COMPLETE, PRUNED, FAILED, RUNNING)
        }
        scores = [t.value for t in trials if t.state == COMPLETE and t.value is not None]
        best = f", best validation {max(scores):.1%}" if scores else ""
        counts = ", ".join(f"{n} {state}" for state, n in states.items() if n)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(touched(folder)))
        lines.append(f"{folder.name}  {when}  {counts or 'no trial yet'}{best}")
    return "\n".join(lines)


def status(words: Sequence[str]) -> str:
    """How far studies are: those of a home, from their ledgers; with cluster=, submitted jobs."""
    values = options(
        words, {"study": None, "home": "runs", "cluster": None, "job": None, "lines": 10}
    )
    if values["cluster"] is not None or values["job"] is not None:
        from raysearch.cluster import jobs

        cluster = str(values["cluster"] or "auto")
        if values["job"] is None:
            return jobs.listed(cluster)
        lines = values["lines"]
        if isinstance(lines, bool) or not isinstance(lines, int) or lines < 0:
            raise BadInput(f"lines must be a whole number of at least 0, but got {lines!r}")
        return jobs.follow(str(values["job"]), cluster, lines)
    home = Path(str(values["home"]))
    if values["study"] is not None:
        return str(stand(study_folder(home, str(values["study"]))))
    folders = study_folders(home)
    if not folders:
        return f"no study in {home} yet; python -m raysearch tune space=rdlr makes one"
    return "\n".join(str(stand(folder)) for folder in folders)


def watch(words: Sequence[str]) -> int:
    """Follow a study of a home, the latest one where none is named, until nobody runs it."""
    values = options(words, {"study": None, "home": "runs", "every": 10})
    every = values["every"]
    if isinstance(every, bool) or not isinstance(every, int | float) or not 0 < every < math.inf:
        raise BadInput(f"every must be a number of seconds above 0, but got {every!r}")
    from raysearch.cli.watch import watch as follow

    return follow(study_folder(Path(str(values["home"])), values["study"]), every=every)


def submit(words: Sequence[str]) -> str:
    """Send a study to a cluster as a Ray job."""
    from raysearch.cluster import jobs

    return jobs.submit(words, Path.cwd())


def new_method(words: Sequence[str]) -> str:
    """Write a method of one's own to begin with, and say how to run it."""
    from raysearch.cli import templates

    names = [word for word in words if "=" not in word]
    values = options([word for word in words if "=" in word], {"dir": "."})
    if len(names) != 1:
        raise BadInput(
            f"new-method takes one name, as in new-method my_method, but got {', '.join(names)}"
            if names
            else "new-method needs a name, as in python -m raysearch new-method my_method"
        )
    folder = Path(str(values["dir"])).expanduser()
    made = templates.new_method(names[0], folder)
    there = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    return "\n".join(
        [
            *(f"wrote {path}" for path in made),
            f"run it:  {there}python -m raysearch tune space=./{names[0]}.yaml",
            f"test it: {there}pytest test_{names[0]}.py",
        ]
    )


def stop(words: Sequence[str]) -> str:
    """End a submitted job."""
    values = options(words, {"job": None, "cluster": "auto"})
    if values["job"] is None:
        raise BadInput("stop needs job=NAME; python -m raysearch status cluster=auto lists them")
    from raysearch.cluster import jobs

    return jobs.stop(str(values["job"]), str(values["cluster"]))


def ui(words: Sequence[str]) -> int:
    """Serve MLflow's UI on a home until Ctrl-C."""
    from raysearch.tracking.ui import ui as served

    values = options(words, {"home": "runs", "host": "127.0.0.1", "port": 5000})
    home = Path(values["home"])
    if not study_folders(home):
        raise BadInput(f"home={home} holds no study; run tune first, or name another home=")
    port = values["port"]
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise BadInput(f"port must be a whole number from 1 to 65535, but got {port!r}")
    with served(home, host=str(values["host"]), port=port) as server:
        address = f"http://{values['host']}:{port}/"
        print(f"MLflow on {home} (Ctrl-C ends): {address}")
        for folder in study_folders(home):
            ledger = Ledger(folder / "ledger.sqlite")
            print(f"  {folder.name}: {address}{ledger.fact('page', '')}")
            ledger.close()
        sys.stdout.flush()
        code = server.wait()
    if code:
        raise BadInput(
            f"MLflow's UI ended with code {code}; is port {port} taken? see {home}/mlflow-ui.log, "
            "or choose another port="
        )
    return 0


# -- parts -------------------------------------------------------------------------------------
def _with_corpus(command: str, words: Sequence[str]) -> Any:
    """A study's configuration for a command that reads its corpus and features alone."""
    named = [word for word in words if word.startswith("corpus=")]
    if not named:
        raise BadInput(f"{command} needs corpus=NAME; python -m raysearch corpora lists them")
    return load_study(["space=rdlr", *words], cwd=Path.cwd())
