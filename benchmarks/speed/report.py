"""What run.py leaves: results.json, a table, and bars."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

from absl import logging

PEAK = "peak"
_PACKAGES = ("tensorflow", "keras", "keras-hub", "torch", "transformers", "onnxruntime")


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
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
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
        widths = {"real tokens/s": 14, "from": 9, "to": 9, "with padding": 14, "of peak": 9, "MiB": 8}
        heads = "".join(f"{head:>{width}}" for head, width in {**widths, "kbert x": 9}.items())
        lines.append(" " * 26 + heads)
        rates = {name: row["real_tokens_per_second"] for name, row in rows.items() if name != PEAK}
        ours = max((rate for name, rate in rates.items() if name.startswith("kbert")), default=None)
        ranked = sorted(rates, key=lambda name: -rates[name])
        for name in ranked:
            row = rows[name]
            ratio = f"{ours / row['real_tokens_per_second']:.2f}" if ours else ""
            lines.append(
                f"{name:26}{row['real_tokens_per_second']:14,.0f}{row['slowest']:9,.0f}{row['fastest']:9,.0f}"
                f"{row['padded_tokens_per_second']:14,.0f}{row['share_of_peak']:9.0%}{row['peak_mib']:8,.0f}{ratio:>9}"
            )
    return "\n".join(lines).strip("\n")


def write(folder: str, results: dict):
    """Writes the three files."""
    place = pathlib.Path(folder)
    (place / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (place / "table.txt").write_text(table(results["cases"]) + "\n", encoding="utf-8")
    _draw(place / "speed.png", results["cases"])


def _draw(path, found):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        logging.info("no %s: matplotlib is missing; pip install 'kbert[plots]'", path.name)
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
        colors = ["tab:blue" if name.startswith("kbert") else "tab:gray" for name in names]
        axes.barh(names, rates, xerr=spread, color=colors)
        axes.set_title(case, loc="left")
        axes.set_xlabel("real tokens/s")
    figure.savefig(path, dpi=100)
