"""What the benchmark of the screens computes, on numbers made up for it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from agents.targets import Window


@pytest.fixture(scope="module")
def screens() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "screens.py"
    spec = importlib.util.spec_from_file_location("benchmarks_screens", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def rows(screens: ModuleType, labels: dict[str, Any], **values: dict[str, Any]) -> Any:
    made = screens.Rows.__new__(screens.Rows)
    made.structures = []
    made.labels = {name: np.array(one, float) for name, one in labels.items()}
    made.values = {
        model: {name: np.array(one, float) for name, one in table.items()}
        for model, table in values.items()
    }
    return made


def test_a_shift_per_element_is_found(screens: ModuleType) -> None:
    shift = {"O": -0.7, "Na": 0.0, "Ti": 0.3}
    formulas = ["Na2O", "TiO2", "NaTiO3", "Na", "Ti", "NaTi", "Na2Ti3O7"]
    pairs = []
    for formula in formulas:
        shares = screens.fractions([formula])[0]
        pairs.append((formula, sum(shares[z] * shift[e] for z, e in ((8, "O"), (22, "Ti")))))
    found = screens.fit_shift(pairs)
    assert [found[z] for z in (8, 11, 22)] == pytest.approx([-0.7, 0.0, 0.3], abs=0.02)


def test_errors_count_gaps_of_non_metals_and_rates_of_the_classifier(screens: ModuleType) -> None:
    energy, gap, p_gap = screens.ENERGY, screens.GAP, screens.P_GAP
    found = screens.errors(
        rows(
            screens,
            {energy: [-1.0, -2.0, 0.0, 1.0], gap: [0.0, 1.0, 2.0, 3.0]},
            megnet={
                energy: [-1.1, -2.3, 0.0, np.nan],
                gap: [5.0, -0.5, 2.2, np.nan],
                p_gap: [0.4, 0.9, 0.2, np.nan],
            },
        ),
        "megnet",
    )
    assert (found["crystals"], found["refused"]) == (3, 1)
    assert found[energy] == pytest.approx((0.1 + 0.3 + 0.0) / 3)
    assert found[gap] == pytest.approx((1.0 + 0.2) / 2)  # a negative gap counts as none
    assert found["all gaps"] == pytest.approx((5.0 + 1.0 + 0.2) / 3)
    assert (found["metals found"], found["non-metals found"]) == (1.0, 0.5)


def test_agreement_separates_shared_faults_from_chance(screens: ModuleType) -> None:
    random = np.random.default_rng(0)
    label = random.normal(-0.5, 0.5, 4000)
    fault, own = random.normal(0, 0.2, 4000), random.normal(0, 0.2, 4000)
    labels = {screens.ENERGY: label, screens.GAP: np.zeros(4000)}
    window = str(Window(property="formation_energy_per_atom", max=-0.5))
    for shared, low, high in ((fault, 0.99, 1.0), (own, -0.05, 0.05)):
        made = rows(
            screens,
            labels,
            a={screens.ENERGY: label + fault},
            b={screens.ENERGY: label + shared},
        )
        found = screens.agreement(made, "a", "b")[screens.ENERGY]
        assert found["window"] == window
        assert low <= found["errors, Pearson"] <= high + 1e-9
        chance = found["both wrong, were they independent"]
        if shared is fault:
            assert found["agree"] == 1.0
            assert found["both wrong"] == pytest.approx(found["wrong"][0])
            assert found["both wrong"] > 3 * chance
            assert found["precision of both"] == found["precision of one"][0]
        else:
            assert found["precision of both"] > max(found["precision of one"])
