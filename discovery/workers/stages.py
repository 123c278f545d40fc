"""The stages of a campaign, each built of the parts that a worker process has loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.stage import Stage

if TYPE_CHECKING:
    from discovery.workers.runtime import Runtime


def _evaluate(here: Runtime) -> Stage:
    from agents.relax.stage import EvaluateStage

    hulls = here.single_point_hulls
    return EvaluateStage(here.potential, here.references, here.config.relax, hulls)


def _relax(here: Runtime) -> Stage:
    from agents.relax.stage import RelaxStage

    return RelaxStage(
        here.potential, here.references, here.config.relax, second=here.second_potential
    )


def _prescreen(here: Runtime) -> Stage:
    from agents.screen.stage import PrescreenStage

    return PrescreenStage(here.config.screen)


def _screen(here: Runtime) -> Stage:
    from agents.learn.event import live_head
    from agents.screen.stage import ScreenStage

    head, _ = live_head(here.campaign, here.generator)
    return ScreenStage(
        here.config.screen,
        here.screen_models,
        here.generator,
        head,
        here.config.targets,
        training=here.training_crystals,
        references=here.known_crystals,
    )


def _hull(here: Runtime) -> Stage:
    from agents.relax.hull_stage import HullStage
    from agents.relax.rules import out_of_domain

    settings = here.config.relax
    return HullStage(
        here.phases,
        here.config.hull,
        lease_seconds=settings.lease_seconds,
        out_of_domain=out_of_domain(here.potential, settings),
    )


def _stability(here: Runtime) -> Stage:
    from agents.follow_up.stability import StabilityStage

    return StabilityStage(
        here.potential,
        here.config.relax,
        here.follow_up,
        here.config.seed,
        here.follow_up_phases,
    )


STAGES: dict[str, Callable[[Runtime], Stage]] = {
    "evaluate": _evaluate,
    "prescreen": _prescreen,
    "relax": _relax,
    "screen": _screen,
    "hull": _hull,
    "stability": _stability,
}
