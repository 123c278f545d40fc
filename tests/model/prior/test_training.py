"""Training learns what marginals cannot, and gives the same prior twice."""

from __future__ import annotations

import pytest

from model.bank import CodeBank
from model.prior.marginals import DonorPrior, MarginalPrior
from model.prior.settings import PriorConfig, Temperatures
from model.prior.training import PriorEpoch, fit_prior

CONFIG = PriorConfig(
    width=32,
    heads=2,
    blocks=1,
    expansion=2,
    dropout=0.0,
    epochs=12,
    batch_size=32,
    learning_rate=0.01,
    sampling=Temperatures(),
)


@pytest.fixture(scope="module")
def fitted(bank, roomy):
    """A prior trained on the ruled bank, and the reports of its epochs."""
    reports: list[PriorEpoch] = []
    prior = fit_prior(bank, roomy.tables, CONFIG, seed=0, on_epoch=reports.append)
    return prior, reports


def test_rules_between_codes_are_learned(fitted, bank):
    prior, _ = fitted
    drawn = prior.sample(200, seed=0)
    agree = [len(set(atom[1:])) == 1 for c in drawn for atom in c.local]
    paired = [c.species[0][1] == c.species[1][1] == c.local[0][0] for c in drawn]
    assert sum(agree) / len(agree) > 0.9
    assert sum(paired) / len(paired) > 0.9
    independent = [
        len(set(atom[1:])) == 1
        for c in MarginalPrior.fit(bank, prior.tables).sample(200, seed=0)
        for atom in c.local
        if atom[0] >= 2
    ]
    assert sum(independent) / len(independent) < 0.5


def test_held_out_nats_beat_the_marginals(fitted):
    card = fitted[0].card
    # Entropy of the ruled crystals: metal, second level, and two axes in ascending order.
    assert 3 < card["val_nats"]["total"] < 6
    assert card["val_nats"]["total"] < card["val_nats_marginals"] - 3
    assert card["val_nats_by_epoch"][-1] < card["val_nats_by_epoch"][0]


def test_a_floor_leaves_out_what_is_unlikely(fitted):
    prior, _ = fitted
    plain = prior.sample(300, seed=1, temperature=Temperatures())
    cut = prior.sample(300, seed=1, temperature=Temperatures(floor=0.3))
    broken = [sum(len(set(a[1:])) > 1 for c in codes for a in c.local) for codes in (plain, cut)]
    assert broken[1] < broken[0]
    assert len({c.local for c in cut}) > 10  # what is equally likely is all kept


def test_epochs_are_reported(fitted):
    reports = fitted[1]
    assert [r.epoch for r in reports] == list(range(1, 13))
    assert "nats" in str(reports[0])


def test_the_same_seed_gives_the_same_prior(bank, roomy):
    short = CONFIG.model_copy(update={"epochs": 1})
    one, two = (fit_prior(bank, roomy.tables, short, seed=3) for _ in range(2))
    other = fit_prior(bank, roomy.tables, short, seed=4)
    codes = one.sample(10, seed=0)
    assert two.sample(10, seed=0) == codes
    assert (one.log_likelihood(codes) == two.log_likelihood(codes)).all()
    assert not (one.log_likelihood(codes) == other.log_likelihood(codes)).all()


def test_rows_with_a_species_without_atoms_are_left_out_and_counted(bank, roomy):
    codes = [bank.codes(i) for i in range(40)]
    codes[1] = type(codes[1])(codes[1].species, codes[1].crystal, codes[1].local[:1])
    broken = CodeBank.from_codes(
        codes, ids=bank.ids[:40], formulas=bank.formulas[:40], role=bank.role[:40], properties={}
    )
    prior = fit_prior(broken, roomy.tables, CONFIG.model_copy(update={"epochs": 1}), seed=0)
    assert prior.card["skipped"] == {"train": 1, "val": 0}


def test_a_bank_without_held_out_rows_is_refused(bank, roomy):
    codes = [bank.codes(i) for i in range(4)]
    whole = CodeBank.from_codes(
        codes, ids=bank.ids[:4], formulas=bank.formulas[:4], role=["train"] * 4, properties={}
    )
    with pytest.raises(ValueError, match="no rows of role val"):
        fit_prior(whole, roomy.tables, CONFIG, seed=0)


def test_marginal_likelihood_is_the_sum_of_logs_of_shares(bank, roomy):
    marginals = MarginalPrior.fit(bank, roomy.tables)
    codes = [bank.codes(i) for i in range(3)]
    values = marginals.log_likelihood(codes)
    # Metal, its copy in the other token, role of the metal atom, crystal level: p = 1/2 each.
    assert (values < -5).all()
    assert (values > -25).all()


def test_donors_are_training_crystals(bank):
    donors = DonorPrior(bank)
    train = {bank.codes(int(i)) for i in bank.rows("train")}
    assert set(donors.sample(20, seed=0)) <= train
    base = bank.codes(0)
    drawn = donors.sample_global(base, 10, seed=0)
    assert all(c.local == base.local for c in drawn)
    assert {c.global_genes for c in drawn} <= {c.global_genes for c in train}


def test_marginal_global_draws_keep_the_atoms(bank, roomy):
    base = bank.codes(0)
    drawn = MarginalPrior.fit(bank, roomy.tables).sample_global(base, 50, seed=0)
    assert all(c.local == base.local for c in drawn)
    assert len({c.global_genes for c in drawn}) > 1
