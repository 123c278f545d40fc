"""One candidate for a person: where it came from, and every number with what made it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from discovery.export import best_structure
from discovery.follow_up_view import print_follow_up


def describe(record: dict[str, Any], console: Console) -> None:
    """Print the lineage of one candidate.

    Args:
        record: As from `discovery.export.full_record`.
        console: Where to write.
    """
    console.print(f"[bold]{record['id']}[/bold]  {record.get('formula') or '(no crystal)'}")
    console.print(_origin(record), soft_wrap=True, highlight=False, markup=False)
    if record.get("rejection"):
        rejection = record["rejection"]
        console.print(
            f"rejected: {rejection['reason']} {rejection.get('detail') or ''}",
            markup=False,
            soft_wrap=True,
        )
    if record.get("error"):
        console.print(f"failed: {record['error']}", soft_wrap=True, markup=False)
    _print_structure(record, console)
    console.print(_numbers(record))
    _print_hull(record, console)
    print_follow_up(record.get("follow_up"), console)
    console.print(_history(record))


def _origin(record: dict[str, Any]) -> str:
    codes = record["codes"]
    return (
        f"{record['state']}; proposed by {record['proposer']} in episode {record['episode']}, "
        f"generation {record['generation']}, from base crystal {record['base_id']}\n"
        f"generator {record['generator_version']}; codes: species {codes['species']}, crystal "
        f"{codes['crystal']}, local {codes['local']}"
    )


def _print_structure(record: dict[str, Any], console: Console) -> None:
    from db.crystals import record_to_structure

    crystal = best_structure(record)
    if crystal is None:
        return
    structure = record_to_structure(crystal)
    a, b, c = structure.lattice.abc
    alpha, beta, gamma = structure.lattice.angles
    kind = "relaxed" if crystal is not record.get("structure") else "decoded"
    console.print(
        f"{kind}: a {a:.3f} b {b:.3f} c {c:.3f} Å, α {alpha:.1f} β {beta:.1f} γ {gamma:.1f}°, "
        f"{structure.volume:.2f} Å³",
        highlight=False,
    )
    table = Table(box=None, pad_edge=False)
    for column in ("", "x", "y", "z"):
        table.add_column(column, justify="right")
    for site in structure:
        table.add_row(site.specie.symbol, *(f"{value:.4f}" for value in site.frac_coords))
    console.print(table)


def _out_of_domain(prediction: dict[str, Any]) -> str:
    """Name the kinds of reasons; records from before there were any have none."""
    kinds = [reason.partition(":")[0] for reason in prediction.get("out_of_domain", [])]
    return "out of domain" + (f" ({', '.join(kinds)})" if kinds else "")


def _numbers(record: dict[str, Any]) -> Table:
    table = Table(title="numbers", title_justify="left", box=None, pad_edge=False)
    for column in ("property", "value", "unit", "model", "version", "level", "on", "note"):
        table.add_column(column, justify="right" if column == "value" else "left", no_wrap=True)
    for one in record.get("predictions", []):
        spread = "" if one.get("std") is None else f" ± {one['std']:.3f}"
        table.add_row(
            one["property"],
            f"{one['value']:.4f}{spread}",
            one["unit"],
            one["model"],
            one["version"],
            one["level"],
            one["on"],
            "" if one["in_domain"] else _out_of_domain(one),
        )
    verification = record.get("verification") or {}
    for name, unit in (("formation_energy_per_atom", "eV/atom"), ("band_gap", "eV")):
        if verification.get(name) is not None:
            verdict = verification["targets"].get(name)
            table.add_row(
                name,
                f"{verification[name]:.4f}",
                unit,
                "DFT",
                "",
                verification["level"],
                "relaxed",
                {True: "hit", False: "miss", None: ""}[verdict],
            )
    return table


def _print_hull(record: dict[str, Any], console: Console) -> None:
    hull = record.get("hull")
    if not hull:
        return
    if "refused" in hull:
        text = f"no hull ({hull['refused']['reason']}): {hull['refused']['detail']}"
    else:
        products = " + ".join(
            f"{one['amount']:.3f} {one['formula']} ({one['id']})" for one in hull["decomposition"]
        )
        left = f", {hull['n_left_out']} large cells left out" if hull["n_left_out"] else ""
        text = (
            f"hull ({hull['level']}, {hull['reference']}): {hull['energy_above_hull']:+.4f} "
            f"eV/atom above {products} (shares of the atoms); {hull['n_phases']} competing phases, "
            f"{hull['n_relaxed']} relaxed{left}"
        )
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def _history(record: dict[str, Any]) -> Table:
    table = Table(title="history", title_justify="left", box=None, pad_edge=False)
    for column in ("time", "state", "agent", "code", "inputs"):
        table.add_column(column, no_wrap=column != "inputs", overflow="fold")
    for entry in record["history"]:
        inputs = (f"{key} {_short(value)}" for key, value in (entry.get("inputs") or {}).items())
        table.add_row(
            str(entry["at"])[:19],
            entry["to"],
            entry["agent"],
            entry["code_version"],
            ", ".join(inputs),
        )
    return table


def _short(value: Any) -> str:
    """Shorten hashes, which `--json` gives in full."""
    if isinstance(value, list):
        return " ".join(_short(item) for item in value)
    text = str(value)
    return text[:12] if len(text) == 64 else text
