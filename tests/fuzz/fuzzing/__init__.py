"""Fuzzing of everything that reads what others wrote: targets, a guard, and two engines."""

from __future__ import annotations

from fuzzing.target import Target


def all_targets() -> dict[str, Target]:
    """Return every target by its name."""
    from fuzzing import (
        archives,
        calculations,
        checkpoints,
        configuration,
        crystals,
        messages,
        published,
        servers,
    )

    modules = (
        *(crystals, configuration, checkpoints, published, calculations, messages, archives),
        servers,
    )
    return {target.name: target for module in modules for target in module.TARGETS}
