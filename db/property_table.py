"""The flat table of a candidate's numbers, by the names that filters use.

The numbers are where their sources are: in the list of predictions and in the verification. A list
cannot be indexed for "the latest value of this model", so every write that adds a prediction or a
verification also sets the same value at ``properties.<name>``, in the same atomic update.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

#: Properties that first-principles calculations give; each by its bare name.
VERIFIED_PROPERTIES = ("formation_energy_per_atom", "band_gap", "energy_above_hull")
PREDICTED_PROPERTIES = (*VERIFIED_PROPERTIES, "p_gap")

#: Numbers that have an index of their own; those of any other model share one.
STANDARD_PREDICTIONS = (
    *("formation_energy_per_atom_head", "band_gap_head"),
    *("formation_energy_per_atom_megnet", "band_gap_megnet", "p_gap_megnet"),
    *("formation_energy_per_atom_alignn", "band_gap_alignn"),
    *("formation_energy_per_atom_chgnet", "energy_above_hull_chgnet"),
)

#: What the screens are asked together, as in the funnel of Qiu et al.: one index for all of them.
SCREEN_WINDOWS = (
    *("band_gap_megnet", "formation_energy_per_atom_megnet"),
    *("band_gap_alignn", "formation_energy_per_atom_alignn"),
    "p_gap_megnet",
)

#: What a pipeline assigns to remove a field.
REMOVED = "$$REMOVE"

_FORBIDDEN = re.compile(r"[^a-z0-9]+")


def plain_name(name: str) -> str:
    """Write the name of a model or a level as filters can spell it: a-z, 0-9 and ``_``.

    >>> plain_name("DPA-3.1-3M:Omat24")
    'dpa_3_1_3m_omat24'
    """
    return _FORBIDDEN.sub("_", name.lower()).strip("_")


def prediction_name(prediction: Mapping[str, Any]) -> str:
    """Name a prediction: ``band_gap_megnet``."""
    return f"{prediction['property']}_{plain_name(prediction['model'])}"


def prediction_fields(predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write the fields that follow from added predictions.

    Args:
        predictions: In the order they are appended; the last one of a name counts.

    Returns:
        ``properties.<name>`` and ``levels.<name>.<level>`` to the value.
    """
    fields: dict[str, Any] = {}
    for prediction in predictions:
        name = prediction_name(prediction)
        fields[f"properties.{name}"] = prediction["value"]
        level = plain_name(prediction.get("level") or "")
        if level:
            fields[f"levels.{name}.{level}"] = prediction["value"]
    return fields


def element_pairs(elements: Sequence[str]) -> list[str]:
    """List all pairs of elements, as chemical systems.

    An index of elements finds "has Ga and In" among all that have Ga; one of pairs finds it.

    >>> element_pairs(["Ga", "In", "O"])
    ['Ga-In', 'Ga-O', 'In-O']
    """
    return ["-".join(pair) for pair in combinations(sorted(set(elements)), 2)]


def update_fields(updates: Mapping[str, Any]) -> dict[str, Any]:
    """Write the fields that follow from changed results.

    Args:
        updates: Result fields, dotted names allowed, to plain values.

    Returns:
        ``properties.<name>`` for what a verification says, ``n_elements`` and ``element_pairs`` for
        elements; `REMOVED` where there is no value any more.
    """
    fields: dict[str, Any] = {}
    if "verification" in updates:
        verification = updates["verification"] or {}
        for name in VERIFIED_PROPERTIES:
            fields[f"properties.{name}"] = _or_removed(verification.get(name))
    for name in VERIFIED_PROPERTIES:
        if (path := f"verification.{name}") in updates:
            fields[f"properties.{name}"] = _or_removed(updates[path])
    if "elements" in updates:
        elements = updates["elements"] or []
        fields["n_elements"] = len(elements) or REMOVED
        fields["element_pairs"] = element_pairs(elements)
    return fields


def table_fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Write the derived fields of a whole document, for one that has none yet.

    Returns:
        ``properties``, ``levels``, ``element_pairs`` and, where the elements are known,
        ``n_elements``.
    """
    results = {name: document.get(name) for name in ("verification", "elements")}
    flat = update_fields(results) | prediction_fields(document.get("predictions") or [])
    nested: dict[str, Any] = {"properties": {}, "levels": {}}
    for path, value in flat.items():
        if value == REMOVED:
            continue
        *folders, last = path.split(".")
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return nested


def properties(record: Mapping[str, Any]) -> dict[str, Any]:
    """Collect a candidate's property values from their sources, by the names that filters use.

    Returns:
        ``<property>`` from the verification and ``<property>_<model>`` from the predictions, the
        latest one of a model; where a model predicts at several levels of theory,
        ``<property>_<model>@<level>`` too.
    """
    table: dict[str, Any] = {}
    levels: dict[str, dict[str, Any]] = {}
    for prediction in record.get("predictions", []):
        name = prediction_name(prediction)
        table[name] = prediction["value"]
        levels.setdefault(name, {})[f"{name}@{prediction.get('level')}"] = prediction["value"]
    for found in levels.values():
        if len(found) > 1:
            table |= found
    verification = record.get("verification") or {}
    for name in VERIFIED_PROPERTIES:
        if verification.get(name) is not None:
            table[name] = verification[name]
    return table


def _or_removed(value: Any) -> Any:
    return REMOVED if value is None else value
