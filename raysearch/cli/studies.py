"""The commands that run a study, and those that look at the studies of a home."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from raysearch.cli.commands import COMMANDS
from raysearch.cli.silence import speaking
from raysearch.cli.words import read_words
from raysearch.errors import BadInput
from raysearch.study import load_study
from raysearch.study.folder import study_folder, study_folders
from raysearch.study.ledger import COMPLETE, FAILED, PRUNED, RUNNING
from raysearch.study.status import status_of

_NONE = "no study in {home} yet; python -m raysearch tune space=rdlr makes one"


def tune(words: Sequence[str]) -> int:
    """Search a space, and print a screen: the result, and where the rest is."""
    with speaking("tune"):
        from raysearch.report import show_screen
        from raysearch.tuning.progress import Progress
        from raysearch.tuning.run import tune as run

        study = load_study(words, cwd=Path.cwd())
    with Progress(quiet=study.quiet) as progress:
        command = shlex.join(["python", "-m", "raysearch", "tune", *words])
        outcome = run(study, progress, command)
    if outcome.interrupted:
        print(
            f"raysearch: interrupted; nothing is lost. To go on: {outcome.command}",
            file=sys.stderr,
        )
        return 130
    show_screen(outcome.report)
    print(f"\n{outcome.closing}")
    if outcome.failure:
        print(f"raysearch: {outcome.failure}", file=sys.stderr)
        return 1
    return 0


def plan(words: Sequence[str]) -> str:
    """What a study would run."""
    from raysearch.tuning.plan import plan as planned

    return planned(load_study(words, cwd=Path.cwd())).text()


def studies(words: Sequence[str]) -> str:
    """The studies of a home, latest first."""
    values = read_words(words, COMMANDS["studies"].keys)
    home = Path(values["home"])
    folders = study_folders(home)
    if not folders:
        return _NONE.format(home=home)
    lines = []
    for folder in folders:
        with folder.ledger() as ledger:
            trials = ledger.trials()
        states = {
            state: sum(trial.state == state for trial in trials)
            for state in (COMPLETE, PRUNED, FAILED, RUNNING)
        }
        scores = [t.value for t in trials if t.state == COMPLETE and t.value is not None]
        best = f", best validation {max(scores):.1%}" if scores else ""
        counts = ", ".join(f"{n} {state}" for state, n in states.items() if n)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.changed))
        lines.append(f"{folder.name}  {when}  {counts or 'no trial yet'}{best}")
    return "\n".join(lines)


def status(words: Sequence[str]) -> str:
    """How far studies are: those of a home, from their ledgers; with cluster=, submitted jobs."""
    values = read_words(words, COMMANDS["status"].keys)
    if values["cluster"] is not None or values["job"] is not None:
        from raysearch.cluster import jobs

        if values["format"] == "json":
            raise BadInput("format=json is of the studies of a home; leave cluster= and job= out")
        cluster = str(values["cluster"] or "auto")
        if values["job"] is None:
            return jobs.list_jobs(cluster)
        return jobs.follow(values["job"], cluster, values["lines"])
    home = Path(values["home"])
    if values["study"] is not None:
        folders = [study_folder(home, values["study"])]
    else:
        folders = study_folders(home)
    found = [status_of(folder) for folder in folders]
    if values["format"] == "json":
        return json.dumps([one.as_facts() for one in found], indent=1)
    return "\n".join(map(str, found)) or _NONE.format(home=home)


def _say(sentence: str) -> None:
    print(f"raysearch: {sentence}", file=sys.stderr, flush=True)


def ui(words: Sequence[str]) -> int:
    """Serve MLflow's UI on a home until Ctrl-C."""
    from raysearch.tracking.ui import ui as serve

    values = read_words(words, COMMANDS["ui"].keys)
    home = Path(values["home"])
    if not study_folders(home):
        raise BadInput(f"home={home} holds no study; run tune first, or name another home=")
    port = values["port"]
    with serve(home, host=values["host"], port=port, say=_say) as server:
        address = f"http://{values['host']}:{port}/"
        print(f"MLflow on {home} (Ctrl-C ends): {address}")
        for folder in study_folders(home):
            with folder.ledger() as ledger:
                print(f"  {folder.name}: {address}{ledger.fact('page', '')}")
        sys.stdout.flush()
        code = server.wait()
    if code:
        raise BadInput(
            f"MLflow's UI ended with code {code}; is port {port} taken? see {home}/mlflow-ui.log, "
            "or choose another port="
        )
    return 0
