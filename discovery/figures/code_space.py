"""Global codes as points: which vectors, which axes, and how well classes lie apart.

Codes are names, not numbers: code 7 is no nearer to 8 than to 80. The vectors are those that the
generator itself puts in their place: the codebook's, summed over the levels of the residual
quantiser, one slot for each species token and one for the crystal token, as in the paper. Centred,
with species and crystal tokens given the same spread (`model.codebooks`, docs/figures.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discovery.figures.figure import NothingToShow

if TYPE_CHECKING:
    import pandas

    from discovery.figures.source import CampaignData

#: A class of fewer members says nothing of how well it lies apart.
FEWEST_MEMBERS = 10
#: Points below which there is no plane worth drawing.
FEWEST_POINTS = 3


@dataclass(frozen=True)
class CodeSpace:
    """A campaign's global codes on their first two principal components.

    Attributes:
        points: One row for each set of codes: ``id``, ``codes`` ("proposed": what the decoded
            crystal was made from; "relaxed": the relaxed crystal, encoded again), ``pc1``, ``pc2``,
            ``formation_energy_eV_per_atom`` (of that crystal, by the potential).
        vectors: (n, G) of the rows of ``points``.
        shares: Of the variance, for each of the two components.
        generator: Name and version.
    """

    points: pandas.DataFrame
    vectors: NDArray[np.float32]
    shares: tuple[float, float]
    generator: str


def code_space(data: CampaignData) -> CodeSpace:
    """Place a campaign's codes.

    The components are those of all codes together, proposed and relaxed, so that both lie on the
    same axes.

    Raises:
        NothingToShow: There are too few codes, or their generator is not here or damaged.
    """
    import pandas
    from sklearn.decomposition import PCA

    frame = data.candidates
    parts = []
    for kind, prefix, energy in (
        ("proposed", "", "formation_energy_per_atom_decoded"),
        ("relaxed", "relaxed_", "formation_energy_per_atom_potential"),
    ):
        own = frame[frame[f"{prefix}crystal_codes"].notna() & frame[energy].notna()]
        parts.append(
            pandas.DataFrame(
                {
                    "id": own.index,
                    "codes": kind,
                    "formation_energy_eV_per_atom": own[energy].to_numpy(dtype=float),
                    "species": own[f"{prefix}species_codes"].to_numpy(),
                    "crystal": own[f"{prefix}crystal_codes"].to_numpy(),
                }
            )
        )
    points = pandas.concat(parts, ignore_index=True)
    distinct = len(set(zip(points["species"], points["crystal"])))
    if distinct < FEWEST_POINTS:
        raise NothingToShow(f"{distinct} different global codes have an energy: too few to compare")
    books = _codebooks(data)
    species, crystal = points.pop("species"), points.pop("crystal")
    vectors = books.balanced(books.vectors(list(species), list(crystal)))
    found = PCA(2, svd_solver="covariance_eigh").fit(vectors)
    # An axis may point either way: the largest weight is positive, as in `discovery evaluate`.
    signs = np.sign(found.components_[np.arange(2), np.abs(found.components_).argmax(axis=1)])
    places = found.transform(vectors) * signs
    points.insert(2, "pc1", places[:, 0])
    points.insert(3, "pc2", places[:, 1])
    first, second = found.explained_variance_ratio_
    named = data.record["resolved"]["generator"]
    return CodeSpace(
        points=points,
        vectors=vectors,
        shares=(float(first), float(second)),
        generator=f"{named['name']} {named['version']}",
    )


def axis_labels(space: CodeSpace) -> tuple[str, str]:
    """Name the two axes."""
    first, second = (f"{share:.0%}" for share in space.shares)
    return (
        f"first principal component ({first} of variance)",
        f"second principal component ({second})",
    )


def silhouette(
    vectors: NDArray[np.floating[Any]], classes: Sequence[str | None]
) -> tuple[float | None, dict[str, int]]:
    """Say how well classes lie apart: the mean silhouette (Rousseeuw 1987), Euclidean, -1 to 1.

    Source: doi 10.1016/0377-0427(87)90125-7.

    Args:
        vectors: (n, G).
        classes: Of each vector; None: of no class. Classes of fewer than ten are left out.

    Returns:
        The score, None where fewer than two classes are left; and the classes, with their numbers
        of members, the largest first.
    """
    from sklearn.metrics import silhouette_score

    counts = {
        name: n
        for name, n in Counter(one for one in classes if one is not None).most_common()
        if n >= FEWEST_MEMBERS
    }
    if len(counts) < 2:
        return None, counts
    rows = [row for row, name in enumerate(classes) if name in counts]
    score = silhouette_score(vectors[rows], [classes[row] for row in rows], metric="euclidean")
    return float(score), counts


def _codebooks(data: CampaignData) -> Any:
    """Read the codebooks of the campaign's generator, and of no other.

    Raises:
        NothingToShow: It is not here, damaged, or of another version.
    """
    from model.cards import generator_version, load_card, resolve_checkpoint
    from model.codebooks import GlobalCodebooks
    from model.errors import CheckpointError, MissingCheckpoint

    named = data.record["resolved"]["generator"]
    wanted = f"the generator {named['name']} of version {named['version']}"
    try:
        directory = resolve_checkpoint(data.config.generator)
        found = generator_version(load_card(directory))
        if found != named["version"]:
            raise NothingToShow(
                f"{wanted} is not on this machine: {directory.name} here is of version {found}, "
                "whose codes mean something else"
            )
        return GlobalCodebooks.read(directory)
    except MissingCheckpoint as error:
        raise NothingToShow(f"{wanted} is not on this machine: {error}") from error
    except CheckpointError as error:
        raise NothingToShow(f"{wanted} cannot be read: {error}") from error
