"""Is a crystal one layer in a vacuum? The scoring parameter of Larsen et al.

Two atoms are bonded when they are nearer than k times the sum of their covalent radii. As k grows
the network goes from loose atoms over clusters, chains and layers to one piece. Every kind of
network gets the score f(b) - f(a) of the interval [a, b] of k in which it holds, with
f(k) = x^2 / (x^2 + 0.15^2) and x = max(0, k - 1): doi 10.1103/PhysRevMaterials.3.034003, as ASE
implements it (rank determination).

The score of a layer here counts only intervals in which all atoms are *one* two-dimensional piece.
ASE's own score of "2D" adds two layers that do not touch to the one layer that they become at a
longer k. A slab's vacuum keeps the layer apart from its images at every k that matters, so the
score says how tightly the layer itself is held together: 1 - f(a).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from agents.slab import MATCHING_VACUUM, MIN_VACUUM, thickness, vacuum, with_vacuum

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure

ONE_LAYER = (0, 0, 1, 0)
"""Components of dimension 0, 1, 2 and 3 of a single layer."""

MIN_SCORE = 0.1
"""Less is no layer: its atoms are in one piece only at k > 1.45. Of 500 held-out layers of C2DB 497
have more, of the 69 stacks of two to four layers in a vacuum among MP-20's test split none:
docs/two-dimensional.md."""

_KINDS = {"0D": "clusters", "1D": "chains", "2D": "separate layers", "3D": "a bulk network"}


@dataclass(frozen=True)
class Layer:
    """What a crystal looks like as a slab.

    Attributes:
        vacuum: Widest empty gap along c, Å.
        thickness: Of whatever fills the rest, Å.
        score: Of being one layer, 0 to 1; None without a vacuum along c.
        network: Kind of the network with the highest score, "2D", "01D", ...; None without vacuum.
        components: How many pieces of dimension 0, 1, 2 and 3 that network has.
        loosely: The network with the highest score is not one two-dimensional piece (molecules
            above a layer, two layers far apart, ...), so that what passes as one layer does so by a
            longer bond than its parts have; None without vacuum. Recorded, not rejected: some 6 %
            of C2DB's layers are such.
        reason: Why it is not one layer, in words; None where it is one.
    """

    vacuum: float
    thickness: float
    score: float | None
    network: str | None
    components: tuple[int, ...] | None
    loosely: bool | None
    reason: str | None

    def record(self) -> dict[str, Any]:
        """Return plain JSON values."""
        plain = asdict(self)
        return {**plain, "components": None if self.components is None else list(self.components)}


def judge_layer(structure: Structure, min_score: float = MIN_SCORE) -> Layer:
    """Decide whether a crystal is one layer with its vacuum along c.

    Args:
        structure: Decoded or relaxed crystal.
        min_score: Smallest score of one layer.

    Returns:
        The numbers, and the reason where it is none: a stack without a vacuum, chains, clusters,
        separate layers, or pieces of several kinds, unless a slightly longer bond makes them one.
    """
    empty, filled = vacuum(structure), thickness(structure)
    if empty < MIN_VACUUM:
        none = f"no vacuum: the widest gap along c is {empty:.2f} Å, a slab has {MIN_VACUUM:g}"
        return Layer(empty, filled, None, None, None, None, none)
    score, network, components = layer_score(structure)
    reason = None
    if score < min_score:
        kind = _KINDS.get(network, "pieces of several dimensions")
        if components == ONE_LAYER:
            kind = "a layer, but loosely held together"
        reason = f"{kind} ({network}): the score of one layer is {score:.2f}, below {min_score:g}"
    return Layer(empty, filled, score, network, components, components != ONE_LAYER, reason)


def layer_score(structure: Structure) -> tuple[float, str, tuple[int, ...]]:
    """Score a slab as one layer.

    Args:
        structure: With its vacuum along c.

    Returns:
        The score; the kind of network that scores highest ("2D"), and its numbers of pieces of
        dimension 0 to 3.

    Raises:
        NoSlab: There is no vacuum along c.
    """
    from ase import Atoms
    from ase.geometry.dimensionality.interval_analysis import build_kintervals

    slab = with_vacuum(structure, MATCHING_VACUUM)
    atoms = Atoms(
        slab.atomic_numbers, positions=slab.cart_coords, cell=slab.lattice.matrix, pbc=(1, 1, 0)
    )
    intervals = build_kintervals(atoms, "RDA")
    if intervals is None:  # so sparse that ASE's search for bonds ends before it is one piece
        return 0.0, *_pieces(atoms)
    score = sum(float(one.score) for one in intervals if tuple(one.h) == ONE_LAYER)
    best = max(intervals, key=lambda one: (one.score, one.b - one.a))
    return score, str(best.dimtype), tuple(int(number) for number in best.h)


def _pieces(atoms: Atoms) -> tuple[str, tuple[int, ...]]:
    """Return the network of all bonds that ASE finds: its kind and its pieces."""
    from ase.geometry.dimensionality.bond_generator import next_bond
    from ase.geometry.dimensionality.interval_analysis import build_dimtype
    from ase.geometry.dimensionality.rank_determination import RDA

    network = RDA(len(atoms))
    for _, first, second, offset in next_bond(atoms):
        network.insert_bond(first, second, offset)
    pieces = network.check()
    return str(build_dimtype(pieces)), tuple(int(number) for number in pieces)
