"""Codebooks read without the network, against the network itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model.cards import SHIPPED, resolve_checkpoint
from model.codebooks import GlobalCodebooks
from model.errors import CorruptCheckpoint
from model.generator import Generator
from model.metrics import latent
from model.vqcrystal.quantiser import SharedQuantiser


@pytest.mark.parametrize("name", ["perov5", "carbon24", "mp20"])
def test_vectors_are_those_of_the_network(name: str) -> None:
    generator = Generator.load(name)
    codes = [generator.bank.codes(row) for row in range(0, len(generator.bank), 97)]
    expected, _ = latent.code_vectors(generator, codes)
    books = GlobalCodebooks.read(resolve_checkpoint(name))
    found = books.vectors([c.species for c in codes], [c.crystal for c in codes])
    # The network keeps slots for the most species of any crystal; here only those in use.
    used = (expected != 0).any(0).numpy()
    assert found.shape[1] >= used.sum()
    assert found[:, (found != 0).any(0)] == pytest.approx(expected.numpy()[:, used], abs=1e-5)
    balanced = latent._balanced(expected.double(), generator.model.quantisers["crystal"].dim)
    gram = books.balanced(found) @ books.balanced(found).T
    assert gram == pytest.approx((balanced @ balanced.T).numpy(), abs=1e-3)


def test_one_codebook_for_all_levels_is_used_at_each_of_them() -> None:
    quantiser = SharedQuantiser(
        *(4, 3, 8), decay=0.9, dead_code_threshold=1, shared=True, temperature=0.0, settle=True
    )
    quantiser.eval()
    book = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    for layer in quantiser.residual.layers:
        layer._codebook.embed.copy_(torch.from_numpy(book)[None])
    tokens = [(0, 3, 3), (7, 1, 0)]
    found = GlobalCodebooks(crystal=book[None], species=None).vectors([(), ()], tokens)
    assert found == pytest.approx(quantiser.lookup(torch.tensor(tokens)).numpy())


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(SHIPPED / "perov5", copy)
    with (copy / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\1")
    with pytest.raises(CorruptCheckpoint, match="sha256"):
        GlobalCodebooks.read(copy)


def test_reading_codebooks_loads_no_torch() -> None:
    program = (
        "import sys; from model.cards import resolve_checkpoint; "
        "from model.codebooks import GlobalCodebooks; "
        "GlobalCodebooks.read(resolve_checkpoint('perov5')); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
