"""The command line: parsing, exit codes, and nothing else.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted; 3 where `watch` followed a study that
was interrupted or killed. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from types import FrameType

from raysearch.cli.commands import COMMANDS
from raysearch.cli.help import help_text
from raysearch.cli.silence import SPEAKERS, speaking
from raysearch.errors import BadInput, RaysearchError
from raysearch.stages.atomic import READ_ONLY, is_text
from raysearch.study.plain_text import user_path
from raysearch.study.software import version
from raysearch.study.terminal import silence, take_any_text


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # a method of one's own lies beside where one works; `python -m` sees it, a script must too
    if "" not in sys.path and _folder() not in sys.path:
        sys.path.insert(0, _folder())
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser(words).parse_args(words)
    take_any_text()
    signal.signal(signal.SIGTERM, _terminated)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _terminated)
    try:
        _check_names(arguments.words)
        with nullcontext() if arguments.command in SPEAKERS else speaking(arguments.command):
            code = _run(arguments.command, arguments.words)
        if sys.stdout is not None:  # closed by the shell
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
        silence(sys.stdout)
        return 0
    except OSError as error:
        if not (sentence := _disk_sentence(error)):
            raise
        print(f"raysearch: {sentence}", file=sys.stderr)
        return 1


def _disk_sentence(error: OSError) -> str:
    """What a person must know of an error of the disk, and what to do; "" of any other."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}: allow this shell more of them (ulimit -n 4096)"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        what = error.filename or "what is printed"
        return f"{what} cannot be written: {error.strerror}; make room and run again"
    if not error.filename or error.errno is None:
        return ""
    if error.errno in READ_ONLY:
        return (
            f"{error.filename} cannot be written: {error.strerror}; see that its folder may be "
            "written to, or name another home="
        )
    return f"{error.filename} cannot be used: {error.strerror}; mend that and run again"


def _folder() -> str:
    """The folder that one works in.

    Raises:
        SystemExit: it has been removed; nothing can run there.
    """
    try:
        return os.getcwd()
    except OSError:
        sys.exit("raysearch: this folder is not there any more: cd to one that is")


def _run(name: str, words: list[str]) -> int:
    answer = COMMANDS[name].load()(words)
    if isinstance(answer, int):
        return answer
    print(answer, end="" if answer.endswith("\n") else "\n")
    return 0


def _check_names(words: Sequence[str]) -> None:
    """Refuse words that are no UTF-8 text: tables, ledgers and MLflow cannot hold them.

    Raises:
        BadInput: names each of them.
    """
    places = {word: os.path.realpath(user_path(word.partition("=")[2] or word)) for word in words}
    problems = [
        f"{what} is no UTF-8 text: give the file or folder a UTF-8 name (mv)"
        for what, text in (*((f"The word {x}", x) for x in words), ("This folder,", _folder()))
        if not is_text(text)
    ]
    problems += [  # by a link, or by the user's folder for ~
        f"The word {word} leads to {place}, which is no UTF-8 text: give it a UTF-8 name (mv)"
        for word, place in places.items()
        if is_text(word) and not is_text(place) and is_text(_folder())
    ]
    if problems:
        raise BadInput(problems)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM and SIGHUP stop as cleanly as Ctrl-C does."""
    raise KeyboardInterrupt


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; the keys of a command are looked up where `words` ask for its help."""
    parser = argparse.ArgumentParser(
        prog="raysearch",
        description="Which label strategy and which loss help speech emotion recognition, on "
        "speakers that\nthe model has never heard?",
        epilog="Begin with: python -m raysearch tune space=rdlr\n"
        "The keys of a command: python -m raysearch COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"raysearch {version()}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True
    )
    helps = bool({"-h", "--help"} & set(words))
    hidden = argparse.SUPPRESS
    for name, command in COMMANDS.items():
        keys = " [key=value ...]" if command.keys or command.study else ""
        arguments = f" {command.arguments}" if command.arguments else ""
        one = commands.add_parser(
            name,
            usage=f"raysearch {name}{arguments}{keys}",
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=help_text(command) if helps and name in words else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
        )
        one.add_argument("-h", "--help", action="help", help=hidden)
        one.add_argument("words", nargs="*", help=hidden)
    return parser
