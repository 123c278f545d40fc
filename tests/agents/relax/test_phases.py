"""Competing phases of a small reference collection, with energies that the test writes down."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pymatgen.core import Composition, Structure
from reference_phases import COLLECTION, Tabulated, crystal, number_of, write_table

from agents.relax import phases_energies
from agents.relax.hull import Hull, energy_above_hull
from agents.relax.hull_settings import HullSettings
from agents.relax.phases import Geometry, IncompleteHull, Phase, TooManyPhases, subsystems
from agents.relax.phases_evaluation import CompetingPhases
from agents.relax.phases_file import LARGE_CELLS, SMALL_CELLS, FilePhases
from agents.relax.references import ReferenceMismatch
from agents.relax.relaxation import Relaxation, Stop
from agents.relax.settings import RelaxSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = {name: crystal(COLLECTION[name][0], int(name[3:])) for name in COLLECTION}
    write_table(tmp_path / SMALL_CELLS, rows)
    write_table(tmp_path / LARGE_CELLS, {"mp-11": crystal("Na15Cl15", 11)})
    return tmp_path


@pytest.fixture
def relaxations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace relaxing by taking what the collection says it gains; return what was relaxed."""
    done: list[str] = []

    def relax(
        structures: Sequence[Structure], potential: Tabulated, settings: RelaxSettings
    ) -> Iterator[tuple[int, Relaxation]]:
        for index, structure in enumerate(structures):
            name = number_of(structure)
            done.append(name)
            start = potential.total(structure, potential.formation[name])
            end = start - COLLECTION[name][2] * len(structure)
            yield (
                index,
                Relaxation(structure, end, start, 0.001, 0.0, 5, True, 1.0, 0.1, Stop.CONVERGED, 7),
            )

    monkeypatch.setattr(phases_energies, "relaxations", relax)
    return done


def build(folder: Path, potential: Tabulated | None = None, **options: object) -> FilePhases:
    potential = potential or Tabulated()
    hull = HullSettings(**{"max_atoms": 20, **options.pop("hull", {})})  # type: ignore[dict-item]
    cache = folder / "cache" / "phases.sqlite"
    return FilePhases(potential, potential.references, folder, cache, hull=hull, **options)  # type: ignore[arg-type]


def ids(phases: Sequence[Phase]) -> list[str]:
    return sorted(phase.id for phase in phases)


def test_all_subsystems_compete_and_nothing_else(folder: Path) -> None:
    phases = build(folder, geometry=Geometry.SINGLE_POINT).phases_of("Na-Cl")
    names = [f"mp-{n}" for n in range(1, 9)]
    assert ids(phases) == sorted(["element:Cl", "element:Na", *names])
    energies = {phase.id: phase.formation_energy_per_atom for phase in phases}
    for name in names:
        assert energies[name] == pytest.approx(COLLECTION[name][1], abs=1e-6)
    assert energies["element:Na"] == 0.0
    assert {phase.level.criterion for phase in phases} == {"single_point"}


def test_energies_are_computed_once(folder: Path) -> None:
    potential = Tabulated()
    first = build(folder, potential, geometry=Geometry.SINGLE_POINT)
    before = first.phases_of("Na-Cl")
    assert sorted(potential.asked) == sorted(f"mp-{n}" for n in range(1, 9))
    potential.asked.clear()
    again = build(folder, potential, geometry=Geometry.SINGLE_POINT, compute=False)
    assert again.phases_of("Cl-Na") == before
    first.phases_of("Na-K-Cl")
    assert sorted(potential.asked) == ["mp-10", "mp-9"]


def test_missing_energies_are_named_where_nothing_may_be_computed(folder: Path) -> None:
    build(folder, geometry=Geometry.SINGLE_POINT).phases_of("Na-Cl")
    phases = build(folder, geometry=Geometry.SINGLE_POINT, compute=False)
    with pytest.raises(IncompleteHull, match=r"mp-10 \(KNaCl2: not computed\)") as refused:
        phases.phases_of("Na-K-Cl")
    assert set(refused.value.missing) == {"mp-9", "mp-10"}


