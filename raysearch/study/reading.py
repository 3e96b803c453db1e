"""Words and space files, read by OmegaConf and checked by pydantic; what they find is told in the
words of the schema's rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from raysearch.data.rules import TASKS
from raysearch.data.section import thaw
from raysearch.errors import BadInput, near, one_line
from raysearch.study.checks import (
    check_names,
    check_space,
    check_together,
    find_method,
    listed,
    name_list,
)
from raysearch.study.clusterfile import read_cluster
from raysearch.study.published import published_problems
from raysearch.study.resources import resource
from raysearch.study.schema import FIELDS, NESTED, SHORT, TEXTS, Study, extra_of, one_or_list


def load_study(words: Sequence[str], *, cwd: Path) -> Study:
    """The study that `words` describe.

    Args:
        words: `key=value`, as on the command line; each is split at its first `=`, and keys are
            dotted. A value is YAML, but where its key is a path, an address or a name it is what
            is typed. `space=` names the file to start from: a name under
            `./spaces`, a path to a `.yaml`, or a packaged space. `corpus=`, `protocol=`,
            `validation=`, `stopping=`, `votes=`, `task=`, `raters=` and `tracking=` stand for
            `corpus.name=`, `protocol.name=`, `validation.rule=`, `stopping.rule=`,
            `votes.source=`, `task.name=`, `raters.targets=` and `tracking.uri=`.
        cwd: the folder that relative paths start from.

    Raises:
        BadInput: with everything that is wrong, in the order of reading.
    """
    problems: list[str] = []
    given = _read_words(words, problems)
    before = len(problems)
    tree, listed = _read_space(given, cwd, problems)
    told = ["method"] if len(problems) > before else []
    _shrink_for_demo(tree, given, problems)
    _override(tree, given, problems)
    tree = _resolve(tree, problems, told)
    _check_keys(tree, "", problems)
    _place_roots(tree, problems)
    _place_paths(tree, cwd)
    _read_cluster_file(tree, problems)
    study = _validate(tree, problems, told)
    check_names(tree, problems)
    if isinstance(tree.get("published"), Mapping):
        problems += published_problems(tree["published"], TASKS)
    method = find_method(tree, problems)
    if method is not None:
        if not tree.get("features"):
            tree["features"] = list(method.features)
        repinned = any(key.split(".")[0] == "params" for key in given)
        lenient = repinned and listed and "enqueue" not in given
        check_space(tree, method, lenient, problems)
        study = _validate(tree, []) if study is not None else None
    if study is not None:
        check_together(study, problems)
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
                f"{near(word, FIELDS)}"
            )
            continue
        if not key or "" in key.split("."):
            problems.append(
                f"the word {word!r} has no proper key before its '='; write key=value, "
                "as in corpus.root=DIR"
            )
            continue
        try:
            value = _read_value(key, text)
        except (YAMLError, OmegaConfBaseException, ValueError) as error:
            problems.append(
                f"{key}: the value {text!r} is not YAML ({first_line(error)}); "
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


def _read_value(key: str, text: str) -> Any:
    """What a word's value stands for: texts where its key is of texts, else YAML."""
    whole = "corpus.root" if key.startswith("corpus.root.") else SHORT.get(key, key)
    is_section = key in NESTED and text.startswith("{")
    is_switch = key == "tracking" and isinstance(_yaml(text), bool)
    read = _yaml if is_section or is_switch else TEXTS.get(whole, _yaml)
    return read(text)


