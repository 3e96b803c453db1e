"""Every key of a study: its type, default, meaning, the rule its value keeps, and an example."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from raysearch.data.manifest_table import OWN
from raysearch.data.rules import CorpusConfig, LabelNoise, RatersConfig, Task, Votes
from raysearch.data.section import Anything, ConfigSection, Names, Tree, freeze, key, names, thaw
from raysearch.errors import near
from raysearch.selection import OBJECTIVES, WORST_GROUP, Score, is_objective
from raysearch.stages import methods as registry
from raysearch.stages.outage import PATIENCE
from raysearch.study.division_keys import OuterConfig, ProtocolConfig, ValidationConfig
from raysearch.study.plain_text import plain_names, plain_text
from raysearch.study.space import Space
from raysearch.study.tracking_keys import TrackingConfig
from trainables.stage import Cuda, Method


# -- the study ---------------------------------------------------------------------------------
def one_or_list(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)


def _different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("listed twice")
    return values


def _objective(value: str) -> str:
    if not is_objective(value):
        raise ValueError(f"{value} is no score{near(value, OBJECTIVES)}")
    return value


def _path(value: object) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _switch(value: object) -> Any:
    return "off" if value is False else value  # YAML reads a bare off as false


def _precision(value: object) -> Any:
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(str(value), value)


class StoppingConfig(ConfigSection):
    """Whether a trial may be stopped inside a fold, on its epochs."""

    rule: Annotated[Literal["off", "asha", "median"], BeforeValidator(_switch)] = key(
        "off",
        "stop a training inside a fold when its epochs score far below those of other trials "
        "on the same fold, by Ray Tune's asha or median",
        "one of off, asha, median",
        "median",
    )
    grace: int = key(
        5, "the epochs that every training gets", "a whole number of at least 1", "5", ge=1
    )
    eta: float = key(
        3.0,
        "for asha: after grace epochs, grace * eta epochs and so on, the best 1/eta of the "
        "trainings go on",
        "a number of at least 1.1",
        "3",
        ge=1.1,
        allow_inf_nan=False,
    )
    folds: int = key(
        1,
        "a trial may be stopped in this many of its first folds",
        "a whole number of at least 1",
        "1",
        ge=1,
    )


class Study(ConfigSection):
    """One study, resolved: everything that a run of it reads. Nothing in it can be changed."""

    space: str = key(
        ...,
        "what is searched: a space by name, or the path of a YAML file",
        "the name or path of a space",
        "rdlr",
    )
    description: str = key("", "one line about the study", "a text", "'first try'")
    method: str = key(
        ...,
        "the method, by name or as module:NAME; the space gives it",
        "the name of a method",
        "rdlr",
        min_length=1,
    )
    corpus: CorpusConfig = Field(default_factory=CorpusConfig)
    features: Names = key(
        (),
        "the feature sets, or one; none: those that the method asks for",
        "a feature set or a list",
        "is10",
    )
    normalise: Literal["fold", "speaker"] = key(
        "fold",
        "features are normalised by statistics of the training speakers (fold), or of each "
        "speaker alone, which needs clips of a test speaker too (speaker)",
        "fold or speaker",
        "speaker",
    )
    speaker_clips: Annotated[tuple[Annotated[int, Field(ge=2)], ...], BeforeValidator(freeze)] = (
        key(
            (5, 10, 20),
            "under normalise=speaker, also score test speakers with statistics of only so many "
            "of their clips",
            "a list of whole numbers of at least 2",
            "[5,10,20]",
        )
    )
    protocol: ProtocolConfig = Field(default_factory=ProtocolConfig)
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    labels: LabelNoise = Field(default_factory=LabelNoise)
    votes: Votes = Field(default_factory=Votes)
    task: Task = Field(default_factory=Task)
    raters: RatersConfig = Field(default_factory=RatersConfig)
    objective: Annotated[
        tuple[Annotated[str, AfterValidator(_objective)], ...],
        BeforeValidator(names),
        AfterValidator(_different),
    ] = key(
        ("ua",),
        "the validation score that chooses settings: the mean over folds of ua, wa, macro_f1 or "
        "kappa (highest), nll or brier (lowest), of numbers ccc (highest), rmse or mae (lowest); "
        "pooled_NAME of all folds' clips together; worst_NAME of the worst quarter of folds; "
        "worst_group_ua of the group (sex, age, language) with the lowest UA; recall_CLASS; with "
        "several, the first chooses",
        "one of ua, wa, macro_f1, kappa, nll, brier, ccc, rmse, mae, pooled_ua, worst_ua, "
        "worst_group_ua, recall_CLASS, ..., or a list of different ones",
        "[ua,worst_ua]",
        min_length=1,
    )
    groups: Names = key(
        (),
        "columns of the corpus by whose values UA is given too; none: sex, age and language, as "
        "far as it has them",
        "a column or a list of columns",
        "[sex,age]",
    )
    params: Anything = key(
        {},
        "the method's parameters; params.NAME=VALUE fixes one, params.NAME='{float: [0, "
        "1]}' searches it",
        "a mapping from parameters to values or domains",
        "{gamma: 0.5}",
    )
    precision: Annotated[
        Literal["fp32", "bf16", "fp16", "auto"] | None, BeforeValidator(_precision)
    ] = key(
        None,
        "of the networks' sums, for all trainings (short for params.precision and its like); bf16 "
        "is faster on processors and cards that have it, and moves scores a little; "
        "auto measures both on this processor, for methods on vectors; none: the method's own",
        "one of fp32, bf16, fp16, auto, or null",
        "bf16",
    )
    trials: int = key(20, "how many settings to try", "a whole number of at least 1", "30", ge=1)
    seed: int = key(0, "the seed of everything random", "a whole number of at least 0", "0", ge=0)
    seeds: int = key(
        1,
        "trainings of each fold, each from another seed; their mean is the fold's score",
        "a whole number from 1 to 1000",
        "5",
        ge=1,
        le=1000,
    )
    sampler: Literal["tpe", "random", "grid", "listed"] = key(
        "tpe",
        "how settings are chosen: by Optuna's TPE, at random, every point once (grid), or "
        "only those of enqueue (listed)",
        "one of tpe, random, grid, listed",
        "tpe",
    )
    enqueue: Annotated[tuple[Anything, ...], BeforeValidator(freeze)] = key(
        (), "settings to try before all others", "a list of settings", "[{gamma: 0.5}]"
    )
    deterministic: bool = key(
        False,
        "choose settings in fixed batches, so that the list of trials is the same on any machine, "
        "and compute on a GPU so that a training gives the same bits each time, which is slower",
        "true or false",
        "true",
    )
    batch: int = key(
        4, "the size of a batch under deterministic=true", "a whole number of at least 1", "4", ge=1
    )
    deterministic_algorithms: bool | None = key(
        None,
        "on a GPU: take no algorithm that gives other bits each time; none: as deterministic",
        "true, false or null",
        "true",
    )
    cudnn_benchmark: bool | None = key(
        None,
        "on a GPU: let cuDNN time its algorithms on rows of one shape and take the fastest; none: "
        "the opposite of deterministic",
        "true, false or null",
        "false",
    )
    tf32: bool | None = key(
        None,
        "on a GPU: multiply fp32 numbers with 10 bits of each mantissa, several times faster; "
        "none: the opposite of deterministic",
        "true, false or null",
        "false",
    )
    home: Annotated[Path, BeforeValidator(_path)] = key(
        Path("runs"), "the folder in which everything is kept", "a folder", "runs"
    )
    store: str | None = key(
        None,
        "the folder or URI of what stages make; none: the folder store in the home",
        "a folder, a URI, or null",
        "s3://bucket/store",
        min_length=1,
    )
    store_wait: float = key(
        PATIENCE,
        "seconds that a store which is away (an outage of S3) is waited for while the study runs",
        "a number of at least 0",
        "600",
        ge=0,
        allow_inf_nan=False,
    )
    cpus: float = key(
        1.0, "the CPUs that each stage takes", "a number above 0", "1", gt=0, allow_inf_nan=False
    )
    gpus: float = key(
        0.0,
        "the GPUs, or the share of one, that each stage takes",
        "a number of at least 0",
        "0.25",
        ge=0,
        allow_inf_nan=False,
    )
    threads: int | None = key(
        None,
        "the threads of torch in each stage; none: as many as cpus",
        "a whole number of at least 1, or null",
        "1",
        ge=1,
    )
    workers: int = key(
        1,
        "the Ray Train workers that train together in each stage that trains a network",
        "a whole number of at least 1",
        "1",
        ge=1,
    )
    concurrent: int | None = key(
        None,
        "how many trials run at once; none: as many as the CPUs allow",
        "a whole number of at least 1, or null",
        "4",
        ge=1,
    )
    timeout: float | None = key(
        None,
        "seconds that a stage may take; a stage that takes longer fails its trial",
        "a number above 0, or null",
        "600",
        gt=0,
        allow_inf_nan=False,
    )
    memory: float | None = key(
        None,
        "GB by which a stage may make its process grow, with the libraries that it loads "
        "and without the data that all stages share (under workers=N, all processes of the "
        "group together); a stage that needs more fails its trial; on Linux only",
        "a number above 0, or null",
        "2",
        gt=0,
        allow_inf_nan=False,
    )
    racing: Annotated[Literal["off", "mixed", "wilcoxon"], BeforeValidator(_switch)] = key(
        "off",
        "stop a setting when its finished folds show that it will not win: by a mixed model "
        "over speakers (mixed), or by Wilcoxon's test (wilcoxon)",
        "one of off, mixed, wilcoxon",
        "mixed",
    )
    stopping: StoppingConfig = Field(default_factory=StoppingConfig)
    search: OuterConfig = Field(default_factory=OuterConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    baseline: str | None = key(
        None,
        "a study of the same home: every report sets this study's honest choice against that "
        "one's, paired over the folds that both have",
        "the name of a study, or null",
        "NAME",
        min_length=1,
    )
    cluster: str = key(
        "local",
        "where stages run: on this machine in a Ray cluster of the study's own (local), on "
        "the Ray cluster that is running (auto), or on the one that a cluster file names",
        "local, auto or the path of a cluster file",
        "auto",
        min_length=1,
    )
    quiet: bool = key(False, "print no progress, only the end", "true or false", "true")
    published: Anything = key(
        {},
        "a paper's figures that the named settings repeat, shown beside a study of the same "
        "corpus: source, and for each of corpora rows by name, each with figures by metric (or "
        "tasks, with the rows of each)",
        "a mapping with source and corpora",
        "{source: 'a paper', corpora: {emodb: {rows: {CE: {wa: 0.452, ua: 0.431}}}}}",
    )
    notes: Names = key((), "sentences that the study prints", "a list of sentences", "[]")

    def search_space(self, method: Method | None = None) -> Space:
        """The space of `params`, in the types and with the defaults of the method."""
        return Space.parse(self.params)[0].typed(method or registry.method(self.method))

    def identity(self) -> Tree:
        """What makes this study this study; a study of equal identity continues this one.

        The budget, the sampler, racing, stopping, outer searches, a baseline, paths, resources,
        cluster and tracking are no part of it.
        """
        domains = Space.parse(self.params)[0].domains
        return {
            "method": self.method,
            "corpus": thaw(self.corpus.model_dump(exclude={"root"})),
            "features": list(self.features),
            "normalise": self.normalise,
            "speaker_clips": list(self.speaker_clips) if self.normalise == "speaker" else [],
            "protocol": self.protocol.identity(),
            "validation": self.validation.model_dump(),
            # studies that plant no wrong labels keep their names; so do those from before votes
            **({} if self.labels == LabelNoise() else {"labels": thaw(self.labels.model_dump())}),
            **({} if self.votes == Votes() else {"votes": self._votes()}),
            **({} if self.task == Task() else {"task": self.task.identity}),
            **({} if self.raters == RatersConfig() else {"raters": self._raters()}),
            "objective": one_or_list(self.objective),
            # studies that choose by no group keep their names
            **({"groups": list(self.groups)} if WORST_GROUP in self.objective else {}),
            "space": {
                name: {"kind": type(domain).__name__.lower(), **thaw(vars(domain))}
                for name, domain in sorted(domains.items())
            },
            "seed": self.seed,
            **({"seeds": self.seeds} if self.seeds > 1 else {}),
        }

    def _votes(self) -> Tree:
        votes: Tree = thaw(self.votes.model_dump())
        if not votes["bias"]:
            del votes["bias"]  # studies from before there was one keep their names
        return votes

    def _raters(self) -> Tree:
        targets = self.raters.targets
        return {**self.raters.model_dump(), "targets": None if targets is None else list(targets)}

    @property
    def cuda(self) -> Cuda:
        """How a card computes: as the keys say, or else exactly under `deterministic`."""
        exact, own = self.deterministic, self.deterministic_algorithms
        return Cuda(
            deterministic=exact if own is None else own,
            benchmark=not exact if self.cudnn_benchmark is None else self.cudnn_benchmark,
            tf32=not exact if self.tf32 is None else self.tf32,
        )

    @property
    def metric(self) -> str:
        """The metric that the (first) objective is made of."""
        return Score(self.objective[0]).metric

    @property
    def id(self) -> str:
        """A folder name: method, corpora, and eight digits of the identity's sha256."""
        text = json.dumps(
            _numbers_alike(self.identity()), sort_keys=True, separators=(",", ":"), default=str
        )
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return f"{_slug(self.method, 24)}-{_slug('-'.join(self._corpora()), 32)}-{digest}"

    def _corpora(self) -> list[str]:
        """The corpora's names; for one's own data, what names it."""
        options = self.corpus.options
        return [
            str({**options, **options.get(name, {})}.get("name") or name) if name in OWN else name
            for name in self.corpus.name
        ]


def _numbers_alike(value: object) -> Any:
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
    "search": OuterConfig,
    "stopping": StoppingConfig,
    "validation": ValidationConfig,
    "labels": LabelNoise,
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
    "labels": "labels.flip",
    "votes": "votes.source",
    "task": "task.name",
    "raters": "raters.targets",
    "tracking": "tracking.uri",
}
"""What a section's name stands for where its value is no mapping: corpus=emodb."""


def _reader(annotation: object) -> Callable[[str], Any] | None:
    """How the words of a key are read whose values are texts alone; None for any other key."""
    if get_origin(annotation) is Annotated:
        return _reader(get_args(annotation)[0])
    if annotation in (str, Path):
        return plain_text
    kinds = [kind for kind in get_args(annotation) if kind not in (type(None), Ellipsis)]
    if get_origin(annotation) is dict:
        return plain_names if kinds == [str, str] else None
    inside = _reader(kinds[0]) if len(kinds) == 1 else None
    return plain_names if inside and get_origin(annotation) is tuple else inside


TEXTS = {
    name: read for name, info in FIELDS.items() if (read := _reader(info.annotation)) is not None
}
"""keys that are paths, addresses or names: how a word of each is read"""


def extra_of(info: FieldInfo) -> Tree:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
