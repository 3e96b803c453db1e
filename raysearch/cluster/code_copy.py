"""The copy of raysearch, and of the code of one's own method, that travels to a cluster.

One folder holds everything; it becomes the working directory of the study's processes on every
node. So no node needs raysearch installed in the driver's version, and what a stage's key hashes
here is what runs there.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

import trainables
from raysearch.errors import BadInput
from raysearch.stages.methods import method as find_method
from raysearch.study import Study
from raysearch.study.resources import resource

_RAYSEARCH = Path(__file__).resolve().parents[1]
_CODE = {".py", ".yaml", ".yml"}
_MOST_CODE = 20 * 2**20
_MOST_FILES = 3000
_MOST_SPEECH = 300 * 2**20
_OURS = {"raysearch", "trainables"}
_GROUPS = ("raysearch.methods", "raysearch.features", "raysearch.corpora")
_LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}


def modules_of(study: Study) -> list[str]:
    """The modules that the stages and extractors of a study come from."""
    from raysearch.data import features

    extractors = features.known()
    names = [find_method(study.method).graph.__module__]
    for name in study.features:
        extract = extractors[name].extract
        names.append(getattr(extract, "func", extract).__module__)
    return names


def copy_code(folder: Path, modules: Iterable[str], *, without: Sequence[Path] = ()) -> None:
    """Copy raysearch and the folders of the modules into `folder`.

    Of a folder of one's own travel its Python and YAML files; hidden folders, virtual environments
    and `without` (the home, say) do not. Packages that pip installed are not copied: they may hold
    compiled parts, so nodes need them installed (`pip:` of the cluster file does that).

    Raises:
        BadInput: where the folder of a module holds more than code.
    """
    for package in (_RAYSEARCH, Path(next(iter(trainables.__path__)))):
        _copy(package, folder / package.name)
    _copy(resource("spaces"), folder / "raysearch" / "files" / "spaces")
    tops = dict.fromkeys(name.partition(".")[0] for name in modules)
    for top in tops:
        if top in _OURS or top == "__main__":
            continue
        place = _folder_of(top)
        if place is not None:
            _copy(place, folder, without=without, leave=_OURS)
    _announce(folder, set(tops))


def copy_corpus(folder: Path, name: str, root: Path) -> str:
    """Copy a corpus into `folder`; returns its root there, relative to `folder`.

    Raises:
        BadInput: where it is too large to travel so.
    """
    source = root if root.is_dir() else root.parent
    total = 0
    for path in _files(source, without=(), everything=True):
        total += path.stat().st_size
        if total > _MOST_SPEECH:
            raise BadInput(
                f"corpus.root of {name}: {source} holds more than {_MOST_SPEECH // 2**20} MiB, too "
                "much to travel with a job; put it on a disk of the cluster and say where in the "
                f"cluster file, as in corpora: {{{name}: /path/there}}"
            )
        target = folder / "corpora" / name / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    there = Path("corpora", name)
    return str(there if root.is_dir() else there / root.name)


def _folder_of(top: str) -> Path | None:
    """The folder on the path in which a top-level module lies; None where pip installed it."""
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).resolve()
    folder = file.parent.parent if spec.submodule_search_locations else file.parent
    if {"site-packages", "dist-packages"} & set(folder.parts):
        return None
    return folder


def _copy(
    source: Path, target: Path, *, without: Sequence[Path] = (), leave: Iterable[str] = ()
) -> None:
    excluded = {source / name for name in leave}
    total = 0
    for count, path in enumerate(_files(source, without=[*without, *excluded]), start=1):
        total += path.stat().st_size
        if total > _MOST_CODE or count > _MOST_FILES:
            raise BadInput(
                f"the folder of your method, {source}, holds more than {_MOST_CODE // 2**20} MiB "
                f"or {_MOST_FILES} files of Python and YAML, too much to be sent to the cluster's "
                "nodes; move the method into a folder of its own"
            )
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _files(folder: Path, *, without: Sequence[Path], everything: bool = False) -> Iterator[Path]:
    """The files under a folder that travel, sorted; linked folders only where they hold speech."""
    absent = {path.absolute() for path in without}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in _LEFT_OUT or path.absolute() in absent:
            continue
        if path.is_dir():
            linked = path.is_symlink() and not everything
            if not linked and not (path / "pyvenv.cfg").exists():
                yield from _files(path, without=without, everything=everything)
        elif path.is_file() and (everything or path.suffix in _CODE):
            yield path


def _announce(folder: Path, tops: set[str]) -> None:
    """Make the entry points of modules that travel known over there, as if installed."""
    lines = []
    for group in _GROUPS:
        points = [
            point
            for point in metadata.entry_points(group=group)
            if point.value.partition(":")[0].partition(".")[0] in tops - _OURS
        ]
        if points:
            lines += [f"[{group}]", *(f"{point.name} = {point.value}" for point in points)]
    if lines:
        facts = folder / "raysearch_shipped-0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: raysearch-shipped\nVersion: 0\n"
        )
        (facts / "entry_points.txt").write_text("\n".join(lines) + "\n")