def _yaml(text: str) -> Any:
    return thaw(OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"])))["value"]


def _spelt_out(key: str, value: Any) -> list[tuple[str, Any]]:
    """A word's key and value with `corpus=emodb` and the like spelt out in full."""
    if key in NESTED and isinstance(value, Mapping):
        return [(f"{key}.{name}", item) for name, item in value.items()]
    if key == "tracking" and isinstance(value, bool):
        return [("tracking.enabled", value)]
    return [(SHORT.get(key, key), value)]


def _read_space(
    given: dict[str, Any], cwd: Path, problems: list[str]
) -> tuple[dict[str, Any], bool]:
    """The space file's content, spelt out, and whether it enqueues settings."""
    name = given.pop("space", None)
    known = spaces(cwd)
    if name is None:
        problems.append(f"space must be given, as in space=rdlr; known spaces: {listed(known)}")
        return {"space": ""}, False
    if not isinstance(name, str) or not name:
        problems.append(f"space must be the name or path of a space, but got {name!r}")
        return {"space": ""}, False
    path = _find(name, cwd, known)
    if path is None:
        if name.endswith((".yaml", ".yml")):
            problems.append(
                f"space={name}: there is no such file (looked from {cwd}); known spaces: "
                f"{listed(known)}"
            )
        else:
            problems.append(
                f"there is no space {name!r}{near(name, known)}; known spaces: {listed(known)}; "
                "your own is a file, as in space=my/space.yaml"
            )
        return {"space": name}, False
    try:
        tree = thaw(OmegaConf.to_container(OmegaConf.load(path)))
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        problems.append(f"the space file {path} cannot be read: {first_line(error)}")
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


def _shrink_for_demo(tree: dict[str, Any], words: Mapping[str, Any], problems: list[str]) -> None:
    """Take the space's section `demo`, and put it over the space where the corpus is the demo.

    A space searches at a size that suits real speech; its section `demo` holds what lets the demo
    end within minutes. Words of the command line go over both.
    """
    section = tree.pop("demo", None)
    if section is None:
        return
    if not isinstance(section, dict):
        problems.append(f"demo must be a mapping of keys, but the space has {shown(section)}")
        return
    if not _is_demo(tree, words):
        return
    smaller: dict[str, Any] = {}
    for key, value in section.items():
        if key == "params" and isinstance(value, dict):
            smaller |= {f"params.{name}": item for name, item in value.items()}
        else:
            smaller |= dict(_spelt_out(key, value))
    _override(tree, smaller, problems)
    sizes = [
        key.removeprefix("params.") + ("" if isinstance(value, dict) else f"={value}")
        for key, value in smaller.items()
        if key not in ("enqueue", "trials", *words) and "params" not in words
    ]
    if sizes:
        note = (
            f"the demo is searched with the small settings of the section `demo` of space "
            f"{tree.get('space')}: {', '.join(sizes)}; any other corpus is searched at full size"
        )
        _put(tree, "notes", [*name_list(tree.get("notes")), note])


def _is_demo(tree: Mapping[str, Any], words: Mapping[str, Any]) -> bool:
    """Whether every labelled corpus of the study is (a part of) the demo."""
    from raysearch.data.corpora.demo import INFOS

    corpus = tree.get("corpus")
    default = corpus.get("name", "demo") if isinstance(corpus, Mapping) else "demo"
    return set(name_list(words.get("corpus.name", default))) <= {info.name for info in INFOS}


def spaces(cwd: Path) -> dict[str, Path]:
    """Spaces known by name: those under `cwd`/spaces, then those that come with raysearch."""
    found: dict[str, Path] = {}
    for folder in (cwd / "spaces", resource("spaces")):
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
            f"{key}: its ${{...}} cannot be resolved ({first_line(error)}); name a key that exists"
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
    """Unknown keys at any depth, with the nearest known one; a parameter's name is one of them."""
    model: type[BaseModel] = NESTED[prefix[:-1]] if prefix else Study
    params = tree.get("params")
    places = [*FIELDS, *(f"params.{name}" for name in (params if isinstance(params, dict) else ()))]
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if name not in model.model_fields:
            where = [k for k in places if k.rsplit(".", 1)[-1] == name]
            hint = f" (did you mean {where[0]!r}?)" if where else near(key, places)
            known = ", ".join(prefix + field for field in model.model_fields)
            problems.append(f"there is no key {key!r}{hint}; keys here are {known}")
        elif not prefix and name in NESTED and isinstance(value, Mapping):
            _check_keys(value, f"{name}.", problems)


def _place_roots(tree: dict[str, Any], problems: list[str]) -> None:
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
                (k for i in range(len(parts), 0, -1) if (k := ".".join(parts[:i])) in FIELDS), None
            )
            if key is None:
                name = parts[0] if parts else "the study"
                problems.append(f"{name} must be a mapping of keys, but got {found['input']!r}")
                continue
            extra = extra_of(FIELDS[key])
            if found["type"] == "missing":
                if key in told:
                    continue
                problems.append(f"{key} must be given, as in {key}={extra['example']}")
                continue
            value = _at(tree, key)
            problems.append(
                f"{key} must be {extra['rule']}, but got {shown(value)}; "
                f"write for example {key}={extra['example']}"
            )
        return None


def _at(tree: Mapping[str, Any], key: str) -> Any:
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."


def first_line(error: Exception) -> str:
    """What a YAML or OmegaConf error says, on one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if problem and mark is not None:
        return f"{problem}, line {mark.line + 1}, column {mark.column + 1}"
    first, *_ = str(error).splitlines() or [type(error).__name__]  # OmegaConf adds lines
    return one_line(first)


# -- the other way -----------------------------------------------------------------------------
def dump(study: Study) -> str:
    """YAML from which `load_study(["space=FILE.yaml"])` reads an equal study."""
    plain = thaw(study.model_dump())
    plain["home"] = str(plain["home"])
    plain["objective"] = one_or_list(study.objective)
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
