"""The models of an archive, loaded from its files and asked again."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.paths import MissingFile
from agents.screen.screen import MissingModel, Refusal, Screen, UnsoundModel
from db.crystals import record_to_structure
from discovery.archive.manifest import parse_json
from discovery.archive.reading import Archive
from discovery.archive.values import DECODER, DFT, HEAD, POTENTIAL, Value

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from agents.prediction import Prediction
    from agents.relax.potential import Potential, PotentialResult
    from agents.relax.references import ElementalReferences
    from model.generator import Generator
    from model.property.head import PropertyHead

Record = Mapping[str, Any]

#: What records and files raise that are whole but were not written by this product.
_UNUSABLE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, OSError, EOFError)

MOST_BYTES = 256 << 20
"""Of one unpacked output file."""


class NotRedone(RuntimeError):
    """A number cannot be computed here; the sentence says why."""


class ArchivedModels:
    """Loads each model once, when it is first asked.

    Args:
        archive: An open archive, verified.
        scratch: An empty folder for files that libraries read by their names.
    """

    def __init__(self, archive: Archive, scratch: Path) -> None:
        self.archive = archive
        self.scratch = scratch
        listed = archive.json("models/models.json")
        self._entries = {(one["model"], one["version"]): one for one in listed}
        self._screens: dict[tuple[str, str], Screen | NotRedone] = {}
        self._generators: dict[str, Generator] = {}
        self._answers: dict[tuple[str, ...], Any] = {}

    def compute(self, value: Value, record: Record) -> float:
        """Compute one number again.

        Args:
            value: What is asked.
            record: Of its candidate, with the record of its campaign.

        Raises:
            NotRedone: A model, file or package that it needs is not here, or another one.
        """
        try:
            return self._compute(value, record)
        except _UNUSABLE as error:
            kind = type(error).__name__
            raise NotRedone(f"the archive's records are not usable: {kind}: {error}") from error

    def _compute(self, value: Value, record: Record) -> float:
        if value.kind == DFT:
            return self._dft(value, record)
        if value.kind == POTENTIAL:
            return self._potential_number(value, record)
        if value.kind == "relaxation":
            return self._relaxed(value, record)
        if value.kind == DECODER:
            return self._displacement(value, record)
        if value.kind == HEAD:
            return self._predicted(value, self._head_answer(value, record))
        return self._predicted(value, self._screen_answer(value, record))

    def _generator(self, version: str) -> Generator:
        if version not in self._generators:
            from model.errors import CheckpointError
            from model.generator import Generator

            entry = self._entry("generator", version)
            try:
                found = Generator.load(self._unpacked(entry))
            except CheckpointError as error:
                raise NotRedone(f"the archive's generator is not usable: {error}") from error
            if found.version != version:
                raise NotRedone(f"the archive holds generator {found.version}, not {version}")
            self._generators[version] = found
        return self._generators[version]

    def _head(self, version: str, generator: Generator) -> PropertyHead:
        from model.property.head import PropertyHead

        entry = self._entry(HEAD, version)
        if entry["place"] is None:
            head = generator.head
        else:
            head = PropertyHead.from_bytes(self.archive.read(entry["place"]))
        if head.version != version:
            raise NotRedone(f"the archive holds head {head.version}, not {version}")
        return head

    def _displacement(self, value: Value, record: Record) -> float:
        """Return how far an atom or a corner of the cell is from where it was decoded, Å."""
        import numpy as np

        from model.codes import CrystalCodes

        generator = self._generator(value.version)
        found = generator.decode([CrystalCodes.from_record(record["codes"])])[0].structure
        stored = record_to_structure(record["structure"])
        if found is None or found.species != stored.species:
            raise NotRedone("its codes decode to a crystal of other atoms")
        apart = found.frac_coords - stored.frac_coords
        moved = (apart - np.round(apart)) @ stored.lattice.matrix
        strained = found.lattice.matrix - stored.lattice.matrix
        return float(max(np.abs(moved).max(), np.abs(strained).max()))

    def _head_answer(self, value: Value, record: Record) -> list[Prediction]:
        from agents.screen.head import head_predictions
        from model.codes import CrystalCodes

        codes = record["codes"] if value.on == "decoded" else record["relaxed_codes"]
        generator = self._generator(record["generator_version"])
        head = self._head(value.version, generator)
        (answer,) = head_predictions(generator, head, [CrystalCodes.from_record(codes)], value.on)
        return _predictions(answer)

    def _screen_answer(self, value: Value, record: Record) -> list[Prediction]:
        key = (value.model, value.version, value.candidate, value.on)
        if key not in self._answers:
            screen = self._screen(value.model, value.version)
            (answer,) = screen.predict([_crystal(record, value.on)], value.on)
            self._answers[key] = answer
        return _predictions(self._answers[key])

    def _predicted(self, value: Value, predictions: list[Prediction]) -> float:
        for one in predictions:
            if (one.property, one.level) == (value.property, value.level):
                return float(one.value)
        raise NotRedone(f"{value.model} gives no {value.property} of level {value.level}")

    def _screen(self, name: str, version: str) -> Screen:
        """Load a screen from the archive, or the same one from this machine."""
        if (name, version) not in self._screens:
            try:
                self._screens[name, version] = self._load_screen(name, version)
            except NotRedone as error:
                self._screens[name, version] = error
            except (MissingModel, UnsoundModel) as error:
                self._screens[name, version] = NotRedone(str(error))
        found = self._screens[name, version]
        if isinstance(found, NotRedone):
            raise found
        return found

    def _load_screen(self, name: str, version: str) -> Screen:
        from agents.screen.alignn import ALIGNN
        from agents.screen.megnet import MEGNet
        from agents.screen.models import load_screen

        entry = self._entry(name, version)
        if entry["place"] is None:
            screen = load_screen(name)
        elif name == "alignn":
            screen = ALIGNN.load(self._unpacked(entry))
        else:
            screen = MEGNet.load(self._unpacked(entry))
        if screen.version != version or dict(screen.digests) != entry["digests"]:
            raise NotRedone(f"the files of {name} here are not those of {version}")
        return screen

    def _potential(self, level: str) -> tuple[Potential, ElementalReferences]:
        if ("potential", level) not in self._answers:
            self._answers["potential", level] = self._load_potential(level)
        found: tuple[Potential, ElementalReferences] = self._answers["potential", level]
        return found

    def _load_potential(self, level: str) -> tuple[Potential, ElementalReferences]:
        from agents.relax.potential import MissingPackage, UnusablePotential, load_potential
        from agents.relax.references import ElementalReferences

        entry = self._entry("potential", level)
        if entry["place"] is None:
            raise NotRedone(entry.get("absent") or f"the archive has no energies for {level}")
        try:
            potential = load_potential(entry["name"])
        except (MissingFile, MissingPackage, UnusablePotential) as error:
            raise NotRedone(str(error)) from error
        if potential.level != level:
            raise NotRedone(f"{entry['name']} is {potential.level} here, not {level}")
        name = entry["place"]
        path = self.scratch / Path(name).name
        self.archive.extract_file(name, path)
        references = ElementalReferences.load(potential, path)
        if references.digest != entry["references"]:
            raise NotRedone(f"the elemental energies are not those recorded with {level}")
        return potential, references

    def _potential_number(self, value: Value, record: Record) -> float:
        potential, references = self._potential(value.level)
        structure = _crystal(record, value.on)
        key = ("result", value.level, value.candidate, value.on)
        if key not in self._answers:
            (self._answers[key],) = potential.evaluate([structure])
        result: PotentialResult = self._answers[key]
        if value.property == "energy_per_atom":
            return result.energy / len(structure)
        if value.property == "max_force":
            return result.max_force
        return references.formation_energy_per_atom(structure.composition, result.energy)

    def _relaxed(self, value: Value, record: Record) -> float:
        """Relax the decoded crystal again, with the settings of the campaign."""
        from agents.relax.batch import relaxations
        from agents.relax.settings import RelaxSettings

        potential, references = self._potential(value.level)
        settings = RelaxSettings.model_validate(record["lineage"]["campaign"]["config"]["relax"])
        ((_, found),) = relaxations([_crystal(record, "decoded")], potential, settings)
        if isinstance(found, Exception):
            raise NotRedone(f"{type(found).__name__}: {found}")
        energy = references.formation_energy_per_atom(found.structure.composition, found.energy)
        return float(energy)

    def _dft(self, value: Value, record: Record) -> float:
        """Put a number of first principles together from the outputs of the calculations."""
        from agents.verify.properties.formation import formation_energy_per_atom
        from agents.verify.properties.references import ground_state_energy

        hashes = record["verification"]["calculations"]
        energy, structure = self._output(hashes["compound"])
        if value.property == "energy_per_atom":
            return energy
        elements = {}
        for element, name in hashes["references"].items():
            calculation = self.archive.json(f"calculations/{name}/record.json")
            elements[element] = ground_state_energy(self._output(name)[0], calculation["info"])
        amounts = structure.composition.get_el_amt_dict()
        return formation_energy_per_atom(amounts, energy, elements)

    def _output(self, name: str) -> tuple[float, Structure]:
        """Read energy per atom (eV) and crystal from what the last process wrote."""
        place = f"calculations/{name}"
        record = self.archive.json(f"{place}/record.json")
        attempt = (record.get("outputs") or {}).get("attempt")
        last = f"{place}/outputs/{attempt}/output.json.gz"
        if not self.archive.has(last):
            raise NotRedone(f"the archive has no outputs of the calculation {name[:12]}")
        with gzip.open(io.BytesIO(self.archive.read(last))) as stream:
            content = stream.read(MOST_BYTES)
        result = parse_json(content, last)["result"]
        return float(result["energy_per_atom"]), record_to_structure(result["structure"])

    def _entry(self, model: str, version: str) -> dict[str, Any]:
        if (model, version) not in self._entries:
            raise NotRedone(f"the archive does not know {model} {version}")
        return self._entries[model, version]

    def _unpacked(self, entry: Mapping[str, Any]) -> Path:
        """Unpack the files of a model into a folder of their own."""
        if entry["place"] is None:
            raise NotRedone(entry.get("absent") or f"{entry['model']} is not in the archive")
        folder = self.scratch / str(entry["model"])
        folder /= str(len(list(self.scratch.iterdir())))
        for name in entry["files"]:
            self.archive.extract_file(name, folder / Path(name).name)
        return folder


def _crystal(record: Record, on: str) -> Structure:
    stored = record["structure"] if on == "decoded" else record["relaxation"]["structure"]
    return record_to_structure(stored)


def _predictions(answer: list[Prediction] | Refusal) -> list[Prediction]:
    if isinstance(answer, Refusal):
        raise NotRedone(f"{answer.model}: {answer.reason}")
    return answer
