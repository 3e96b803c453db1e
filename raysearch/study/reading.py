"""From words and a space file to a study: read by OmegaConf, checked by pydantic, and every problem
told in the words of the schema's rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from raysearch.data.manifest_table import OWN, name_of_folder, name_of_table, table_of
from raysearch.data.rules import TASKS
from raysearch.data.section import Tree, thaw
from raysearch.errors import BadInput, near
from raysearch.study.checks import (
    check_names,
    check_space,
    check_together,
    complete,
    find_method,
    name_list,
)
from raysearch.study.clusterfile import read_cluster
from raysearch.study.plain_text import user_path
from raysearch.study.precision import settle_precision
from raysearch.study.published import published_problems
from raysearch.study.schema import FIELDS, NESTED, SHORT, TEXTS, Study, extra_of, one_or_list
from raysearch.study.space_file import read_space, shrink_for_demo
from raysearch.study.tree import (
    first_line,
    in_short,
    override,
    spell_out,
    take_open,
    value_at,
)


def load_study(words: Sequence[str], *, cwd: Path) -> Study:
    """The study that `words` describe.

    Args:
        words: `key=value`, as on the command line; each is split at its first `=`, and keys are
            dotted. A value is YAML, but where its key is a path, an address or a name it is what
            is typed. `space=` names the file to start from: a name under `./spaces`, a path to a
            `.yaml`, or a space that comes with raysearch. `corpus=`, `protocol=`, `validation=`,
            `stopping=`, `labels=`, `votes=`, `task=`, `raters=` and `tracking=` stand for
            `corpus.name=`, `protocol.name=`, `validation.rule=`, `stopping.rule=`, `labels.flip=`,
            `votes.source=`, `task.name=`, `raters.targets=` and `tracking.uri=`.
        cwd: the folder that relative paths start from.

    Raises:
        BadInput: with everything that is wrong, in the order of reading.
    """
    problems: list[str] = []
    values = _read_words(words, problems)
    missing = []  # keys whose absence is among the problems
    name = values.pop("space", None)
    try:
        tree = read_space(name, cwd)
    except BadInput as error:
        problems += error.problems
        tree = {"space": name if isinstance(name, str) else ""}
        missing.append("method")
    has_rows = bool(tree.get("enqueue"))
    shrink_for_demo(tree, values, problems)
    override(tree, values, problems)
    tree = _resolve(tree, problems, missing)
    _check_keys(tree, "", problems)
    _place_roots(tree, problems)
    _place_paths(tree, cwd)
    _name_sources(tree)
    _read_cluster_file(tree, problems)
    study = _validate(tree, problems, missing)
    check_names(tree, problems)
    if isinstance(tree.get("published"), Mapping):
        problems += published_problems(tree["published"], TASKS)
    method = find_method(tree, problems)
    if method is not None:
        complete(tree, method, problems)
        sets_params = any(key.split(".")[0] == "params" for key in values)
        lenient = sets_params and has_rows and "enqueue" not in values
        settle_precision(tree, study, method, problems)
        check_space(tree, method, lenient, problems)
        study = _validate(tree, []) if study is not None else None
    if study is not None:
        check_together(study, problems)
    if problems or study is None:
        raise BadInput(list(dict.fromkeys(problems)))
    return study


# -- the words ---------------------------------------------------------------------------------
def _read_words(words: Sequence[str], problems: list[str]) -> Tree:
    """The value of each key that a word gives, short keys spelt out."""
    values: Tree = {}
    for word in words:
        try:
            items = _read_word(word)
        except BadInput as error:
            problems += error.problems
            continue
        for key, value in items:
            if key in values:
                problems.append(f"{key} is given twice in the words; give it once")
            values[key] = value
    for key in values:
        parts = key.split(".")
        above = (".".join(parts[:depth]) for depth in range(1, len(parts)))
        whole = next((name for name in above if name in values), None)
        if whole is not None:
            problems.append(
                f"{whole} is given as a whole by one word, and {key} inside it by another; "
                "give one of them"
            )
    return values


def _read_word(word: str) -> list[tuple[str, Any]]:
    """The keys and values of a word `key=value`."""
    key, equals, text = word.partition("=")
    key = key.strip()
    if not equals:
        raise BadInput(
            f"the word {word!r} has no '='; write key=value, as in trials=30{near(word, FIELDS)}"
        )
    if not key or "" in key.split("."):
        raise BadInput(
            f"the word {word!r} has no proper key before its '='; write key=value, "
            "as in corpus.root=DIR"
        )
    try:
        return spell_out(key, _read_value(key, text))
    except (YAMLError, OmegaConfBaseException, ValueError) as error:
        raise BadInput(
            f"{key}: the value {text!r} is not YAML ({first_line(error)}); "
            "quote it, or close its brackets"
        ) from error


def _read_value(key: str, text: str) -> Any:
    """What a word's value stands for: texts where its key is of texts, else YAML."""
    whole = "corpus.root" if key.startswith("corpus.root.") else SHORT.get(key, key)
    is_section = key in NESTED and text.startswith("{")
    is_switch = key == "tracking" and isinstance(_yaml(text), bool)
    read = _yaml if is_section or is_switch else TEXTS.get(whole, _yaml)
    return read(text)


