"""VASP's inputs of slabs: one k-point across, the dipole where there may be one, the cell kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import vasp_site
from ase.build import mx2
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

from agents.slab import vacuum
from agents.verify.setup.symmetry import symmetrise
from agents.verify.tasks import Task
from agents.verify.vasp.backend import VASPBackend
from agents.verify.vasp.cost import mesh
from agents.verify.vasp.inputs import input_set
from agents.verify.vasp.runner import VASPTask
from agents.verify.vasp.settings import PRESETS, preset
from db.crystals import structure_to_record

pytestmark = pytest.mark.filterwarnings("ignore")  # of POTCARs that pymatgen does not know


def layer(*, polar: bool) -> Structure:
    """MoS2, or MoSSe."""
    atoms = mx2("MoS2", kind="2H", a=3.2, thickness=3.2, vacuum=9.0)
    if polar:
        atoms.numbers[2] = 34
    atoms.pbc = True
    return AseAtomsAdaptor.get_structure(atoms)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("polar", [True, False])
def test_inputs_written_for_inspection(
    name: str, polar: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vasp_site.install(tmp_path / "site", monkeypatch)
    document = {
        "task": "static",
        "structure": structure_to_record(layer(polar=polar)),
        "settings": preset(name).record(),
        "options": {"gap": True, "vacuum": 13.0},
    }
    VASPBackend().write_inputs(document, tmp_path / "in")
    incar, points = (
        Incar.from_file(tmp_path / "in/INCAR"),
        Kpoints.from_file(tmp_path / "in/KPOINTS"),
    )
    assert points.kpts[0][2] == 1
    assert points.kpts[0][0] == points.kpts[0][1] >= 8
    assert "KSPACING" not in incar
    assert (incar.get("LDIPOL"), incar.get("IDIPOL")) == ((True, 3) if polar else (None, None))
    written = Poscar.from_file(tmp_path / "in/POSCAR").structure
    assert vacuum(written) == pytest.approx(13.0, abs=1e-6)
    if polar:
        assert incar["DIPOL"] == [0.5, 0.5, 0.5]  # where the layer is
    task = VASPTask.read(document)
    assert task.polar is polar


def test_the_mesh_in_the_plane_is_as_dense_whatever_the_vacuum() -> None:
    for name in PRESETS:
        meshes = {
            mesh(symmetrise(layer(polar=True), 0.01, 0.1, gap).structure, points, flat=True)
            for gap in (12.0, 25.0)
            for points in [preset(name).k_points]
        }
        assert len(meshes) == 1
        coarse, dense = preset(name).k_points, preset(name).gap_k_points
        cell = symmetrise(layer(polar=True), 0.01, 0.1, 12.0).structure
        assert mesh(cell, coarse, flat=True)[0] < mesh(cell, dense, flat=True)[0]


def test_a_relaxation_keeps_the_cell_that_vasp_would_squeeze() -> None:
    cell = symmetrise(layer(polar=False), 0.01, 0.1, 12.0).structure
    assert input_set(cell, preset("fast"), Task.RELAX, polar=False).incar["ISIF"] == 2
    assert input_set(cell, preset("fast"), Task.RELAX).incar["ISIF"] == 3


def test_a_slab_costs_what_its_mesh_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vasp_site.install(tmp_path / "site", monkeypatch)
    backend, settings = VASPBackend(), preset("fast")
    slab = layer(polar=False)
    slab.replace_species({"Mo": "Na", "S": "Cl"})  # which the site has POTCARs of
    flat = backend.estimate_task(slab, settings, Task.STATIC, {"gap": True, "vacuum": 12.0})
    bulk = backend.estimate_task(slab, settings, Task.STATIC, {"gap": True})
    assert 0 < flat < bulk  # of several k-points across the vacuum
