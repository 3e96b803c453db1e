"""The command line: parsing, exit codes, and nothing else.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted; 3 where `watch` followed a study that
was interrupted or killed. Progress goes to stderr, results to
stdout.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from raysearch.errors import BadInput, RaysearchError
from raysearch.study.software import version

_WORDS = """
Words are key=value, as in trials=50 seed=3 corpus=emodb corpus.root=DIR params.gamma=0.5;
values are YAML. home=DIR (default runs) is where everything is kept.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # a method of one's own lies beside where one works; `python -m` sees it, a script must too
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(helping=bool({"-h", "--help"} & set(words))).parse_args(words)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code: int = arguments.run(arguments.words)
        sys.stdout.flush()
        return code
    except BadInput as error:
        for problem in error.problems:
            print(f"raysearch: {problem}", file=sys.stderr)
        return error.exit_code
    except RaysearchError as error:
        print(f"raysearch: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("raysearch: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM stops as cleanly as Ctrl-C does."""
    raise KeyboardInterrupt


def _parser(helping: bool = False) -> argparse.ArgumentParser:
    """The parser; with `helping`, its epilogs list every key of a study."""
    parser = argparse.ArgumentParser(
        prog="raysearch",
        description="Which label strategy and loss really helps, on speakers the model never "
        "heard: search over held-out speakers, nothing computed twice, honest estimates.",
        epilog="Try: python -m raysearch tune space=rdlr",
    )
    parser.add_argument("--version", action="version", version=f"raysearch {version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (run, summary, example) in _COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=f"example:\n  {example}\n{_WORDS}{_keys(name) if helping else ''}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("words", nargs="*", metavar="key=value")
        command.set_defaults(run=run)
    return parser


def _keys(command: str) -> str:
    """Every key of a study with its default and meaning, for the commands that take them."""
    if command not in ("tune", "plan", "submit"):
        return ""
    from raysearch.study import keys

    lines = [
        f"  {f'{name}={example}':<40} {meaning} [{_shown(default)}]"
        for name, (default, meaning, example) in keys().items()
    ]
    return "\nkeys, each with an example, its meaning and [its default]:\n" + "\n".join(lines)


def _shown(default: object) -> str:
    if default is None or default in ((), {}, ""):
        return "none"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default)


def _tune(words: list[str]) -> int:
    from raysearch.report import show
    from raysearch.study import load_study
    from raysearch.tuning.progress import Progress
    from raysearch.tuning.run import tune

    study = load_study(words, cwd=Path.cwd())
    with Progress(quiet=study.quiet) as progress:
        command = shlex.join(["python", "-m", "raysearch", "tune", *words])
        outcome = tune(study, progress, command)
    if outcome.interrupted:
        print(
            f"raysearch: interrupted; nothing is lost. To go on: {outcome.command}",
            file=sys.stderr,
        )
        return 130
    show(outcome.report)
    print(outcome.closing)
    if outcome.failure:
        print(f"raysearch: {outcome.failure}", file=sys.stderr)
        return 1
    return 0


def _plan(words: list[str]) -> int:
    from raysearch.study import load_study
    from raysearch.tuning.plan import plan

    print(plan(load_study(words, cwd=Path.cwd())).text())
    return 0


def _corpora(words: list[str]) -> int:
    from raysearch.cli.studies import check_corpora, list_corpora

    if words and words[0] == "check":
        text, bad = check_corpora(words[1:])
        print(text)
        return 1 if bad else 0
    print(list_corpora(words))
    return 0


def _features(words: list[str]) -> int:
    from raysearch.cli.studies import extract_features

    print(extract_features(words))
    return 0


def _report(words: list[str]) -> int:
    from raysearch.cli.reports import report

    print(report(words), end="")
    return 0


def _new_method(words: list[str]) -> int:
    from raysearch.cli.studies import new_method

    print(new_method(words))
    return 0


def _compare(words: list[str]) -> int:
    from raysearch.cli.reports import compare

    print(compare(words), end="")
    return 0


def _export(words: list[str]) -> int:
    from raysearch.cli.models import export_words

    print(export_words(words, lambda text: print(f"raysearch: {text}", file=sys.stderr)))
    return 0


def _predict(words: list[str]) -> int:
    from raysearch.cli.models import predict_words

    text, failures = predict_words(words)
    print(text, end="")
    for sentence in failures:
        print(f"raysearch: {sentence}", file=sys.stderr)
    return 1 if failures else 0


def _studies(words: list[str]) -> int:
    from raysearch.cli.studies import studies

    print(studies(words))
    return 0


def _submit(words: list[str]) -> int:
    from raysearch.cli.studies import submit

    print(submit(words))
    return 0


def _status(words: list[str]) -> int:
    from raysearch.cli.studies import status

    print(status(words))
    return 0


def _watch(words: list[str]) -> int:
    from raysearch.cli.studies import watch

    return watch(words)


def _stop(words: list[str]) -> int:
    from raysearch.cli.studies import stop

    print(stop(words))
    return 0


def _ui(words: list[str]) -> int:
    from raysearch.cli.studies import ui

    return ui(words)


def _doctor(words: list[str]) -> int:
    from raysearch.cli.doctor import doctor

    text, bad = doctor(words)
    print(text)
    return 1 if bad else 0


_COMMANDS: dict[str, tuple[Callable[[list[str]], int], str, str]] = {
    "tune": (
        _tune,
        "search a space over held-out speakers; the same command again goes on or extends",
        "python -m raysearch tune space=rdlr corpus=emodb corpus.root=DIR trials=30",
    ),
    "plan": (
        _plan,
        "say what a study would run: settings, folds, stages, how many are stored, the time",
        "python -m raysearch plan space=rdlr corpus=emodb corpus.root=DIR",
    ),
    "submit": (
        _submit,
        "send a study to a Ray cluster as a job, which runs on when this machine goes",
        "python -m raysearch submit space=rdlr corpus=emodb corpus.root=DIR cluster=FILE",
    ),
    "status": (
        _status,
        "say how far the studies of a home are, or with cluster= (and job=) submitted jobs",
        "python -m raysearch status job=NAME cluster=FILE lines=20",
    ),
    "watch": (
        _watch,
        "follow a study that runs in another terminal; Ctrl-C leaves the study alone",
        "python -m raysearch watch study=NAME home=runs",
    ),
    "stop": (
        _stop,
        "end a submitted job cleanly; the same submit command goes on later",
        "python -m raysearch stop job=NAME cluster=FILE",
    ),
    "corpora": (
        _corpora,
        "list the corpora, or check the clips of one",
        "python -m raysearch corpora check corpus=emodb corpus.root=DIR",
    ),
    "features": (
        _features,
        "extract features of a corpus, each clip once",
        "python -m raysearch features features=[is10,egemaps] corpus=emodb corpus.root=DIR",
    ),
    "report": (
        _report,
        "a study's tables and figures (format=text, md, latex, json or html; out=FILE or DIR; "
        "figures=DIR for PNG, SVG and CSV; tsne=selected for its last hidden layer)",
        "python -m raysearch report study=NAME format=html out=report.html",
    ),
    "compare": (
        _compare,
        "hold two studies against each other, paired over the folds that they share",
        "python -m raysearch compare study=A study=B format=text",
    ),
    "new-method": (
        _new_method,
        "write a method of your own to begin with: its file, a space and a test",
        "python -m raysearch new-method my_method dir=.",
    ),
    "export": (
        _export,
        "make a model of a study's selected setting, and register it in MLflow (how=refit or "
        "ensemble; rater=NAME of several target raters; to=DIR for a folder instead)",
        "python -m raysearch export study=NAME how=refit name=MODEL",
    ),
    "predict": (
        _predict,
        "say what a model makes of audio files and folders (format=text, csv or json)",
        "python -m raysearch predict model=MODEL one.wav clips/ format=csv",
    ),
    "studies": (_studies, "list the studies of a home", "python -m raysearch studies home=runs"),
    "ui": (
        _ui,
        "browse the results of a home in MLflow (on this machine alone, unless host= says more)",
        "python -m raysearch ui home=runs port=5000",
    ),
    "doctor": (
        _doctor,
        "look at versions, devices, Ray and torchaudio, and say what to mend",
        "python -m raysearch doctor",
    ),
}
