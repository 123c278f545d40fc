"""What is installed where numbers are computed or exported: versions, for the record."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distributions, requires
from importlib.metadata import version as installed_version
from typing import Any


@cache
def own_requirements() -> dict[str, str]:
    """Return the packages that this product names as its own requirements, with their versions.

    Extras that are not installed are left out.
    """
    found = {}
    for text in requires("discovery") or []:
        name = re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]
        try:
            found[name] = installed_version(name)
        except PackageNotFoundError:
            continue  # of an extra that is not installed
    return dict(sorted(found.items()))


@cache
def all_packages() -> dict[str, str]:
    """Return every installed package with its version."""
    found = {one.metadata["Name"]: one.version for one in distributions() if one.metadata["Name"]}
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def environment() -> dict[str, Any]:
    """Describe this interpreter and machine: ``python``, ``platform``, ``machine``, ``packages``.

    Nothing of it names the machine or its user.
    """
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "packages": own_requirements(),
    }
