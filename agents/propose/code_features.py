"""What a surrogate sees of codes: the generator's frozen features, computed once for each codes."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.property.descriptors import descriptors, n_descriptors

if TYPE_CHECKING:
    from model.codes import CrystalCodes
    from model.data.canonical import Crystal
    from model.generator import Generator

T = TypeVar("T")

ENERGY = "formation_energy_per_atom"
CAPACITY = 20_000  # codes remembered for each generator, about 5 kB each
_ROWS = 32  # of every forward pass
_LINEAR = 3.0  # deviations up to which features count in proportion, beyond as their logarithm
_COMPOSITION = 100  # the first descriptors are the shares of the elements
_DENSITY = 2  # volume per atom and packing
_SHELLS = 48  # the last descriptors are the neighbour shells

_of: weakref.WeakKeyDictionary[Generator, CodeFeatures] = weakref.WeakKeyDictionary()


class CodeFeatures:
    """Blocks of numbers that describe what codes decode to, remembered by codes.

    The blocks are those of the property head's frozen input, in the scale of the head's training
    crystals (recombined codes lie far outside it: nothing is cut off, it counts as its logarithm):
    composition, element statistics, volume and packing, neighbour shells, and the
    network's own code vectors. To these come the hidden layer of every member of the head, and what
    the head predicts for the formation energy: knowledge of the training crystals, which a
    surrogate may use as far as the labels of the search confirm it. Both are empty where the head
    learned energies of a potential: a search begins without any label of the kind it pays for.

    A row does not depend on what it was computed together with: rounding in the network depends on
    the shape of a batch, so every pass has the same number of rows, all with equally many atoms. A
    proposer rebuilt after an interruption, whose memory is empty, therefore sees the same numbers.

    Attributes:
        blocks: name → columns.
    """

    def __init__(self, generator: Generator, capacity: int = CAPACITY) -> None:
        """Prepare for a generator.

        Args:
            generator: the frozen generator with its shipped head.
            capacity: codes remembered; those not used for longest are forgotten.
        """
        # A weak reference: the memory below must not keep alive what it hangs on.
        self._generator = weakref.ref(generator)
        self._capacity = capacity
        self._rows: OrderedDict[CrystalCodes, NDArray[np.float32]] = OrderedDict()
        self._crystals: OrderedDict[CrystalCodes, tuple[Crystal, Tensor]] = OrderedDict()
        head = generator.head
        learned = head.n_features - n_descriptors()
        energies = [name for name in head.targets if name.split("@")[0] == ENERGY]
        # Labels that were added to the data set are a potential's (`agents.relax.labels`).
        added = generator.card["data"]["labels_sha256"]
        self._outputs = [] if added else energies
        elements = learned + _COMPOSITION
        shells = head.n_features - _SHELLS
        hidden = head.n_features + (head.members * head.width if self._outputs else 0)
        self.blocks: Mapping[str, slice] = {
            "learned": slice(0, learned),
            "composition": slice(learned, elements),
            "elements": slice(elements, shells - _DENSITY),
            "density": slice(shells - _DENSITY, shells),
            "shells": slice(shells, head.n_features),
            "hidden": slice(head.n_features, hidden),
            "predicted": slice(hidden, hidden + len(self._outputs)),
        }

    @classmethod
    def of(cls, generator: Generator) -> CodeFeatures:
        """Return the one memory that everybody who uses a generator shares."""
        if generator not in _of:
            _of[generator] = cls(generator)
        return _of[generator]

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.blocks["predicted"].stop

    def __call__(self, codes: Sequence[CrystalCodes]) -> NDArray[np.float32]:
        """Return the features (B, `width`) of B codes.

        Raises:
            ValueError: if a code is outside its codebook.
        """
        rows = {c: self._rows[c] for c in codes if c in self._rows}
        self._in_passes((c for c in codes if c not in rows), self._described, rows)
        _remember(self._rows, rows, self._capacity)
        if not codes:
            return np.zeros((0, self.width), dtype=np.float32)
        return np.stack([rows[c] for c in codes])

    def decode(self, codes: Sequence[CrystalCodes]) -> list[Crystal]:
        """Return the crystals of B codes, in passes of the network that the features need too.

        Raises:
            ValueError: if a code is outside its codebook.
        """
        return [crystal for crystal, _ in self._decoded(codes)]

    def _decoded(self, codes: Sequence[CrystalCodes]) -> list[tuple[Crystal, Tensor]]:
        """Return the crystals and the network's own features of B codes."""
        found = {c: self._crystals[c] for c in codes if c in self._crystals}
        self._in_passes((c for c in codes if c not in found), self._passed, found)
        _remember(self._crystals, found, self._capacity)
        return [found[c] for c in codes]

    def _in_passes(
        self,
        missing: Iterable[CrystalCodes],
        compute: Callable[[list[CrystalCodes]], Iterable[T]],
        result: dict[CrystalCodes, T],
    ) -> None:
        """Compute what is missing, each time for `_ROWS` codes with equally many atoms."""
        by_size: dict[int, list[CrystalCodes]] = {}
        for c in dict.fromkeys(missing):
            by_size.setdefault(c.n_atoms, []).append(c)
        for same in by_size.values():
            for start in range(0, len(same), _ROWS):
                part = same[start : start + _ROWS]
                full = part + [part[-1]] * (_ROWS - len(part))
                result.update(zip(part, compute(full), strict=False))

    def _passed(self, full: list[CrystalCodes]) -> Iterable[tuple[Crystal, Tensor]]:
        crystals, learned = self._shipped().decode_with_features(full)
        return zip(crystals, learned, strict=True)

    @torch.inference_mode()
    def _described(self, full: list[CrystalCodes]) -> Iterable[NDArray[np.float32]]:
        head = self._shipped().head
        crystals, learned = zip(*self._decoded(full), strict=True)
        described = descriptors([(c.numbers, c.frac, c.cell) for c in crystals])
        features = torch.cat([torch.stack(learned), described], -1)
        scaled = (features - head.feature_mean) / head.feature_scale
        columns = [_LINEAR * torch.asinh(scaled / _LINEAR)]
        if self._outputs:
            hidden = head.hidden(features)
            means = head.means(hidden)
            columns.append(hidden.transpose(0, 1).flatten(1))
            columns += [means[name][:, None] for name in self._outputs]
        rows: NDArray[np.float32] = torch.cat(columns, 1).numpy().astype(np.float32)
        return rows

    def _shipped(self) -> Generator:
        generator = self._generator()
        if generator is None:
            raise ReferenceError("the generator whose codes are described is gone")
        return generator


def _remember(
    memory: OrderedDict[CrystalCodes, T], used: Mapping[CrystalCodes, T], capacity: int
) -> None:
    """Keep what was used, the latest last, and forget what was not used for longest."""
    for codes, value in used.items():
        memory[codes] = value
        memory.move_to_end(codes)
    while len(memory) > capacity:
        memory.popitem(last=False)
