"""Every command: what runs it, what it is for, and the keys that it takes.

The table is all that `--help` reads, so that it loads neither Ray nor MLflow, torch nor pandas.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from raysearch.cli.words import Key

HEADINGS = {
    "the speech": ("space", "corpus", "features", "normalise", "speaker_clips"),
    "the division into training, validation and test": ("protocol", "validation"),
    "the search": (
        "method",
        "params",
        "precision",
        "objective",
        "groups",
        "trials",
        "seed",
        "seeds",
        "sampler",
        "search",
        "enqueue",
        "deterministic",
        "batch",
    ),
    "stopping early what will not win": ("racing", "stopping"),
    "the machine": (
        "cluster",
        "cpus",
        "gpus",
        "deterministic_algorithms",
        "cudnn_benchmark",
        "tf32",
        "threads",
        "workers",
        "concurrent",
        "timeout",
        "memory",
    ),
    "where everything is kept and shown": (
        "home",
        "store",
        "store_wait",
        "tracking",
        "baseline",
        "quiet",
    ),
    "labels, and the raters and their votes": ("labels", "votes", "task", "raters"),
    "for the author of a space": ("description", "published", "notes"),
}
"""The keys of a study as the help groups them: a key, or a section with all of its keys."""

SPACE = "rdlr"
"""The space of the commands that only read a corpus, where none is named."""
_EVERY = tuple(name for names in HEADINGS.values() for name in names)


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        run: `module:function` in `raysearch.cli`; the function takes the words and returns text to
            print, or an exit code where it has printed already.
        summary: one line, without a capital or a full stop.
        example: a whole command line.
        keys: its own keys.
        study: the keys, and sections of keys, of a study that it takes.
        required: those of `study` that must be given.
        arguments: what stands before the keys.
    """

    run: str
    summary: str
    example: str
    keys: tuple[Key, ...] = ()
    study: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    arguments: str = ""

    def load(self) -> Callable[[Sequence[str]], str | int]:
        """The function that runs the command, imported now."""
        module, _, function = self.run.partition(":")
        loaded: Callable[[Sequence[str]], str | int] = getattr(
            import_module(f"raysearch.cli.{module}"), function
        )
        return loaded


_HOME = Key("home", "the folder in which studies are kept", "runs", "runs", path=True)
_STUDY = Key(
    "study",
    "a study, by its name or the beginning of its name; none: the latest one",
    "NAME",
)
_JOB = "a submitted study, by the name that submit printed; status cluster=auto lists them"
_FORMS = (
    Key(
        "format",
        "text, md, latex, json or html; none: by the ending of the file in out=, else text",
        "html",
        choices=("text", "md", "latex", "json", "html"),
    ),
    Key(
        "out",
        "a file for the report, or a folder for it with all figures and tables",
        "DIR",
        path=True,
    ),
    Key("figures", "a folder for the figures (PNG, SVG) and the tables (CSV)", "DIR", path=True),
)

