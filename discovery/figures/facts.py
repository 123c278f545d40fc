"""What a report says beside its figures: numbers, settings, versions, sources.

Everything is made of plain texts here; `discovery.figures.document` lays them out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from discovery.archive.citations import bibtex
from discovery.figures.funnel import HIT, arrivals, flows
from discovery.reports import paper_funnel, rediscovery
from discovery.reports.paper import FUNNELS
from discovery.reports.status import arms, core_hours, follow_up_counts

if TYPE_CHECKING:
    import pandas

    from agents.targets import Window
    from db.documents import Campaign
    from discovery.figures.source import CampaignData

#: Columns of the table of verified candidates: that of `CampaignData`, heading, decimals.
COLUMNS: dict[str, tuple[str, int]] = {
    "formation_energy_per_atom_judged": ("E_f, DFT, as judged (eV/atom)", 3),
    "band_gap": ("gap, DFT (eV)", 3),
    "energy_above_hull": ("above hull, DFT (eV/atom)", 3),
    "formation_energy_per_atom_potential": ("E_f, potential (eV/atom)", 3),
    "energy_above_hull_potential": ("above hull, potential (eV/atom)", 3),
    "band_gap_megnet": ("gap, MEGNet (eV)", 3),
    "band_gap_alignn": ("gap, ALIGNN (eV)", 3),
    "space_group": ("space group", 0),
}
MOST_ROWS = 50
#: Packages that the numbers come from, in this order.
PACKAGES = (
    *("torch", "pymatgen", "ase", "chgnet", "alignn", "matgl", "deepmd-kit", "gpaw"),
    *("fireworks", "smact", "optuna", "phonopy", "numpy", "scipy"),
)


@dataclass(frozen=True)
class Table:
    """A small table.

    Attributes:
        headings: Of the columns.
        rows: Texts, the first of a row being its heading.
        numeric: Which columns hold numbers.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


@dataclass(frozen=True)
class Facts:
    """The texts of a report.

    Attributes:
        summary: Sentences, what came out.
        numbers: Heading to value, the most important first.
        verified: The verified candidates, hits first; None without any.
        left_out: How many of them the table leaves out.
        paper: The paper's funnel beside this campaign's; None where none belongs to it.
        notes: Further sentences: the choice for DFT, rediscoveries, follow-up.
        settings: The main settings.
        configuration: All settings, as YAML.
        versions: What computed the numbers.
        sources: What to cite: text and DOI (None without).
        bibtex: The same, as BibTeX.
    """

    summary: tuple[str, ...]
    numbers: Table
    verified: Table | None
    left_out: int
    paper: Table | None
    notes: tuple[str, ...]
    settings: Table
    configuration: str
    versions: Table
    sources: tuple[tuple[str, str | None], ...]
    bibtex: str


def collect(data: CampaignData) -> Facts:
    """Collect the texts of a report.

    Counts of candidates are those of ``data``; the paper's funnel, the arms of the choice for DFT,
    costs and rediscoveries are asked of the connected database.
    """
    from db import campaigns

    record = campaigns.load(data.name)
    verified = verified_candidates(data)
    hours = core_hours(record)
    cited = bibtex(_cited(data))
    return Facts(
        summary=tuple(_summary(data)),
        numbers=_numbers(data, hours),
        verified=_verified(verified.head(MOST_ROWS)) if len(verified) else None,
        left_out=max(len(verified) - MOST_ROWS, 0),
        paper=_paper(data),
        notes=tuple(_notes(data, record)),
        settings=_settings(data),
        configuration=_yaml(data),
        versions=_versions(data),
        sources=tuple(_sources(cited)),
        bibtex=cited,
    )


def verified_candidates(data: CampaignData) -> pandas.DataFrame:
    """Return the candidates that DFT has computed, hits first, then the lowest energies."""
    done = data.candidates[data.candidates["state"] == "verified"]
    order = done.assign(miss=~done["hit"].eq(True))
    return done.loc[order.sort_values(["miss", "formation_energy_per_atom_judged", "seq"]).index]


