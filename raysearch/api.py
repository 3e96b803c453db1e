"""raysearch from Python: in a script, in a notebook, in a thread.

It reads no command line, draws no window, and installs no signal handler. What `tune` does is what
the command does: called again it goes on, and Ctrl-C ends it cleanly with nothing lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from raysearch.data.section import Tree
from raysearch.errors import BadInput, StudyFailed, near
from raysearch.report import Report, build, to_markdown, to_text
from raysearch.study.folder import StudyFolder, store_in, study_folder
from raysearch.study.record import Record

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from raysearch.report.plots import Plot


def tune(space: str | Path, **words: object) -> Result:
    """Run a study, or what is still missing of it, and give back its results.

    Args:
        space: a space by name or path.
        words: what the command takes as key=value. A dot is written as two underscores, or what
            belongs together is given as a mapping: `corpus__root=DIR` and
            `corpus={"name": "emodb", "root": DIR}`, `params={"gamma": 0.5}`.

    Raises:
        BadInput: with everything that is wrong with the words or the corpus.
        StudyFailed: no trial is complete.
        KeyboardInterrupt: Ctrl-C; what was finished is record, and the same call goes on.
    """
    from raysearch.study import load_study
    from raysearch.tuning.progress import Progress
    from raysearch.tuning.run import tune as run

    study = load_study(_as_words({"space": str(space), **words}), cwd=Path.cwd())
    with Progress(quiet=study.quiet) as progress:
        outcome = run(study, progress)
    if outcome.interrupted:
        raise KeyboardInterrupt("interrupted; nothing is lost, and the same call goes on")
    if outcome.failure:
        raise StudyFailed(outcome.failure)
    return Result(outcome.folder.path)


def load(study: str | None = None, home: str | Path = "runs") -> Result:
    """The results of a study that was run, or is running, in this process or any other.

    Args:
        study: its name, or the beginning of it; None is the latest.
        home: the folder that holds it.

    Raises:
        BadInput: there is no such study.
    """
    return Result(study_folder(Path(home), study).path)


@dataclass(frozen=True)
class Picture:
    """A picture of a report: a notebook shows it, `save` writes it, `figure` gives matplotlib's."""

    plot: Plot
    """its numbers"""

    def figure(self) -> Figure:
        """The picture as a figure of matplotlib, to be changed."""
        from raysearch.report.figures import draw

        return draw(self.plot)

    def save(self, path: str | Path) -> None:
        """Write it as PNG or SVG, by the path's suffix."""
        from raysearch.report import figures

        kinds = {".png": figures.png, ".svg": figures.svg}
        suffix = Path(path).suffix.lower()
        if suffix not in kinds:
            raise BadInput(f"{path} must end in {' or '.join(kinds)}")
        Path(path).write_bytes(kinds[suffix](self.plot))

    def _repr_png_(self) -> bytes:
        from raysearch.report.figures import png

        return png(self.plot)


