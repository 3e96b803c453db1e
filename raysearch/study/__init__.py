"""From a space file and the words of a command line to one validated, frozen `Study`.

    study = load_study(["space=rdlr", "corpus=emodb", "corpus.root=/data/emodb", "trials=30"],
                       cwd=Path.cwd())

A new key is a field in `schema`; `reading` and `checks` tell all that is wrong in one `BadInput`.
"""

from raysearch.study.division_keys import ProtocolConfig, ValidationConfig
from raysearch.study.reading import dump, load_study
from raysearch.study.schema import StoppingConfig, Study
from raysearch.study.space_file import spaces
from raysearch.study.tracking_keys import TrackingConfig

__all__ = [
    "ProtocolConfig",
    "StoppingConfig",
    "Study",
    "TrackingConfig",
    "ValidationConfig",
    "dump",
    "load_study",
    "spaces",
]
