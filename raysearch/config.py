"""From a space file and the words of a command line to one validated, frozen `Study`.

    study = load_study(["space=rdlr", "corpus=emodb", "corpus.root=/data/emodb", "trials=30"],
                       cwd=Path.cwd())

OmegaConf reads the YAML and resolves `${...}`, pydantic checks the values; what they find is
told in the words of this file's `_RULES`, all of it at once in one `BadInput`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from yaml import YAMLError

from raysearch import registry
from raysearch.clusterfile import read_cluster
from raysearch.errors import BadInput, near
from raysearch.frozen import freeze, thaw
from raysearch.space import NAME, Space, canonical, unknown_parameter
from trainables.stage import Method

__all__ = [
    "CorpusConfig",
    "ProtocolConfig",
    "StoppingConfig",
    "Study",
    "TrackingConfig",
    "ValidationConfig",
    "dump",
    "keys",
    "load_study",
    "spaces",
]


# -- the study ---------------------------------------------------------------------------------
def _one_or_list(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("listed twice")
    return values


def _frozen(value: Any) -> Any:
    return freeze(value)


def _names(value: Any) -> Any:
    return (value,) if isinstance(value, str) else freeze(value)


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _switch(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads a bare off as false


Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_names)]
Texts = Annotated[dict[str, str], BeforeValidator(_frozen)]
Anything = Annotated[dict[str, Any], BeforeValidator(_frozen)]


def _key(default: Any, help: str, rule: str, example: str, **limits: Any) -> Any:
    """A field: its default, what it means, the rule its value must keep, and an example value."""
    extra: dict[str, Any] = {"rule": rule, "example": example}
    return Field(default, description=help, json_schema_extra=extra, **limits)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True)

    def model_post_init(self, context: Any) -> None:
        # pydantic copies mappings into plain dicts; what a study hands out must stay as it is
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, dict | tuple):
                self.__dict__[name] = freeze(value)


class CorpusConfig(_Frozen):
    """Which speech, and which classes of it."""

    name: Names = _key(
        ("demo",), "one or several corpora", "a corpus or a list of them", "emodb", min_length=1
    )
    root: Texts = _key(
        {}, "the folder of each corpus", "a folder, or a folder for each corpus", "DIR"
    )
    classes: Names | None = _key(
        None,
        "classes to keep, by common names; null keeps all",
        "a list of two or more different classes, or null",
        "[neutral,happy,sad,angry]",
        min_length=2,
    )
    unlabelled: Names = _key(
        (), "corpora whose labels are not used", "a corpus or a list of them", "[demo-plain]"
    )
    on_bad: Literal["stop", "skip"] = _key(
        "stop", "what to do about bad files: stop, or leave them out", "stop or skip", "skip"
    )
    options: Anything = _key(
        {}, "further options of the corpus", "a mapping of options", "{csv: table.csv}"
    )


class ProtocolConfig(_Frozen):
    """How utterances are divided into train, validation and test."""

    name: Literal["loso", "loseso", "loco", "kfold"] = _key(
        "loso",
        "leave one speaker (loso), session (loseso) or corpus (loco) out, or stratified kfold",
        "one of loso, loseso, loco, kfold",
        "loso",
    )
    folds: int = _key(10, "folds of kfold", "a whole number of at least 2", "10", ge=2)


class ValidationConfig(_Frozen):
    """Who stops the training, and who scores a setting."""

    rule: Literal["next", "share"] = _key(
        "next",
        "validate on the next groups, or on a share of the speakers",
        "next or share",
        "next",
    )
    speakers: int = _key(1, "groups that 'next' takes", "a whole number of at least 1", "1", ge=1)
    share: float = _key(
        0.2,
        "share of the speakers that validate",
        "a number above 0 and at most 0.5",
        "0.2",
        gt=0,
        le=0.5,
    )
    select: int = _key(
        0,
        "further groups that score a setting and do not stop its training",
        "a whole number of at least 0",
        "1",
        ge=0,
    )


class StoppingConfig(_Frozen):
    """Whether a trial may be stopped inside a fold, on its epochs."""

    rule: Annotated[Literal["off", "asha", "median"], BeforeValidator(_switch)] = _key(
        "off",
        "Ray Tune scheduler that stops a training far behind the others on the same fold",
        "one of off, asha, median",
        "median",
    )
    grace: int = _key(
        5, "epochs that every training gets", "a whole number of at least 1", "5", ge=1
    )
    eta: float = _key(
        3.0,
        "asha: the best 1/eta go on past epochs grace, grace * eta, ...",
        "a number of at least 1.1",
        "3",
        ge=1.1,
        allow_inf_nan=False,
    )
    folds: int = _key(
        1,
        "folds, the first that a trial runs, in which it may be stopped",
        "a whole number of at least 1",
        "1",
        ge=1,
    )


class VotesConfig(_Frozen):
    """Raters' votes: where they come from, and how clips divide by them into S_A, S_B and S_C."""

    source: Literal["corpus", "simulate"] = _key(
        "corpus",
        "the corpus's votes, or simulated ones where it has none",
        "corpus or simulate",
        "simulate",
    )
    labels: Literal["corpus", "votes"] = _key(
        "corpus",
        "the corpus's labels, or the class that leads the votes",
        "corpus or votes",
        "votes",
    )
    dominant: Literal["plurality", "majority", "label"] = _key(
        "plurality",
        "what makes a class dominant: most votes, more than half of them, or the corpus's label",
        "one of plurality, majority, label",
        "majority",
    )
    outside: Literal["count", "ignore", "drop"] = _key(
        "count",
        "votes for classes that the study has not: they count, are ignored, or drop the clip",
        "one of count, ignore, drop",
        "ignore",
    )
    others: Literal["leave", "keep"] = _key(
        "leave",
        "clips labelled with such a class: left out, or kept without a label if voted for",
        "leave or keep",
        "keep",
    )
    self_ratings: Literal["leave", "count"] = _key(
        "leave", "speakers' ratings of their own clips", "leave or count", "count"
    )
    least: float = _key(
        1, "votes that a clip needs", "a number above 0", "3", gt=0, allow_inf_nan=False
    )
    raters: int = _key(4, "simulated raters a clip", "a whole number of at least 1", "5", ge=1)
    pool: int = _key(12, "simulated raters in all", "a whole number of at least 1", "20", ge=1)
    accuracy: float = _key(
        0.75, "how often they hear what is expressed", "a number from 0 to 1", "0.8", ge=0, le=1
    )
    spread: float = _key(
        0.1, "how far raters differ in that", "a number from 0 to 1", "0.2", ge=0, le=1
    )
    ambiguous: float = _key(
        0.4, "share of clips between two classes", "a number from 0 to 1", "0.2", ge=0, le=1
    )
    confusions: Literal["near", "even"] | Anything = _key(
        "near",
        "what simulated raters confuse: near classes, any alike, or weights by class",
        "near, even or a mapping of weights by class",
        "{angry: {disgust: 2, fearful: 1}}",
    )
    seed: int = _key(0, "of the simulated raters", "a whole number of at least 0", "1", ge=0)