@dataclass(frozen=True)
class Result:
    """The results of a study, read from its folder at their first use."""

    folder: Path

    @property
    def study(self) -> str:
        """The study's name."""
        return self.report.study

    @cached_property
    def report(self) -> Report:
        """Its sentences and tables; `str(result)` is the text that the command prints."""
        from raysearch.tuning.outcomes import kept_predictions

        return build(self._record, predictions=kept_predictions(StudyFolder(self.folder)))

    @cached_property
    def _record(self) -> Record:
        return Record.read(StudyFolder(self.folder))

    @property
    def best(self) -> Tree:
        """The searched parameters of the selected setting; {} while no trial is complete."""
        return dict(self.report.best)

    @property
    def estimates(self) -> pd.DataFrame:
        """One row an estimate (index: honest, nested, selected, oracle), scores as fractions.

        After outer searches also outer, beside honest.

        Columns: for ua and wa each the mean, `_low` and `_high` of its 95 % interval, and `_sd`
        over what folds hold out. Without rows while no trial is complete.
        """
        import pandas as pd

        estimates = self.report.estimates
        rows: dict[str, dict[str, float | None]] = {}
        if estimates is None:
            return pd.DataFrame.from_dict(rows, orient="index")
        for name in estimates.kinds:
            rows[name] = {
                key: value
                for metric, one in estimates.of(name).items()
                for key, value in (
                    (metric, one.mean),
                    (f"{metric}_low", one.low),
                    (f"{metric}_high", one.high),
                    (f"{metric}_sd", one.sd),
                )
            }
        return pd.DataFrame.from_dict(rows, orient="index")

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial (index: its number).

        Columns: state, reason, value (what it was ranked by), folds (how many are finished), its
        searched parameters as `params.NAME`, and the means of its finished folds' scores.
        """
        import pandas as pd

        rows = []
        for trial in self._record.trials:
            folds = [row.scores for row in self._record.rows_of(trial.number)]
            names = sorted(set.intersection(*map(set, folds))) if folds else []
            rows.append(
                {
                    "trial": trial.number,
                    "state": trial.state,
                    "reason": trial.reason,
                    "value": trial.value,
                    "folds": len(folds),
                    **{f"params.{name}": value for name, value in trial.params.items()},
                    **{name: sum(one[name] for one in folds) / len(folds) for name in names},
                }
            )
        return pd.DataFrame(rows, columns=None if rows else ["trial"]).set_index("trial")

    @property
    def folds(self) -> pd.DataFrame:
        """One row a finished fold of a trial: trial, fold, its scores as fractions, seconds."""
        import pandas as pd

        rows = [
            {"trial": row.trial, "fold": row.fold, **row.scores, "seconds": row.seconds}
            for row in self._record.fold_rows
        ]
        return pd.DataFrame(rows, columns=None if rows else ["trial", "fold", "seconds"])

    @property
    def layer_weights(self) -> pd.DataFrame:
        """One row a fold and layer of the selected trial: fold, layer, share.

        Raises:
            BadInput: no trial is complete, or its method sums no layers of an encoder.
        """
        from raysearch.report.sections.layer_weights import layer_weights

        number, folder = self.report.best_trial, StudyFolder(self.folder)
        frame = None
        if number is not None:
            frame = layer_weights(self._record, number, store_in(folder))
        if frame is None:
            raise BadInput(
                f"study {self.study} has no weights of layers: they are those of method=probe with "
                "two layers or more, once a trial is complete"
            )
        return frame

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a test clip of a fold: what it is, and what each estimate's choice predicted.

        Columns as in `raysearch.tuning.outcomes.predictions`. They are read from the study's
        folder, or, for a study that goes on, from its store and its corpus.

        Raises:
            BadInput: no trial is complete, or the corpus is not there.
        """
        from raysearch.tuning.outcomes import predictions

        return predictions(StudyFolder(self.folder))

    @property
    def plots(self) -> dict[str, Picture]:
        """Every picture of the report, by its name."""
        return {
            plot.name: Picture(plot) for section in self.report.sections for plot in section.plots
        }

    def plot(self, name: str) -> Picture:
        """One of `plots`.

        Raises:
            BadInput: the report has no picture of this name.
        """
        plots = self.plots
        if name not in plots:
            raise BadInput(
                f"there is no picture {name!r}{near(name, plots)}; those of {self.study} are "
                f"{', '.join(plots) or 'none yet'}"
            )
        return plots[name]

    def plot_estimates(self) -> Picture:
        """The estimates with their intervals."""
        return self.plot("estimates")

    def plot_curve(self, parameter: str) -> Picture:
        """Test scores against a searched number that has three values or more."""
        return self.plot(f"curve_{parameter}")

    def plot_heatmap(self) -> Picture:
        """Test scores of every setting (rows) on every fold (columns)."""
        return self.plot("folds_by_setting")

    def export(self, **how: Any) -> str:
        """Make a model of the study.

        Args:
            how: as for `raysearch.models.export.export`.

        Returns:
            The model's name or folder, as `predict model=` takes it.
        """
        from raysearch.models.export import export

        return export(self.folder, **how).place

    def __str__(self) -> str:
        return to_text(self.report)

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return to_markdown(self.report)


def _as_words(keywords: Mapping[str, object]) -> list[str]:
    """Keywords as the words of a command line."""
    words = []
    for name, value in keywords.items():
        key = name.replace("__", ".")
        if isinstance(value, Mapping):
            words += [f"{key}.{inner}={_yaml(item)}" for inner, item in value.items()]
        else:
            words.append(f"{key}={_yaml(value)}")
    return words


def _yaml(value: object) -> str:
    """A value on one line of YAML, as a word holds it."""
    plain = yaml.safe_dump(_plain(value), default_flow_style=True, width=float("inf"))
    return plain.removesuffix("\n").removesuffix("\n...")


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value
