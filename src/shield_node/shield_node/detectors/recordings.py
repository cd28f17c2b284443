"""Readers of the published recordings that the detectors are judged on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shield_node.detectors.evaluation import Array, LabelledSeries

SKAB_TRAINING = 400  # rows at the start of each file, as its protocol says
TEP_FAULT_BEGINS = 160
_STAMP = len("2014-04-01 00:00:00")


def nab_series(folder: Path) -> Iterator[LabelledSeries]:
    """Every labelled series of the Numenta Anomaly Benchmark in `folder`."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    for name, windows in sorted(labels.items()):
        with (folder / name).open(newline="") as file:
            rows = list(csv.reader(file))[1:]
        stamps = [row[0][:_STAMP] for row in rows]
        edges = tuple((_first(stamps, begin[:_STAMP]), _last(stamps, end[:_STAMP])) for begin, end in windows)
        yield LabelledSeries(name, np.array([float(row[1]) for row in rows]), edges)


def _first(stamps: list[str], begin: str) -> int:
    return next(at for at, stamp in enumerate(stamps) if stamp >= begin)


def _last(stamps: list[str], end: str) -> int:
    return max(at for at, stamp in enumerate(stamps) if stamp <= end)


def skab_files(folder: Path) -> Iterator[tuple[str, Array, NDArray[np.bool_]]]:
    """Name, (n, 8) channels and (n,) labels of each file of a folder of the Skoltech Anomaly Benchmark."""
    for path in sorted(folder.glob("*.csv")):
        table = np.genfromtxt(path, delimiter=";", skip_header=1, usecols=range(1, 10))
        yield path.name, table[:, :8], table[:, 8] > 0


def tennessee_eastman(folder: Path) -> tuple[Array, Array, list[Array]]:
    """The training run, the held-out good run, and the runs with faults 1 to 8; each (n, 52)."""
    faults = [np.loadtxt(folder / f"d0{number}_te.dat") for number in range(1, 9)]
    return np.loadtxt(folder / "d00.dat").T, np.loadtxt(folder / "d00_te.dat"), faults
