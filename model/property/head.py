"""The property head: a small ensemble over the frozen features of a crystal's codes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.property.conformal import GRID, lower_bound, multiple
from model.property.head_format import CorruptHead, check_sizes, pack, unpack

__all__ = ["CorruptHead", "PropertyHead"]

COVERAGES = (0.5, 0.8, 0.95)
_FARTHEST = 8.0  # standardised features are cut here: nothing is known so far from the training
_LOG_NOISE = 4.0  # largest |log| of the relative noise of a row
_ROWS = {  # what each target has of its own, and with what a target that nothing is known of starts
    "out_weight": 0.0,
    "out_bias": 0.0,
    "noise_weight": 0.0,
    "noise_bias": 0.0,
    "target_mean": 0.0,
    "target_scale": 1.0,
    "spread_scale": 1.0,
    "noise": 0.0,
    "quantiles": 0.0,
    "n_calibration": 0.0,
}


class PropertyHead(nn.Module):
    """Predict properties, one output per level of theory, with an uncertainty.

    Every member is a residual MLP; the members differ in their initial weights and
    in the rows they see (`head_training`). The predicted standard deviation combines the spread of
    the members with a noise that each row has of its own, std^2 = (scale * spread)^2 +
    (noise * relative noise)^2, fitted on rows that the members concerned did not see. Intervals are
    conformal (`model.property.conformal`).

    Each target has its own output row, computed on its own, so adding a target leaves the others
    bit for bit as they were.

    Attributes:
        targets: Names of the outputs, "property@level".
        proven: Targets that were judged on crystals found by a search, by labels that no head of
            this lineage had learned, and passed; empty in a head that only saw a data set.
        uncalibrated: Targets whose standard deviation was never fitted, so it means nothing; their
            intervals are infinite.
    """

    def __init__(
        self,
        n_features: int,
        targets: Sequence[str],
        *,
        width: int = 128,
        members: int = 5,
        depth: int = 3,
        norm: bool = True,
        seed: int = 0,
    ) -> None:
        """Create an untrained head.

        Args:
            n_features: F, the width of `Generator.features`.
            targets: names "property@level", for instance
                "formation_energy_per_atom@chgnet-0.3.0".
            width: hidden width of each member.
            members: size of the ensemble.
            depth: hidden layers of each member.
            norm: layer normalisation before every activation, and residual connections; heads of
                format 1 have neither.
            seed: of the initial weights.

        Raises:
            ValueError: if a target repeats, is not "property@level", or a size is not positive.
        """
        super().__init__()
        if min(n_features, width, members, depth) < 1:
            raise ValueError("n_features, width, members and depth must be positive")
        if len(set(targets)) != len(targets):
            raise ValueError(f"targets repeat: {list(targets)}")
        for name in targets:
            _check_target(name)
        self.targets = list(targets)
        self.proven: list[str] = []
        self.uncalibrated = list(targets)
        self.n_features, self.width, self.members = n_features, width, members
        self.depth, self.norm = depth, norm
        random = torch.Generator().manual_seed(seed)

        def weights(*shape: int, fan_in: int) -> nn.Parameter:
            bound = fan_in**-0.5
            return nn.Parameter((torch.rand(*shape, generator=random) * 2 - 1) * bound)

        for layer in range(depth):
            inputs = width if layer else n_features
            setattr(self, f"weight_{layer + 1}", weights(members, inputs, width, fan_in=inputs))
            setattr(self, f"bias_{layer + 1}", weights(members, 1, width, fan_in=inputs))
        self.out_weight = weights(len(targets), members, width, fan_in=width)
        self.out_bias = nn.Parameter(torch.zeros(len(targets), members))
        self.noise_weight = nn.Parameter(torch.zeros(len(targets), members, width))
        self.noise_bias = nn.Parameter(torch.zeros(len(targets), members))
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_scale", torch.ones(n_features))
        self.register_buffer("target_mean", torch.zeros(len(targets)))
        self.register_buffer("target_scale", torch.ones(len(targets)))
        self.register_buffer("spread_scale", torch.ones(len(targets)))
        self.register_buffer("noise", torch.zeros(len(targets)))
        self.register_buffer("quantiles", torch.zeros(len(targets), GRID))
        self.register_buffer("n_calibration", torch.zeros(len(targets)))

    feature_mean: Tensor
    feature_scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    spread_scale: Tensor
    noise: Tensor
    quantiles: Tensor
    n_calibration: Tensor

    def forward(self, features: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return every member's prediction in units of the target's scale.

        Args:
            features: (B, F).
            dropout: probability on the hidden layers, for training only.

        Returns:
            (T, members, B), standardised: multiply by `target_scale`, add `target_mean`.
        """
        return _rows(self.hidden(features, dropout=dropout), self.out_weight, self.out_bias)

    def hidden(self, features: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return the last hidden layer of every member, (members, B, width)."""
        hidden = self.standardised(features)[None]
        for layer, (weight, bias) in enumerate(self.layers):
            new = hidden @ weight + bias
            if self.norm:
                new = F.layer_norm(new, (self.width,))
            new = F.dropout(F.silu(new), dropout, training=dropout > 0)
            hidden = hidden + new if self.norm and layer else new
        return hidden

    @property
    def layers(self) -> list[tuple[Tensor, Tensor]]:
        """Weights (members, inputs, width) and biases (members, 1, width) of the hidden layers."""
        return [
            (getattr(self, f"weight_{i + 1}"), getattr(self, f"bias_{i + 1}"))
            for i in range(self.depth)
        ]

    def standardised(self, features: Tensor) -> Tensor:
        """Return features (B, F) in units of their spread over the training rows."""
        scaled = (features - self.feature_mean) / self.feature_scale
        return scaled.clamp(-_FARTHEST, _FARTHEST)

    def relative_noise(self, hidden: Tensor) -> Tensor:
        """Return how noisy each row is beside the others, (T, B), from `hidden`."""
        logs = _rows(hidden, self.noise_weight, self.noise_bias)
        return logs.mean(1).clamp(-_LOG_NOISE, _LOG_NOISE).exp()

    def distribution(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and standard deviations (T, B) in units of the targets' scales."""
        hidden = self.hidden(features)
        members = _rows(hidden, self.out_weight, self.out_bias)
        spread = self.spread_scale[:, None] * members.std(1, unbiased=False)
        noise = self.noise[:, None] * self.relative_noise(hidden)
        return members.mean(1), torch.sqrt(spread**2 + noise**2)

    @torch.inference_mode()
    def predict(self, features: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Predict every target.

        Args:
            features: (B, F) from `Generator.features`.

        Returns:
            {target: (mean (B,), std (B,))} in the target's own unit.

        Raises:
            ValueError: if the features have another width.
        """
        return {
            name: (mean.clamp(min=lower_bound(name)), std)
            for name, (mean, std) in self._in_units(features).items()
        }

    @torch.inference_mode()
    def means(self, hidden: Tensor) -> dict[str, Tensor]:
        """Return the means (B,) that `predict` gives, from `hidden` of the same features."""
        members = _rows(hidden, self.out_weight, self.out_bias).mean(1)
        return {
            name: (members[t] * self.target_scale[t] + self.target_mean[t]).clamp(
                min=lower_bound(name)
            )
            for t, name in enumerate(self.targets)
        }

    @torch.inference_mode()
    def intervals(
        self, features: Tensor, coverage: Sequence[float] = COVERAGES
    ) -> dict[str, dict[float, tuple[Tensor, Tensor]]]:
        """Predict intervals that hold the truth as often as they say.

        That is measured on rows like those that calibrated them; the intervals of another
        population, such as recombined codes before a campaign has labelled any, are too narrow.

        Args:
            features: (B, F) from `Generator.features`.
            coverage: shares between 0 and 1.

        Returns:
            {target: {coverage: (low (B,), high (B,))}} in the target's own unit; infinite where the
            target is uncalibrated or was calibrated on too few labels for that coverage.

        Raises:
            ValueError: if the features have another width, or a coverage is not between 0 and 1.
        """
        result: dict[str, dict[float, tuple[Tensor, Tensor]]] = {}
        for t, (name, (mean, std)) in enumerate(self._in_units(features).items()):
            result[name] = {}
            for share in coverage:
                times = multiple(self.quantiles[t], int(self.n_calibration[t]), share)
                # An infinite multiple of no spread would be no number.
                reach = torch.full_like(std, math.inf) if math.isinf(times) else times * std
                lowest = lower_bound(name)
                bounds = (mean - reach).clamp(min=lowest), (mean + reach).clamp(min=lowest)
                result[name][share] = bounds
        return result

    def _in_units(self, features: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Return {target: (mean (B,), std (B,))}, the means of gaps not cut at zero."""
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(
                f"the head takes (B, {self.n_features}) features, got {tuple(features.shape)}"
            )
        if not self.targets:
            return {}
        means, stds = self.distribution(features)
        scales, offsets = self.target_scale, self.target_mean
        return {
            name: (means[t] * scales[t] + offsets[t], stds[t] * scales[t])
            for t, name in enumerate(self.targets)
        }

    def with_target(self, name: str, copy_from: str | None = None) -> PropertyHead:
        """Return a new head with one more output; the others predict exactly what they did.

        Args:
            name: "property@level" of the new output.
            copy_from: an existing target whose output row, scale and calibration it starts from;
                by default it starts at zero with unit scale. Either way it is neither proven nor
                calibrated.

        Raises:
            ValueError: if `name` exists already or `copy_from` does not.
        """
        if name in self.targets:
            raise ValueError(f"the head already predicts {name}")
        if copy_from is not None and copy_from not in self.targets:
            raise ValueError(f"cannot copy from {copy_from}: the head has {self.targets}")
        head = PropertyHead(
            self.n_features,
            [*self.targets, name],
            width=self.width,
            members=self.members,
            depth=self.depth,
            norm=self.norm,
        )
        state = {key: value.clone() for key, value in self.state_dict().items()}
        row = None if copy_from is None else self.targets.index(copy_from)
        for key, fresh in _ROWS.items():
            old = state[key]
            new = torch.full_like(old[:1], fresh) if row is None else old[row][None]
            state[key] = torch.cat([old, new])
        state["n_calibration"][-1] = 0  # what calibrated the copied output says nothing of the new
        head.load_state_dict(state)
        head.proven = list(self.proven)
        head.uncalibrated = [*self.uncalibrated, name]
        return head

    def with_proven(self, targets: Iterable[str]) -> PropertyHead:
        """Return a copy that counts more targets as proven, besides those it does already.

        Raises:
            ValueError: if the head has no such output.
        """
        wanted = set(targets) | set(self.proven)
        if unknown := sorted(wanted - set(self.targets)):
            raise ValueError(f"the head has no output for {unknown}, only {self.targets}")
        head = self.clone()
        head.proven = [target for target in self.targets if target in wanted]
        return head

    def clone(self) -> PropertyHead:
        """Return an independent copy."""
        return PropertyHead.from_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the head as safetensors with its description in the metadata."""
        description = {
            "n_features": self.n_features,
            "targets": self.targets,
            "width": self.width,
            "members": self.members,
            "depth": self.depth,
            "norm": self.norm,
            "proven": self.proven,
            "uncalibrated": self.uncalibrated,
        }
        return pack(self.state_dict(), description)

    @classmethod
    def from_bytes(cls, payload: bytes) -> PropertyHead:
        """Rebuild a head written by `to_bytes`.

        Raises:
            CorruptHead: if the bytes are damaged, of another format, or hold non-finite weights.
        """
        tensors, description = unpack(payload)
        try:
            check_sizes(description, len(payload))
            head = cls(
                description["n_features"],
                description.get("targets", []),
                width=description["width"],
                members=description["members"],
                depth=description.get("depth", 2),
                norm=description.get("norm", False),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptHead(f"the head's description is damaged: {error!r:.300}") from error
        head.proven = description.get("proven", [])
        head.uncalibrated = description.get("uncalibrated", [])
        # What heads of format 1 lack: they know neither a noise per row nor intervals.
        missing = {} if description["format"] > 1 else head.state_dict()
        try:
            head.load_state_dict(missing | tensors)
        except RuntimeError as error:
            raise CorruptHead(f"the head's weights do not fit its description: {error}") from error
        return head.eval()

    @property
    def version(self) -> str:
        """First 12 hex digits of the sha256 of `to_bytes()`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()[:12]


def _check_target(name: str) -> None:
    """Refuse a target name that does not say its level of theory."""
    parts = name.split("@")
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"a target is named 'property@level', got {name!r}")


def _rows(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply each target's own output row: (members, B, width) → (T, members, B).

    One target at a time: a matrix product over all of them could round differently with another
    number of targets.
    """
    rows = [(hidden @ w[..., None])[..., 0] + b[:, None] for w, b in zip(weight, bias, strict=True)]
    return torch.stack(rows) if rows else hidden.new_zeros(0, *hidden.shape[:2])
