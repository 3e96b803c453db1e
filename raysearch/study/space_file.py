"""Space files: where they lie, what they hold, and what they change for the demo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from raysearch.data.section import Tree, thaw
from raysearch.errors import BadInput, near
from raysearch.study.checks import listed, name_list
from raysearch.study.plain_text import user_path
from raysearch.study.resources import resource
from raysearch.study.tree import first_line, in_short, override, put, spell_out


def spaces(cwd: Path) -> dict[str, Path]:
    """Spaces known by name: those under `cwd`/spaces, then those that come with raysearch."""
    files: dict[str, Path] = {}
    for folder in (cwd / "spaces", resource("spaces")):
        for path in folder.rglob("*.yaml"):
            files.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return dict(sorted(files.items()))


def read_space(name: object, cwd: Path) -> Tree:
    """What a space file holds, its keys spelt out.

    Args:
        name: a name under `./spaces` or of a space that comes with raysearch, or the path of a
            `.yaml` file.
        cwd: the folder that relative paths start from.

    Raises:
        BadInput: there is no such space, or it cannot be read.
    """
    files = spaces(cwd)
    if name is None:
        raise BadInput(f"space must be given, as in space=rdlr; known spaces: {listed(files)}")
    if not isinstance(name, str) or not name:
        raise BadInput(f"space must be the name or path of a space, but got {name!r}")
    path = _find(name, cwd, files)
    try:
        content = thaw(OmegaConf.to_container(OmegaConf.load(path)))
    except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the space file {path} cannot be read: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise BadInput(f"the space file {path} must be a mapping of keys, as in `trials: 20`")
    tree: Tree = {}
    for key, value in content.items():
        for full, item in spell_out(key, value):
            put(tree, full, item)
    tree.setdefault("space", path.stem if _is_path(name) else name)
    return tree


def _is_path(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _find(name: str, cwd: Path, files: Mapping[str, Path]) -> Path:
    path = cwd / user_path(name) if _is_path(name) else files.get(name)
    if path is not None and path.is_file():
        return path
    if _is_path(name):
        raise BadInput(
            f"space={name}: there is no such file (looked from {cwd}); known spaces: "
            f"{listed(files)}"
        )
    raise BadInput(
        f"there is no space {name!r}{near(name, files)}; known spaces: {listed(files)}; "
        "your own is a file, as in space=my/space.yaml"
    )


# -- the demo ----------------------------------------------------------------------------------
def shrink_for_demo(tree: Tree, words: Mapping[str, object], problems: list[str]) -> None:
    """Take the section `demo` out of a space, and put it over the space where that is the corpus.

    A space searches at a size that suits real speech; its section `demo` holds what lets the demo
    end within minutes. Words of the command line go over both.
    """
    section = tree.pop("demo", None)
    if section is None:
        return
    if not isinstance(section, dict):
        problems.append(f"demo must be a mapping of keys, but the space has {in_short(section)}")
        return
    if not _is_demo(tree, words):
        return
    smaller: Tree = {}
    for key, value in section.items():
        if key == "params" and isinstance(value, dict):
            smaller |= {f"params.{name}": item for name, item in value.items()}
        else:
            smaller |= dict(spell_out(key, value))
    override(tree, smaller, problems)
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
        put(tree, "notes", [*name_list(tree.get("notes")), note])


def _is_demo(tree: Mapping[str, object], words: Mapping[str, object]) -> bool:
    """Whether every labelled corpus of the study is (a part of) the demo."""
    from raysearch.data.corpora.demo import INFOS

    corpus = tree.get("corpus")
    default = corpus.get("name", "demo") if isinstance(corpus, Mapping) else "demo"
    return set(name_list(words.get("corpus.name", default))) <= {info.name for info in INFOS}
