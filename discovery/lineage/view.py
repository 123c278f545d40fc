"""One candidate for a person: where it comes from, and every number with what made it.

Written for a terminal of 80 columns; `discovery.lineage.tracing.trace` holds everything in full.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from discovery.export.candidates import best_structure
from discovery.lineage.follow_up import follow_up_lines
from discovery.lineage.known_crystals import lines
from discovery.lineage.tracing import purposes

LABEL = 13
"""Columns of what a line is about."""
WIDEST = 110

Record = Mapping[str, Any]


def describe(record: Record, console: Console) -> None:
    """Print a candidate.

    Args:
        record: As from `discovery.lineage.tracing.trace`; without its ``lineage`` what is known of
            the campaign is left out.
        console: Where to write; lines are as wide as it is, up to 110 columns.
    """
    width = min(console.width, WIDEST)
    state = record["state"]
    if (hit := (record.get("verification") or {}).get("hit")) is not None:
        state += ", a hit" if hit else ", a miss"
    title = f"{record['id']}  {record.get('formula') or '(no crystal)'}  {state}"
    console.print(Text(title, style="bold"), soft_wrap=True)
    for heading, section in sections(record).items():
        console.print(Text(f"\n{heading}", style="bold"))
        for line in section:
            for part in _wrapped(line, width):
                console.print(Text(part), soft_wrap=True)


def sections(record: Record) -> dict[str, list[str]]:
    """Write down what is known of a candidate, in parts.

    Args:
        record: As for `describe`.

    Returns:
        The lines of every part that has some, by its heading; `split_label` takes a line apart.
    """
    written = {
        "origin": _origin(record),
        "crystal": _crystal(record),
        "numbers": _numbers(record),
        "models": _models(record),
        "duplicates": _duplicates(record),
        "hull": _hull(record),
        "calculations": _calculations(record),
        "follow-up": follow_up_lines(record.get("follow_up")),
        "history": _history(record),
    }
    return {heading: found for heading, part in written.items() if (found := list(part))}


def split_label(line: str) -> tuple[str, str]:
    """Take a line of `sections` apart.

    Returns:
        What it is about, empty where it goes on from the line before or has no such word, and the
        text.

    >>> split_label("generator    perov5 372e8f85ca77")
    ('generator', 'perov5 372e8f85ca77')
    >>> split_label("2026-11-21, code 0.1.0")
    ('', '2026-11-21, code 0.1.0')
    """
    if _has_label(line):
        return line[:LABEL].strip(), line[LABEL:]
    return "", line


def _line(label: str, text: str) -> str:
    return f"{label:<{LABEL}}{text}"


def _has_label(line: str) -> bool:
    return line[LABEL - 1 : LABEL] in ("", " ") or line[0] == " "


def _wrapped(line: str, width: int) -> list[str]:
    """Break a line at spaces; what follows is indented below the text behind the label."""
    indent = LABEL if _has_label(line) else 2
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False) or [
        ""
    ]


def _origin(record: Record) -> Iterator[str]:
    lineage = record.get("lineage") or {}
    codes = record["codes"]
    if campaign := lineage.get("campaign"):
        started = campaign["resolved"].get("discovery", "?")
        python = campaign["resolved"].get("environment", {}).get("python")
        by = f"discovery {started}" + (f" on Python {python}" if python else "")
        yield _line("campaign", f"{campaign['name']}, seed {campaign['seed']}, {by}")
    yield _line("generator", f"{_generator_name(lineage)}{record['generator_version']}")
    yield _line("base", _base(record, lineage.get("base") or {}))
    proposer = lineage.get("proposer") or {}
    place = f"episode {record['episode']}, generation {record['generation']}"
    yield _line("proposer", f"{record['proposer']}, {place}")
    for generation in proposer.get("generations", [])[:1]:
        info = generation["info"]
        key = " ".join(map(str, info["spawn_key"]))
        yield _line(
            "",
            f"round {info['round'] + 1}, seed {generation['seed']}, spawn key {key}; "
            f"{info['asked']} asked, {info['new']} new",
        )
    if again := proposer.get("generations", [])[1:]:
        others = ", ".join(f"{one['proposer']} ({one['generation']})" for one in again)
        yield _line("", f"asked for again by {others}")
    settings = {k: v for k, v in (proposer.get("settings") or {}).items() if k != "kind"}
    if settings:
        yield _line("", ", ".join(f"{name} {_short(value)}" for name, value in settings.items()))
    for parent in lineage.get("parents", []):
        yield _line("parent", f"{parent['id']}  {parent['formula'] or '(no crystal)'}")
    tokens = f"species {codes['species']}, crystal {codes['crystal']}, local {codes['local']}"
    yield _line("codes", tokens)
    if record.get("rejection"):
        detail = record["rejection"].get("detail") or ""
        yield _line("rejected", f"{record['rejection']['reason']} {detail}")
    if record.get("error"):
        yield _line("failed", record["error"])


def _generator_name(lineage: Record) -> str:
    resolved = (lineage.get("campaign") or {}).get("resolved", {})
    return f"{resolved['generator']['name']} " if resolved else ""


def _base(record: Record, base: Record) -> str:
    words = [str(record["base_id"])]
    if "formula" in base:
        words.append(base["formula"])
    if "data_set" in base:
        source = [base["data_set"], base["role"], base["licence"], base["citation"]]
        words.append(f"({', '.join(part for part in source if part)})")
    if "changed" in base:
        words.append(f"; {_changed(base['changed'])}")
    if "unknown" in base:
        words.append(f"({base['unknown']})")
    return " ".join(words).replace(" ;", ";")


def _changed(changed: Record) -> str:
    parts = []
    if changed["species"]:
        parts.append("species " + ", ".join(str(place + 1) for place in changed["species"]))
    if changed["crystal"]:
        parts.append("the crystal token")
    if changed["local"]:
        parts.append("atoms " + ", ".join(str(place + 1) for place in changed["local"]))
    return "codes differ in " + " and ".join(parts) if parts else "the same codes"


def _crystal(record: Record) -> Iterator[str]:
    from db.crystals import record_to_structure

    crystal = best_structure(record)
    if crystal is None:
        return
    structure = record_to_structure(crystal)
    a, b, c = structure.lattice.abc
    alpha, beta, gamma = structure.lattice.angles
    kind = "relaxed" if crystal is not record.get("structure") else "decoded"
    yield _line(kind, f"a {a:.3f} b {b:.3f} c {c:.3f} Å, α {alpha:.1f} β {beta:.1f} γ {gamma:.1f}°")
    yield _line("", f"{structure.volume:.2f} Å³, {len(structure)} atoms")
    for site in structure:
        place = " ".join(f"{value:8.4f}" for value in site.frac_coords)
        yield _line("", f"{site.specie.symbol:<3}{place}")


def _numbers(record: Record) -> Iterator[str]:
    """Write a line for each number, those of one property together."""
    rows: dict[str, list[str]] = {}
    for one in record.get("predictions", []):
        spread = "" if one.get("std") is None else f" ± {one['std']:.3f}"
        level = "" if one["level"] == f"{one['model']}-{one['version']}" else f", {one['level']}"
        doubt = "" if one["in_domain"] else f"; {_out_of_domain(one)}"
        text = f"{one['value']:9.4f}{spread}  {one['model']} {one['version']}{level}, {one['on']}"
        rows.setdefault(f"{one['property']} ({one['unit']})", []).append(text + doubt)
    verification = record.get("verification") or {}
    for name, unit in (("formation_energy_per_atom", "eV/atom"), ("band_gap", "eV")):
        if verification.get(name) is None:
            continue
        verdict = {True: "; inside", False: "; outside", None: ""}[
            verification["targets"].get(name)
        ]
        text = f"{verification[name]:9.4f}  DFT, {verification['level']}{verdict}"
        rows.setdefault(f"{name} ({unit})", []).append(text)
        energies = verification.get("reference_energies") or {}
        if energies and name == "formation_energy_per_atom":
            parts = ", ".join(f"{element} {value:.4f}" for element, value in energies.items())
            own = f"the compound {verification['energy_per_atom']:.4f}"
            rows[f"{name} ({unit})"].append(f"           of {own}; elements {parts}")
    for heading, texts in rows.items():
        yield heading
        yield from (f"  {text}" for text in texts)


def _out_of_domain(prediction: Record) -> str:
    """Name the kinds of reasons; records from before there were any have none."""
    kinds = [reason.partition(":")[0] for reason in prediction.get("out_of_domain", [])]
    return "out of domain" + (f" ({', '.join(kinds)})" if kinds else "")


def _models(record: Record) -> Iterator[str]:
    for one in (record.get("lineage") or {}).get("models", []):
        name = str(one["model"])
        if name == "generator":
            continue
        if "reason" in one:
            yield _line(name, f"gave no number: {one['reason']}")
            continue
        yield _line(name, str(one["version"]))
        if files := one.get("files"):
            yield _line("", ", ".join(f"{file} {_short(sha)}" for file, sha in files.items()))
        if "references" in one:
            yield _line("", f"elemental energies {_short(one['references'])}")
        for head in one.get("learned", []):
            if head["decision"] == "shipped":
                yield _line("", f"{head['version']}: shipped with the generator")
            else:
                learned = ", ".join(f"{n} {target}" for target, n in head["labels"].items())
                yield _line("", f"{head['version']}: {head['decision']}; learned {learned}")
                yield _line("", str(head["reason"]))


def _duplicates(record: Record) -> Iterator[str]:
    found = record.get("duplicates") or {}
    named = [(name, found[name]) for name in ("training", "campaign") if name in found]
    named += [("known", one) for one in found.get("references", [])]
    linked = {one["reference"]: one for one in (record.get("lineage") or {}).get("known", [])}
    for name, one in named:
        limits = ", ".join(f"{key} {value:g}" for key, value in one["tolerances"].items())
        version = f" {one['version']}" if one.get("version") else ""
        yield _line(name, f"{one['reference']}{version}: {one['compared']} compared ({limits})")
        if one.get("missing"):
            yield _line("", str(one["missing"]))
        if one.get("rediscovered"):
            yield _line("", "rediscovered: the generator was not trained on it")
        if one["reference"] in linked:
            yield from (_line("", text) for text in lines(linked[one["reference"]]))
        else:
            for match in one["matches"]:
                yield _line("", f"equals {match['id']}, RMS {match['rms']:.4f}")


def _hull(record: Record) -> Iterator[str]:
    hull = record.get("hull")
    if not hull:
        return
    if "refused" in hull:
        yield f"no hull ({hull['refused']['reason']}): {hull['refused']['detail']}"
        return
    products = " + ".join(
        f"{one['amount']:.3f} {one['formula']} ({one['id']})" for one in hull["decomposition"]
    )
    left = f", {hull['n_left_out']} large cells left out" if hull["n_left_out"] else ""
    yield (
        f"hull ({hull['level']}, {hull['reference']}): {hull['energy_above_hull']:+.4f} "
        f"eV/atom above {products} (shares of the atoms); {hull['n_phases']} competing phases, "
        f"{hull['n_relaxed']} relaxed{left}"
    )


def _calculations(record: Record) -> Iterator[str]:
    known = {
        one["hash"]: one
        for part in ("verification", "follow_up")
        for one in (record.get(part) or {}).get("records", [])
    }
    for purpose in purposes(record):
        one = known.get(purpose["hash"])
        if one is None:
            yield _line(purpose["for"], f"{_short(purpose['hash'])}: no record")
            continue
        seconds = sum(attempt["core_seconds"] for attempt in one.get("attempts", []))
        cost = f"{seconds:.0f} core-seconds in {_counted(len(one.get('attempts', [])), 'attempt')}"
        parent = f", from {_short(one['parent'])}" if one.get("parent") else ""
        yield f"{purpose['for']}: {one['formula']}, {one['state']}, {cost}"
        yield _line("", f"{_short(one['hash'])}: {one['level']}{parent}")
        if one.get("error"):
            yield _line("", one["error"])


def _history(record: Record) -> Iterator[str]:
    last = None
    for entry in record["history"]:
        day, time = str(entry["at"])[:10], str(entry["at"])[11:19]
        if (day, entry["code_version"]) != last:
            yield f"{day}, code {entry['code_version']}"
            last = (day, entry["code_version"])
        inputs = (f"{key} {_short(value)}" for key, value in (entry.get("inputs") or {}).items())
        reason = entry.get("reason")
        words = [f"{entry['to']} by {entry['agent']}", *([reason] if reason else []), *inputs]
        yield _line(f"  {time}", "; ".join(words))


def _short(value: Any) -> str:
    """Shorten hashes, which `--json` gives in full."""
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return " ".join(_short(item) for item in value)
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
