"""Models in MLflow: written as its pyfunc, registered beside their study's run, found by name.

Beside `tracking`, which projects the ledger, the only file that names MLflow. A model's version
lies in the registry of the tracking server (or of the home's database) that has the study.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from raysearch.errors import BadInput, RaysearchError, near, one_line
from raysearch.models.model import Facts, constants_of, expected_words, perception
from raysearch.stages.store import local_path
from raysearch.stages.temporary import temporary_folder
from raysearch.study.addresses import TRACKING_VARIABLE, named, shown
from raysearch.study.folder import StudyFolder
from raysearch.tracking.client import (
    connect,
    database_to_read,
    default_uri,
    experiment_name,
    failures,
    locked,
    settle,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

    from raysearch.study import Study

LOADER = "raysearch.models.model"
_RESERVED = "latest"


@dataclass(frozen=True)
class Package:
    """All that an MLflow model is made of."""

    data: Path
    """the folder that `raysearch.models.model` reads"""
    code: Sequence[Path]
    """files and folders that travel with it"""
    facts: Facts
    example: Sequence[bytes]
    """audio files"""
    requirements: Sequence[str]


def check_names(name: str, alias: str) -> None:
    """Raises BadInput where MLflow would refuse a model's name or alias."""
    problems = []
    if not name or any(c in name for c in "/:.%\"'") or not name.isprintable():
        problems.append(f"name={name!r} must be printable and hold none of / : . % and quotes")
    if alias == _RESERVED or not alias.replace("-", "").replace("_", "").isalnum():
        problems.append(
            f"alias={alias!r} must be of letters, digits, - and _, and not {_RESERVED!r}, which "
            "MLflow keeps for itself"
        )
    if not problems and alias[:1] == "v" and alias[1:].isdigit():
        problems.append(f"alias={alias!r} looks like a version, which MLflow refuses; name another")
    if problems:
        raise BadInput(problems)


def save(package: Package, to: Path, home: Path) -> None:
    """Write a model's folder, as `mlflow models serve -m` and `predict model=` take it."""
    settle(home)
    from mlflow import pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = [ColSpec(DataType.binary, "audio", required=False)]
    columns += [
        ColSpec(DataType.string, name, required=False) for name in ("path", "speaker", "transcript")
    ]
    answers: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, name) for name in package.facts["classes"]
    ]
    named = () if package.facts["numbers"] else ("label", *constants_of(package.facts))
    answers += [ColSpec(DataType.string, name) for name in named]
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".raysearch-", dir=to.parent) as aside:
        # aside, then moved: a folder that is there is whole
        model = Path(aside, "model")
        pyfunc.save_model(
            path=str(model),
            loader_module=LOADER,
            data_path=str(package.data),
            code_paths=[str(path) for path in package.code],
            signature=ModelSignature(Schema(columns), Schema(answers)),
            pip_requirements=list(package.requirements),
            metadata=_metadata(package.facts),
        )
        _add_example(model, package.example)
        model.rename(to)


def _metadata(facts: Facts) -> Facts:
    """What MLmodel tells of how the model was made."""
    names = (
        "method", "study", "trial", "how", "setting", "classes", "task", "rater", "corpus",
        "features", "normalise", "speaker_clips", "thresholds", "estimates", "expected",
        "simulated", "notes",
    )  # fmt: skip
    return {"raysearch": {name: facts[name] for name in names}}


def _add_example(model: Path, example: Sequence[bytes]) -> None:
    """The input example, as a request over HTTP takes it (base64)."""
    from mlflow.models import Model

    rows = [[base64.b64encode(audio).decode()] for audio in example]
    table = {"columns": ["audio"], "data": rows}
    (model / "input_example.json").write_text(json.dumps(table))
    (model / "serving_input_example.json").write_text(json.dumps({"dataframe_split": table}))
    described = Model.load(str(model))
    described.saved_input_example_info = {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
    }
    described.save(str(model / "MLmodel"))


def _client(uri: str, home: Path) -> MlflowClient:
    with locked(uri):  # two that make the database at once break each other
        return connect(uri, home)


def _uri(study: Study) -> str:
    uri = study.tracking.uri
    if uri is None:
        return default_uri(Path(study.home))
    return named("tracking.uri", uri, TRACKING_VARIABLE)


def run_of(study: Study, instance: str) -> tuple[str, str]:
    """Experiment and run of a study.

    Raises:
        BadInput: it has none, as it was not tracked, or its home may only be read.
    """
    uri, home = _uri(study), Path(study.home)
    if study.tracking.uri is None and not os.access(home, os.W_OK):
        raise BadInput(
            f"home={home} may only be read, so no model can be registered there; give to=DIR, "
            "which writes the model into a folder"
        )
    client = _client(uri, home)
    try:
        experiment = client.get_experiment_by_name(experiment_name(study.id))
        runs = (
            []
            if experiment is None
            else client.search_runs(
                [experiment.experiment_id],
                filter_string=(
                    f"tags.`raysearch.ledger` = '{instance}' and tags.`raysearch.kind` = 'study'"
                ),
                max_results=1,
            )
        )
    except failures() as error:
        raise RaysearchError(
            f"MLflow at {shown(uri)} cannot be asked: {one_line(error)}"
        ) from error
    if not runs:
        words = [f"space={StudyFolder.of(study).configuration_file}", f"home={study.home}"]
        again = shlex.join(["python", "-m", "raysearch", "tune", *words, "tracking=true"])
        raise BadInput(
            f"study {study.id} has no run in MLflow at {shown(uri)} to register a model with; "
            f"bring it up again ({again}), or give to=DIR, which writes the model into a folder"
        )
    return runs[0].info.experiment_id, runs[0].info.run_id


