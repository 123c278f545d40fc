"""The files of the models behind a candidate's numbers: what goes into an archive, and what not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from agents.paths import MissingFile
from db import model_versions
from discovery.archive.folders import last_part
from discovery.archive.writing import ArchiveWriter

Record = dict[str, Any]

FOLDER = "models"
MEGNET_LICENCE = "BSD-3-Clause, Materials Virtual Lab; see LICENSE beside the files"


class ModelFiles:
    """Collects the models of several candidates, each once.

    Args:
        archive: Where the files go.
        weights: Whether weights of other people go in too, where their licence allows it.
    """

    def __init__(self, archive: ArchiveWriter, *, weights: bool) -> None:
        self.archive = archive
        self.weights = weights
        self.entries: dict[tuple[str, str], Record] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the models of one candidate.

        Args:
            record: As from `discovery.lineage.tracing.trace`.
        """
        resolved = record["lineage"]["campaign"]["resolved"]
        generator, campaign = resolved["generator"], record["campaign"]
        self._once("generator", generator["version"], self._generator, generator)
        for one in record.get("predictions", []):
            name, version = one["model"], one["version"]
            if name == "head":
                self._once(name, version, self._head, campaign, generator, version)
            elif screen := _screen(resolved, name):
                self._once(name, version, self._screen, screen)
        for potential in (resolved["potential"], resolved.get("second_potential")):
            if potential:
                self._once("potential", potential["level"], self._potential, potential)

    def _once(self, name: str, version: str, add: Callable[..., Record], *about: Any) -> None:
        if (name, version) not in self.entries:
            self.entries[name, version] = {"model": name, "version": version, **add(*about)}

    def _generator(self, resolved: Mapping[str, Any]) -> Record:
        from model.checkpoint import generator_version, resolve_checkpoint
        from model.errors import MissingCheckpoint

        try:
            folder = resolve_checkpoint(resolved["name"])
        except MissingCheckpoint:
            return _absent("it is not on this machine any more")
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        if generator_version(card) != resolved["version"]:
            return _absent("this machine has another version of it")
        place = f"{FOLDER}/generator-{resolved['version']}"
        return {
            "name": last_part(resolved["name"]),
            "place": place,
            "files": self._copy(
                [folder / "card.json", *(folder / n for n in card["files"])], place
            ),
            "licence": "MIT, as this product; trained on " + str(card["data"]["dataset"]),
        }

    def _head(self, campaign: str, generator: Mapping[str, Any], version: str) -> Record:
        stored = [one for one in model_versions.history(campaign) if one.sha256.startswith(version)]
        if not stored:
            return {"place": None, "files": {}, "of": f"generator {generator['version']}"}
        name = f"{FOLDER}/heads/{version}.safetensors"
        self.archive.add_bytes(name, model_versions.load_payload(stored[0].id))
        return {"place": name, "files": {name: stored[0].sha256}, "licence": "MIT"}

    def _screen(self, choice: Mapping[str, Any]) -> Record:
        asked = {"name": choice["name"], "digests": choice["files"]}
        if choice["name"] == "alignn":
            return {**asked, **self._alignn(choice)}
        if choice["name"] == "megnet":
            return {**asked, **self._megnet(choice)}
        return {**asked, **_absent("its weights belong to other people and stay with them")}

    def _alignn(self, choice: Mapping[str, Any]) -> Record:
        from agents.screen.alignn_checkpoint import SHIPPED

        files = sorted(path for path in SHIPPED.iterdir() if path.is_file())
        found = {path.name: _sha256(path) for path in files}
        wanted = {name: sha for name, sha in choice["files"].items() if name != "data"}
        if any(found.get(name) != sha for name, sha in wanted.items()):
            return _absent("this machine has another version of it")
        place = f"{FOLDER}/alignn"
        licence = "MIT, as this product; trained on data of the Materials Project (CC BY 4.0)"
        return {"place": place, "files": self._copy(files, place), "licence": licence}

    def _megnet(self, choice: Mapping[str, Any]) -> Record:
        from agents.paths import models_path
        from agents.screen.megnet import FILES, SOURCE
        from agents.screen.megnet import FOLDER as NAME

        about = {"source": SOURCE, "licence": MEGNET_LICENCE}
        if not self.weights:
            return {**about, **_absent("left out as asked for")}
        try:
            folder = models_path(NAME)
        except MissingFile as error:
            return {**about, **_absent(str(error))}
        found = {name: _sha256(folder / file) for name, file in FILES.items()}
        if found != choice["files"]:
            return {**about, **_absent("this machine has other files")}
        files = [folder / f"{file}{end}" for file in FILES.values() for end in ("", ".json")]
        files += [path for path in (folder / "LICENSE",) if path.is_file()]
        place = f"{FOLDER}/megnet"
        return {**about, "place": place, "files": self._copy(files, place)}

    def _potential(self, resolved: Mapping[str, Any]) -> Record:
        from agents.relax.references import MissingReference, table_path

        about: Record = {"name": resolved["name"], "references": resolved["references"]}
        if resolved["level"].startswith("chgnet-"):
            from agents.relax.chgnet import WEIGHTS, WEIGHTS_SHA256

            version = resolved["level"].partition("-")[2]
            about["weights"] = {WEIGHTS[version]: WEIGHTS_SHA256[version]}
            about["source"] = "in the wheel of chgnet (BSD-3-Clause), see requirements.txt"
        try:
            path = table_path(resolved["level"])
        except MissingReference as error:
            return {**about, **_absent(str(error))}
        if _sha256(path) != resolved["references"]:
            return {**about, **_absent("this machine has another table of elemental energies")}
        place = f"{FOLDER}/references"
        return {**about, "place": f"{place}/{path.name}", "files": self._copy([path], place)}

    def _copy(self, paths: Iterable[Path], place: str) -> dict[str, str]:
        copied = {}
        for path in paths:
            name = f"{place}/{path.name}"
            self.archive.add_file(name, path)
            copied[name] = _sha256(path)
        return copied


def _screen(resolved: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    used = (one for one in resolved["screens"] if one["name"] == name and one["used"])
    return next(used, None)


def _absent(reason: str) -> Record:
    return {"place": None, "files": {}, "absent": reason}


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
