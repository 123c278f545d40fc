"""Figures of other generators, as their papers print them; what is not there was not found.

Sources:
    VQCrystal: Qiu et al., npj Comput. Mater. 11 (2025), doi 10.1038/s41524-025-01613-6.
    TransVAE-CSP and its comparisons (FTCP, CDVAE reconstruction): Chen et al., arXiv 2502.09423.
    Cond-CDVAE: Luo et al., arXiv 2403.10846.
    DiffCSP: Jiao et al., NeurIPS 2023, arXiv 2309.04475; its MP-20 generation row as repeated by
        the PaddleScience-Material table.
"""

from __future__ import annotations

RECONSTRUCTION: dict[str, dict[str, tuple[float, float | None]]] = {
    "FTCP": {
        "perov5": (0.9934, 0.0259),
        "carbon24": (0.6228, 0.2563),
        "mp20": (0.6989, 0.1593),
    },
    "CDVAE": {
        "perov5": (0.9752, 0.0156),
        "carbon24": (0.5522, 0.1251),
        "mp20": (0.4543, 0.0356),
    },
    "Cond-CDVAE 86M": {"mp20": (0.5750, 0.0600)},
    "TransVAE-CSP": {
        "perov5": (0.9819, 0.0092),
        "carbon24": (0.8075, 0.0938),
        "mp20": (0.7114, 0.0377),
    },
    "VQCrystal": {
        "perov5": (0.9560, 0.0438),
        "carbon24": (0.7003, 0.2573),
        "mp20": (0.7770, 0.0880),
        "c2db": (0.8856, None),
    },
}
"""Model → data set → (match rate, rms). C2DB is a validation split of their own."""

BITS: dict[str, tuple[float, float]] = {
    "perov5": (8 * 6, 2 * 5),
    "carbon24": (8 * 5, 2 * 5),
    "mp20": (8 * 7, 4 * 7),
    "c2db": (8 * 6, 4 * 6),
}
"""Data set → bits of VQCrystal's global codes, and of its local codes an atom."""

VALIDITY: dict[str, dict[str, tuple[float, float | None]]] = {
    "VQCrystal": {
        "perov5": (1.0, 0.9748),
        "carbon24": (0.9997, None),
        "mp20": (1.0, 0.8458),
    },
    "DiffCSP": {"mp20": (1.0, 0.8325)},
}
"""Model → data set → (structural, compositional by CDVAE's rule)."""

FORCE_VALIDITY: dict[str, float] = {"perov5": 0.9917, "carbon24": 0.7422, "mp20": 0.9193}
"""Data set → share of VQCrystal's crystals with all forces below 0.05 eV/Å after relaxation."""

DIVERSITY: dict[str, dict[str, tuple[float, float]]] = {
    "VQCrystal": {
        "perov5": (0.247, 0.312),
        "carbon24": (0.248, 0.515),
        "mp20": (0.160, 0.152),
    },
}
"""Model → data set → (average_min_distance, Fréchet distance)."""

COVERAGE: dict[str, dict[str, tuple[float, float, float, float, float]]] = {
    "DiffCSP": {"mp20": (0.9971, 0.9976, 0.3502, 0.1247, 0.3398)},
}
"""Model → data set → (COV-R, COV-P, EMD of density, energy, number of elements)."""

PREDICTION: dict[str, dict[str, tuple[float, int]]] = {
    "DiffCSP": {"mp20": (0.5149, 1)},
    "Cond-CDVAE": {
        "experimental, unseen": (0.593, 800),
        "experimental, below 20 atoms": (0.832, 800),
    },
}
"""Model → set → (match rate, samples a formula); Cond-CDVAE's 3,547 structures are its own."""

NAMES = {"perov5": "Perov-5", "carbon24": "Carbon-24", "mp20": "MP-20", "c2db": "C2DB"}
