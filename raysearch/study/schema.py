"""Every key of a study: its type, default, meaning, the rule its value keeps, and an example."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from raysearch.data.rules import Task, Votes
from raysearch.data.section import Anything, Names, Section, Texts, freeze, key, names, thaw
from raysearch.stages import methods as registry
from raysearch.study.space import Space
from trainables.stage import Method


# -- the study ---------------------------------------------------------------------------------
def one_or_list(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("listed twice")
    return values


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _switch(value: Any) -> Any:
    return "off" if value is False else value  # YAML reads a bare off as false


class CorpusConfig(Section):
    """Which speech, and which classes of it."""

    name: Names = key(
        ("demo",), "one or several corpora", "a corpus or a list of them", "emodb", min_length=1
    )
    root: Texts = key(
        {}, "the folder of each corpus", "a folder, or a folder for each corpus", "DIR"
    )
    classes: Names | None = key(
        None,
        "classes to keep, by common names; null keeps all",
        "a list of two or more different classes, or null",
        "[neutral,happy,sad,angry]",
        min_length=2,
    )
    unlabelled: Names = key(
        (), "corpora whose labels are not used", "a corpus or a list of them", "[demo-plain]"
    )
    on_bad: Literal["stop", "skip"] = key(
        "stop", "what to do about bad files: stop, or leave them out", "stop or skip", "skip"
    )
    options: Anything = key(
        {}, "further options of the corpus", "a mapping of options", "{csv: table.csv}"
    )


class ProtocolConfig(Section):
    """How utterances are divided into train, validation and test."""

    name: Literal["loso", "loseso", "loco", "kfold"] = key(
        "loso",
        "leave one speaker (loso), session (loseso) or corpus (loco) out, or stratified kfold",
        "one of loso, loseso, loco, kfold",
        "loso",
    )
    folds: int = key(10, "folds of kfold", "a whole number of at least 2", "10", ge=2)


class ValidationConfig(Section):
    """Who stops the training, and who scores a setting."""

    rule: Literal["next", "share"] = key(
        "next",
        "validate on the next groups, or on a share of the speakers",
        "next or share",
        "next",
    )
    speakers: int = key(1, "groups that 'next' takes", "a whole number of at least 1", "1", ge=1)
    share: float = key(
        0.2,
        "share of the speakers that validate",
        "a number above 0 and at most 0.5",
        "0.2",
        gt=0,
        le=0.5,
    )
    select: int = key(
        0,
        "further groups that score a setting and do not stop its training",
        "a whole number of at least 0",
        "1",
        ge=0,
    )


class StoppingConfig(Section):
    """Whether a trial may be stopped inside a fold, on its epochs."""

    rule: Annotated[Literal["off", "asha", "median"], BeforeValidator(_switch)] = key(
        "off",
        "Ray Tune scheduler that stops a training far behind the others on the same fold",
        "one of off, asha, median",
        "median",
    )
    grace: int = key(
        5, "epochs that every training gets", "a whole number of at least 1", "5", ge=1
    )
    eta: float = key(
        3.0,
        "asha: the best 1/eta go on past epochs grace, grace * eta, ...",
        "a number of at least 1.1",
        "3",
        ge=1.1,
        allow_inf_nan=False,
    )
    folds: int = key(
        1,
        "folds, the first that a trial runs, in which it may be stopped",
        "a whole number of at least 1",
        "1",
        ge=1,
    )


class RatersConfig(Section):
    """Whose perception is learnt, by a method that learns one rater's."""

    targets: Names | None = key(
        None,
        "target raters; null takes those with enough ratings",
        "a rater or a list of different ones, or null",
        "[A-E1,A-E2]",
        min_length=1,
    )
    least: int = key(
        100, "clips that a target must have rated", "a whole number of at least 2", "100", ge=2
    )
    most: int | None = key(
        None,
        "take so many targets at most, those with most ratings",
        "a whole number of at least 1, or null",
        "4",
        ge=1,
    )


class TrackingConfig(Section):
    """MLflow."""

    uri: str | None = key(
        None,
        "MLflow tracking URI; server is the one that MLFLOW_TRACKING_URI names, null is sqlite "
        "under the home",
        "a URI without a password, server, or null",
        "https://mlflow.example.org",
        min_length=1,
    )
    optuna: str | None = key(
        None,
        "database in which optuna-dashboard shows the search; server is the one that "
        "RAYSEARCH_OPTUNA_STORAGE names",
        "a database URI without a password, server, or null",
        "postgresql://raysearch@db.example.org/optuna",
        min_length=1,
    )
    fold_runs: int = key(
        3, "number of best trials that get a run a fold", "a whole number of at least 0", "3", ge=0
    )
    enabled: bool = key(True, "whether to track at all", "true or false", "false")