def test_a_crystal_that_cannot_be_computed_takes_no_other_with_it(folder: Path) -> None:
    potential = Tabulated({"mp-5": 1000.0, "mp-7": float("nan"), "mp-8": -7.0})
    phases = build(folder, potential, geometry=Geometry.SINGLE_POINT)
    with pytest.raises(IncompleteHull) as refused:
        phases.phases_of("Na-Cl")
    assert set(refused.value.missing) == {"mp-5", "mp-7", "mp-8"}
    assert "has no edge" in refused.value.missing["mp-5"]
    assert "not finite" in refused.value.missing["mp-7"]
    assert "-7.00 eV/atom" in refused.value.missing["mp-8"]
    assert "not trained on" in _missing(build(folder, _without_potassium()), "K-Cl")["mp-9"]


def _without_potassium() -> Tabulated:
    potential = Tabulated()
    potential.elements = frozenset({"Na", "Cl"})
    return potential


def _missing(phases: FilePhases, system: str) -> dict[str, str]:
    with pytest.raises(IncompleteHull) as refused:
        phases.phases_of(system)
    return refused.value.missing


def test_only_phases_near_the_hull_are_relaxed(folder: Path, relaxations: list[str]) -> None:
    phases = build(folder).phases_of("Na-Cl")
    assert sorted(relaxations) == ["mp-1", "mp-2", "mp-3", "mp-4", "mp-6", "mp-7"]
    energies = {phase.id: phase.formation_energy_per_atom for phase in phases}
    assert energies["mp-4"] == pytest.approx(-2.03)
    assert energies["mp-3"] == pytest.approx(-2.02)
    assert "mp-5" not in energies  # 0.5 above the hull
    (criterion,) = {phase.level.criterion for phase in phases}
    assert criterion == "relaxed, force<=0.03 eV/Å, stress<=0.1 GPa, 0 GPa"
    relaxations.clear()
    build(folder).phases_of("Na-Cl")
    assert relaxations == []
    tighter = RelaxSettings(fmax=0.01)
    build(folder, relax=tighter).phases_of("Na-Cl")
    assert len(relaxations) == 6  # another criterion, other energies


@pytest.mark.parametrize("formula", ["NaCl", "Na2Cl", "NaCl2", "Na3Cl", "Na", "NaKCl2", "K2NaCl4"])
def test_one_composition_needs_fewer_relaxations_for_the_same_distance(
    folder: Path, relaxations: list[str], formula: str
) -> None:
    composition = Composition(formula)
    few = build(folder).phases_for(composition)
    spent = len(relaxations)
    assert spent == len(set(relaxations))
    every = build(folder).phases_of(composition.chemical_system)
    lazy = energy_above_hull(composition, -1.0, few)
    full = energy_above_hull(composition, -1.0, every)
    assert lazy.energy_above_hull == pytest.approx(full.energy_above_hull, abs=1e-9)
    assert lazy.decomposition == full.decomposition
    assert lazy.level == full.level
    assert spent < len(relaxations) or len(composition) == 1


def test_how_stable_a_known_phase_is(folder: Path, relaxations: list[str]) -> None:
    composition = Composition("NaCl")
    polymorphs = ("mp-3", "mp-4", "mp-5")
    others = build(folder).phases_for(composition, leave_out=polymorphs)
    assert not {phase.id for phase in others} & set(polymorphs)
    result = energy_above_hull(composition, -2.03, others)
    assert [product.id for product in result.decomposition] == ["mp-6", "element:Na"]
    # two thirds of the atoms of NaCl are in NaCl3, which relaxes to -1.11 eV/atom
    assert result.decomposition_energy == pytest.approx(2.03 - 1.11 * 2 / 3)


