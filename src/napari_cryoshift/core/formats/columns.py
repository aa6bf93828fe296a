"""Columns of a list as numbers, or a sentence on the first cell that is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

_Floats = npt.NDArray[np.float64]
_Ints = npt.NDArray[np.int64]

_EMPTY = ("", "nan", "<na>")
_LARGEST_WHOLE = 2.0**53
"""Floats beyond it skip whole numbers."""


def numbers(table: pd.DataFrame, columns: list[str], path: Path) -> _Floats:
    """Return columns as an (n, k) array; empty cells are NaN.

    Raises
    ------
    ValueError
        If a cell holds text that is no number, with its row (counted from 1) and column.
    """
    values = np.empty((len(table), len(columns)))
    for index, column in enumerate(columns):
        cells = table[column]
        if pd.api.types.is_numeric_dtype(cells):
            values[:, index] = cells.to_numpy(dtype=float, na_value=np.nan)
            continue
        empty = cells.isna() | cells.astype(str).str.strip().str.lower().isin(_EMPTY)
        values[:, index] = pd.to_numeric(cells.mask(empty), errors="coerce")
        wrong = np.flatnonzero(np.isnan(values[:, index]) & ~empty)
        if len(wrong):
            raise ValueError(
                f"{path.name}: row {wrong[0] + 1} has {cells.iloc[wrong[0]]!r} in column "
                f"{column}, which is no number; correct or remove that row"
            )
    return values


def finite(table: pd.DataFrame, columns: list[str], path: Path) -> _Floats:
    """Return columns as an (n, k) array, such as positions, angles and shifts.

    Raises
    ------
    ValueError
        If a cell is empty, infinite or no number.
    """
    values = numbers(table, columns, path)
    missing = np.argwhere(~np.isfinite(values))
    if len(missing):
        row, column = missing[0]
        raise ValueError(
            f"{path.name}: row {row + 1} has no number in column {columns[column]}; correct or "
            "remove that row"
        )
    return values


def positive(table: pd.DataFrame, columns: list[str], path: Path) -> _Floats:
    """Return columns of lengths or sizes as an (n, k) array.

    Raises
    ------
    ValueError
        If a cell is empty or no positive number.
    """
    values = numbers(table, columns, path)
    wrong = np.argwhere(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"{path.name}: row {row + 1} has no positive number in column {columns[column]}; "
            "correct that row"
        )
    return values


def whole(values: _Floats, what: str, path: Path) -> _Ints:
    """Return whole numbers as such, or raise ValueError for the first that is none."""
    fits = np.isfinite(values) & (np.abs(values) < _LARGEST_WHOLE) & (values == np.round(values))
    wrong = np.flatnonzero(~fits)
    if len(wrong):
        raise ValueError(
            f"{path.name}: row {wrong[0] + 1} has the {what} {values[wrong[0]]:g}, which is no "
            "whole number; correct or remove that row"
        )
    return values.astype(np.int64)


def doubles(values: npt.NDArray[np.floating]) -> _Floats:
    """Return floats of a binary file as 64-bit ones; damaged ones stay NaN without a warning."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float64)


def ids(tags: _Ints) -> _Ints:
    """Return the tags if no two are the same, else count: joined lists repeat them."""
    unique = len(np.unique(tags)) == len(tags) and bool((tags >= 0).all())
    return tags if unique else np.arange(len(tags), dtype=np.int64)


def scores(values: _Floats) -> _Floats:
    """Return the scores; NaN in a list that has only 0, where nothing was scored."""
    return values if np.nan_to_num(values).any() else np.full(len(values), np.nan)
