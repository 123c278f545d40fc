"""Nobody writes candidates around the guard: a check of the source itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUARDED = {
    *(Path("db/proposals.py"), Path("db/candidates.py"), Path("db/leases.py")),
    *(Path("db/migrations.py"), Path("db/restoration.py")),
}
RAW_WRITES = {
    *("update_one", "update_many", "replace_one", "find_one_and_update", "find_one_and_replace"),
    *("find_one_and_delete", "insert_one", "insert_many", "delete_one", "delete_many"),
    *("bulk_write", "drop"),
}
DOCUMENT_WRITES = {"save", "update", "update_one", "upsert_one", "modify", "insert", "delete"}


def unguarded(source: str) -> list[str]:
    """Find calls that write candidates raw or through the document class.

    Names are replaced by the expression last assigned to them, once, so that a collection kept in a
    variable is recognised.
    """
    tree = ast.parse(source)
    assigned = {
        target.id: ast.unparse(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        receiver = ast.unparse(node.func.value)
        receiver = assigned.get(receiver, receiver)
        raw = "'candidates']" in receiver or ".candidates" in receiver
        query = "Candidate.objects" in receiver
        one = "Candidate(" in receiver or receiver.lower().split(".")[-1] == "candidate"
        name = node.func.attr
        guilty = (
            (raw and name in RAW_WRITES)
            or (query and name in DOCUMENT_WRITES)
            or (one and name in DOCUMENT_WRITES)
        )
        if guilty:
            found.append(ast.unparse(node))
    return found


def sources() -> list[Path]:
    return [
        path
        for package in ("agents", "db", "discovery", "model")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.relative_to(ROOT) not in GUARDED
    ]


@pytest.mark.parametrize(
    "line",
    [
        "current_database()['candidates'].update_one({'_id': 1}, {'$set': {'state': 'x'}})",
        "collection = database['candidates']\ncollection.update_many({}, [])",
        "session.database.candidates.delete_many({})",
        "Candidate.objects(id=1).update(state='x')",
        "Candidate.objects.delete()",
        "Candidate(id=1).save()",
        "candidate.save()",
        "found = Candidate.objects(id=1).first()\nfound.save()",
    ],
)
def test_the_check_sees_unguarded_writes(line: str) -> None:
    assert len(unguarded(line)) == 1


def test_no_module_writes_candidates_around_the_guard() -> None:
    found = {str(path.relative_to(ROOT)): unguarded(path.read_text()) for path in sources()}
    assert len(found) > 20
    assert {path: calls for path, calls in found.items() if calls} == {}