def _summary(data: CampaignData) -> Iterator[str]:
    arrived = arrivals(flows(data.candidates))
    windows = " and ".join(_window(window) for window in data.config.targets)
    yield f"The campaign looks for crystals with {windows}."
    if not arrived["proposed"]:
        yield "Nothing was proposed yet."
        return
    chosen, done, hits = (arrived[key] for key in ("chosen for DFT", "verified by DFT", "hits"))
    yield (
        f"Of {arrived['proposed']:,} proposed candidates {arrived['relaxed']:,} were relaxed and "
        f"{arrived['screened']:,} came through all rules and screens. "
        f"DFT was chosen for {chosen:,} and has computed {done:,}; "
        + (
            f"{hits:,} of these {'lies' if hits == 1 else 'lie'} inside every window: the hits."
            if done
            else "there is no hit yet, because only DFT makes one."
        )
    )


def _window(window: Window) -> str:
    text = str(window).replace("formation_energy_per_atom", "formation energy")
    return text.replace("_", " ").replace("<=", "≤").replace(">=", "≥").replace(" -", " −")


def _numbers(data: CampaignData, hours: Mapping[str, float | None]) -> Table:
    arrived = arrivals(flows(data.candidates))
    promoted = sum(event["decision"] == "promoted" for event in data.learning)
    limit = "" if hours["limit"] is None else f" of {hours['limit']:g}"
    rows = [(stage, f"{count:,}") for stage, count in arrived.items()]
    rows += [
        ("core-hours of DFT", f"{hours['spent']:.3f}{limit}"),
        ("learning events", f"{len(data.learning):,}"),
        ("of these, changed the property head", f"{promoted:,}"),
    ]
    return Table(("what", "number"), tuple(rows), (False, True))


def _verified(found: pandas.DataFrame) -> Table:
    shown = {
        name: heading
        for name, heading in COLUMNS.items()
        if name in found and found[name].notna().any()
    }
    rows = []
    for identity, one in found.iterrows():
        values = [_number(one[name], digits) for name, (_, digits) in shown.items()]
        rows.append((str(identity), str(one["formula"]), _verdict(one["hit"]), *values))
    headings = ("candidate", "formula", "verdict", *(heading for heading, _ in shown.values()))
    return Table(headings, tuple(rows), (False, False, False, *[True] * len(shown)))


def _verdict(hit: Any) -> str:
    if hit is None or hit != hit:
        return "no verdict"
    return f"★ {HIT}" if hit else "outside"


def _paper(data: CampaignData) -> Table | None:
    found = paper_funnel.paper_funnel(data.name)
    if found is None:
        return None
    rows = []
    for step in found["steps"]:
        share, paper = step["share"], step["paper"]
        passed = ("not evaluated", "") if share is None else _share(share)
        count = "" if paper["count"] is None else f"{paper['count']:,}"
        printed = "" if paper["share"] is None else f"{paper['share']:.1%}"
        rows.append((step["label"], *passed, count, printed))
    generator = data.record["resolved"]["generator"]["name"]
    here, there = f"here ({generator})", f"paper ({found['generator']})"
    headings = ("row", f"{here}: passed of", "share, 95 % interval", f"{there}: left", "share")
    return Table(headings, tuple(rows), (False, True, True, True, True))


def _share(share: Mapping[str, float]) -> tuple[str, str]:
    inside, of = int(share["inside"]), int(share["of"])
    return (
        f"{inside:,} of {of:,}",
        f"{inside / of:.1%} ({share['low']:.0%} to {share['high']:.0%})",
    )


def _notes(data: CampaignData, record: Campaign) -> Iterator[str]:
    names = {"choice": "Chosen for DFT", "control": "Control arm, drawn at random"}
    for arm in arms(record):
        if arm["submitted"]:
            share = arm["windows"]["all"]
            yield (
                f"{names[arm['arm']]}: {arm['submitted']:,} submitted, {arm['failed']:,} failed; "
                f"{share['inside']:,} of {share['of']:,} computed inside every window "
                f"(95 % interval {share['low']:.0%} to {share['high']:.0%})."
            )
    known = rediscovery.rediscoveries(data.name)
    if known["of"]:
        paper = data.config.paper_funnel
        yield rediscovery.describe(known, None if paper is None else FUNNELS[paper])
    followed = follow_up_counts(data.name)
    if followed["chosen"]:
        yield (
            f"Followed up: {followed['finished']:,} of {followed['chosen']:,} hits; of these "
            f"{followed['stable']:,} are minima of the potential, {followed['unstable']:,} are "
            f"not, {followed['undecided']:,} undecided; {followed['direct']:,} have direct gaps."
        )


