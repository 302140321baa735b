"""Tables as pandas holds them, where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas


def data_frame(columns: Mapping[str, list[Any]]) -> pandas.DataFrame:
    """Return a table as a data frame of pandas, numbers not rounded; undefined values are NaN.

    Raises
    ------
    ImportError
        If pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "to_pandas needs pandas: pip install pandas; columns() and write_csv do without"
        ) from error
    return pandas.DataFrame(dict(columns))
