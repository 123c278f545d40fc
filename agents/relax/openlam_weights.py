"""Weights of OpenLAM: names, where the files are found, and what may be read from them.

OpenLAM's models (DPA-2.4, DPA-3.1, ...) are weights of DeePMD-kit's PyTorch backend: a checkpoint
`.pt`, often with several heads (one for each data set it was trained on), or a frozen `.pth`. A
checkpoint is read with torch's restricted unpickler. A frozen model is a TorchScript program: its
operators are looked at before it is loaded. Nothing here touches the network but `fetch`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.download import download
from agents.paths import MissingFile, cache_path, models_path
from agents.relax.potential import (
    OPENLAM_MODELS,
    OPENLAM_TEST,
    MissingPackage,
    UnusablePotential,
)
from model.zip_files import DamagedZip, open_zip, read_member

TEST_MODEL = Path(__file__).parent / "data" / "openlam-test"
FOLDER = "openlam"
LARGEST_PROGRAM = 16 << 20
"""Bytes of one source file in a frozen model; those of DPA-3 have some hundred KiB."""
_FILE = re.compile(r"(?P<file>.+\.(?:pt|pth))(?::(?P<head>[^:/]+))?")
#: A frozen model computes: it neither reads nor writes files, nor calls another library's code.
_OPERATOR = re.compile(r"\bops\.(\w+)\.(\w+)|\btorch\.(save|load|from_file)\b")
_LIBRARIES = frozenset({"aten", "prim", "deepmd"})
_FORBIDDEN = frozenset({"save", "load", "from_file"})


@dataclass(frozen=True)
class WeightsName:
    """A model and the head of it to use, parsed from "DPA-3.1-3M:Omat24" or "my/model.pt".

    Attributes:
        model: a built-in name in OpenLAM's spelling, "openlam-test", or None for a file.
        file: path of a `.pt` or `.pth` file, or None for a built-in name.
        head: the head of a multi-task model, or None.
    """

    model: str | None
    file: Path | None
    head: str | None

    @property
    def title(self) -> str:
        """What the weights are called: the built-in name or the stem of the file."""
        return self.model or (self.file.stem if self.file else "")


def parse_name(name: str) -> WeightsName | None:
    """Return the weights a potential's name means, or None when it means none of OpenLAM."""
    model, _, head = name.partition(":")
    for known in (*OPENLAM_MODELS, OPENLAM_TEST):
        if model.lower() == known.lower():
            return WeightsName(known, None, head or None)
    if match := _FILE.fullmatch(name):
        return WeightsName(None, Path(match["file"]), match["head"])
    return None


def locate(weights: WeightsName) -> Path:
    """Find the file of weights on this machine.

    Built-in names are looked for in `$DISCOVERY_MODELS/openlam`, in this product's cache and in
    the cache of `dp pretrained download`.

    Raises:
        MissingFile: it is not here; the message says how to fetch it.
        UnusablePotential: the path of a file is a folder.
    """
    if weights.file is not None:
        if weights.file.is_dir():
            raise UnusablePotential(f"{weights.file} is a folder, not a file of weights")
        if not weights.file.is_file():
            raise MissingFile(f"there is no file {weights.file}")
        return weights.file.absolute()
    if weights.model == OPENLAM_TEST:
        return TEST_MODEL / "model.pt"
    filename = str(_registry()[str(weights.model)]["filename"])
    try:
        return models_path(f"{FOLDER}/{filename}")
    except MissingFile as error:
        from deepmd.pretrained.download import DEFAULT_CACHE_DIR

        if (DEFAULT_CACHE_DIR / filename).is_file():
            return DEFAULT_CACHE_DIR / filename
        raise MissingFile(
            f"the weights of {weights.model} are not here ({error}): fetch them with "
            f"`discovery models fetch {weights.model}`"
        ) from error


def digest(path: Path, weights: WeightsName) -> str:
    """Return the sha256 of a file of weights.

    Raises:
        UnusablePotential: the file of a built-in name is not the one OpenLAM published.
    """
    found = sha256(path)
    if weights.model in OPENLAM_MODELS:
        expected = str(_registry()[weights.model]["sha256"])
        if found != expected:
            raise UnusablePotential(
                f"{path} has sha256 {found}, but {weights.model} has {expected}: remove the file "
                f"and run `discovery models fetch {weights.model}`"
            )
    return found


