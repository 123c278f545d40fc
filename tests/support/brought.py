"""Packages with entry points, put where Python finds packages, as an installation would do it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path


def put_on_path(
    folder: Path, name: str, version: str, groups: Mapping[str, Mapping[str, str]]
) -> None:
    """Write the metadata of a package whose modules are in a folder of the path."""
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [
        line
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def put_project_on_path(project: Path, folder: Path) -> None:
    """Copy the modules of a project, and write the metadata that its pyproject.toml says."""
    about = tomllib.loads((project / "pyproject.toml").read_text())
    for module in about["tool"]["setuptools"]["py-modules"]:
        (folder / f"{module}.py").write_text((project / f"{module}.py").read_text())
    described = about["project"]
    put_on_path(folder, described["name"], described["version"], described["entry-points"])
