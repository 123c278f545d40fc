"""Trains the project's own small DPA-3 model, with which the DeePMD path is tested.

It labels known crystals, rattled and strained, with CHGNet, trains a two-layer DPA-3 with
`dp --pt train` through deepmd-kit and writes the weights, a card and golden values. The model
knows eleven elements and is marked as a test model: campaigns refuse it.

Usage: python tools/train_openlam_test_model.py label|train|finish WORK [--out FOLDER]
Needs DISCOVERY_DATA and deepmd-kit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Structure

from agents.geometry import shortest_distance
from agents.paths import data_path
from agents.relax.gate import CRYSTALS, measure
from agents.relax.openlam import OpenLAMPotential
from agents.relax.openlam_weights import TEST_MODEL, sha256
from agents.relax.potential import OPENLAM_TEST, Potential, load_potential
from agents.tables import parse_structure, read_rows
from db.crystals import record_to_structure

SETTINGS = Path(__file__).with_name("openlam_test_model.json")
ELEMENTS = ("N", "O", "Na", "Mg", "Al", "Cl", "Ti", "Ga", "As", "Sr", "La")
SEED = 20261121
#: Of each crystal of the gate, and of each further crystal of the training split of MP-20.
GATE_FRAMES, FURTHER_FRAMES = 48, 8
MAX_FURTHER_ATOMS = 6
#: Frames with larger forces (eV/Å) teach a small model nothing.
MAX_FORCE = 15.0
MIN_DISTANCE = 0.9
VALIDATION_SHARE = 0.05


def crystals() -> Iterator[tuple[Structure, int]]:
    """Yield crystals with the number of frames to make of each."""
    gate = json.loads(CRYSTALS.read_text())
    for record in (*gate["compounds"], *gate["elements"].values()):
        yield record_to_structure(record["structure"]), GATE_FRAMES
    for row in read_rows(data_path("mp20_train.csv.gz")):
        if int(row["natoms"]) <= MAX_FURTHER_ATOMS:
            structure = parse_structure(row["structure"])
            if {site.specie.symbol for site in structure} <= set(ELEMENTS):
                yield structure, FURTHER_FRAMES


def distorted(structure: Structure, generator: np.random.Generator) -> Structure:
    """Return the crystal strained, scaled and rattled at random."""
    strain = generator.normal(0.0, 0.03, (3, 3))
    scale = generator.uniform(0.85, 1.2) ** (1 / 3)
    lattice = structure.lattice.matrix @ (scale * (np.eye(3) + (strain + strain.T) / 2))
    strained = Structure(lattice, structure.species, structure.frac_coords)
    shift = generator.normal(0.0, generator.choice([0.02, 0.06, 0.12]), (len(structure), 3))
    return Structure(
        strained.lattice, strained.species, strained.cart_coords + shift, coords_are_cartesian=True
    )


def label(work: Path, potential: Potential) -> int:
    """Write training and validation frames in DeePMD's mixed-type format, one folder a size.

    Returns:
        The number of frames.
    """
    generator = np.random.default_rng(SEED)
    frames: list[Structure] = []
    for structure, count in crystals():
        frames.append(structure)
        made = [distorted(structure, generator) for _ in range(count)]
        frames += [frame for frame in made if shortest_distance(frame) > MIN_DISTANCE]
    groups: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for structure, result in zip(frames, potential.evaluate(frames)):
        if not result.finite or result.max_force > MAX_FORCE:
            continue
        split = "validation" if generator.random() < VALIDATION_SHARE else "training"
        groups[split, len(structure)].append(
            {
                "coord": structure.cart_coords.ravel(),
                "box": structure.lattice.matrix.ravel(),
                "energy": result.energy,
                "force": result.forces.ravel(),
                # DeePMD's virial: minus the derivative of the energy with strain, eV
                "virial": -(result.stress * structure.volume).ravel(),
                "real_atom_types": [ELEMENTS.index(site.specie.symbol) for site in structure],
            }
        )
    for (split, size), records in groups.items():
        folder = work / split / f"{size:02d}"
        (folder / "set.000").mkdir(parents=True, exist_ok=True)
        (folder / "type.raw").write_text("0\n" * size)
        (folder / "type_map.raw").write_text("\n".join(ELEMENTS) + "\n")
        for name in records[0]:
            kind = np.int32 if name == "real_atom_types" else np.float64
            values = np.array([record[name] for record in records], dtype=kind)
            np.save(folder / "set.000" / f"{name}.npy", values)
    return sum(len(records) for records in groups.values())


def train(work: Path) -> None:
    """Train with `dp --pt train`, on one thread."""
    shutil.copy(SETTINGS, work / "input.json")
    environment = {
        **os.environ,
        "NUM_WORKERS": "0",
        "OMP_NUM_THREADS": "1",
        "DP_INTRA_OP_PARALLELISM_THREADS": "1",
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
    }
    dp = str(Path(sys.executable).parent / "dp")
    command = [dp, "--pt", "train", "input.json", "--skip-neighbor-stat"]
    subprocess.run(command, cwd=work, env=environment, check=True)


def finish(work: Path, out: Path) -> None:
    """Write the weights without the optimiser's state, and their card with golden values."""
    import torch

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = torch.load(work / "model.ckpt.pt", map_location="cpu", weights_only=True)
    torch.save({"model": checkpoint["model"]}, out / "model.pt")
    settings = json.loads(SETTINGS.read_text())
    card = {
        "name": "openlam-test",
        "test_model": True,
        "about": "A small DPA-3 with which the DeePMD path is tested. It knows eleven elements and "
        "a few crystals of each, imitates CHGNet and is no potential to discover crystals with: "
        "campaigns refuse it.",
        "sha256": sha256(out / "model.pt"),
        "elements": list(ELEMENTS),
        "data": {
            "crystals": "the sanity gate's crystals and elements, and those of MP-20's training "
            f"split with at most {MAX_FURTHER_ATOMS} atoms of these elements; rattled, strained "
            "and scaled",
            "frames": {split: frames(work / split) for split in ("training", "validation")},
            "labels": "energy, forces and virial by chgnet-0.3.0",
            "seed": SEED,
        },
        "training": {"deepmd-kit": version("deepmd-kit"), "settings": settings},
        "validation": validation_errors(out / "model.pt", work / "validation"),
        "golden_values": golden_values(out / "model.pt"),
    }
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    write_references(out)


