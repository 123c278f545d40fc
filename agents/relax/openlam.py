"""OpenLAM: large atomistic models of DeePMD-kit (DPA-2, DPA-3, ...); `discovery[openlam]`.

DPA-3: Zhang et al., arXiv 2506.01686; DeePMD-kit 3: Zeng et al., doi 10.1021/acs.jctc.5c00340.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.relax.openlam_weights import (
    WeightsName,
    card_of,
    choose_head,
    digest,
    inspect_frozen,
    locate,
    parse_name,
    read_checkpoint,
)
from agents.relax.potential import (
    MissingPackage,
    Potential,
    PotentialResult,
    UnavailableDevice,
    UnusablePotential,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure

#: What DeePMD-kit raises on weights and parameters it cannot make a model of.
LOADING_ERRORS = (
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
#: Crystals share a padded batch while the largest has at most so many times the atoms of the
#: smallest.
PADDING = 1.5


class OpenLAMPotential(Potential):
    """A model of DeePMD-kit's PyTorch backend, one head of it where there are several.

    Crystals of different sizes and compositions are evaluated in one batch: shorter ones are
    padded with atoms of type -1, which DeePMD-kit leaves out of every sum. Elements are those the
    head was trained on, where the file says so, else those of its type map. The version is the hash
    of the weights. On which energies a head was trained is in no file, so the sanity gate tells
    (`corrections` is None).
    """

    def __init__(
        self,
        model: Any,
        name: str,
        version: str,
        elements: frozenset[str],
        card: Mapping[str, Any] | None,
    ) -> None:
        self.name = name
        self.version = version
        self.elements = elements
        self.corrections = None
        self.test_model = card is not None
        self.golden_values = card["golden_values"] if card else None
        self._model = model
        self._types = {symbol: index for index, symbol in enumerate(model.get_type_map())}

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> OpenLAMPotential:
        """Load weights by name or path; not yet through the gate.

        Args:
            name: "DPA-3.1-3M:HEAD", "openlam-test", "model.pt", "model.pt:HEAD" or "model.pth".
            device: torch device; DeePMD-kit keeps the first one it is loaded for.

        Raises:
            MissingPackage: deepmd-kit is not installed.
            agents.paths.MissingFile: the weights are not on this machine.
            UnavailableDevice: DeePMD-kit was loaded for another device in this process.
            ValueError: the file is corrupt or of another kind, or a head is missing or unknown.
        """
        weights = parse_name(name)
        if weights is None:
            raise UnusablePotential(
                f"{name} is no file DeePMD-kit's PyTorch backend reads: it reads .pt and .pth "
                "(graphs of TensorFlow, .pb, are converted by `dp convert-backend`)"
            )
        path = locate(weights)
        weights_digest = digest(path, weights)
        if path.suffix == ".pt":
            state = read_checkpoint(path)
            head = choose_head(path, state["_extra_state"]["model_params"], weights.head)
        else:
            state, head = None, None
            if weights.head is not None:
                raise UnusablePotential(
                    f"{path} is frozen with its head: leave out {weights.head!r}"
                )
            inspect_frozen(path)
        model = _build(path, head, device)
        if state is not None:
            _require_all_parameters(path, model, state, head)
        return cls(
            model,
            _level_name(weights, head),
            weights_digest[:12],
            _trained_elements(model),
            card_of(weights_digest),
        )

    def evaluate(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        """See `Potential.evaluate`."""
        self.require_elements(structures)
        results: dict[int, PotentialResult] = {}
        for indices in similar_sizes([len(structure) for structure in structures]):
            batch = self._evaluate_batch([structures[index] for index in indices])
            results.update(zip(indices, batch))
        return [results[index] for index in range(len(structures))]

    def _evaluate_batch(self, structures: Sequence[Structure]) -> list[PotentialResult]:
        size = max(len(structure) for structure in structures)
        positions = np.zeros((len(structures), size, 3))
        types = np.full((len(structures), size), -1, dtype=np.int32)
        cells = np.array([structure.lattice.matrix for structure in structures])
        for row, structure in enumerate(structures):
            positions[row, : len(structure)] = structure.cart_coords
            types[row, : len(structure)] = [self._types[site.specie.symbol] for site in structure]
        energies, forces, virials = self._model.eval(
            positions.reshape(len(structures), -1),
            cells.reshape(-1, 9),
            types,
            mixed_type=True,
        )[:3]
        return [
            PotentialResult(
                energy=float(energies[row, 0]),
                forces=forces[row, : len(structure)].astype(np.float64),
                stress=_stress(virials[row].reshape(3, 3), structure.volume),
            )
            for row, structure in enumerate(structures)
        ]


def similar_sizes(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Yield indices of crystals that are worth padding to one size, all of them once.

    Args:
        sizes: number of atoms of each crystal.
    """
    batch: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if batch and sizes[index] > PADDING * sizes[batch[0]]:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _stress(virial: np.ndarray, volume: float) -> np.ndarray:
    """Return the stress in eV/Å^3, ASE's sign, of DeePMD-kit's virial (minus dE/d strain, eV)."""
    return -0.5 * (virial + virial.T).astype(np.float64) / volume