def fetch(name: str, progress: Callable[[int, int | None], None] = lambda *_: None) -> Path:
    """Download the weights of a built-in name, unless they are here already.

    Args:
        name: "DPA-3.1-3M", ...; a head in it does not matter, a file holds all heads.
        progress: told the bytes there are and the bytes there will be (None: unknown).

    Returns:
        The file, its sha256 checked against OpenLAM's.

    Raises:
        UnusablePotential: OpenLAM has no such model.
        agents.download.DownloadFailed: no source delivered the right file.
    """
    weights = parse_name(name)
    if weights is None or weights.model not in OPENLAM_MODELS:
        raise UnusablePotential(
            f"OpenLAM has no model {name!r}; it has {', '.join(OPENLAM_MODELS)}"
        )
    entry = _registry()[weights.model]
    try:
        path = locate(weights)
        digest(path, weights)
        return path
    except MissingFile:
        out = cache_path("models") / FOLDER / str(entry["filename"])
        return download(entry["urls"], out, sha256=str(entry["sha256"]), progress=progress)


def card_of(weights_digest: str) -> Mapping[str, Any] | None:
    """Return the card of the project's own test model if these are its weights, else None.

    The weights decide, not the name of the file: a copy is a test model too.
    """
    card: dict[str, Any] = json.loads((TEST_MODEL / "card.json").read_text())
    return card if card["sha256"] == weights_digest else None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the `.pt` checkpoint of a DeePMD model with torch's restricted unpickler.

    Returns:
        The state: tensors by name and the model's parameters in `_extra_state`.

    Raises:
        UnusablePotential: the file is corrupt or holds something else.
    """
    from model.weights import DamagedWeights, read_weights

    try:
        content = read_weights(path)
    except DamagedWeights as error:
        raise UnusablePotential(f"{path} cannot be read as weights, it is {error}") from error
    state = content.get("model", content) if isinstance(content, dict) else None
    extra = state.get("_extra_state") if isinstance(state, dict) else None
    if not isinstance(extra, dict) or not isinstance(extra.get("model_params"), dict):
        raise UnusablePotential(f"{path} holds no model of DeePMD-kit")
    return dict(state or {})


def choose_head(path: Path, parameters: Mapping[str, Any], head: str | None) -> str | None:
    """Return the head to use in its own spelling, None for a model of one task.

    Args:
        path: the checkpoint, for the messages.
        parameters: the model's parameters.
        head: the head asked for: its name or an alias, in any case.

    Raises:
        UnusablePotential: a head is missing, unknown, or the model has none.
    """
    heads: Mapping[str, Any] | None = parameters.get("model_dict")
    if heads is None:
        if head is not None:
            raise UnusablePotential(f"{path} has a single task: leave out the head {head!r}")
        return None
    spellings = {
        alias.lower(): name
        for name, task in heads.items()
        for alias in (*task.get("model_branch_alias", ()), name)
    }
    if head is None or head.lower() not in spellings:
        wrong = "needs a head" if head is None else f"has no head {head!r}"
        raise UnusablePotential(
            f"{path} {wrong}: name one as {path.name}:HEAD (or DPA-3.1-3M:HEAD for a built-in "
            f"name); it has {', '.join(heads)}"
        )
    return spellings[head.lower()]


def inspect_frozen(path: Path) -> None:
    """Refuse a `.pth` file that is no frozen model, or does more than compute.

    Raises:
        UnusablePotential: the file is corrupt, no TorchScript, or its program touches files.
    """
    try:
        with open_zip(path) as archive:
            names = archive.namelist()
            programs = [name for name in names if re.search(r"/code/.*\.py$", name)]
            code = {one: read_member(archive, one, LARGEST_PROGRAM).decode() for one in programs}
            modifier = sum(
                archive.getinfo(n).file_size for n in names if n.endswith("data_modifier.pth")
            )
    except (DamagedZip, UnicodeDecodeError) as error:
        raise UnusablePotential(f"{path} is corrupt or no frozen model: {error!s:.300}") from error
    if not code:
        raise UnusablePotential(f"{path} is no frozen model; is it a checkpoint (.pt)?")
    if modifier:
        raise UnusablePotential(f"{path} carries a data modifier, which is not supported")
    for name, text in code.items():
        for library, operator, builtin in _OPERATOR.findall(text):
            if builtin or library not in _LIBRARIES or operator in _FORBIDDEN:
                call = f"torch.{builtin}" if builtin else f"{library}.{operator}"
                raise UnusablePotential(f"{path} is refused: its program calls {call} ({name})")


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _registry() -> dict[str, dict[str, Any]]:
    """Return DeePMD-kit's table of published models.

    Raises:
        MissingPackage: deepmd-kit is not installed.
    """
    try:
        from deepmd.pretrained.registry import MODEL_REGISTRY
    except ImportError as error:
        raise MissingPackage(
            "OpenLAM needs deepmd-kit: install the extra discovery[openlam] as docs/potentials.md "
            "describes"
        ) from error
    return MODEL_REGISTRY
