"""What is recorded of the machine that numbers are computed on."""

from __future__ import annotations

import getpass
import json
import platform
import re
from importlib.metadata import version

from discovery.environment import all_packages, environment


def test_versions_are_those_of_the_packages_that_are_imported() -> None:
    import ase
    import numpy
    import torch

    packages = environment()["packages"]
    assert packages["torch"] == torch.__version__
    assert packages["ase"] == ase.__version__
    assert packages["numpy"] == numpy.__version__
    assert all(version(name) == found for name, found in packages.items())
    installed = {re.sub("[-_.]+", "-", name).lower() for name in all_packages()}  # PEP 503
    assert {re.sub("[-_.]+", "-", name).lower() for name in packages} <= installed


def test_neither_machine_nor_user_is_named() -> None:
    text = json.dumps(environment())
    assert platform.node() not in text
    assert f'"{getpass.getuser()}"' not in text
    assert "/" not in text