def register(package: Package, name: str, alias: str, study: Study, run: tuple[str, str]) -> str:
    """Log a model to the study's run, register it as a new version, and give that the alias.

    Args:
        package: the model.
        name, alias: in the registry.
        study: whose MLflow has the registry.
        run: experiment and run of the study.

    Returns:
        NAME@ALIAS, as `predict model=` takes it.

    Raises:
        RaysearchError: MLflow did not take it.
    """
    uri, home = _uri(study), Path(study.home)
    client = _client(uri, home)
    with temporary_folder("raysearch-register-") as scratch:
        folder = scratch / "model"
        save(package, folder, home)
        try:
            model = _log(client, package, name, folder, run)
            version = _add_version(client, package, name, model, run[1])
            client.set_registered_model_alias(name, alias, version)
            # by it the pages of MLflow lead from the run and its logged model to the version
            link = json.dumps([{"name": name, "version": version}])
            client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
        except failures() as error:
            raise RaysearchError(
                f"MLflow at {shown(uri)} did not take the model: {one_line(error)}; "
                "to=DIR writes it into a folder"
            ) from error
    return f"{name}@{alias}"


def _log(
    client: MlflowClient, package: Package, name: str, folder: Path, run: tuple[str, str]
) -> LoggedModel:
    """Log the model in a folder to a run; returns MLflow's logged model."""
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        run[0],
        name=name,
        source_run_id=run[1],
        tags=_tags(package.facts),
        params={key: str(value) for key, value in package.facts["setting"].items()},
        model_type="raysearch",
    )
    client.log_outputs(run[1], [LoggedModelOutput(model.model_id, 0)])
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    return model


def _add_version(
    client: MlflowClient, package: Package, name: str, model: LoggedModel, run: str
) -> str:
    """Register a logged model as a new version; returns its number."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(
            name, description="Emotions in speech, by a study of raysearch."
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(
        name,
        source=model.artifact_location,
        run_id=run,
        model_id=model.model_id,
        tags=_tags(package.facts),
        description=_description(package.facts),
    ).version


def _tags(facts: Facts) -> dict[str, str]:
    tags = {
        "raysearch.study": str(facts["study"]),
        "raysearch.trial": str(facts["trial"]),
        "raysearch.how": str(facts["how"]),
        **{
            f"raysearch.honest_{name}": f"{facts['expected'][name]:.4f}"
            for name in ("ua", "ccc")
            if name in facts["expected"]
        },
        **{f"raysearch.{name}": value for name, value in constants_of(facts).items()},
    }
    if facts["simulated"]:
        tags["raysearch.simulated"] = ", ".join(facts["simulated"])
    return tags


def _description(facts: Facts) -> str:
    ways = {"refit": "refit on all speakers", "ensemble": "ensemble of the folds' networks"}
    text = f"{facts['method']} on {', '.join(facts['corpus'])}, {ways[facts['how']]}"
    whose = perception(facts)
    text += f", {whose}" if whose else ""
    text += f"; honest estimate {expected_words(facts)}"
    simulated = f" Simulated: {', '.join(facts['simulated'])}." if facts["simulated"] else ""
    return f"{text}.{simulated}"


def fetch(name: str, home: Path, tracking: str | None, into: Path) -> Path:
    """A model's folder, fetched from the home's MLflow or another.

    Args:
        name: NAME, NAME@ALIAS or NAME/VERSION of the registry (NAME alone is NAME@champion), or a
            URI that MLflow knows (models:/…, runs:/…, s3://…).
        home: whose MLflow is asked where `tracking` names none.
        tracking: the URI of a tracking server.
        into: an empty folder.

    Raises:
        BadInput: there is no such model.
    """
    registered = "://" not in name and not name.startswith("runs:/")
    if tracking is not None:
        return _fetched(
            name, named("tracking", tracking, TRACKING_VARIABLE), home, into, registered
        )
    if registered and not (home / "mlflow.db").is_file():
        raise BadInput(
            f"model={name} is no folder, and home={home} has no registry (mlflow.db); name "
            "the folder of a model, or the home where it was exported"
        )
    with database_to_read(home) as folder:
        return _fetched(name, default_uri(folder), folder, into, registered)


def _fetched(name: str, uri: str, home: Path, into: Path, registered: bool) -> Path:
    """A model's folder, as `fetch` gives it; `registered`: by its name in the registry."""
    client = _client(uri, home)
    try:
        from mlflow.artifacts import download_artifacts

        address = _files_of(client, name.removeprefix("models:/")) if registered else name
        local = Path(local_path(address))
        if local.is_dir():  # on this machine: read where it lies
            return local
        return Path(download_artifacts(artifact_uri=address, dst_path=str(into), tracking_uri=uri))
    except failures() as error:
        try:
            names = [model.name for model in client.search_registered_models()]
        except failures():  # the first error says more
            names = []
        word = name.partition("@")[0].partition("/")[0]
        there = f"; its models are {', '.join(names)}" if names else ""
        raise BadInput(
            f"model={name} is not at {shown(uri)}{near(word, names)}: {one_line(error)}{there}"
        ) from error


def _files_of(client: MlflowClient, name: str) -> str:
    """Where a registered model's files are: of NAME, NAME@ALIAS, NAME/VERSION, or a model's id."""
    base, at, alias = name.partition("@")
    base, slash, number = base.partition("/")
    if not at and not slash and name.startswith("m-"):
        return str(client.get_logged_model(name).artifact_location)
    if slash:
        version = client.get_model_version(base, number)
    else:
        version = client.get_model_version_by_alias(base, alias or "champion")
    return str(client.get_model_version_download_uri(base, version.version))
