"""A DFT code for the chaos tests: ``python chaos_dft.py INPUT.json OUTPUT.json``.

Energy and gap are functions of the formula and the volume alone, and so are the same whoever
computes them. It waits for ``CHAOS_DFT_SECONDS`` beside a process in a session of its own, as those
of ``mpirun`` may be, and appends a line to ``CHAOS_DFT_LEDGER`` when it has an answer: that is what
it costs.
"""

import json
import os
import subprocess
import sys
import time

SECONDS = float(os.environ.get("CHAOS_DFT_SECONDS", "0.2"))


def volume(lattice):
    a, b, c = lattice
    cross = (b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0])
    return abs(sum(x * y for x, y in zip(a, cross)))


def weight(symbol):
    return sum((place + 1) * ord(letter) for place, letter in enumerate(symbol))


def compute(document):
    crystal = document["structure"]
    species = crystal["species"]
    weights = [weight(symbol) for symbol in species]
    mean = sum(weights) / len(weights)
    spread = sum(abs(one - mean) for one in weights) / len(weights)
    per_atom = round(volume(crystal["lattice"]) / len(species), 6)
    energy = -mean / 100 - spread / 50 + 0.001 * (per_atom - 15.0) ** 2
    gap = (sum(weights) % 40) / 10
    return {
        "energy_per_atom": energy,
        "structure": crystal,
        "n_atoms": len(species),
        "band_gap": gap,
        "is_metal": gap == 0,
        "direct": True,
        "gap_confirmed": gap > 0,
        "gap_consistent": True,
        "spin_polarised": False,
        "magnetic_moment": 0.0,
        "symmetry": {},
        "task": document["task"],
        "changes": document.get("changes") or {},
        "wall_seconds": SECONDS,
        "cpu_seconds": 0.0,
        "max_memory_mb": 1.0,
    }


def main(source, target):
    rank = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    time.sleep(SECONDS)
    rank.kill()
    rank.wait()
    with open(source) as stream:
        result = compute(json.load(stream))
    with open(target + ".partial", "w") as stream:
        json.dump({"result": result}, stream)
    os.replace(target + ".partial", target)
    if "CHAOS_DFT_LEDGER" in os.environ:
        with open(os.environ["CHAOS_DFT_LEDGER"], "a") as ledger:
            ledger.write(" ".join(result["structure"]["species"]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
