"""The choice of base crystals: better arms are preferred, used-up ones are left."""

from __future__ import annotations

from collections import Counter

import numpy as np

from agents.propose.bandit import Arm, thompson


def choices(arms: list[Arm], n: int = 400) -> Counter[str | None]:
    return Counter(thompson(arms, np.random.default_rng(seed)) for seed in range(n))


def test_without_experience_a_new_base_is_taken():
    assert choices([]) == {None: 400}


def test_the_better_arm_is_preferred_and_others_are_still_tried():
    arms = [Arm("good", 50, 64), Arm("bad", 10, 64), Arm("fair", 30, 64)]
    counts = choices(arms)
    assert counts["good"] > 4 * counts["bad"]
    assert counts["good"] > 2 * counts["fair"]
    assert counts[None] > 20


def test_new_bases_are_taken_where_all_tried_ones_are_poor():
    poor = choices([Arm("a", 2, 64), Arm("b", 40, 64), Arm("a", 1, 64)])
    assert poor["b"] + poor[None] > 390


def test_a_used_up_base_is_left():
    fresh = choices([Arm("a", 60, 64), Arm("b", 40, 64), Arm("c", 42, 64)])
    used = choices([Arm("a", 60, 64), Arm("b", 40, 64), Arm("c", 42, 64), Arm("a", 5, 64)])
    assert used["a"] < 0.3 * fresh["a"]


def test_equal_seeds_choose_equally():
    arms = [Arm("a", 30, 64), Arm("b", 33, 64)]
    draws = [[thompson(arms, np.random.default_rng(s)) for s in range(50)] for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 3


def test_the_bandit_finds_the_better_half_of_the_bases():
    # rates of bases are uniform in (0, 1): taking a new one each time gives 0.5
    rng = np.random.default_rng(0)
    arms: list[Arm] = []
    rates: dict[str, float] = {}
    for episode in range(60):
        name = thompson(arms, rng) or f"base-{episode}"
        rate = rates.setdefault(name, float(rng.random()))
        arms.append(Arm(name, int(rng.binomial(64, rate)), 64))
    late = np.mean([arm.hits / arm.evaluations for arm in arms[30:]])
    assert late > 0.75
