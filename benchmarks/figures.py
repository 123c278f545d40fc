"""The figures of docs/generator.md, drawn from the documents of `discovery evaluate`.

    discovery evaluate latent --checkpoint mp20 --points points.json --json > latent.json
    discovery evaluate properties --checkpoint mp20 --json > properties.json
    python benchmarks/figures.py latent points.json docs/figures/mp20-codes.png
    python benchmarks/figures.py coverage properties.json docs/figures/mp20-coverage.svg
    python benchmarks/figures.py ablation ablation.jsonl docs/figures/ablation.svg

Nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SYSTEMS = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
)


def latent(source: Path, out: Path) -> None:
    """Draw the first two components of the global codes by energy and by crystal system."""
    points = json.loads(source.read_text())
    target = next(name for name in points[0] if name.startswith("formation_energy_per_atom@"))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), sharex=True, sharey=True)
    known = [p for p in points if p[target] is not None]
    x, y = [p["pc1"] for p in known], [p["pc2"] for p in known]
    shown = left.scatter(x, y, c=[p[target] for p in known], s=3, cmap="cividis")
    figure.colorbar(shown, ax=left, label="formation energy (eV/atom)")
    for number, system in enumerate(_SYSTEMS):
        own = [p for p in points if p["crystal_system"] == system]
        colour = pyplot.get_cmap("viridis")(number / (len(_SYSTEMS) - 1))
        place = [p["pc1"] for p in own], [p["pc2"] for p in own]
        right.scatter(*place, s=3, color=colour, label=system)
    right.legend(markerscale=4, fontsize=8, frameon=False)
    for axes in (left, right):
        axes.set_xlabel("first component")
    left.set_ylabel("second component")
    _save(figure, out)


def coverage(source: Path, out: Path) -> None:
    """Draw how many truths lie inside the head's intervals against how many should."""
    report = json.loads(source.read_text())
    figure, axes = pyplot.subplots(figsize=(4.4, 4.2))
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for marker, (name, figures) in zip("osD^", report["targets"].items()):
        nominal, found = _intervals(figures)
        axes.plot(nominal, found, marker=marker, label=name)
    axes.set_xlabel("nominal coverage")
    axes.set_ylabel("share of the test crystals inside")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, out)


def _intervals(figures: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return nominal and found coverages of one target."""
    nominal = [0.5, 0.8, 0.95]
    return nominal, [figures[f"interval_{share:.0%}".rstrip("%")] for share in nominal]


def ablation(source: Path, out: Path) -> None:
    """Draw what each variant loses."""
    runs = [json.loads(line) for line in source.read_text().splitlines()]
    figure, panels = pyplot.subplots(1, 3, figsize=(11, 3.8), sharey=True)
    names = [f"{r['what']}" + (f" (seed {r['seed']})" if r["seed"] else "") for r in runs]
    columns = (("match_rate", "match rate"), ("rms", "RMS"), ("distinct_compositions", "of 64"))
    axes: Axes
    for axes, (key, label) in zip(panels, columns):
        axes.barh(names, [r[key] or 0 for r in runs], color="#4878a8")
        axes.set_xlabel(label)
    panels[0].invert_yaxis()
    _save(figure, out)


def _save(figure: Any, out: Path) -> None:
    """Write a figure; SVG without a date, so equal figures are equal files."""
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(out, dpi=130, metadata={"Date": None} if out.suffix == ".svg" else None)
    print(out)


def main() -> None:
    """Run from the command line."""
    kinds = {"latent": latent, "coverage": coverage, "ablation": ablation}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=sorted(kinds))
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    kinds[options.kind](options.source, options.out)


if __name__ == "__main__":
    main()