def _settings(data: CampaignData) -> Table:
    config = data.config
    proposers = ", ".join(one.kind for one in config.propose.proposers)
    budget = config.budget.model_dump(exclude_none=True)
    rows = [
        ("seed", str(config.seed)),
        ("targets", "; ".join(_window(window) for window in config.targets)),
        ("generator", config.generator),
        ("proposers", proposers),
        ("budget", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in budget.items())),
        ("rule of the screens", f"{config.screen.consensus}, SMACT {config.screen.smact}"),
        ("DFT", f"{config.verify.backend}, preset {config.verify.preset}"),
        ("share of the control arm", f"{config.verify.control_share:g}"),
    ]
    overrides = data.record["resolved"].get("overrides") or {}
    if overrides:
        rows.append(
            ("set on the command line", ", ".join(f"{k}={v}" for k, v in overrides.items()))
        )
    return _table(("setting", "value"), rows)


def _yaml(data: CampaignData) -> str:
    import yaml

    text: str = yaml.safe_dump(data.config.record(), sort_keys=False, allow_unicode=True, width=88)
    return text


def _versions(data: CampaignData) -> Table:
    resolved = data.record["resolved"]
    environment = resolved.get("environment", {})
    packages = environment.get("packages", {})
    generator = resolved["generator"]
    live = data.record.get("live_model") or f"{generator['head']} (shipped)"
    dft = resolved.get("dft") or {}
    rows = [
        ("discovery", str(resolved.get("discovery", "unknown"))),
        ("Python", f"{environment.get('python', 'unknown')}, {environment.get('platform', '')}"),
        ("generator", f"{generator['name']} {generator['version']}"),
        ("property head, live", str(live)),
        ("potential", str(resolved["potential"]["level"])),
        ("DFT", str(dft.get("level", "none"))),
    ]
    rows += [(f"screen {one['name']}", _used(one)) for one in resolved.get("screens", [])]
    rows += [(f"reference {one['name']}", _used(one)) for one in resolved.get("references", [])]
    rows.append(("packages", ", ".join(f"{p} {packages[p]}" for p in PACKAGES if p in packages)))
    return _table(("part", "version"), rows)


def _used(one: Mapping[str, Any]) -> str:
    if not one.get("used"):
        return f"not used: {one.get('reason')}"
    return str(one.get("version") or "used")


def _cited(data: CampaignData) -> Iterator[str]:
    """Name the models, codes, proposers and data sets of a campaign."""
    resolved = data.record["resolved"]
    yield from ("smact", resolved["generator"]["name"], resolved["potential"]["level"])
    yield from (one["name"] for one in resolved.get("screens", []) if one["used"])
    yield from (one["name"] for one in resolved.get("references", []) if one["used"])
    yield from (str(kind) for kind in data.candidates["proposer"].dropna().unique())
    if data.candidates["position"].notna().any():
        yield str((resolved.get("dft") or {}).get("level", ""))
        yield "mp2020"


def _sources(text: str) -> Iterator[tuple[str, str | None]]:
    """Write BibTeX entries for people: authors, title, where, when; and the DOI."""
    import bibtexparser
    from bibtexparser.customization import convert_to_unicode

    for entry in bibtexparser.loads(text).entries:
        one = {key: " ".join(value.split()) for key, value in convert_to_unicode(entry).items()}
        plain = {key: value.replace("{", "").replace("}", "") for key, value in one.items()}
        authors = [name for name in plain.get("author", "").split(" and ") if name != "others"]
        names = ", ".join(" ".join(reversed(name.split(", "))) for name in authors[:3])
        more = len(authors) > 3 or "and others" in plain.get("author", "")
        where = [plain[key] for key in ("journal", "booktitle", "volume", "pages") if key in plain]
        place = " ".join([", ".join(where), f"({plain['year']})" if "year" in plain else ""])
        parts = [f"{names} et al" if more else names, plain.get("title", ""), place.strip()]
        text = ". ".join(part for part in parts if part)
        yield text.replace("---", "—").replace("--", "–"), plain.get("doi")


def _table(headings: tuple[str, ...], rows: list[tuple[str, str]]) -> Table:
    return Table(headings, tuple(rows), tuple(False for _ in headings))


def _number(value: Any, digits: int) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.{digits}f}"
