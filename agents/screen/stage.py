"""The two stages of a campaign that screen: cheap rules before relaxing, everything else after it.

Every number is computed and stored for every candidate, also for one that an earlier rule rejects,
so that a funnel can be cut again with other thresholds by a query alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.prediction import Prediction
from agents.screen.consensus import Consensus, find_consensus
from agents.screen.duplicates import (
    Siblings,
    WaitingOf,
    database_siblings,
    database_waiting,
)
from agents.screen.duplicates_search import Duplicates, DuplicateSearch
from agents.screen.head import NAME as HEAD
from agents.screen.head import head_predictions
from agents.screen.models import ScreenModels
from agents.screen.references import Reference, training_reference
from agents.screen.screen import Refusal
from agents.screen.settings import ScreenSettings
from agents.screen.validity import Validity, judge
from agents.stage import Outcome, PutOff, Stage
from agents.targets import Window
from db.crystals import record_to_structure
from db.documents import Candidate
from db.states import State

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from model.codes import CrystalCodes
    from model.generator import EncodingError, Generator
    from model.property.head import PropertyHead

_CRYSTAL_ERRORS = (ValueError, ArithmeticError, IndexError)
"""What numpy and pymatgen raise for a crystal they cannot work with; more is a fault of ours."""


class PrescreenStage(Stage):
    """Applies the cheap rules to the decoded crystal, before its relaxation is paid for."""

    name = "prescreen"
    agent = "screen"
    takes = State.EVALUATED

    def __init__(self, settings: ScreenSettings) -> None:
        """Take the campaign's rules.

        Args:
            settings: Rules and limits.
        """
        self.settings = settings
        self.batch = settings.batch
        self.lease_seconds = settings.lease_seconds

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome]:
        """Yield PRESCREENED, or REJECTED with the first rule that fails; see `judge` for names."""
        for candidate in candidates:
            if not candidate.structure:
                yield Outcome(candidate.id, State.REJECTED, reason="invalid_decode")
                continue
            try:
                validity = judge(record_to_structure(candidate.structure), self.settings)
            except _CRYSTAL_ERRORS as error:
                yield _failure(candidate, "prescreen", error)
                continue
            record = {**validity.record(), "settings": self.settings.rules()}
            updates = {"screening.prescreen": record}
            if validity.valid:
                yield Outcome(candidate.id, State.PRESCREENED, updates)
            else:
                reason = validity.failed[0]
                yield Outcome(
                    candidate.id, State.REJECTED, updates, reason=reason, detail=validity.record()
                )


@dataclass(frozen=True)
class _Case:
    """One relaxed candidate with what the batched models say of it."""

    candidate: Candidate
    structure: Structure
    validity: Validity
    codes: CrystalCodes | EncodingError
    answers: dict[str, list[Prediction] | Refusal]

    @property
    def predictions(self) -> list[Prediction]:
        answers = self.answers.values()
        return [p for answer in answers if not isinstance(answer, Refusal) for p in answer]


class ScreenStage(Stage):
    """Asks every model about the relaxed crystal and looks for it among the known ones."""

    name = "screen"
    agent = "screen"
    takes = State.RELAXED

    def __init__(
        self,
        settings: ScreenSettings,
        models: ScreenModels,
        generator: Generator,
        head: PropertyHead | None = None,
        windows: Sequence[Window] = (),
        *,
        training: Reference | None = None,
        references: Sequence[Reference] = (),
        siblings: Siblings = database_siblings,
        waiting: WaitingOf = database_waiting,
    ) -> None:
        """Take what was loaded for the campaign; cheap, so a task may build it anew.

        Args:
            settings: Rules and tolerances.
            models: Loaded property models, and why others are absent.
            generator: Encodes relaxed crystals; its bank is the training set.
            head: The live property head; None takes the one shipped with the generator.
            windows: The campaign's targets.
            training: Training crystals; None takes the generator's bank.
            references: Other known crystals that every candidate is compared with.
            siblings: Reads other candidates of the campaign with one formula.
            waiting: Reads those that are not through the screens.
        """
        self.settings = settings
        self.models = models
        self.generator = generator
        self.head = generator.head if head is None else head
        self.windows = tuple(windows)
        self.duplicates = DuplicateSearch(
            settings,
            training_reference(generator) if training is None else training,
            references,
            siblings,
            waiting,
        )
        self.batch = settings.batch
        self.lease_seconds = settings.lease_seconds

    def process(self, candidates: Sequence[Candidate]) -> Iterator[Outcome | PutOff]:
        """Yield SCREENED or REJECTED in the order of proposal.

        A candidate is put off while one of its formula that was proposed before it is not through
        the screens; see `agents.screen.duplicates`.

        Reasons: ``min_distance``, ``dimensionality``, ``duplicate_training``,
        ``duplicate_reference``, ``duplicate_campaign``; with the consensus ``gate`` also
        ``formation_energy``, ``band_gap``, ``p_gap``, ``energy_above_hull`` and, where a window has
        no counted verdict at all, ``unjudged``. A relaxed crystal that the generator cannot encode
        is not rejected: it has no relaxed codes, and the record says why.
        """
        blocked = self.duplicates.blocked(candidates)
        yield from (PutOff(name) for name in sorted(blocked))
        sound: list[tuple[Candidate, Structure, Validity]] = []
        free = [candidate for candidate in candidates if candidate.id not in blocked]
        for candidate in sorted(free, key=lambda candidate: candidate.seq):
            try:
                structure = _relaxed_structure(candidate)
                sound.append((candidate, structure, judge(structure, self.settings)))
            except _CRYSTAL_ERRORS as error:
                yield _failure(candidate, "relaxed structure", error)
        seen: set[str] = set()
        for case in self._ask_models(sound):
            formula = case.candidate.formula
            # The one before it in this batch may have been lost to another worker meanwhile.
            if formula in seen and self.duplicates.blocked([case.candidate]):
                yield PutOff(case.candidate.id)
            else:
                yield self._decide(case)
            seen.add(formula)

    def _ask_models(self, sound: Sequence[tuple[Candidate, Structure, Validity]]) -> list[_Case]:
        """Run the batched models once over the batch."""
        structures = [structure for _, structure, _ in sound]
        codes = self.generator.encode(structures) if structures else []
        columns = {screen.name: screen.predict(structures) for screen in self.models.screens}
        if self.models.head:
            columns[HEAD] = head_predictions(self.generator, self.head, codes)
        return [
            _Case(*known, codes[i], {name: column[i] for name, column in columns.items()})
            for i, known in enumerate(sound)
        ]

    def _decide(self, case: _Case) -> Outcome:
        try:
            found = self.duplicates.find(case.candidate, case.structure)
        except _CRYSTAL_ERRORS as error:
            return _failure(case.candidate, "duplicates", error)
        return self._outcome(case, found)

    def _outcome(self, case: _Case, duplicates: Duplicates) -> Outcome:
        settings, candidate, validity = self.settings, case.candidate, case.validity
        consensus = find_consensus(case.predictions, self.windows, settings)
        encoding = _encoding(case.codes)
        updates: dict[str, Any] = {
            "screening.relaxed": {**validity.record(), "settings": settings.rules()},
            "screening.models": self._models_record(case),
            "screening.consensus": consensus.record(),
            "screening.encoding": encoding,
            "duplicates": duplicates.record(),
        }
        if encoding["encoded"]:
            updates["relaxed_codes"] = case.codes.record()  # type: ignore[union-attr]
        reason, detail = self._reason(validity, duplicates, consensus)
        return Outcome(
            candidate.id,
            State.SCREENED if reason is None else State.REJECTED,
            updates,
            predictions=[prediction.record() for prediction in case.predictions],
            reason=reason,
            detail=detail,
            inputs=self._inputs(),
        )

    def _reason(
        self, validity: Validity, duplicates: Duplicates, consensus: Consensus
    ) -> tuple[str | None, dict[str, Any]]:
        """Return the first reason to reject, with its numbers."""
        settings = self.settings
        for rule in ("min_distance", "dimensionality"):  # which relaxing may have broken
            if rule in validity.failed:
                return rule, validity.record()
        reason, detail = duplicates.reason(settings)
        if reason is not None:
            return reason, detail
        if settings.consensus == "gate" and consensus.outside:
            return consensus.outside[0].removesuffix("_per_atom"), consensus.record()
        if settings.consensus == "gate" and consensus.unjudged:
            return "unjudged", consensus.record()
        return None, {}

    def _models_record(self, case: _Case) -> list[dict[str, Any]]:
        """Say which models gave a number for this crystal, and why the others did not."""
        versions = {screen.name: screen.version for screen in self.models.screens}
        versions[HEAD] = self.head.version
        record: list[dict[str, Any]] = []
        for name, answer in case.answers.items():
            reason = answer.reason if isinstance(answer, Refusal) else None
            record.append(
                {"name": name, "version": versions[name], "ran": reason is None, "reason": reason}
            )
        for name, reason in self.models.absent.items():
            record.append({"name": name, "version": None, "ran": False, "reason": reason})
        return record

    def _inputs(self) -> dict[str, Any]:
        inputs = {screen.name: screen.version for screen in self.models.screens}
        if self.models.head:
            inputs[HEAD] = self.head.version
        return {
            **inputs,
            "generator": self.generator.version,
            **self.duplicates.inputs(),
        }


def _relaxed_structure(candidate: Candidate) -> Structure:
    record = (candidate.relaxation or {}).get("structure")
    if not record:
        raise ValueError("the candidate is relaxed but has no relaxed structure")
    return record_to_structure(record)


def _encoding(codes: CrystalCodes | EncodingError) -> dict[str, Any]:
    from model.codes import CrystalCodes

    if isinstance(codes, CrystalCodes):
        return {"encoded": True, "reason": None}
    return {"encoded": False, "reason": codes.reason}


def _failure(candidate: Candidate, where: str, error: Exception) -> Outcome:
    text = f"{where}: {type(error).__name__}: {error}"
    return Outcome(candidate.id, State.FAILED, reason=text)