class Study(Section):
    """One study, resolved: everything that a run of it reads. Nothing in it can be changed."""

    space: str = key(..., "a space by name or path", "the name or path of a space", "rdlr")
    description: str = key("", "one line about the study", "a text", "'first try'")
    method: str = key(..., "the method", "the name of a method", "rdlr", min_length=1)
    corpus: CorpusConfig = Field(default_factory=CorpusConfig)
    features: Names = key(
        (), "feature sets; the method's where none is given", "a feature set or a list", "is10"
    )
    normalise: Literal["fold", "speaker"] = key(
        "fold",
        "statistics of the training part (fold), or of each speaker (transductive)",
        "fold or speaker",
        "speaker",
    )
    speaker_clips: Annotated[tuple[Annotated[int, Field(ge=2)], ...], BeforeValidator(freeze)] = (
        key(
            (5, 10, 20),
            "under normalise=speaker, also score test speakers with statistics of so few clips",
            "a list of whole numbers of at least 2",
            "[5,10,20]",
        )
    )
    protocol: ProtocolConfig = Field(default_factory=ProtocolConfig)
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    votes: Votes = Field(default_factory=Votes)
    task: Task = Field(default_factory=Task)
    raters: RatersConfig = Field(default_factory=RatersConfig)
    objective: Annotated[
        tuple[Literal["ua", "wa", "pooled_ua", "worst_ua"], ...],
        BeforeValidator(names),
        AfterValidator(_different),
    ] = key(
        ("ua",),
        "validation score to maximise: mean over folds of ua or wa, the UA of all folds pooled "
        "(pooled_ua) or of the worst quarter of them (worst_ua); of several, the first decides",
        "one of ua, wa, pooled_ua, worst_ua, or a list of different ones",
        "[ua,worst_ua]",
        min_length=1,
    )
    params: Anything = key(
        {},
        "the method's parameters: constants and domains",
        "a mapping from parameters to values or domains",
        "{gamma: 0.5}",
    )
    trials: int = key(20, "settings to try", "a whole number of at least 1", "30", ge=1)
    seed: int = key(0, "of everything random", "a whole number of at least 0", "0", ge=0)
    seeds: int = key(
        1,
        "trainings a fold, each from a seed of its own; a fold's score is their mean",
        "a whole number of at least 1",
        "5",
        ge=1,
    )
    sampler: Literal["tpe", "random", "grid", "listed"] = key(
        "tpe",
        "tpe; random; grid, every point once; listed, the enqueued settings alone",
        "one of tpe, random, grid, listed",
        "tpe",
    )
    enqueue: Annotated[tuple[Anything, ...], BeforeValidator(freeze)] = key(
        (), "settings to try first", "a list of settings", "[{gamma: 0.5}]"
    )
    deterministic: bool = key(
        False,
        "ask for settings in fixed batches, so that the list of trials is always the same",
        "true or false",
        "true",
    )
    batch: int = key(
        4, "settings asked at once under deterministic", "a whole number of at least 1", "4", ge=1
    )
    home: Annotated[Path, BeforeValidator(_path)] = key(
        Path("runs"), "folder of everything that is written", "a folder", "runs"
    )
    store: str | None = key(
        None,
        "folder or URI of the artifacts; null is HOME/store",
        "a folder, a URI, or null",
        "s3://bucket/store",
        min_length=1,
    )
    cpus: float = key(1.0, "CPUs a stage", "a number above 0", "1", gt=0, allow_inf_nan=False)
    gpus: float = key(
        0.0, "GPUs a stage", "a number of at least 0", "0.25", ge=0, allow_inf_nan=False
    )
    threads: int | None = key(
        None,
        "torch's threads a stage; null follows cpus",
        "a whole number of at least 1, or null",
        "1",
        ge=1,
    )
    workers: int = key(1, "Ray Train workers a stage", "a whole number of at least 1", "1", ge=1)
    concurrent: int | None = key(
        None,
        "trials at once; null follows the CPUs",
        "a whole number of at least 1, or null",
        "4",
        ge=1,
    )
    timeout: float | None = key(
        None,
        "seconds a stage may take",
        "a number above 0, or null",
        "600",
        gt=0,
        allow_inf_nan=False,
    )
    memory: float | None = key(
        None,
        "GB a stage may use, with the libraries it loads; Linux alone",
        "a number above 0, or null",
        "2",
        gt=0,
        allow_inf_nan=False,
    )
    racing: Annotated[Literal["off", "mixed", "wilcoxon"], BeforeValidator(_switch)] = key(
        "off",
        "rule that stops a setting once its finished folds say that it will not win",
        "one of off, mixed, wilcoxon",
        "mixed",
    )
    stopping: StoppingConfig = Field(default_factory=StoppingConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    cluster: str = key(
        "local",
        "a Ray cluster of this study's own (local), the running one (auto), or a cluster file",
        "local, auto or the path of a cluster file",
        "auto",
        min_length=1,
    )
    quiet: bool = key(False, "print the closing table alone", "true or false", "true")
    published: Anything = key(
        {},
        "a paper's table that the named settings repeat: source, and rows by name, each of figures "
        "by metric (or tasks, the rows of each task)",
        "a mapping with source and rows",
        "{source: 'a paper', rows: {CE: {wa: 0.452, ua: 0.431}}}",
    )
    notes: Names = key((), "sentences that the study prints", "a list of sentences", "[]")

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
            **({} if self.votes == Votes() else {"votes": self._votes()}),
            **({} if self.task == Task() else {"task": self.task.model_dump()}),
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
    "votes": Votes,
    "task": Task,
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