def _yaml(text: str) -> Any:
    return thaw(OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"])))["value"]


# -- the tree ----------------------------------------------------------------------------------
def _resolve(tree: Tree, problems: list[str], missing: list[str]) -> Tree:
    """`tree` with `${...}` resolved; keys that must be filled in (`???`) are reported."""
    for key in take_open(tree):
        problems.append(f"{key} must be given: the space leaves it open ('???'); write {key}=VALUE")
        missing.append(key)
    try:
        return dict(thaw(OmegaConf.to_container(OmegaConf.create(tree), resolve=True)))
    except OmegaConfBaseException as error:
        key = error.full_key or "a value"
        problems.append(
            f"{key}: its ${{...}} cannot be resolved ({first_line(error)}); name a key that exists"
        )
        raise BadInput(problems) from None


def _check_keys(tree: Mapping[str, object], prefix: str, problems: list[str]) -> None:
    """Unknown keys at any depth, with the nearest known one; a parameter's name is one of them."""
    model: type[BaseModel] = NESTED[prefix[:-1]] if prefix else Study
    params = tree.get("params")
    places = [*FIELDS, *(f"params.{name}" for name in (params if isinstance(params, dict) else ()))]
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if name not in model.model_fields:
            where = [k for k in places if k.rsplit(".", 1)[-1] == name]
            hint = f" (did you mean {where[0]!r}?)" if where else near(key, places)
            keys = ", ".join(prefix + field for field in model.model_fields)
            problems.append(f"there is no key {key!r}{hint}; keys here are {keys}")
        elif not prefix and name in NESTED and isinstance(value, Mapping):
            _check_keys(value, f"{name}.", problems)


def _place_roots(tree: Tree, problems: list[str]) -> None:
    """`corpus.root=DIR` belongs to the one corpus of the study."""
    corpus = tree.get("corpus")
    if not isinstance(corpus, dict) or corpus.get("root") is None:
        return
    names = name_list(corpus.get("name", "demo"))
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


def _place_paths(tree: Tree, cwd: Path) -> None:
    """Make the study's own folders absolute, so that it means the same from everywhere."""
    if isinstance(tree.get("home", "runs"), str) and tree.get("home", "runs"):
        tree["home"] = _absolute(tree.get("home", "runs"), cwd)
    store = tree.get("store")
    if isinstance(store, str) and store and "://" not in store:
        tree["store"] = _absolute(store, cwd)
    cluster = tree.get("cluster")
    if isinstance(cluster, str) and cluster not in ("", "local", "auto"):
        tree["cluster"] = _absolute(cluster, cwd)
    features = tree.get("features")
    names = [features] if isinstance(features, str) else features
    if isinstance(names, list | tuple):
        tree["features"] = [_place_feature(name, cwd) for name in names]
    corpus = tree.get("corpus")
    if isinstance(corpus, dict) and isinstance(corpus.get("root"), dict):
        corpus["root"] = {
            name: _absolute(root, cwd) if isinstance(root, str) and root else root
            for name, root in corpus["root"].items()
        }


def _place_feature(name: object, cwd: Path) -> object:
    """A feature set's name with an absolute path where it is one of ready values."""
    if not isinstance(name, str) or not name.startswith("files:"):
        return name
    return f"files:{_absolute(name.removeprefix('files:'), cwd)}"


def _name_sources(tree: Tree) -> None:
    """Keep the name of one's own data in the study: another table is another study.

    A manifest's is its file's, a dataset's its folder's, a database's its own; EmoBox's corpora
    have names there.
    """
    corpus = tree.get("corpus")
    if not isinstance(corpus, dict) or not isinstance(corpus.get("root"), dict):
        return
    for source in (name for name in OWN if name != "emobox"):
        root, options = corpus["root"].get(source), corpus.get("options") or {}
        if not isinstance(root, str) or not root or not isinstance(options, dict):
            continue
        inner = options.get(source)
        inner = inner if isinstance(inner, dict) else {}
        own = {**options, **inner}
        if source == "manifest" and not own.get("name"):
            name = name_of_table(table_of(Path(root), own.get("csv")))
            corpus["options"] = {**options, "name": name}
        elif source != "manifest" and not (inner.get("name") or options.get("name")):
            name = name_of_folder(Path(root))
            corpus["options"] = {**options, source: {**inner, "name": name}}


def _read_cluster_file(tree: Tree, problems: list[str]) -> None:
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
    return str((cwd / user_path(path)).absolute())


def _validate(tree: Tree, problems: list[str], missing: Sequence[str] = ()) -> Study | None:
    """The study, or None with what is wrong; `missing` keys are among the problems already."""
    try:
        return Study(**tree)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_context=False):
            problem = _problem(tree, item["type"], item["loc"], item["input"], missing)
            if problem:
                problems.append(problem)
        return None


def _problem(
    tree: Tree, kind: str, place: Sequence[int | str], value: object, missing: Sequence[str]
) -> str:
    """What one error of pydantic says, in the words of the schema; '' where it is known."""
    if kind == "extra_forbidden":
        return ""  # _check_keys has said so, with a near match
    parts = [str(part) for part in place if isinstance(part, str)]
    keys = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    key = next((name for name in keys if name in FIELDS), None)
    if key is None:
        name = parts[0] if parts else "the study"
        return f"{name} must be a mapping of keys, but got {value!r}"
    extra = extra_of(FIELDS[key])
    if kind == "missing":
        return "" if key in missing else f"{key} must be given, as in {key}={extra['example']}"
    return (
        f"{key} must be {extra['rule']}, but got {in_short(value_at(tree, key))}; "
        f"write for example {key}={extra['example']}"
    )


# -- the other way -----------------------------------------------------------------------------
def dump(study: Study) -> str:
    """YAML from which `load_study(["space=FILE.yaml"])` reads an equal study."""
    plain = thaw(study.model_dump())
    plain["home"] = str(plain["home"])
    plain["objective"] = one_or_list(study.objective)
    text = OmegaConf.to_yaml(OmegaConf.create(_escaped(plain)))
    return f"# python -m raysearch tune space=FILE   (this file; study {study.id})\n{text}"


def _escaped(value: object) -> Any:
    """`value` with every literal `${` written so that reading does not resolve it."""
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", value)
    return value
