"""What the prior reads off a generator agrees with what the generator decodes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from pymatgen.core import Element

from model.bank import CodeBank
from model.generator import Generator
from model.prior.tables import NetworkTables, UnsupportedCodes, element_order, network_tables


@pytest.fixture(scope="module")
def few(generator: Generator) -> Generator:
    """The Perov-5 generator with a bank of 300 of its rows."""
    rows = [*generator.bank.rows("train")[:240], *generator.bank.rows("val")[:60]]
    bank = CodeBank.from_codes(
        [generator.bank.codes(int(i)) for i in rows],
        ids=generator.bank.ids[rows],
        formulas=generator.bank.formulas[rows],
        role=generator.bank.role[rows],
        properties={},
    )
    return Generator(
        name=generator.name,
        version=generator.version,
        card=generator.card,
        model=generator.model,
        bank=bank,
        head=generator.head,
    )


@pytest.fixture(scope="module")
def tables(few: Generator) -> NetworkTables:
    """Their tables."""
    return network_tables(few)


def test_slots_and_elements_say_what_is_decoded(few, generator, tables):
    held_out = [generator.bank.codes(int(i)) for i in generator.bank.rows("val")[100:200]]
    right = total = 0
    for codes, crystal in zip(held_out, generator.decode_crystals(held_out)):
        slots = tables.role_slot[codes.n_species - 1].tolist()
        said = Counter(
            int(tables.token_element[codes.species[slots[atom[0]]]]) for atom in codes.local
        )
        right += said == Counter(crystal.numbers.tolist())
        total += 1
    assert right / total > 0.95


def test_axis_codes_stand_for_the_coordinates_they_decode_to(few, tables):
    codes = [few.bank.codes(i) for i in range(50)]
    for c, crystal in zip(codes, few.decode_crystals(codes)):
        said = tables.axis_coordinate[torch.tensor(c.local)[:, 1:]].numpy()
        difference = np.abs((crystal.frac - said + 0.5) % 1 - 0.5)
        assert difference.max() < 0.03


def test_tokens_seen_are_those_of_the_training_rows(few, tables):
    train = {t for i in few.bank.rows("train") for t in few.bank.codes(int(i)).species}
    assert set(map(tuple, tables.token_seen.nonzero().tolist())) == train
    assert set(tables.elements) <= few.elements


def test_elements_are_ordered_by_electronegativity():
    order = element_order()
    symbols = ["Cs", "Na", "Ti", "Fe", "S", "O", "F"]
    ranks = [int(order[Element(s).Z]) for s in symbols]
    assert ranks == sorted(ranks)
    assert sorted(order[1:].tolist()) == list(range(100))


def test_codes_of_another_kind_are_refused(few):
    class Other:
        config = few.model.config

    class Foreign:
        name, model, bank = "vqcrystal", Other(), few.bank

    with pytest.raises(UnsupportedCodes, match="vqcrystal"):
        network_tables(Foreign())  # type: ignore[arg-type]
