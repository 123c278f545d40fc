"""The follow-up of a hit for a person: each question, its answer, and what gave it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def follow_up_lines(record: Mapping[str, Any] | None) -> list[str]:
    """Write down what is known of a hit that is followed up.

    Args:
        record: ``follow_up`` of a candidate; None where there is none.
    """
    if not record:
        return []
    lines = _stability(record.get("stability"))
    for task, describe in (
        ("bands", _bands),
        ("spin_orbit", _spin_orbit),
        ("hybrid", _hybrid),
        ("hull", _hull),
    ):
        answer = record.get(task)
        if answer is not None:
            lines.append(_failure(task, answer) or describe(answer))
    for name, reason in (record.get("dft") or {}).get("refused", {}).items():
        lines.append(f"{name}: not asked, {reason}")
    if "gaps" in record:
        lines += _gaps(record["gaps"])
    elif "dft" in record:
        lines.append("DFT: not finished")
    return lines


def _failure(task: str, answer: Mapping[str, Any]) -> str | None:
    if "failed" in answer:
        return f"{task}: failed, {answer['failed']}"
    refused = answer.get("refused")
    if refused is None:
        return None
    detail = refused if isinstance(refused, str) else f"{refused['reason']}: {refused['detail']}"
    return f"{task}: refused, {detail}"


def _stability(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["stability: not asked yet"]
    if "minimum" not in found:
        return [f"stability: {found['verdict']}, {found.get('failed')}"]
    lines = [f"stability ({found['level']}): {found['verdict']}", _minimum(found)]
    phonons = found.get("phonons")
    if phonons is not None:
        lines.append(_phonons(phonons))
    return lines


def _minimum(found: Mapping[str, Any]) -> str:
    minimum = found["minimum"]
    if "failed" in minimum:
        return f"minimum: failed, {minimum['failed']}"
    verdict = {True: "yes", False: f"no ({minimum['reason']})", None: "undecided"}
    change, rms = minimum["energy_change"], minimum["rms"]
    came = "" if change is None else f", energy {1000 * change:+.1f} meV/atom"
    moved = "no match" if rms is None else f"rms {rms:.3f} Å"
    return (
        f"minimum: {verdict[minimum['is_minimum']]}; rattled by {found['settings']['rattle']:g} Å "
        f"(seed {minimum['seed']}) and relaxed{came}, {moved}"
    )


def _phonons(phonons: Mapping[str, Any]) -> str:
    if "failed" in phonons:
        return f"phonons: failed, {phonons['failed']}"
    lowest = phonons["lowest"]
    sizes = " and ".join(f"{one['displacement']:g}" for one in phonons["displacements"])
    noise = max(one["acoustic_noise"] for one in phonons["displacements"])
    repeats = "x".join(str(n) for n in phonons["supercell"])
    return (
        f"phonons: {phonons['verdict']}; lowest {lowest['frequency']:+.2f} THz at "
        f"{lowest['label'] or lowest['q']}; {repeats} cells, {phonons['n_atoms']} atoms, "
        f"displacements {sizes} Å, acoustic noise {noise:.2f} THz ({phonons['code']})"
    )


def _bands(answer: Mapping[str, Any]) -> str:
    if answer["is_metal"]:
        return f"bands ({answer['level']}): a metal on {answer['path']}"
    kind = "direct" if answer["direct"] else "indirect"
    return (
        f"bands ({answer['level']}): {kind} gap {answer['band_gap_path']:.3f} eV on "
        f"{answer['path']}, from {answer['top']['label']} to {answer['bottom']['label']}; smallest "
        f"direct {answer['direct_gap_path']:.3f} eV"
    )


def _spin_orbit(answer: Mapping[str, Any]) -> str:
    return (
        f"spin-orbit: gap {answer['band_gap_spin_orbit']:.3f} eV, {answer['shift']:+.3f} against "
        "the same mesh without"
    )


def _hybrid(answer: Mapping[str, Any]) -> str:
    kind = "direct" if answer["direct"] else "indirect"
    return (
        f"hybrid: {answer['functional']} gap {answer['band_gap_hybrid']:.3f} eV ({kind}), "
        f"{answer['shift']:+.3f} against PBE on the same {_size(answer['k_size'])} mesh"
    )


def _size(mesh: list[int]) -> str:
    return "x".join(str(n) for n in mesh)


def _hull(answer: Mapping[str, Any]) -> str:
    products = " + ".join(
        f"{one['amount']:.3f} {one['formula']} ({one['id']})" for one in answer["decomposition"]
    )
    return (
        f"hull ({answer['level']}, {answer['energies']} energies): "
        f"{answer['energy_above_hull']:+.4f} eV/atom above {products} (shares of the atoms); "
        f"{answer['n_phases']} phases, of {answer['competing']['n_considered']} in "
        f"{answer['competing']['reference']}"
    )


def _gaps(found: Mapping[str, Any]) -> list[str]:
    added = " + ".join(["DFT", *found["includes"]])
    inside = found["in_window"]
    words = {True: ", inside the window", False: ", outside the window"}
    verdict = words[inside["estimate"]] if inside else ""
    return [f"gap: {found['estimate']:.3f} eV estimated ({added}){verdict}", found["note"]]
