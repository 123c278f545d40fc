"""How well are numbers reproduced on another processor, in other batches, with more threads?

    python benchmarks/precision.py --n 200 --relax 40 --json precision.json

Crystals drawn from the priors of Perov-5 and MP-20 (seed 0, no overlapping atoms) are judged by
every model in processes of their own: as a campaign does it (one thread, batches of 64, the best
instructions of this processor), alone, with two threads, and with the instructions of AVX2 and SSE4
processors. The table holds the largest difference from the first, in the unit of the number; for
the codes that a crystal is encoded to, how many crystals get others. The limits of
`discovery.archive.precision` are made from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
SSE4 = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}
VARIANTS: dict[str, tuple[int, int, dict[str, str]]] = {
    "usual": (1, 64, {}),
    "alone": (1, 1, {}),
    "two threads": (2, 64, {}),
    "AVX2": (1, 64, {**AVX2, "ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "SSE4": (1, 16, {**SSE4, "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"}),
}
"""Name to threads, crystals in a batch, and variables of the environment."""
GENERATORS = ("perov5", "mp20")
RELAXED = "relaxed again, eV/atom"
"""Two relaxations may end in different minima, so that the largest difference says little."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="crystals of each generator")
    parser.add_argument("--relax", type=int, default=40, help="how many of these are relaxed")
    parser.add_argument("--json", type=Path, help="write the differences here")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        threads, batch, _ = VARIANTS[given.variant]
        given.out.write_text(json.dumps(answers(given.n, given.relax, threads, batch)))
        return
    found = compare(given.n, given.relax)
    names = list(VARIANTS)[1:]
    print(f"{'':56}" + "".join(f"{name:>13}" for name in names))
    for key in found[names[0]]:
        print(f"{key:56}" + "".join(f"{found[name][key]:13.1e}" for name in names))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


def compare(n: int, relaxed: int) -> dict[str, dict[str, float]]:
    """Return the largest difference of every number for each variant but the usual one."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (threads, _, variables) in VARIANTS.items():
            out = Path(folder) / "answers.json"
            command = [sys.executable, __file__, "--variant", name, "--out", str(out)]
            subprocess.run(
                [*command, "--n", str(n), "--relax", str(relaxed)],
                env={**os.environ, "OMP_NUM_THREADS": str(threads), **variables},
                check=True,
            )
            results[name] = json.loads(out.read_text())
    usual = results.pop("usual")
    return {name: differences(usual, found) for name, found in results.items()}


def differences(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> dict[str, float]:
    """Compare two variants number by number; refusals must be the same."""
    found = {}
    for key, values in one.items():
        pairs = list(zip(values, other[key], strict=True))
        if key.startswith(RELAXED):
            known = [(a, b) for a, b in pairs if a is not None and b is not None]
            apart = np.array([abs(a - b) for a, b in known])
            found[f"{key}, median"] = float(np.median(apart))
            found[f"{key}, share beyond 1 meV"] = float((apart > 1e-3).mean())
        elif any((a is None) != (b is None) for a, b in pairs):
            found[key] = float("inf")
        elif key.startswith("codes"):
            found[key] = float(sum(a != b for a, b in pairs))
        else:
            known = [(a, b) for a, b in pairs if a is not None]
            found[key] = max(float(np.abs(np.array(a) - np.array(b)).max()) for a, b in known)
    return found


def answers(n: int, relaxed: int, threads: int, batch: int) -> dict[str, list[Any]]:
    """Ask every model about every crystal, in this process."""
    import torch

    torch.set_num_threads(threads)
    from agents.screen.head import head_predictions
    from model.generator import Generator
    from model.prior.targeted import draw

    found: dict[str, list[Any]] = {}
    for name in GENERATORS:
        generator = Generator.load(name)
        assert generator.prior is not None
        drawn = draw(generator, generator.prior, n, seed=0, reject_overlaps=True).codes
        crystals = []
        for start in range(0, len(drawn), batch):
            codes = drawn[start : start + batch]
            for decoded in generator.decode(codes):
                crystals.append(decoded.structure)
            for predictions in head_predictions(generator, None, codes):
                for one in predictions:
                    key = f"head {one.property}@{one.level} ({name})"
                    found.setdefault(key, []).append(one.value)
        place = [
            None if s is None else [*s.cart_coords.ravel(), *s.lattice.matrix.ravel()]
            for s in crystals
        ]
        found[f"decoded positions and cell, Å ({name})"] = place
        sound = [structure for structure in crystals if structure is not None]
        for key, values in judged(sound, batch, relaxed, generator).items():
            found[f"{key} ({name})"] = values
    return found


def judged(structures: list[Any], batch: int, relaxed: int, generator: Any) -> dict[str, list[Any]]:
    """Ask potential and screens, and encode."""
    from agents.relax.batch import relaxations
    from agents.relax.potential import load_potential
    from agents.relax.settings import RelaxSettings
    from agents.screen.models import load_screen
    from agents.screen.screen import Refusal
    from model.codes import CrystalCodes

    found: dict[str, list[Any]] = {}
    potential = load_potential("chgnet")
    screens = [load_screen(name, batch=batch) for name in ("megnet", "alignn")]
    for start in range(0, len(structures), batch):
        part = structures[start : start + batch]
        for structure, result in zip(part, potential.evaluate(part)):
            found.setdefault("chgnet energy, eV/atom", []).append(result.energy / len(structure))
            found.setdefault("chgnet max_force, eV/Å", []).append(result.max_force)
        for screen in screens:
            for answer in screen.predict(part):
                for one in [] if isinstance(answer, Refusal) else answer:
                    found.setdefault(f"{one.model} {one.property}", []).append(one.value)
        for codes in generator.encode(part):
            text = codes.digest() if isinstance(codes, CrystalCodes) else codes.reason
            found.setdefault("codes, crystals with others", []).append(text)
    chosen = structures[:relaxed]
    energies: list[Any] = [None] * len(chosen)
    for start in range(0, len(chosen), batch):
        part = chosen[start : start + batch]
        for place, one in relaxations(part, potential, RelaxSettings()):
            if not isinstance(one, Exception) and one.converged:
                energies[start + place] = one.energy / len(part[place])
    found[RELAXED] = energies
    return found


if __name__ == "__main__":
    main()
