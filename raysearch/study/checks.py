"""What a schema cannot say: names that must exist, keys that exclude each other, the space."""

from __future__ import annotations

from collections.abc import Mapping

from raysearch.data.section import Tree
from raysearch.errors import BadInput, near
from raysearch.selection import Score
from raysearch.stages import methods as registry
from raysearch.study.addresses import (
    OPTUNA_VARIABLE,
    SERVER,
    TRACKING_VARIABLE,
    has_password,
    shown,
)
from raysearch.study.schema import Study
from raysearch.study.space import NAME, Space, canonical, unknown_parameter
from trainables.stage import Method


def check_together(study: Study, problems: list[str]) -> None:
    """Keys that are right each and wrong together."""
    first = Score(study.objective[0])
    if len(study.objective) > 1 and study.racing != "off":
        problems.append(
            f"racing={study.racing} stops settings by one score, but objective lists "
            f"{', '.join(study.objective)}; write racing=off, or one objective"
        )
    elif study.racing != "off" and not first.raced:
        problems.append(
            f"racing={study.racing} stops settings by the mean of their folds, but "
            f"objective={study.objective[0]} is {_no_race(first)}, so that a race would stop what "
            "the study looks for; write racing=off, or objective=ua"
        )
    rule = study.stopping.rule
    if len(study.objective) > 1 and rule != "off":
        problems.append(
            f"stopping={rule} stops settings by one score, but objective lists "
            f"{', '.join(study.objective)}; write stopping=off, or one objective"
        )
    elif rule != "off" and not first.row.raced:
        problems.append(
            f"stopping={rule} stops settings by the UA of their epochs, but "
            f"objective={study.objective[0]} is {_no_race(first)}; write stopping=off, or "
            "objective=ua"
        )
    if study.deterministic and rule != "off":
        problems.append(
            f"stopping={rule} compares trainings in flight, so that what it stops depends on which "
            "is faster, but deterministic=true wants the same trials always; write stopping=off, "
            "or deterministic=false"
        )
    problems += study.protocol.problems(study.validation.rule)
    problems += study.labels.problems()
    problems += study.search.problems(study.protocol.name, study.validation.rule)
    problems += study.votes.problems()
    problems += study.task.problems()
    _check_tracking(study, problems)


def _no_race(score: Score) -> str:
    """Why nothing is stopped by a score."""
    if score.row.raced:
        return "no mean of folds"
    return "no fraction of which more is better"


def _check_tracking(study: Study, problems: list[str]) -> None:
    """What is written into study.yaml, logs and MLflow may hold no password."""
    for key, uri, variable, reads in (
        ("tracking.uri", study.tracking.uri, TRACKING_VARIABLE, "MLFLOW_TRACKING_PASSWORD"),
        ("tracking.optuna", study.tracking.optuna, OPTUNA_VARIABLE, "PGPASSWORD"),
    ):
        if uri is not None and has_password(uri):
            web = uri.startswith("http")
            way = f"set {reads}" if web else "put it into ~/.pgpass or PGPASSWORD (PostgreSQL)"
            problems.append(
                f"{key}={shown(uri)} holds a password, and a study is written down; take it out "
                f"and {way}, or write {key}={SERVER} and the whole address into {variable}"
            )
    if study.tracking.optuna is not None and not study.tracking.enabled:
        problems.append(
            f"tracking.optuna={shown(study.tracking.optuna)} wants the search in Optuna's own "
            "storage, but tracking=false writes nowhere; leave one of them out"
        )


def check_names(tree: Mapping[str, object], problems: list[str]) -> None:
    """Corpora, feature sets and classes."""
    from raysearch.data import corpora, features  # they know the third parties' as well

    corpus = tree.get("corpus")
    corpus = corpus if isinstance(corpus, Mapping) else {}
    root, options = corpus.get("root"), corpus.get("options")
    problems += corpora.naming_problems(
        name_list(corpus.get("name", "demo")),
        name_list(corpus.get("unlabelled")),
        root if isinstance(root, Mapping) else {},
        options if isinstance(options, Mapping) else {},
    )
    for key, names in (
        ("corpus.classes", name_list(corpus.get("classes"))),
        ("features", name_list(tree.get("features"))),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            problems.append(f"{key} lists {', '.join(twice)} twice; list each once")
    extractors = features.known()
    for name in name_list(tree.get("features")):
        if name not in extractors:
            problems.append(
                f"features: there is no feature set {name!r}{near(name, extractors)}; "
                f"known feature sets: {listed(extractors)}"
            )


def name_list(value: object) -> list[str]:
    """The names in a value that may be one, a list of them, or something else."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple):
        return [item for item in value if isinstance(item, str)]
    return []


def find_method(tree: Mapping[str, object], problems: list[str]) -> Method | None:
    name = tree.get("method")
    if not isinstance(name, str) or not name:
        return None  # told by _validate
    try:
        return registry.method(name)
    except BadInput as error:
        problems += error.problems
        return None


def complete(tree: Tree, method: Method, problems: list[str]) -> None:
    """Put into `tree` what the method says where the study says nothing: parameters that suit
    numbers, and feature sets."""
    task, params = tree.get("task"), tree.get("params") or {}
    if not isinstance(params, Mapping):
        return  # told by _validate
    if isinstance(task, Mapping) and task.get("kind") == "continuous" and method.for_numbers:
        tree["params"] = params = {**method.for_numbers, **params}
    if tree.get("features"):
        return
    tree["features"] = list(method.features)
    space, mistakes = Space.parse(params)
    if method.features_of is None or mistakes or space.problems(method):
        return  # told by check_space
    values: dict[str, tuple[object, ...]] = {
        name: (param.default,) for name, param in method.params.items()
    }
    values |= {name: domain.examples() for name, domain in space.domains.items()}
    try:
        tree["features"] = list(method.features_of(values))
    except ValueError as error:
        problems.append(str(error))


# -- the space and what it enqueues ------------------------------------------------------------
def check_space(tree: Tree, method: Method, lenient: bool, problems: list[str]) -> None:
    """Check params, sampler and enqueue; completes the enqueued settings in `tree`."""
    params = tree.get("params") or {}
    if not isinstance(params, Mapping):
        return  # told by _validate
    space, mistakes = Space.parse(params)
    mistakes += space.problems(method)
    if mistakes:
        problems += mistakes
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
    settings: list[Tree] = []
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
            if clean not in settings:
                settings.append(clean)
        elif lenient:
            notes.append(f"{title} of the space is left out: {problem}")
        else:
            problems.append(f"{title} is not in the space: {problem}")
    names = [entry[NAME] for entry in settings if NAME in entry]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"enqueue names two settings {name!r}; give each its own name")
    if tree.get("sampler") == "listed" and not settings and not problems:
        problems.append("sampler=listed runs the enqueued settings alone, but enqueue lists none")
    tree["enqueue"] = settings
    if notes:
        tree["notes"] = list(dict.fromkeys(notes))


def _adapt(space: Space, entry: Mapping[str, object]) -> Tree:
    """An entry of the file under the words' pins: they win, and what then does not exist goes."""
    constants = space.constants()
    pinned = {
        name: constants[name] if name in constants and name in space.domains else value
        for name, value in entry.items()
    }
    alive = space.existing({name: value for name, value in pinned.items() if name != NAME})
    return {**({NAME: entry[NAME]} if NAME in entry else {}), **alive}


def _altered(entry: Mapping[str, object], adapted: Mapping[str, object]) -> bool:
    return canonical(entry) != canonical({name: adapted.get(name) for name in entry})


def listed(names: Mapping[str, object]) -> str:
    return ", ".join(names) or "none"
