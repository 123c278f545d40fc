"""The figures of docs/search.md, drawn from the runs of `discovery evaluate search`.

    discovery evaluate search --dataset mp20 --methods donor,paper_ga,ours --runs mp20.jsonl
    python benchmarks/search_figures.py hits mp20.jsonl docs/figures/search-mp20.svg
    python benchmarks/search_figures.py generations mp20.jsonl docs/figures/ga-mp20.svg
    python benchmarks/search_figures.py relaxed mp20-relaxed.jsonl docs/figures/relaxed-mp20.svg

Nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot

from agents.compare.figures import hits_along

Run = dict[str, Any]
_EVERY = 10  # evaluations between two points of a curve


def read(sources: Sequence[Path]) -> dict[str, list[Run]]:
    """Return the runs of each method, in the order in which methods first appear."""
    runs: dict[str, list[Run]] = defaultdict(list)
    for source in sources:
        for line in source.read_text().splitlines():
            run = json.loads(line)
            runs[run["key"]["method"]].append(run)
    return runs


def hits(runs: dict[str, list[Run]], axes: Any) -> None:
    """Draw hits against evaluations: the mean, and the range of 80 % of the bases and seeds."""
    for method, own in runs.items():
        curves = [hits_along(run) for run in own]
        longest = max(map(len, curves))
        # a method that has nothing left keeps what it found
        found = np.array([c + [c[-1] if c else 0] * (longest - len(c)) for c in curves])
        steps = np.arange(_EVERY, longest + 1, _EVERY)
        found = found[:, steps - 1]
        (line,) = axes.plot(steps, found.mean(0), label=f"{method} ({len(own)} runs)")
        low, high = np.quantile(found, (0.1, 0.9), axis=0)
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    end = max(len(run["formulas"]) for own in runs.values() for run in own)
    axes.plot([0, end], [0, end], color="0.8", linewidth=0.8, zorder=0)
    axes.set_xlabel("evaluations")
    axes.set_ylabel("distinct SMACT-valid formulas, E_f < 0")
    axes.legend(frameon=False, fontsize=7)


def generations(runs: dict[str, list[Run]], axes: Any) -> None:
    """Draw the paper's Fig. 3f: formation energies of each generation of its genetic algorithm."""
    energies: dict[int, list[float]] = defaultdict(list)
    for run in runs["paper_ga"]:
        for number, members in enumerate(run["members"]):
            found = [run["formation_energies"][place] for place in members]
            energies[number] += [energy for energy in found if energy is not None]
    whole = [n for n in sorted(energies) if len(energies[n]) >= len(energies[0]) / 2]
    values = [energies[n] for n in whole]
    axes.boxplot(values, positions=whole, showfliers=False, medianprops={"color": "#4878a8"})
    upper = [float(np.quantile(v, 0.75)) for v in values]
    axes.plot(whole, upper, marker="o", markersize=3, color="#b04a4a", label="75th percentile")
    axes.set_xlabel("generation")
    axes.set_ylabel("formation energy (eV/atom)")
    axes.legend(frameon=False, fontsize=8)
    print("75th percentile:", " ".join(f"{value:.3f}" for value in upper))


def relaxed(runs: dict[str, list[Run]], axes: Any) -> None:
    """Draw new crystals near the hull against force calls, the evaluations included."""
    for method, own in runs.items():
        total = own[0]["key"]["force_calls"]
        steps = np.arange(0, total + 1, _EVERY)
        curves = np.array([_near_along(run, total)[steps] for run in own])
        (line,) = axes.plot(steps, curves.mean(0), label=f"{method} ({len(own)} runs)")
        low, high = np.quantile(curves, (0.1, 0.9), axis=0)
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set_xlabel("evaluations and force calls")
    axes.set_ylabel("new crystals within 0.1 eV/atom of the hull")
    axes.legend(frameon=False, fontsize=7)


def _near_along(run: Run, total: int) -> np.ndarray:
    """Return the crystals found up to each force call."""
    found = np.zeros(total + 1)
    spent = len(run["formulas"])
    for one in run["relaxed"]["crystals"]:
        spent += one["force_calls"]
        found[spent] += bool(one["near_hull"]) and one["known"] is None
    return found.cumsum()


def main() -> None:
    """Run from the command line."""
    kinds = {"hits": hits, "generations": generations, "relaxed": relaxed}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=sorted(kinds))
    parser.add_argument("sources", type=Path, nargs="+", help="files of --runs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", help="names joined by commas, in the order drawn")
    options = parser.parse_args()
    runs = read(options.sources)
    if options.methods:
        runs = {name: runs[name] for name in options.methods.split(",")}
    figure, axes = pyplot.subplots(figsize=(5.4, 4.0))
    kinds[options.kind](runs, axes)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    # without a date, equal figures are equal files
    matplotlib.rcParams["svg.hashsalt"] = "discovery"
    figure.savefig(options.out, metadata={"Date": None} if options.out.suffix == ".svg" else None)
    print(options.out)


if __name__ == "__main__":
    main()
