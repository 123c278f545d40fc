"""``discovery generate``: crystals from a checkpoint's prior, as records and files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from discovery.campaign.config import ConfigError

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from model.generator import Generator
    from model.prior.code_prior import CodePrior
    from model.prior.conditions import Conditions


class GenerationError(ValueError):
    """Crystals cannot be generated or written as asked."""

    exit_code = 2


def read_conditions(
    *,
    targets: Sequence[str] = (),
    formula: str | None = None,
    z: int | None = None,
    chemsys: str | None = None,
    contains: str | None = None,
    without: str | None = None,
    n_atoms: str | None = None,
    windows: Sequence[str] = (),
) -> Conditions:
    """Read conditions as they are written on a command line.

    Args:
        targets: properties that the generator's head predicts, "property@level".
        formula: such as SrTiO3.
        z: formula units in the cell.
        chemsys: elements joined by "-", each of which must occur and no other.
        contains: elements joined by "-" or ",", each of which must occur.
        without: elements joined by "-" or ",", none of which may occur.
        n_atoms: "10", or "4:12".
        windows: "property:lowest:highest"; the level may be left out where only one is predicted.

    Raises:
        ConfigError: if a part cannot be read or the parts contradict each other.
    """
    from model.prior.conditions import Conditions

    try:
        return Conditions(
            must_contain=_symbols(contains),
            must_not_contain=_symbols(without),
            chemical_system=_symbols(chemsys) if chemsys is not None else None,
            formula=formula,
            formula_units=z,
            n_atoms=_atom_range(n_atoms),
            windows=dict(_window(text, targets) for text in windows),
        )
    except ValidationError as error:
        problems = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
        raise ConfigError(f"these conditions cannot be read: {problems}") from error


def generate(
    generator: Generator,
    n: int,
    *,
    seed: int,
    temperature: float = 1.0,
    conditions: Conditions | None = None,
    reject_overlaps: bool = False,
    max_draws: int | None = None,
) -> tuple[dict[str, Any], list[Structure | None]]:
    """Draw crystals and describe them.

    Args:
        generator: with a prior.
        n: how many crystals.
        seed: of all draws.
        temperature: scales those the prior was tuned to.
        conditions: what they must be.
        reject_overlaps: leave out crystals with atoms closer than 0.5 Å.
        max_draws: most draws where conditions reject some.

    Returns:
        A document (what was asked, versions, what was rejected, one record for each crystal), and
        the structures in the order of the records, None where a decoded cell is impossible.

    Raises:
        GenerationError: if the checkpoint has no prior.
        ImpossibleConditions: if nothing can meet the conditions.
    """
    from model.data.canonical import structure_from_arrays
    from model.prior.targeted import draw

    prior = prior_of(generator)
    draws = draw(
        generator,
        prior,
        n,
        seed=seed,
        temperature=temperature,
        conditions=conditions,
        reject_overlaps=reject_overlaps,
        max_draws=max_draws,
    )
    built = [structure_from_arrays(c.numbers, c.frac, c.cell) for c in draws.crystals]
    predicted = generator.head.predict(generator.features(draws.codes)) if draws.codes else {}
    records = []
    for i, (codes, (structure, error)) in enumerate(zip(draws.codes, built)):
        properties = {
            target: {"mean": float(mean[i]), "std": float(std[i])}
            for target, (mean, std) in predicted.items()
        }
        record = {"index": i, "log_likelihood": _finite(float(draws.log_likelihood[i]))}
        if structure is not None:
            record |= {
                "formula": structure.composition.reduced_formula,
                "n_atoms": len(structure),
                "structure": structure.as_dict(),
            }
        records.append({**record, "error": error, "predicted": properties, "codes": codes.record()})
    document = {
        "checkpoint": generator.name,
        "generator_version": generator.version,
        "prior_version": prior.version,
        "head_version": generator.head.version,
        "seed": seed,
        "temperature": temperature,
        "conditions": None if conditions is None else _described(conditions),
        "reject_overlaps": reject_overlaps,
        "asked": n,
        "drawn": draws.drawn,
        "found": len(records),
        "rejected": draws.rejected,
        "invalid": sum(structure is None for structure, _ in built),
        "crystals": records,
    }
    return document, [structure for structure, _ in built]


def prior_of(generator: Generator) -> CodePrior:
    """Return the generator's prior.

    Raises:
        GenerationError: if its checkpoint has none.
    """
    prior: CodePrior | None = getattr(generator, "prior", None)
    if prior is None:
        raise GenerationError(
            f"checkpoint {generator.name} has no prior over its codes: train it with a prior, or "
            "use a checkpoint that has one"
        )
    return prior


def write(document: dict[str, Any], structures: Sequence[Structure | None], out: Path) -> int:
    """Write generated crystals; impossible cells are left out of CIF and extxyz files.

    Args:
        document: of `generate`.
        structures: of `generate`.
        out: `NAME.json` for the whole document, `NAME.extxyz` for one file with all crystals, or
            a folder for one CIF file each.

    Returns:
        The number of crystals written.

    Raises:
        GenerationError: if the file ending is none of these.
    """
    valid = [(i, s) for i, s in enumerate(structures) if s is not None]
    if out.suffix == ".json":
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return len(structures)
    if out.suffix == ".extxyz":
        from ase.io import write as write_atoms
        from pymatgen.io.ase import AseAtomsAdaptor

        images = []
        for i, structure in valid:
            atoms = AseAtomsAdaptor.get_atoms(structure, msonable=False)
            atoms.calc = None
            atoms.info = {
                "index": i,
                "log_likelihood": document["crystals"][i]["log_likelihood"],
                "generator": document["generator_version"],
                "prior": document["prior_version"],
                "seed": document["seed"],
            }
            images.append(atoms)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atoms(out, images, format="extxyz")
        return len(images)
    check_output(out)
    out.mkdir(parents=True, exist_ok=True)
    for i, structure in valid:
        name = f"{i:05d}-{structure.composition.reduced_formula}.cif"
        structure.to(filename=str(out / name), fmt="cif")
    return len(valid)


def check_output(out: Path) -> None:
    """Refuse what `write` cannot write.

    Raises:
        GenerationError: if the file ending is neither .json nor .extxyz nor that of a folder.
    """
    if out.suffix not in ("", ".json", ".extxyz") and not out.is_dir():
        raise GenerationError(f"{out}: crystals are written to .json, .extxyz, or a folder of CIFs")


def _finite(value: float) -> float | None:
    """Return a number that JSON can hold, None for minus infinity."""
    return value if value > float("-inf") else None


def _described(conditions: Conditions) -> dict[str, Any]:
    """Return what was asked, as JSON values without what was left free."""
    plain = conditions.model_dump(mode="json", exclude_defaults=True)
    return {k: sorted(v) if k in _SETS else v for k, v in plain.items()}


_SETS = ("must_contain", "must_not_contain", "chemical_system")


def _symbols(text: str | None) -> frozenset[str]:
    """Read "Li-Fe-O" or "Li,Fe,O"."""
    parts = (text or "").replace(",", "-").split("-")
    return frozenset(part.strip() for part in parts if part.strip())


def _atom_range(text: str | None) -> int | tuple[int, int] | None:
    """Read "10" or "4:12"."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.split(":")]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 2:
        return numbers[0], numbers[1]
    raise ConfigError(f"{text!r} is no number of atoms: write 10, or 4:12")


def _window(text: str, targets: Sequence[str]) -> tuple[str, tuple[float, float]]:
    """Read "band_gap:0.5:2.5" or "band_gap@pbe-mp:0.5:2.5"."""
    parts = text.split(":")
    try:
        name, low, high = parts[0], float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        name, low, high = "", 0.0, 0.0
    if not name or len(parts) != 3:
        raise ConfigError(f"{text!r} is no property window: write band_gap:0.5:2.5")
    fitting = [t for t in targets if name in (t, t.partition("@")[0])]
    if len(fitting) != 1:
        raise ConfigError(
            f"{name!r} is {'none' if not fitting else 'several'} of the properties this "
            f"generator predicts: {', '.join(targets)}"
        )
    return fitting[0], (low, high)