def _build(path: Path, head: str | None, device: str) -> Any:
    """Let DeePMD-kit build the model."""
    kind, _, index = device.partition(":")
    for chatty in ("deepmd", "torch._library.triton"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        with _imported_for(kind, index or "0"):
            from deepmd.infer.deep_pot import DeepPot
            from deepmd.pt.utils.env import DEVICE
    except ImportError as error:
        raise MissingPackage(
            f"{path.name} needs deepmd-kit ({error}): install the extra discovery[openlam] as "
            "docs/potentials.md describes"
        ) from error
    if DEVICE.type != kind or (index and DEVICE.index != int(index)):
        raise UnavailableDevice(
            f"DeePMD-kit already computes on {DEVICE} in this process, not on {device!r}"
        )
    try:
        # compiling takes seconds in every process and gains nothing on small crystals (measured)
        model = DeepPot(str(path), head=head, no_jit=True)
    except LOADING_ERRORS as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnusablePotential(f"{path} cannot be loaded by deepmd-kit: {reason}") from error
    backend = model.deep_eval
    if backend.model_type is not DeepPot:
        raise UnusablePotential(
            f"{path} is a model of {backend.model_type.__name__}, not of energies"
        )
    needs = [
        what
        for what, needed in (
            ("spins", backend.get_has_spin()),
            ("frame parameters", backend.get_dim_fparam() and not backend.has_default_fparam()),
            ("atomic parameters", backend.get_dim_aparam()),
            ("charge and spin", backend.has_chg_spin_ebd() and not backend.has_default_chg_spin()),
        )
        if needed
    ]
    if needs:
        raise UnusablePotential(
            f"{path} needs {', '.join(needs)}, which a crystal here does not carry"
        )
    return model


def _require_all_parameters(
    path: Path, model: Any, state: Mapping[str, Any], head: str | None
) -> None:
    """Refuse weights that leave a parameter at random, which DeePMD-kit only logs."""
    stored = {key.replace(f"model.{head}.", "model.Default.") if head else key for key in state}
    missing = sorted({key for key, _ in model.deep_eval.dp.named_parameters()} - stored)
    if missing:
        raise UnusablePotential(
            f"{path} lacks {len(missing)} of the model's parameters, for instance {missing[0]}: "
            "it belongs to another version of deepmd-kit"
        )


def _trained_elements(model: Any) -> frozenset[str]:
    """Return the elements a model was trained on, or those of its type map where it cannot say.

    `get_observed_types` of DeePMD-kit tells the same in an order that costs seconds.
    """
    from pymatgen.core import Element

    backend = model.deep_eval
    task = getattr(backend, "input_param", backend.model_def_script)
    observed = task.get("info", {}).get("observed_type")
    network = backend.get_model()
    if observed is None and hasattr(network, "get_observed_type_list"):
        observed = network.get_observed_type_list()  # those whose energies have an offset
    symbols = {symbol for symbol in model.get_type_map() if Element.is_valid_symbol(symbol)}
    return frozenset(symbols & set(observed) if observed else symbols)


def _level_name(weights: WeightsName, head: str | None) -> str:
    """Return a lower-case name that can be a file name, "dpa-3.1-3m-omat24"."""
    parts = [weights.title, *([head] if head else [])]
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower()).strip("-")


@contextlib.contextmanager
def _imported_for(kind: str, index: str) -> Iterator[None]:
    """Tell DeePMD-kit its device while it is imported, and undo what importing it changes.

    It reads the device from the environment once, and sets multiprocessing's start method to fork.
    """
    wanted = {"DEVICE": kind, "LOCAL_RANK": index}
    before = {name: os.environ.get(name) for name in wanted}
    start_method = multiprocessing.get_start_method(allow_none=True)
    os.environ.update(wanted)
    try:
        yield
    finally:
        multiprocessing.set_start_method(start_method, force=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
