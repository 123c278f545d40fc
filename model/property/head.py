"""The property head: a small ensemble over the frozen features of a crystal's codes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

_FORMAT = "discovery-property-head-1"


class CorruptHead(ValueError):
    """Bytes that are not a property head written by `PropertyHead.to_bytes`."""


class PropertyHead(nn.Module):
    """Predict properties, one output per level of theory, with an uncertainty.

    Every member is an MLP with two hidden layers; the members differ in their initial weights and
    in the rows they see (`head_training`). The predicted standard deviation combines the
    spread of the members with a constant noise, both fitted on rows kept out of the training:
    std^2 = (scale * spread)^2 + noise^2.

    Each target has its own output row, computed on its own, so adding a target leaves the others
    bit for bit as they were.

    Attributes:
        targets: Names of the outputs, "property@level".
        proven: Targets that were judged on crystals found by a search, by labels that no head of
            this lineage had learned, and passed; empty in a head that only saw a data set.
        uncalibrated: Targets whose standard deviation was never fitted, so it means nothing.
    """

    def __init__(
        self,
        n_features: int,
        targets: Sequence[str],
        *,
        width: int = 128,
        members: int = 5,
        seed: int = 0,
    ) -> None:
        """Create an untrained head.

        Args:
            n_features: F, the width of `Generator.features`.
            targets: names "property@level", for instance
                "formation_energy_per_atom@chgnet-0.3.0".
            width: hidden width of each member.
            members: size of the ensemble.
            seed: of the initial weights.

        Raises:
            ValueError: if a target repeats, is not "property@level", or a size is not positive.
        """
        super().__init__()
        if min(n_features, width, members) < 1:
            raise ValueError("n_features, width and members must be positive")
        if len(set(targets)) != len(targets):
            raise ValueError(f"targets repeat: {list(targets)}")
        for name in targets:
            _check_target(name)
        self.targets = list(targets)
        self.proven: list[str] = []
        self.uncalibrated = list(targets)
        self.n_features, self.width, self.members = n_features, width, members
        random = torch.Generator().manual_seed(seed)

        def weights(*shape: int, fan_in: int) -> nn.Parameter:
            bound = fan_in**-0.5
            return nn.Parameter((torch.rand(*shape, generator=random) * 2 - 1) * bound)

        self.weight_1 = weights(members, n_features, width, fan_in=n_features)
        self.bias_1 = weights(members, 1, width, fan_in=n_features)
        self.weight_2 = weights(members, width, width, fan_in=width)
        self.bias_2 = weights(members, 1, width, fan_in=width)
        self.out_weight = weights(len(targets), members, width, fan_in=width)
        self.out_bias = nn.Parameter(torch.zeros(len(targets), members))
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_scale", torch.ones(n_features))
        self.register_buffer("target_mean", torch.zeros(len(targets)))
        self.register_buffer("target_scale", torch.ones(len(targets)))
        self.register_buffer("spread_scale", torch.ones(len(targets)))
        self.register_buffer("noise", torch.zeros(len(targets)))

    feature_mean: Tensor
    feature_scale: Tensor
    target_mean: Tensor
    target_scale: Tensor
    spread_scale: Tensor
    noise: Tensor

    def forward(self, features: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Return every member's prediction in units of the target's scale.

        Args:
            features: (B, F).
            dropout: probability on the hidden layers, for training only.

        Returns:
            (T, members, B), standardised: multiply by `target_scale`, add `target_mean`.
        """
        x = (features - self.feature_mean) / self.feature_scale
        hidden = F.silu(x[None] @ self.weight_1 + self.bias_1)
        hidden = F.dropout(hidden, dropout, training=dropout > 0)
        hidden = F.silu(hidden @ self.weight_2 + self.bias_2)
        hidden = F.dropout(hidden, dropout, training=dropout > 0)
        rows = [
            (hidden @ self.out_weight[t, :, :, None])[..., 0] + self.out_bias[t, :, None]
            for t in range(len(self.targets))
        ]
        return torch.stack(rows)

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
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ValueError(
                f"the head takes (B, {self.n_features}) features, got {tuple(features.shape)}"
            )
        members = self(features)
        mean, spread = members.mean(1), members.std(1, unbiased=False)
        result = {}
        for t, name in enumerate(self.targets):
            std = torch.sqrt((self.spread_scale[t] * spread[t]) ** 2 + self.noise[t] ** 2)
            scale = self.target_scale[t]
            result[name] = (mean[t] * scale + self.target_mean[t], std * scale)
        return result

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
            self.n_features, [*self.targets, name], width=self.width, members=self.members
        )
        state = {key: value.clone() for key, value in self.state_dict().items()}
        row = None if copy_from is None else self.targets.index(copy_from)
        fresh = {"target_scale": 1.0, "spread_scale": 1.0}
        for key in (
            "out_weight",
            "out_bias",
            "target_mean",
            "target_scale",
            "spread_scale",
            "noise",
        ):
            old = state[key]
            new = torch.full_like(old[:1], fresh.get(key, 0.0)) if row is None else old[row][None]
            state[key] = torch.cat([old, new])
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
            "format": _FORMAT,
            "n_features": self.n_features,
            "targets": self.targets,
            "width": self.width,
            "members": self.members,
        }
        # Left out where empty, so that heads of before these lists keep their version.
        lists = {"proven": self.proven, "uncalibrated": self.uncalibrated}
        description |= {name: names for name, names in lists.items() if names}
        # One key only: the order of several would change the bytes, and with them the version.
        metadata = {"head": json.dumps(description, sort_keys=True)}
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        return save(tensors, metadata=metadata)

    @classmethod
    def from_bytes(cls, payload: bytes) -> PropertyHead:
        """Rebuild a head written by `to_bytes`.

        Raises:
            CorruptHead: if the bytes are damaged, of another format, or hold non-finite weights.
        """
        try:
            tensors = load(payload)
            description = _metadata(payload)
        except (SafetensorError, ValueError, KeyError) as error:
            raise CorruptHead(f"not a property head: {error}") from error
        head = cls(
            description["n_features"],
            description["targets"],
            width=description["width"],
            members=description["members"],
        )
        head.proven = description.get("proven", [])
        head.uncalibrated = description.get("uncalibrated", [])
        try:
            head.load_state_dict(tensors)
        except RuntimeError as error:
            raise CorruptHead(f"the head's weights do not fit its description: {error}") from error
        if not all(torch.isfinite(value).all() for value in tensors.values()):
            raise CorruptHead("the head holds weights that are not finite")
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


def _metadata(payload: bytes) -> dict:
    """Read the description from the safetensors header (8 bytes length, then JSON)."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    description: dict = json.loads(header["__metadata__"]["head"])
    if description.get("format") != _FORMAT:
        raise ValueError(f"format {description.get('format')!r}, expected {_FORMAT!r}")
    return description
