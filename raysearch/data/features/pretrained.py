"""Where a transformers model comes from: a hub name, a local folder, or `tiny`.

A hub name is pinned to a commit: the one of the local cache, or else the hub's; weights are
fetched once, into the cache of huggingface_hub, by the worker that needs them. A folder is pinned
by its files' digests. `tiny` is a small model of the same class with random weights from a fixed
seed, for machines without weights; whatever is made with it says so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from raysearch.data.features.extractor import ExtractorInfo, Unusable
from raysearch.errors import BadInput, any_error_as, near, one_line

TINY = "tiny"
_WEIGHTS = (".safetensors", ".bin")
_READ = (*_WEIGHTS, ".json", ".txt", ".model")
_PATIENCE = 10.0
"""seconds that the hub gets to answer"""


@dataclass(frozen=True)
class PretrainedModel:
    """A model as it was asked for.

    `feature` is the word that asked, for messages; `kinds` are the model types that will do, ()
    for any.
    """

    feature: str
    name: str
    kinds: tuple[str, ...]
    revision: str = "main"
    remedy: str = ""
    """what to do where it is missing, if not to name another model in the feature's name"""

    @property
    def tiny(self) -> bool:
        return self.name == TINY

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self.name.startswith(("/", "."))

    def identity(self) -> str:
        """A name with the digest of the weights; fit for a path.

        Raises:
            BadInput: the model is not there, and no hub can be asked for it.
        """
        if self.tiny:
            # random weights follow from the seed and from the code that draws them
            libraries = [installed(n).partition("+")[0] for n in ("transformers", "torch")]
            return f"tiny-untrained-{'-'.join(libraries)}"
        if self.local:
            return f"{_slug(Path(self.name).name)}-{self._folder_digest()[:16]}"
        return f"{_slug(self.name)}-{self._commit()[:16]}"

    def folder(self) -> Path:
        """The folder with its files, fetched if need be.

        Raises:
            Unusable: the files cannot be fetched.
        """
        if self.local:
            return Path(self.name)
        import huggingface_hub as hub

        commit = self._commit()
        place = Path(hub.constants.HF_HUB_CACHE) / hub.file_download.repo_folder_name(
            repo_id=self.name, repo_type="model"
        )
        if _weights(place / "snapshots" / commit):
            return place / "snapshots" / commit
        with self._connected(Unusable):
            files = hub.HfApi().list_repo_files(self.name, revision=commit)
            top = [file for file in files if "/" not in file]
            safe = any(file.endswith(".safetensors") for file in top)
            patterns = [
                file
                for file in top
                if file.endswith(_READ) and not (safe and file.endswith(".bin"))
            ]
            return Path(hub.snapshot_download(self.name, revision=commit, allow_patterns=patterns))

    def config(self) -> Mapping[str, Any] | None:
        """Its config.json where it lies on this machine, else None. Raises BadInput if not fit."""
        if self.tiny or not self.local:
            return None
        if not Path(self.name).is_dir():
            raise BadInput(self._absent("there is no such folder"))
        path = Path(self.name) / "config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(self._absent(f"{path} cannot be read: {one_line(error)}")) from error
        kind = config.get("model_type") if isinstance(config, dict) else None
        if self.kinds and kind not in self.kinds:
            raise BadInput(
                f"features={self.feature}: {path} describes a model of type {kind!r}, and "
                f"{' or '.join(map(repr, self.kinds))} is needed; name another folder."
            )
        return dict(config)

    def facts(self) -> Mapping[str, Any]:
        """Its config.json, fetched if need be; {} of `tiny`.

        Raises:
            BadInput: it is not there, and no hub gives it.
        """
        if self.tiny or self.local:
            return self.config() or {}
        import huggingface_hub as hub

        with self._connected(BadInput):
            place = hub.hf_hub_download(self.name, "config.json", revision=self._commit())
            return dict(json.loads(Path(place).read_text(encoding="utf-8")))

    def _folder_digest(self) -> str:
        folder = Path(self.name)
        self.config()
        if not _weights(folder):
            raise BadInput(self._absent("it holds no *.safetensors and no *.bin"))
        digest = hashlib.sha256()
        for path in sorted(p for p in folder.iterdir() if p.suffix in _READ and p.is_file()):
            stat = path.stat()
            digest.update(
                f"{path.name}\0{_digest(path, stat.st_size, stat.st_mtime_ns)}\0".encode()
            )
        return digest.hexdigest()

    def _commit(self) -> str:
        with self._connected(BadInput):
            return _commit(self.name, self.revision)

    def _connected(self, kind: type[BadInput | Unusable]) -> AbstractContextManager[None]:
        """Whatever a network, or a name that is none, does to the block is an error of the kind."""
        return any_error_as(lambda error: kind(self._absent(one_line(error))))

    def _absent(self, why: str) -> str:
        base = self.feature.partition(":")[0].partition("@")[0]
        remedy = self.remedy or (
            f"name a folder that holds config.json and model.safetensors, as in {base}:DIR, or "
            f"{base}:{TINY} for a small model with untrained weights"
        )
        what = (
            f"the folder {self.name}" if self.local else f"{self.name} (revision {self.revision})"
        )
        if not self.local:
            why = f"it is not in the local cache, and the hub does not give it ({why})"
        return f"features={self.feature}: the weights of {what} are not there: {why}; {remedy}."


