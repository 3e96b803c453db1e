"""raysearch: which label strategy and loss really helps, on speakers the model never heard.

    import raysearch

    result = raysearch.tune(space="rdlr", corpus="emodb", corpus__root=DIR, trials=30)
    result.estimates  # pandas
    raysearch.load("rdlr-emodb-0b5c…", home="runs").best

`import raysearch` itself loads neither Ray nor MLflow nor torch.
"""

from typing import TYPE_CHECKING

__all__ = ["Result", "__version__", "load", "tune"]

if TYPE_CHECKING:
    __version__: str
    from raysearch.api import Result, load, tune
else:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'raysearch' has no attribute {name!r}")
        if name == "__version__":
            from raysearch.study.software import version

            return version()
        from raysearch import api

        return getattr(api, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