def frames(folder: Path) -> int:
    """Return the number of labelled frames of a split."""
    return sum(len(np.load(path)) for path in folder.glob("*/set.000/energy.npy"))


def validation_errors(model: Path, folder: Path) -> dict[str, float]:
    """Return root mean square errors over the validation frames, by `dp`'s own evaluation."""
    from deepmd.infer.deep_pot import DeepPot

    network = DeepPot(str(model), no_jit=True)
    energy, force = [], []
    for system in sorted(folder.iterdir()):
        stored = {path.stem: np.load(path) for path in (system / "set.000").glob("*.npy")}
        types = stored["real_atom_types"]
        energies, forces, _ = network.eval(stored["coord"], stored["box"], types, mixed_type=True)[
            :3
        ]
        energy += list((energies[:, 0] - stored["energy"]) / types.shape[1])
        force += list((forces.reshape(len(types), -1) - stored["force"]).ravel())
    return {
        "energy_rmse_ev_per_atom": round(float(np.sqrt(np.mean(np.square(energy)))), 4),
        "force_rmse_ev_per_angstrom": round(float(np.sqrt(np.mean(np.square(force)))), 4),
    }


def golden_values(model: Path) -> dict[str, dict[str, float]]:
    """Return the model's own formation energies and pressures of the gate's compounds."""
    names = {
        "formation energy (eV/atom)": "formation_energy_per_atom",
        "pressure (GPa)": "pressure",
    }
    golden: dict[str, dict[str, float]] = defaultdict(dict)
    potential = OpenLAMPotential.load(str(model))
    potential.corrections = "mp2020"  # the labels': every compound has a known value
    potential.golden_values = None  # of weights that have a card already
    for check in measure(potential):
        if check.quantity in names:
            golden[check.crystal][names[check.quantity]] = round(check.value, 5)
    return dict(golden)


def write_references(out: Path) -> None:
    """Write the table of elemental references: single points of the gate's elements.

    So small a model has lower energies than those in distorted cells, so nothing is relaxed here.
    """
    potential = OpenLAMPotential.load(str(out / "model.pt"))
    crystals = json.loads(CRYSTALS.read_text())["elements"]
    table = {}
    for symbol in sorted(ELEMENTS):
        record = crystals[symbol]["structure"]
        size = len(record["species"])
        energy = potential.energies([record_to_structure(record)])[0] / size
        table[symbol] = {
            "source_id": crystals[symbol]["source_id"],
            "energy_per_atom": round(float(energy), 6),
            "structure": record,
            "n_atoms": size,
            "criterion": "single point",
        }
    level = f"{OPENLAM_TEST}-{potential.version}"
    header = {
        "potential": OPENLAM_TEST,
        "version": potential.version,
        "units": "eV/atom, Å",
        "criterion": "single point of the sanity gate's crystal of the element",
        "source": "Materials Project, CC BY 4.0 (doi 10.1063/1.4812323)",
    }
    for old in out.parent.glob(f"{OPENLAM_TEST}-*.json"):
        old.unlink()
    rows = ",\n".join(f"{json.dumps(e)}: {json.dumps(r)}" for e, r in table.items())
    text = f'{{"header": {json.dumps(header, indent=1)},\n"elements": {{\n{rows}\n}}}}\n'
    (out.parent / f"{level}.json").write_text(text)


def main() -> None:
    """Do one step of the work."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("step", choices=("label", "train", "finish"))
    parser.add_argument("work", type=Path, help="folder of frames and checkpoints")
    parser.add_argument(
        "--out",
        type=Path,
        default=TEST_MODEL,
        help="folder of weights and card; the references go beside it",
    )
    arguments = parser.parse_args()
    if arguments.step == "label":
        print(f"{label(arguments.work, load_potential('chgnet'))} frames in {arguments.work}")
    elif arguments.step == "train":
        train(arguments.work)
    else:
        finish(arguments.work, arguments.out)


if __name__ == "__main__":
    main()