class TrackingConfig(_Frozen):
    """MLflow."""

    uri: str | None = _key(
        None,
        "MLflow tracking URI; null is sqlite under the home",
        "a URI or null",
        "http://localhost:5000",
        min_length=1,
    )
    fold_runs: int = _key(
        3, "number of best trials that get a run a fold", "a whole number of at least 0", "3", ge=0
    )
    enabled: bool = _key(True, "whether to track at all", "true or false", "false")


class Study(_Frozen):
    """One study, resolved: everything that a run of it reads. Nothing in it can be changed."""

    space: str = _key(..., "a space by name or path", "the name or path of a space", "rdlr")
    description: str = _key("", "one line about the study", "a text", "'first try'")
    method: str = _key(..., "the method", "the name of a method", "rdlr", min_length=1)
    corpus: CorpusConfig = Field(default_factory=CorpusConfig)
    features: Names = _key(
        (), "feature sets; the method's where none is given", "a feature set or a list", "is10"
    )
    normalise: Literal["fold", "speaker"] = _key(
        "fold",
        "statistics of the training part (fold), or of each speaker (transductive)",
        "fold or speaker",
        "speaker",
    )
    speaker_clips: Annotated[tuple[Annotated[int, Field(ge=2)], ...], BeforeValidator(_frozen)] = (
        _key(
            (5, 10, 20),
            "under normalise=speaker, also score test speakers with statistics of so few clips",
            "a list of whole numbers of at least 2",
            "[5,10,20]",
        )
    )
    protocol: ProtocolConfig = Field(default_factory=ProtocolConfig)
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    votes: VotesConfig = Field(default_factory=VotesConfig)
    objective: Annotated[
        tuple[Literal["ua", "wa", "pooled_ua", "worst_ua"], ...],
        BeforeValidator(_names),
        AfterValidator(_different),
    ] = _key(
        ("ua",),
        "validation score to maximise: mean over folds of ua or wa, the UA of all folds pooled "
        "(pooled_ua) or of the worst quarter of them (worst_ua); of several, the first decides",
        "one of ua, wa, pooled_ua, worst_ua, or a list of different ones",
        "[ua,worst_ua]",
        min_length=1,
    )
    params: Anything = _key(
        {},
        "the method's parameters: constants and domains",
        "a mapping from parameters to values or domains",
        "{gamma: 0.5}",
    )
    trials: int = _key(20, "settings to try", "a whole number of at least 1", "30", ge=1)
    seed: int = _key(0, "of everything random", "a whole number of at least 0", "0", ge=0)
    seeds: int = _key(
        1,
        "trainings a fold, each from a seed of its own; a fold's score is their mean",
        "a whole number of at least 1",
        "5",
        ge=1,
    )
    sampler: Literal["tpe", "random", "grid", "listed"] = _key(
        "tpe",
        "tpe; random; grid, every point once; listed, the enqueued settings alone",
        "one of tpe, random, grid, listed",
        "tpe",
    )
    enqueue: Annotated[tuple[Anything, ...], BeforeValidator(_frozen)] = _key(
        (), "settings to try first", "a list of settings", "[{gamma: 0.5}]"
    )
    deterministic: bool = _key(
        False,
        "ask for settings in fixed batches, so that the list of trials is always the same",
        "true or false",
        "true",
    )
    batch: int = _key(
        4, "settings asked at once under deterministic", "a whole number of at least 1", "4", ge=1
    )
    home: Annotated[Path, BeforeValidator(_path)] = _key(
        Path("runs"), "folder of everything that is written", "a folder", "runs"
    )
    store: str | None = _key(
        None,
        "folder or URI of the artifacts; null is HOME/store",
        "a folder, a URI, or null",
        "s3://bucket/store",
        min_length=1,
    )
    cpus: float = _key(1.0, "CPUs a stage", "a number above 0", "1", gt=0, allow_inf_nan=False)
    gpus: float = _key(
        0.0, "GPUs a stage", "a number of at least 0", "0.25", ge=0, allow_inf_nan=False
    )
    threads: int | None = _key(
        None,
        "torch's threads a stage; null follows cpus",
        "a whole number of at least 1, or null",
        "1",
        ge=1,
    )
    workers: int = _key(1, "Ray Train workers a stage", "a whole number of at least 1", "1", ge=1)
    concurrent: int | None = _key(
        None,
        "trials at once; null follows the CPUs",
        "a whole number of at least 1, or null",
        "4",
        ge=1,
    )
    timeout: float | None = _key(
        None,
        "seconds a stage may take",
        "a number above 0, or null",
        "600",
        gt=0,
        allow_inf_nan=False,
    )
    memory: float | None = _key(
        None,
        "GB a stage may use, with the libraries it loads; Linux alone",
        "a number above 0, or null",
        "2",
        gt=0,
        allow_inf_nan=False,
    )
    racing: Annotated[Literal["off", "mixed", "wilcoxon"], BeforeValidator(_switch)] = _key(
        "off",
        "rule that stops a setting once its finished folds say that it will not win",
        "one of off, mixed, wilcoxon",
        "mixed",
    )
    stopping: StoppingConfig = Field(default_factory=StoppingConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    cluster: str = _key(
        "local",
        "a Ray cluster of this study's own (local), the running one (auto), or a cluster file",
        "local, auto or the path of a cluster file",
        "auto",
        min_length=1,
    )
    quiet: bool = _key(False, "print the closing table alone", "true or false", "true")
    published: Anything = _key(
        {},
        "a paper's table that the named settings repeat: source, metric, rows by name",
        "a mapping with source, metric and rows",
        "{source: 'a paper', metric: ua, rows: {CE: 0.431}}",
    )
    notes: Names = _key((), "sentences that the study prints", "a list of sentences", "[]")

    def search_space(self, method: Method | None = None) -> Space:
        """The space of `params`, in the types and with the defaults of the method."""
        return Space.parse(self.params)[0].typed(method or registry.method(self.method))

    def identity(self) -> dict[str, Any]:
        """What makes this study this study; a study of equal identity continues this one.

        The budget, the sampler, racing, stopping, paths, resources, cluster and tracking are no
        part of it.
        """
        domains = Space.parse(self.params)[0].domains
        return {
            "method": self.method,
            "corpus": thaw(self.corpus.model_dump(exclude={"root"})),
            "features": list(self.features),
            "normalise": self.normalise,
            "speaker_clips": list(self.speaker_clips) if self.normalise == "speaker" else [],
            "protocol": self.protocol.model_dump(),
            "validation": self.validation.model_dump(),
            # studies from before there were votes keep their names
            **({} if self.votes == VotesConfig() else {"votes": thaw(self.votes.model_dump())}),
            "objective": _one_or_list(self.objective),
            "space": {
                name: {"kind": type(domain).__name__.lower(), **thaw(vars(domain))}
                for name, domain in sorted(domains.items())
            },
            "seed": self.seed,
            **({"seeds": self.seeds} if self.seeds > 1 else {}),
        }

    @property
    def metric(self) -> Literal["ua", "wa"]:
        """The metric that the (first) objective is made of."""
        return "wa" if self.objective[0] == "wa" else "ua"

    @property
    def id(self) -> str:
        """A folder name: method, corpora, and eight digits of the identity's sha256."""
        text = json.dumps(
            _numbers_alike(self.identity()), sort_keys=True, separators=(",", ":"), default=str
        )
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{_slug(self.method, 24)}-{_slug('-'.join(self.corpus.name), 32)}-{digest}"


def _numbers_alike(value: Any) -> Any:
    """`value` with every number as a float: a space that writes 0 means what 0.0 means."""
    if isinstance(value, dict):
        return {key: _numbers_alike(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers_alike(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _slug(text: str, longest: int) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:longest].strip("-") or "x"


def keys() -> dict[str, tuple[Any, str, str]]:
    """Every key of a study: dotted name -> (default, meaning, example), for help texts."""
    found = {}
    for name, info in _FIELDS.items():
        if name in ("published", "notes"):
            continue  # for the files of packaged spaces
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        found[name] = (default, info.description or "", str(_extra(info)["example"]))
    return found


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


_FIELDS = dict(_fields(Study))
_NESTED: dict[str, type[BaseModel]] = {
    "corpus": CorpusConfig,
    "protocol": ProtocolConfig,
    "stopping": StoppingConfig,
    "validation": ValidationConfig,
    "votes": VotesConfig,
    "tracking": TrackingConfig,
}
_OPEN = ("params", "corpus.root", "corpus.options", "votes.confusions")
"""mappings whose keys are the user's"""


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


# -- reading -----------------------------------------------------------------------------------
def load_study(words: Sequence[str], *, cwd: Path) -> Study:
    """The study that `words` describe.

    Args:
        words: `key=value`, as on the command line; keys are dotted, values are YAML, and each word
            is split at its first `=`. `space=` names the file to start from: a name under
            `./spaces`, a path to a `.yaml`, or a packaged space. `corpus=`, `protocol=`,
            `validation=`, `stopping=`, `votes=` and `tracking=` stand for `corpus.name=`,
            `protocol.name=`, `validation.rule=`, `stopping.rule=`, `votes.source=` and
            `tracking.uri=`.
        cwd: the folder that relative paths start from.

    Raises:
        BadInput: with everything that is wrong, in the order of reading.
    """
    problems: list[str] = []
    given = _read_words(words, problems)
    before = len(problems)
    tree, listed = _read_space(given, cwd, problems)
    told = ["method"] if len(problems) > before else []
    _override(tree, given, problems)
    tree = _resolve(tree, problems, told)
    _check_keys(tree, "", problems)
    _place_roots(tree, problems)
    _place_paths(tree, cwd)
    _read_cluster_file(tree, problems)
    study = _validate(tree, problems, told)
    _check_names(tree, problems)
    method = _method(tree, problems)
    if method is not None:
        if not tree.get("features"):
            tree["features"] = list(method.features)
        repinned = any(key.split(".")[0] == "params" for key in given)
        lenient = repinned and listed and "enqueue" not in given
        _check_space(tree, method, lenient, problems)
        study = _validate(tree, []) if study is not None else None
    if study is not None:
        _check_together(study, problems)
    if problems or study is None:
        raise BadInput(list(dict.fromkeys(problems)))
    return study


def _read_words(words: Sequence[str], problems: list[str]) -> dict[str, Any]:
    """key -> value of each word, shorthands spelt out."""
    given: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.strip()
        if not equals:
            problems.append(
                f"the word {word!r} has no '='; write key=value, as in trials=30"
                f"{near(word, _FIELDS)}"
            )
            continue
        if not key or "" in key.split("."):
            problems.append(
                f"the word {word!r} has no proper key before its '='; write key=value, "
                "as in corpus.root=DIR"
            )
            continue
        try:
            value = thaw(OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"])))["value"]
        except (YAMLError, OmegaConfBaseException, ValueError) as error:
            problems.append(
                f"{key}: the value {text!r} is not YAML ({_first_line(error)}); "
                "quote it, or close its brackets"
            )
            continue
        for full, item in _spelt_out(key, value):
            if full in given:
                problems.append(f"{full} is given twice in the words; give it once")
            given[full] = item
    for key in given:
        parts = key.split(".")
        whole = next((w for i in range(1, len(parts)) if (w := ".".join(parts[:i])) in given), None)
        if whole is not None:
            problems.append(
                f"{whole} is given as a whole by one word, and {key} inside it by another; "
                "give one of them"
            )
    return given


def _spelt_out(key: str, value: Any) -> list[tuple[str, Any]]:
    """A word's key and value with `corpus=emodb` and the like spelt out in full."""
    if key in _NESTED and isinstance(value, Mapping):
        return [(f"{key}.{name}", item) for name, item in value.items()]
    if key in ("corpus", "protocol"):
        return [(f"{key}.name", value)]
    if key in ("validation", "stopping"):
        return [(f"{key}.rule", value)]
    if key == "votes":
        return [("votes.source", value)]
    if key == "tracking":
        return [("tracking.enabled" if isinstance(value, bool) else "tracking.uri", value)]
    return [(key, value)]


def _read_space(
    given: dict[str, Any], cwd: Path, problems: list[str]
) -> tuple[dict[str, Any], bool]:
    """The space file's content, spelt out, and whether it enqueues settings."""
    name = given.pop("space", None)
    known = spaces(cwd)
    if name is None:
        problems.append(f"space must be given, as in space=rdlr; known spaces: {_list(known)}")
        return {"space": ""}, False
    if not isinstance(name, str) or not name:
        problems.append(f"space must be the name or path of a space, but got {name!r}")
        return {"space": ""}, False
    path = _find(name, cwd, known)
    if path is None:
        if name.endswith((".yaml", ".yml")):
            problems.append(
                f"space={name}: there is no such file (looked from {cwd}); known spaces: "
                f"{_list(known)}"
            )
        else:
            problems.append(
                f"there is no space {name!r}{near(name, known)}; known spaces: {_list(known)}; "
                "your own is a file, as in space=my/space.yaml"
            )
        return {"space": name}, False
    try:
        tree = thaw(OmegaConf.to_container(OmegaConf.load(path)))
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        problems.append(f"the space file {path} cannot be read: {_first_line(error)}")
        return {"space": name}, False
    if not isinstance(tree, dict):
        problems.append(f"the space file {path} must be a mapping of keys, as in `trials: 20`")
        return {"space": name}, False
    spelt: dict[str, Any] = {}
    for key, value in tree.items():
        for full, item in _spelt_out(key, value):
            _put(spelt, full, item)
    is_path = name.endswith((".yaml", ".yml"))
    spelt.setdefault("space", path.stem if is_path else name)
    return spelt, bool(spelt.get("enqueue"))


def spaces(cwd: Path) -> dict[str, Path]:
    """Spaces known by name: those under `cwd`/spaces, then the packaged ones."""
    found: dict[str, Path] = {}
    for folder in (cwd / "spaces", Path(__file__).resolve().parent.parent / "spaces"):
        for path in folder.rglob("*.yaml"):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def _find(name: str, cwd: Path, known: Mapping[str, Path]) -> Path | None:
    if name.endswith((".yaml", ".yml")):
        path = cwd / Path(name).expanduser()
        return path if path.is_file() else None
    return known.get(name)


def _put(tree: dict[str, Any], key: str, value: Any) -> str | None:
    """Set a dotted key; returns the part of it that is no mapping, where there is one."""
    *above, last = key.split(".")
    for depth, name in enumerate(above, start=1):
        below = tree.setdefault(name, {})
        if not isinstance(below, dict):
            return ".".join(above[:depth])
        tree = below
    tree[last] = value
    return None


def _override(tree: dict[str, Any], given: Mapping[str, Any], problems: list[str]) -> None:
    if "corpus.name" in given and isinstance(tree.get("corpus"), dict):
        tree["corpus"].pop("root", None)  # folders of another corpus
    for key, value in given.items():
        blocked = _put(tree, key, value)
        if blocked is not None:
            problems.append(
                f"{key} cannot be set, because {blocked} is one value; give {blocked} as a whole"
            )


def _resolve(tree: dict[str, Any], problems: list[str], told: list[str]) -> dict[str, Any]:
    """`tree` with `${...}` resolved; keys that must be filled in (`???`) are reported."""
    for key in _take_open(tree):
        problems.append(f"{key} must be given: the space leaves it open ('???'); write {key}=VALUE")
        told.append(key)
    config = OmegaConf.create(tree)
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = error.full_key or "a value"
        problems.append(
            f"{key}: its ${{...}} cannot be resolved ({_first_line(error)}); name a key that exists"
        )
        raise BadInput(problems) from None
    return dict(thaw(resolved))


def _take_open(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Take the keys whose value is `???` out of `tree`; returns them dotted."""
    found = []
    for name, value in list(tree.items()):
        if isinstance(value, dict):
            found += _take_open(value, f"{prefix}{name}.")
        elif value == "???":
            del tree[name]
            found.append(prefix + name)
    return found


def _check_keys(tree: Mapping[str, Any], prefix: str, problems: list[str]) -> None:
    """Unknown keys at any depth, with the nearest known one."""
    model: type[BaseModel] = _NESTED[prefix[:-1]] if prefix else Study
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if name not in model.model_fields:
            where = [k for k in _FIELDS if k.rsplit(".", 1)[-1] == name]
            hint = f" (did you mean {where[0]!r}?)" if where else near(key, _FIELDS)
            known = ", ".join(prefix + field for field in model.model_fields)
            problems.append(f"there is no key {key!r}{hint}; keys here are {known}")
        elif not prefix and name in _NESTED and isinstance(value, Mapping):
            _check_keys(value, f"{name}.", problems)


def _place_roots(tree: dict[str, Any], problems: list[str]) -> None:
    """`corpus.root=DIR` belongs to the one corpus of the study."""
    corpus = tree.get("corpus")
    if not isinstance(corpus, dict) or corpus.get("root") is None:
        return
    names = _name_list(corpus.get("name", "demo"))
    others = _name_list(corpus.get("unlabelled", ()))
    root = corpus["root"]
    if isinstance(root, str):
        if len(names) == 1:
            corpus["root"] = {names[0]: root}
        else:
            corpus["root"] = {}
            each = " ".join(f"corpus.root.{name}=DIR" for name in names)
            problems.append(
                f"corpus.root={root} must say whose folder it is, since there are {len(names)} "
                f"corpora; write {each}"
            )
    elif isinstance(root, dict):
        for name in root:
            if names and name not in (*names, *others):
                problems.append(
                    f"corpus.root.{name} is the folder of a corpus that the study does not use"
                    f"{near(name, (*names, *others))}; its corpora are "
                    f"{', '.join((*names, *others))}"
                )


def _place_paths(tree: dict[str, Any], cwd: Path) -> None:
    """Make the study's own folders absolute, so that it means the same from everywhere."""
    if isinstance(tree.get("home", "runs"), str) and tree.get("home", "runs"):
        tree["home"] = _absolute(tree.get("home", "runs"), cwd)
    store = tree.get("store")
    if isinstance(store, str) and store and "://" not in store:
        tree["store"] = _absolute(store, cwd)
    cluster = tree.get("cluster")
    if isinstance(cluster, str) and cluster not in ("", "local", "auto"):
        tree["cluster"] = _absolute(cluster, cwd)
    corpus = tree.get("corpus")
    if isinstance(corpus, dict) and isinstance(corpus.get("root"), dict):
        corpus["root"] = {
            name: _absolute(root, cwd) if isinstance(root, str) and root else root
            for name, root in corpus["root"].items()
        }


def _read_cluster_file(tree: dict[str, Any], problems: list[str]) -> None:
    """Check the file that `cluster` names; its store is the study's where that has none."""
    name = tree.get("cluster", "local")
    if not isinstance(name, str) or name in ("", "local", "auto"):
        return
    try:
        store = read_cluster(name).store
    except BadInput as error:
        problems += error.problems
        return
    if store is not None and tree.get("store") is None:
        tree["store"] = store


def _absolute(path: str, cwd: Path) -> str:
    return str((cwd / Path(path).expanduser()).absolute())


def _validate(tree: dict[str, Any], problems: list[str], told: Sequence[str] = ()) -> Study | None:
    """The study, or None with what is wrong; that a key of `told` is missing has been told."""
    try:
        return Study(**tree)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_context=False):
            if found["type"] == "extra_forbidden":
                continue  # told by _check_keys, with a near match
            parts = [str(part) for part in found["loc"] if isinstance(part, str)]
            key = next(
                (k for i in range(len(parts), 0, -1) if (k := ".".join(parts[:i])) in _FIELDS), None
            )
            if key is None:
                name = parts[0] if parts else "the study"
                problems.append(f"{name} must be a mapping of keys, but got {found['input']!r}")
                continue
            extra = _extra(_FIELDS[key])
            if found["type"] == "missing":
                if key in told:
                    continue
                problems.append(f"{key} must be given, as in {key}={extra['example']}")
                continue
            value = _at(tree, key)
            problems.append(
                f"{key} must be {extra['rule']}, but got {_shown(value)}; "
                f"write for example {key}={extra['example']}"
            )
        return None


def _check_together(study: Study, problems: list[str]) -> None:
    """Keys that are right each and wrong together."""
    if len(study.objective) > 1 and study.racing != "off":
        problems.append(
            f"racing={study.racing} stops settings by one score, but objective lists "
            f"{', '.join(study.objective)}; write racing=off, or one objective"
        )
    rule = study.stopping.rule
    if len(study.objective) > 1 and rule != "off":
        problems.append(
            f"stopping={rule} stops settings by one score, but objective lists "
            f"{', '.join(study.objective)}; write stopping=off, or one objective"
        )
    if study.deterministic and rule != "off":
        problems.append(
            f"stopping={rule} compares trainings in flight, so that what it stops depends on which "
            "is faster, but deterministic=true wants the same trials always; write stopping=off, "
            "or deterministic=false"
        )


def _at(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _check_names(tree: Mapping[str, Any], problems: list[str]) -> None:
    """Corpora, feature sets and classes."""
    from raysearch import corpora, features  # they know the third parties' as well

    corpus = tree.get("corpus")
    corpus = corpus if isinstance(corpus, Mapping) else {}
    known = corpora.known()
    for key in ("name", "unlabelled"):
        for name in _name_list(corpus.get(key, ())):
            if name not in known:
                problems.append(
                    f"corpus.{key}: there is no corpus {name!r}{near(name, known)}; known corpora: "
                    f"{_list(known)}; anyone's speech is corpus=manifest corpus.root=FOLDER"
                )
    problems += _corpus_problems(corpus, known)
    for key, names in (
        ("corpus.name", _name_list(corpus.get("name", ()))),
        ("corpus.classes", _name_list(corpus.get("classes"))),
        ("features", _name_list(tree.get("features"))),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"{key} lists {', '.join(twice)} twice; list each once")
    extractors = features.known()
    for name in _name_list(tree.get("features")):
        if name not in extractors:
            problems.append(
                f"features: there is no feature set {name!r}{near(name, extractors)}; "
                f"known feature sets: {_list(extractors)}"
            )


def _corpus_problems(corpus: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Folders that are missing, and options that no corpus of the study takes."""
    names = [*_name_list(corpus.get("name", "demo")), *_name_list(corpus.get("unlabelled", ()))]
    used = {name: known[name] for name in names if name in known}
    root = corpus.get("root")
    root = root if isinstance(root, Mapping) else {}
    found = []
    for name, info in used.items():
        if info.root == "needed" and name not in root:
            key = "corpus.root" if len(names) == 1 else f"corpus.root.{name}"
            source = f" (get it from {info.source})" if info.source else ""
            found.append(f"corpus {name!r} needs its folder; give {key}=DIR{source}")
    options = corpus.get("options")
    taken = sorted({option for info in used.values() for option in info.options})
    if isinstance(options, Mapping) and len(used) == len(names):
        for option in options:
            if option not in taken:
                found.append(
                    f"corpus.options.{option} is no option of {', '.join(used)}"
                    f"{near(option, taken)}; options here are {', '.join(taken) or 'none'}"
                )
    return found


def _name_list(value: Any) -> list[str]:
    """The names in a value that may be one, a list of them, or something else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple):
        return [item for item in value if isinstance(item, str)]
    return []


def _method(tree: Mapping[str, Any], problems: list[str]) -> Method | None:
    name = tree.get("method")
    if not isinstance(name, str) or not name:
        return None  # told by _validate
    try:
        return registry.method(name)
    except BadInput as error:
        problems += error.problems
        return None


# -- the space and what it enqueues ------------------------------------------------------------
def _check_space(tree: dict[str, Any], method: Method, lenient: bool, problems: list[str]) -> None:
    """Check params, sampler and enqueue; completes the enqueued settings in `tree`."""
    params = tree.get("params") or {}
    if not isinstance(params, Mapping):
        return  # told by _validate
    space, found = Space.parse(params)
    found += space.problems(method)
    if found:
        problems += found
        return
    space = space.typed(method)
    if tree.get("sampler") == "grid" and space.size() is None:
        endless = [n for n in space.searched() if space.domains[n].size is None]
        problems.append(
            f"sampler=grid needs a finite space, but {', '.join(endless)} take any number; give "
            "them a step, or list their values with grid:"
        )
    entries = tree.get("enqueue") or []
    if not isinstance(entries, list):
        return  # told by _validate
    kept: list[dict[str, Any]] = []
    notes: list[str] = list(tree.get("notes") or [])
    for place, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping):
            continue  # told by _validate
        title = f"enqueue, entry {place}" + (f" ({entry[NAME]!r})" if NAME in entry else "")
        unknown = [name for name in entry if name != NAME and name not in space.domains]
        foreign = [name for name in unknown if name not in method.params]
        if foreign:
            problems += [f"{title}: {unknown_parameter(method, name)}" for name in foreign]
            continue
        if unknown:
            problems.append(
                f"{title} is not in the space: it sets {', '.join(unknown)}, which the space does "
                "not have; add it to params"
            )
            continue
        adapted = _adapt(space, entry) if lenient else dict(entry)
        whole = space.complete(adapted)
        setting = {name: value for name, value in whole.items() if name != NAME}
        problem = space.contains(setting)
        if problem is None and NAME in entry and _altered(entry, adapted):
            problem = "the words change what its name stands for"
        if problem is None:
            name = {NAME: str(entry[NAME])} if NAME in entry else {}
            clean = {**name, **space.active(setting)}
            if clean not in kept:
                kept.append(clean)
        elif lenient:
            notes.append(f"{title} of the space is left out: {problem}")
        else:
            problems.append(f"{title} is not in the space: {problem}")
    names = [entry[NAME] for entry in kept if NAME in entry]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"enqueue names two settings {name!r}; give each its own name")
    if tree.get("sampler") == "listed" and not kept and not problems:
        problems.append("sampler=listed runs the enqueued settings alone, but enqueue lists none")
    tree["enqueue"] = kept
    if notes:
        tree["notes"] = list(dict.fromkeys(notes))


def _adapt(space: Space, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of the file under the words' pins: they win, and what then does not exist goes."""
    constants = space.constants()
    pinned = {name: constants.get(name, value) for name, value in entry.items()}
    alive = space.existing({name: value for name, value in pinned.items() if name != NAME})
    return {**({NAME: entry[NAME]} if NAME in entry else {}), **alive}


def _altered(entry: Mapping[str, Any], adapted: Mapping[str, Any]) -> bool:
    return canonical(entry) != canonical({name: adapted.get(name) for name in entry})


# -- writing -----------------------------------------------------------------------------------
def dump(study: Study) -> str:
    """YAML from which `load_study(["space=FILE.yaml"])` reads an equal study."""
    plain = thaw(study.model_dump())
    plain["home"] = str(plain["home"])
    plain["objective"] = _one_or_list(study.objective)
    text = OmegaConf.to_yaml(OmegaConf.create(_escaped(plain)))
    return f"# python -m raysearch tune space=FILE   (this file; study {study.id})\n{text}"


def _escaped(value: Any) -> Any:
    """`value` with every literal `${` written so that reading does not resolve it."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def _list(names: Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"


def _first_line(error: Exception) -> str:
    """What a YAML or OmegaConf error says, on one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem and mark is not None:
        return f"{problem}, line {mark.line + 1}, column {mark.column + 1}"
    return (str(error).splitlines() or [type(error).__name__])[0]