def options_of(
    feature: str, rest: str, defaults: Mapping[str, str], model: str
) -> tuple[str, dict[str, str]]:
    """The model and the options in what follows a feature's name: ':MODEL@OPTION=VALUE...'.

    A folder's path is made absolute.

    Raises:
        BadInput: an option is unknown.
    """
    head, *words = re.split(r"@(?=[a-z]+=)", rest)
    name = head.removeprefix(":") or model
    options = dict(defaults)
    for word in words:
        key, _, value = word.partition("=")
        if key not in defaults:
            raise BadInput(
                f"features={feature}: there is no option {key!r}{near(key, defaults)}; its options "
                f"are {', '.join(f'@{option}=' for option in defaults)}."
            )
        options[key] = value
    if "@" in name or not name or not name.isprintable():
        raise BadInput(
            f"features={feature}: write NAME:MODEL@OPTION=VALUE, MODEL being a hub name, a "
            f"folder or {TINY}."
        )
    return absolute(name), options


def absolute(name: str) -> str:
    """A model's name, absolute where it is a folder."""
    path = Path(name).expanduser()
    folder = name != TINY and (name.startswith(("/", ".", "~")) or path.is_dir())
    return str(path.absolute()) if folder else name


def models_of(info: ExtractorInfo) -> tuple[PretrainedModel, ...]:
    """The models whose files an extractor reads."""
    arguments = [*getattr(info.extract, "args", ()), *getattr(info.version, "args", ())]
    return tuple(
        dict.fromkeys(x for x in arguments if isinstance(x, PretrainedModel) and not x.tiny)
    )


def relocated(info: ExtractorInfo, places: Mapping[str, Path]) -> ExtractorInfo:
    """The extractor with its models read from other folders, by the name of each model."""

    def moved(function: object) -> Any:
        if not isinstance(function, partial):
            return function
        arguments = [
            replace(x, name=str(places[x.name].absolute()))
            if isinstance(x, PretrainedModel) and x.name in places
            else x
            for x in function.args
        ]
        return partial(function.func, *arguments, **function.keywords)

    return replace(
        info,
        extract=moved(info.extract),
        version=moved(info.version),
        address=moved(info.address),
        configure=None,
    )


def untrained(feature: str) -> str:
    """What a study must say of a stand-in."""
    return (
        f"{feature}: untrained weights: a small randomly initialised model stands in for a trained "
        "one; its numbers say nothing about the real model"
    )


def load_model(
    model: PretrainedModel,
    kind: Any,
    tiny: Callable[[], Any] | None,
    may_lack: tuple[str, ...] = (),
) -> Any:
    """The model in evaluation mode: read by the class `kind`, or made by `tiny()` under a seed.

    Args:
        model: which, and where it lies.
        kind: a class of transformers.
        tiny: builds the stand-in; None where the model has none.
        may_lack: parts of the names of weights that may be missing from the files.

    Raises:
        Unusable: other weights are missing: transformers would fill them with random numbers.
    """
    import torch
    from transformers import logging

    if model.tiny and tiny is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return tiny().eval()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    folder = model.folder()
    with any_error_as(
        lambda error: Unusable(f"{folder} cannot be loaded: {one_line(error)}; mend or replace it.")
    ):
        network, report = kind.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    lacks = [key for key in report["missing_keys"] if not any(part in key for part in may_lack)]
    if lacks:
        raise Unusable(
            f"{folder} lacks {len(lacks)} weights of a {kind.__name__} (the first is {lacks[0]}); "
            "name a folder that holds them all."
        )
    return network.eval().float()


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread: a task has one core, and sums do not depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=64)
def _commit(name: str, revision: str) -> str:
    """The commit of a hub model: the local cache's where it holds weights, else the hub's."""
    import huggingface_hub as hub

    hit = hub.try_to_load_from_cache(name, "config.json", revision=revision)
    if isinstance(hit, str) and _weights(Path(hit).parent):
        return Path(hit).parent.name
    commit = hub.HfApi().model_info(name, revision=revision, timeout=_PATIENCE).sha
    if not commit:
        raise LookupError("the hub names no commit")
    return str(commit)


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights(folder: Path) -> bool:
    return folder.is_dir() and any(p.suffix in _WEIGHTS for p in folder.iterdir())


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:48] or "model"