COMMANDS: dict[str, Command] = {
    "tune": Command(
        "studies:tune",
        "search a space over held-out speakers; the same command again goes on, or adds trials",
        "python -m raysearch tune space=rdlr corpus=emodb corpus.root=DIR trials=30",
        study=_EVERY,
        required=("space",),
    ),
    "plan": Command(
        "studies:plan",
        "say what a study would run: settings, folds, stages, how many are stored, the time",
        "python -m raysearch plan space=rdlr corpus=emodb corpus.root=DIR",
        study=_EVERY,
        required=("space",),
    ),
    "report": Command(
        "reports:report",
        "print the tables of a study, or write them and its figures to files",
        "python -m raysearch report study=NAME format=html out=report.html",
        keys=(
            _STUDY,
            _HOME,
            *_FORMS,
            Key(
                "baseline",
                "a study of the home to set this one's honest choice against, paired over the "
                "folds that both have; none: the one that the study names",
                "NAME",
            ),
            Key("full", "also the tables of parameters with few settings a value", "true", False),
            Key(
                "noise",
                "also the selected setting's scores on test clips with noise, at these ratios of "
                "speech to noise in dB; networks of folds that are not kept are trained again",
                "[20,10,0]",
                data=True,
            ),
            Key(
                "noise_kinds",
                "the noises: pink, babble (six training clips of the fold), or a folder of sounds",
                "[pink,DIR]",
                data=True,
            ),
            Key(
                "audio",
                "the speech that a page plays, of the clips in its tables: opus, flac (for older "
                "browsers; five times as large) or none; with format=html",
                "none",
                "opus",
                choices=("opus", "flac", "none"),
            ),
            Key(
                "page_mb",
                "the most megabytes that a page with speech has; the clips beyond have no player",
                "20",
                5,
                whole=False,
                least=0.1,
            ),
            Key(
                "tsne",
                "trials whose last hidden layer is drawn by t-SNE: selected, a number, or a list",
                "selected",
                data=True,
            ),
        ),
    ),
    "compare": Command(
        "reports:compare",
        "compare two studies, paired over the folds that they share",
        "python -m raysearch compare study=A study=B format=text",
        keys=(
            Key(
                "study",
                "one of the two studies, by its name or the beginning of its name; given twice",
                "NAME",
                repeated=True,
                data=True,
                required=True,
            ),
            _HOME,
            *_FORMS,
        ),
    ),
    "ui": Command(
        "studies:ui",
        "browse the studies of a home in MLflow",
        "python -m raysearch ui home=runs port=5000",
        keys=(
            _HOME,
            Key(
                "host",
                "the address to serve on; 127.0.0.1 is seen from this machine only",
                "0.0.0.0",
                "127.0.0.1",
            ),
            Key("port", "the port to serve on", "5001", 5000, least=1, most=65535),
        ),
    ),
    "export": Command(
        "models:export_model",
        "make a model of a setting of a study, and register it in MLflow",
        "python -m raysearch export study=NAME how=refit name=MODEL",
        keys=(
            _STUDY,
            _HOME,
            Key(
                "how",
                "refit trains the setting once more on all speakers; ensemble is the mean of the "
                "folds' networks",
                "ensemble",
                "refit",
                choices=("refit", "ensemble"),
            ),
            Key("setting", "selected, or the number of a trial", "12", "selected", data=True),
            Key(
                "temperature",
                "fitted: divide the logits by the temperature that fits the folds' validation "
                "clips best, so that confidence is nearer to what is right; no class changes",
                "fitted",
                "none",
                choices=("none", "fitted"),
            ),
            Key("name", "the name to register it by; none: the study's name", "MODEL"),
            Key("alias", "the alias of the version in MLflow's registry", "best", "champion"),
            Key(
                "to",
                "a folder to write the model to instead of MLflow's registry",
                "DIR",
                path=True,
            ),
            Key("rater", "of a study of several target raters: whose perception", "NAME"),
        ),
    ),
    "predict": Command(
        "models:predict_files",
        "say what a model makes of audio files and folders, or of a CSV's files and segments",
        "python -m raysearch predict model=MODEL one.wav clips/ format=csv",
        keys=(
            Key(
                "model",
                "a model's folder, or its name as export printed it",
                "MODEL",
                required=True,
            ),
            Key("home", "the home whose registry holds the model", "runs", "runs", path=True),
            Key("tracking", "the MLflow server whose registry holds it instead", "URI"),
            Key("format", "text, csv or json", "csv", "text", choices=("text", "csv", "json")),
            Key(
                "speaker",
                "whose clips they are, for a model that is normalised by speaker: folder (one "
                "speaker a folder), one (all are one speaker's), or a regular expression with one "
                "group that finds the speaker in a file's name",
                "'^(..)'",
                "folder",
            ),
        ),
        arguments="FILE_OR_FOLDER...",
    ),
    "studies": Command(
        "studies:studies",
        "list the studies of a home",
        "python -m raysearch studies home=runs",
        keys=(_HOME,),
    ),
    "status": Command(
        "studies:status",
        "say how far the studies of a home are; with cluster= or job=, the submitted ones",
        "python -m raysearch status job=NAME cluster=FILE lines=20",
        keys=(
            Key(
                "study", "one study, by its name or the beginning of it; none: all of them", "NAME"
            ),
            _HOME,
            Key(
                "cluster",
                "list the studies that were submitted to this cluster: auto, or a cluster file",
                "FILE",
                path=True,
            ),
            Key("job", "show this submitted study", "NAME"),
            Key("lines", "how many of the last lines of a job's output to show", "20", 10, least=0),
            Key(
                "format",
                "text, or json: a list of studies, each with its state, counts and best score",
                "json",
                "text",
                choices=("text", "json"),
            ),
        ),
    ),
    "clean": Command(
        "clean:clean",
        "say what a home, its store and the temporary folders hold; now=true removes what no "
        "study needs",
        "python -m raysearch clean home=runs now=true",
        keys=(
            _HOME,
            Key("now", "remove it; false only says what would be removed", "true", False),
        ),
    ),
    "watch": Command(
        "watch:watch",
        "follow a study that runs in another terminal; Ctrl-C leaves the study alone",
        "python -m raysearch watch study=NAME home=runs",
        keys=(
            _STUDY,
            _HOME,
            Key(
                "every",
                "seconds between two lines, where the output is no terminal",
                "60",
                10,
                whole=False,
                least=0.1,
            ),
        ),
    ),
    "submit": Command(
        "submit:submit",
        "send a study to a Ray cluster as a job, which runs on when this machine is gone",
        "python -m raysearch submit space=rdlr corpus=emodb corpus.root=DIR cluster=FILE",
        study=_EVERY,
        required=("space", "cluster"),
    ),
    "stop": Command(
        "submit:stop",
        "end a submitted study cleanly; the same submit command goes on later",
        "python -m raysearch stop job=NAME cluster=FILE",
        keys=(
            Key("job", _JOB, "NAME", required=True),
            Key(
                "cluster",
                "the cluster that it runs on: auto, or a cluster file",
                "FILE",
                "auto",
                path=True,
            ),
        ),
    ),
    "corpora": Command(
        "corpora:corpora",
        "list the corpora; with check, look at the clips of one",
        "python -m raysearch corpora check corpus=emodb corpus.root=DIR",
        study=("space", "corpus", "votes", "home"),
        required=("corpus",),
        arguments="check",
    ),
    "features": Command(
        "corpora:features",
        "extract the features of a corpus, each clip once",
        "python -m raysearch features features=[is10,egemaps] corpus=emodb corpus.root=DIR",
        study=("space", "corpus", "features", "votes", "cluster", "home", "quiet"),
        required=("corpus",),
    ),
    "new-method": Command(
        "new_method:new_method",
        "write a method of your own to begin with: its file, a space and a test",
        "python -m raysearch new-method my_method dir=.",
        keys=(Key("dir", "the folder to write to", "DIR", ".", path=True),),
        arguments="NAME",
    ),
    "doctor": Command(
        "doctor:doctor",
        "look at versions, devices, Ray and torchaudio, and say what to mend",
        "python -m raysearch doctor",
    ),
}
