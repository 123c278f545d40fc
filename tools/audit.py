"""Known vulnerabilities of the installed packages: ``make audit``.

The advisories come from OSV (https://osv.dev) through pip-audit, so a network is needed. Without
one nothing is known, and that is said: pip-audit with its default service passes over every package
that it cannot look up and reports that no vulnerabilities are known. ``--offline`` compares with
the list that the package safety-db carries instead, which ended in July 2021: it can find an old
fault, and its silence proves little.

Exit codes: 0 nothing known, 1 vulnerabilities, 2 nothing could be looked up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

TIMEOUT_SECONDS = 600
OWN = "discovery"
OFFLINE_END = "2021-07-17"


def installed() -> dict[str, str]:
    """Return the packages of this environment: name to version."""
    found = {
        str(canonicalize_name(one.metadata["Name"])): one.version
        for one in metadata.distributions()
    }
    found.pop(OWN, None)
    return found


def online() -> int:
    """Ask OSV through pip-audit."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--progress-spinner", "off"]
    command += ["--vulnerability-service", "osv", "--format", "json"]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
        answer = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("the advisory service cannot be reached: nothing was looked up", file=sys.stderr)
        return 2
    return report(answer)


def report(answer: list[dict[str, object]]) -> int:
    """Say what pip-audit found; packages that it passed over count as not looked up.

    Args:
        answer: Its ``dependencies``.

    Returns:
        The exit code.
    """
    skipped = [str(one["name"]) for one in answer if "skip_reason" in one]
    skipped = [name for name in skipped if canonicalize_name(name) != OWN]
    bad = [one for one in answer if one.get("vulns")]
    for one in bad:
        names = ", ".join(str(fault["id"]) for fault in one["vulns"])  # type: ignore[attr-defined]
        print(f"{one['name']} {one['version']}: {names}")
    looked_up = len(answer) - len(skipped)
    print(f"{looked_up} packages looked up, {len(bad)} with known vulnerabilities")
    if bad:
        return 1
    if skipped or not looked_up:
        print(f"not looked up: {', '.join(skipped) or 'all'}", file=sys.stderr)
        return 2
    return 0


def offline(packages: dict[str, str]) -> int:
    """Compare with the list of safety-db.

    Args:
        packages: Name to version.
    """
    # Importing the package fails outside its own sources; only its data are wanted.
    path = metadata.distribution("safety-db").locate_file("safety_db/insecure.json")
    text = Path(str(path)).read_text(encoding="utf-8")
    bad = sorted(known(packages, json.loads(text)))
    for name in bad:
        print(f"{name} {packages[name]} is listed as insecure")
    print(
        f"{len(packages)} packages compared with a list that ended {OFFLINE_END}: {len(bad)} on it"
    )
    return 1 if bad else 0


def known(packages: dict[str, str], listed: dict[str, list[str]]) -> Iterator[str]:
    """Yield the packages whose version is in one of the listed ranges."""
    ranges = {str(canonicalize_name(name)): found for name, found in listed.items()}
    for name, version in packages.items():
        try:
            number = Version(version)
        except InvalidVersion:
            continue
        if any(number in SpecifierSet(one, prereleases=True) for one in ranges.get(name, [])):
            yield name


def main() -> int:
    """Audit this environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help="compare with the list of safety-db")
    return offline(installed()) if parser.parse_args().offline else online()


if __name__ == "__main__":
    sys.exit(main())