def test_margin_zero_misses_what_relaxing_would_bring_below(
    folder: Path, relaxations: list[str]
) -> None:
    narrow = build(folder, hull={"margin": 0.0})
    wide = Hull(build(folder).phases_of("Na-Cl")).at(Composition("NaCl"), 0.0)
    missed = Hull(narrow.phases_of("Na-Cl")).at(Composition("NaCl"), 0.0)
    assert wide.decomposition[0].id == "mp-4"
    assert missed.decomposition[0].id == "mp-3"


def test_a_relaxation_that_does_not_settle_leaves_the_hull_incomplete(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relax(
        structures: Sequence[Structure], potential: Tabulated, settings: RelaxSettings
    ) -> Iterator[tuple[int, Relaxation | Exception]]:
        assert settings.max_steps == 7
        for index, structure in enumerate(structures):
            if number_of(structure) == "mp-4":
                yield index, RuntimeError("out of memory")
            else:
                yield (
                    index,
                    Relaxation(
                        structure, -3.0, -3.0, 0.2, 0.0, 7, False, 1.0, 0.1, Stop.MAX_STEPS, 8
                    ),
                )

    monkeypatch.setattr(phases_energies, "relaxations", relax)
    missing = _missing(build(folder, hull={"max_steps": 7}), "Na-Cl")
    assert missing["mp-3"] == "NaCl: its relaxation ended with max_steps"
    assert missing["mp-4"] == "NaCl: RuntimeError: out of memory"


def test_too_many_phases_are_refused_before_anything_is_computed(folder: Path) -> None:
    potential = Tabulated()
    with pytest.raises(TooManyPhases, match="8 competing phases"):
        build(folder, potential, hull={"max_phases": 7}).phases_of("Na-Cl")
    assert potential.asked == []


def test_large_cells_compete_unless_they_are_left_out(folder: Path) -> None:
    small = build(folder, geometry=Geometry.SINGLE_POINT)
    assert small.left_out("Na-Cl") == 0  # its store holds no large cells
    potential = Tabulated({"mp-11": -2.5})
    whole = build(folder, potential, geometry=Geometry.SINGLE_POINT, hull={"max_atoms": None})
    assert "mp-11" in ids(whole.phases_of("Na-Cl"))
    most = build(folder, potential, geometry=Geometry.SINGLE_POINT, hull={"max_atoms": 25})
    assert "mp-11" not in ids(most.phases_of("Na-Cl"))
    assert most.left_out("Na-Cl") == 1


def _fill(folder: Path) -> None:
    build(folder, geometry=Geometry.SINGLE_POINT).phases_of("Na-K-Cl")


def test_two_processes_fill_one_cache(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(folder,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    phases = build(folder, geometry=Geometry.SINGLE_POINT, compute=False)
    assert len(phases.phases_of("Na-K-Cl")) == 13


def test_a_cache_of_other_tables_is_refused(folder: Path) -> None:
    build(folder)
    write_table(folder / SMALL_CELLS, {"mp-1": crystal("Na", 2)})
    with pytest.raises(ValueError, match="another mp_ref2025_le20"):
        build(folder)


def test_what_would_not_be_one_level_is_refused(folder: Path) -> None:
    with pytest.raises(ReferenceMismatch, match="zero pressure"):
        build(folder, relax=RelaxSettings(pressure=10.0))
    potential = Tabulated()
    potential.version = "0.2.0"
    with pytest.raises(ReferenceMismatch, match=r"chgnet-0\.2\.0"):
        build(folder, potential)


def test_subsystems() -> None:
    assert subsystems(["O", "Na", "Cl"]) == [
        *("Cl", "Na", "O", "Cl-Na", "Cl-O", "Na-O", "Cl-Na-O"),
    ]


def test_the_interface_is_the_one_of_the_database(folder: Path) -> None:
    assert isinstance(build(folder), CompetingPhases)
