"""What run.py leaves: results.json, a table, and bars."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

from absl import logging

from kbert.whole_files import write_whole
from speed.limits import PEAK

_PACKAGES = ("tensorflow", "keras", "keras-hub", "jax", "torch", "transformers", "onnxruntime")


def machine() -> dict:
    """Where and with what it was measured."""
    cpu = pathlib.Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.is_file() else []
    known = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
    wanted = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    flags = known.get("flags", "").split()
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),  # `UTC` came in Python 3.11.
        "processor": known.get("model name", platform.processor()).strip(),
        "cores": os.cpu_count(),
        "instructions": [name for name in wanted if name in flags],
        "versions": versions,
    }


def table(found: dict) -> str:
    """Case by case, the candidates by their speed; last, how many times as fast the best of kbert is."""
    lines = []
    for case, rows in found.items():
        peak = ", ".join(f"{value:.0f} GFLOP/s in {name[:-7]}" for name, value in rows[PEAK].items())
        lines.append(f"\n{case} (matrix products: {peak})")
        lines.append(" " * 26 + "".join(f"{head:>{width}}" for head, (width, _) in _COLUMNS.items()))
        rates = {name: row["real_tokens_per_second"] for name, row in rows.items() if name != PEAK}
        ours = max((rate for name, rate in rates.items() if is_kbert(name)), default=0)
        for name in sorted(rates, key=lambda name: -rates[name]):
            row = {**rows[name], "ratio": ours / rates[name]}
            lines.append(f"{name:26}" + "".join(_cell(row, *column) for column in _COLUMNS.values()))
    return "\n".join(lines).strip("\n")


def is_kbert(name: str) -> bool:
    """Whether a candidate is this package."""
    return name.startswith(("kbert", "SavedModel"))


#: Head -> width, and key and format of the number; cases lack some.
_COLUMNS = {
    "real tokens/s": (14, ("real_tokens_per_second", ",.0f")),
    "from": (9, ("slowest", ",.0f")),
    "to": (9, ("fastest", ",.0f")),
    "with padding": (14, ("padded_tokens_per_second", ",.0f")),
    "ms": (9, ("milliseconds", ",.2f")),
    "ms 95 %": (9, ("milliseconds_95", ",.2f")),
    "of peak": (9, ("share_of_peak", ".0%")),
    "MiB": (8, ("peak_mib", ",.0f")),
    "kbert x": (9, ("ratio", ".2f")),
}


def _cell(row, width, key_and_format):
    key, form = key_and_format
    return f"{format(row[key], form) if key in row else '':>{width}}"


def add(folder: str, case: str, rows: dict, measured: dict):
    """Puts a case beside those that are in the folder already, and writes the three files.

    Args:
        folder: Of the results.
        case: Its name.
        rows: Its results, in the place of earlier ones.
        measured: Where and how: `machine()`, and what else the results depend on.
    """
    place = pathlib.Path(folder)
    path, results = place / "results.json", {"cases": {}, "measured": {}}
    if path.exists():
        results = json.loads(path.read_text(encoding="utf-8"))
        # Until now one machine was told for all cases.
        results.setdefault("measured", dict.fromkeys(results["cases"], results.pop("machine", None)))
    results["cases"][case], results["measured"][case] = rows, measured
    write_whole(path, json.dumps(results, indent=1) + "\n")
    write_whole(place / "table.txt", table(results["cases"]) + "\n")
    _draw(place / "speed.png", results["cases"])


def _draw(path, found):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("no %s: matplotlib is missing; pip install '.[plots]' in the source folder", path.name)
        return
    figure = Figure(
        figsize=(8, 0.6 + sum(0.5 + 0.25 * len(rows) for rows in found.values())), layout="constrained"
    )
    heights = [len(rows) + 1 for rows in found.values()]
    panels = figure.subplots(len(found), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (case, rows) in zip(panels, found.items(), strict=True):
        names = [name for name in rows if name != PEAK][::-1]
        rates = [rows[name]["real_tokens_per_second"] for name in names]
        spread = [
            [rate - rows[name]["slowest"] for name, rate in zip(names, rates, strict=True)],
            [rows[name]["fastest"] - rate for name, rate in zip(names, rates, strict=True)],
        ]
        colors = ["tab:blue" if is_kbert(name) else "tab:gray" for name in names]
        axes.barh(names, rates, xerr=spread, color=colors)
        axes.set_title(case, loc="left")
        axes.set_xlabel("real tokens/s")
    figure.savefig(path, dpi=100)
