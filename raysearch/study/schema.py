"""Every key of a study: its type, default, meaning, the rule its value keeps, and an example."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from raysearch.stages import methods as registry
from raysearch.study.space import Space
from raysearch.study.space.values import freeze, thaw
from trainables.stage import Method


# -- the study ---------------------------------------------------------------------------------
def one_or_list(values: tuple[str, ...]) -> str | list[str]:
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
Task = Literal["categories", "valence", "activation", "dominance"]
TASKS: tuple[str, ...] = get_args(Task)


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
    bias: float = _key(
        0.0,
        "how far each simulated rater leans to classes of its own, in log-odds",
        "a number from 0 to 5",
        "1",
        ge=0,
        le=5,
    )
    seed: int = _key(0, "of the simulated raters", "a whole number of at least 0", "1", ge=0)


class TaskConfig(_Frozen):
    """What the classes are: categories, or an attribute that raters gave, in three levels."""

    name: Task = _key(
        "categories",
        "classes are categories, or low, middle and high of an attribute that raters gave",
        "one of categories, valence, activation, dominance",
        "valence",
    )
    low: float = _key(3.0, "ratings below are low", "a number", "3", allow_inf_nan=False)
    high: float = _key(
        3.0, "ratings above are high", "a number of at least task.low", "3", allow_inf_nan=False
    )


class RatersConfig(_Frozen):
    """Whose perception is learnt, by a method that learns one rater's."""

    targets: Names | None = _key(
        None,
        "target raters; null takes those with enough ratings",
        "a rater or a list of different ones, or null",
        "[A-E1,A-E2]",
        min_length=1,
    )
    least: int = _key(
        100, "clips that a target must have rated", "a whole number of at least 2", "100", ge=2
    )
    most: int | None = _key(
        None,
        "take so many targets at most, those with most ratings",
        "a whole number of at least 1, or null",
        "4",
        ge=1,
    )


class TrackingConfig(_Frozen):
    """MLflow."""

    uri: str | None = _key(
        None,
        "MLflow tracking URI; server is the one that MLFLOW_TRACKING_URI names, null is sqlite "
        "under the home",
        "a URI without a password, server, or null",
        "https://mlflow.example.org",
        min_length=1,
    )
    optuna: str | None = _key(
        None,
        "database in which optuna-dashboard shows the search; server is the one that "
        "RAYSEARCH_OPTUNA_STORAGE names",
        "a database URI without a password, server, or null",
        "postgresql://raysearch@db.example.org/optuna",
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
    task: TaskConfig = Field(default_factory=TaskConfig)
    raters: RatersConfig = Field(default_factory=RatersConfig)
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
        "a paper's table that the named settings repeat: source, and rows by name, each of figures "
        "by metric (or tasks, the rows of each task)",
        "a mapping with source and rows",
        "{source: 'a paper', rows: {CE: {wa: 0.452, ua: 0.431}}}",
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
            **({} if self.votes == VotesConfig() else {"votes": self._votes()}),
            **({} if self.task == TaskConfig() else {"task": self.task.model_dump()}),
            **({} if self.raters == RatersConfig() else {"raters": self._raters()}),
            "objective": one_or_list(self.objective),
            "space": {
                name: {"kind": type(domain).__name__.lower(), **thaw(vars(domain))}
                for name, domain in sorted(domains.items())
            },
            "seed": self.seed,
            **({"seeds": self.seeds} if self.seeds > 1 else {}),
        }

    def _votes(self) -> dict[str, Any]:
        said: dict[str, Any] = thaw(self.votes.model_dump())
        if not said["bias"]:
            del said["bias"]  # studies from before there was one keep their names
        return said

    def _raters(self) -> dict[str, Any]:
        targets = self.raters.targets
        return {**self.raters.model_dump(), "targets": None if targets is None else list(targets)}

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


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from _fields(info.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, info


FIELDS = dict(_fields(Study))
NESTED: dict[str, type[BaseModel]] = {
    "corpus": CorpusConfig,
    "protocol": ProtocolConfig,
    "stopping": StoppingConfig,
    "validation": ValidationConfig,
    "votes": VotesConfig,
    "task": TaskConfig,
    "raters": RatersConfig,
    "tracking": TrackingConfig,
}
SHORT = {
    "corpus": "corpus.name",
    "protocol": "protocol.name",
    "validation": "validation.rule",
    "stopping": "stopping.rule",
    "votes": "votes.source",
    "task": "task.name",
    "raters": "raters.targets",
    "tracking": "tracking.uri",
}
"""What a section's name stands for where its value is no mapping: corpus=emodb."""
OPEN = ("params", "corpus.root", "corpus.options", "votes.confusions")
"""mappings whose keys are the user's"""


def extra_of(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
