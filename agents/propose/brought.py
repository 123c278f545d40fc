"""Proposers that other packages bring; see `agents.extensions` for how they are named."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from agents.extensions import PROPOSERS, extensions, load_extension, package_of

if TYPE_CHECKING:
    from agents.propose.proposer import Proposer
    from agents.propose.seeds import EpisodeSeed
    from agents.propose.space import SearchSpace
    from model.generator import Generator


OUR_KINDS = (
    *("genetic", "optuna_tpe", "optuna_nsga2", "optuna_nsga3"),
    *("random", "donor", "prior", "substitution", "code_evolution"),
)
"""Proposers of the product itself; no package replaces one of them."""


class BroughtSettings(BaseModel, ABC):
    """Settings of a proposer that an installed package brings, and how it is built from them.

    The life of such settings: the entry point of a package names a subclass. Where a campaign file
    names its ``kind``, the subclass checks the other keys, before anything starts, and ``package``
    is filled in; both go into the campaign's record. In every round `build` is called, in whichever
    process leads the campaign; what it returns must ask the same for the same records
    (`agents.propose.proposer.Proposer`), and so a campaign goes on only with the package it was
    started with.

    A subclass adds its own keys, each with a default where it has one, and implements `build`.

    Args:
        kind: Name of the entry point, and of the proposer that is built.
        generations: Generations of one episode.
        package: Name and version of the package; never written by a person.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    generations: int = Field(default=10, ge=1)
    package: str = ""

    @abstractmethod
    def build(
        self, space: SearchSpace, seed: EpisodeSeed, *, max_redraws: int, generator: Generator
    ) -> Proposer:
        """Build the proposer of one episode, before any of its generations is told.

        Args:
            space: What the episode searches.
            seed: Source of all its randomness.
            max_redraws: How often one repeated proposal is redrawn.
            generator: The frozen generator, with prior and code bank.
        """

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, content: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Let the class that the kind names read the keys."""
        if cls is not BroughtSettings:
            return handler(content)
        if isinstance(content, BroughtSettings):
            return content  # type: ignore[return-value]
        kind = content["kind"]
        brought = load_extension(PROPOSERS, kind)
        if brought is None:
            known = ", ".join((*OUR_KINDS, *extensions(PROPOSERS)))
            raise ValueError(f"there is no proposer {kind!r}; known are {known}")
        if not (isinstance(brought, type) and issubclass(brought, BroughtSettings)):
            raise ValueError(f"{kind!r} of {package_of(PROPOSERS, kind)} is no BroughtSettings")
        here = package_of(PROPOSERS, kind)
        if content.get("package", "") not in ("", here):
            raise ValueError(
                f"the campaign was started with {content['package']}, but {here} is installed: "
                "install that version, for another one may propose other crystals"
            )
        return brought.model_validate({**content, "package": here})  # type: ignore[return-value]


class WrongProposer(TypeError):
    """A package builds a proposer other than the one that its settings describe."""


def build_brought(
    settings: BroughtSettings,
    space: SearchSpace,
    seed: EpisodeSeed,
    *,
    max_redraws: int,
    generator: Generator,
) -> Proposer:
    """Build a brought proposer, and make sure that the records will say the right thing of it.

    Raises:
        WrongProposer: It has another kind, or another number of generations, than its settings.
    """
    built = settings.build(space, seed, max_redraws=max_redraws, generator=generator)
    said, wanted = (built.kind, built.generations), (settings.kind, settings.generations)
    if said != wanted:
        raise WrongProposer(
            f"{settings.package} built the proposer {said[0]!r} with {said[1]} generations for "
            f"settings of {wanted[0]!r} with {wanted[1]}"
        )
    return built
