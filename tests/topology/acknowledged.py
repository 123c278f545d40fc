"""Writes records by the product's own functions, and notes each that was acknowledged.

``python acknowledged.py FILE``: proposes candidates of a campaign of its own, one after the other,
moves each on, and appends its id to FILE (synced to the disk) when the database has said yes. It
never handles an error: if one comes through, it ends, and the test fails.
"""

from __future__ import annotations

import os
import sys
from itertools import count

from db.candidates import insert_proposals, transition
from db.connection import connect_worker
from db.states import State
from db.uri import database_of

CAMPAIGN = "writer"


def main(target: str) -> None:
    """Write until killed."""
    uri = os.environ["MONGODB_URI"]
    with connect_worker(uri, database_of(uri) or ""), open(target, "a") as noted:
        for number in count():
            proposal = {
                "generator_version": "g",
                "codes_hash": f"w{number}",
                "codes": {"n": number},
            }
            (name,) = insert_proposals(CAMPAIGN, [proposal])
            updates = {"evaluation": {"energy": -float(number)}}
            state = {"source": State.PROPOSED, "to": State.EVALUATED, "token": 0}
            transition(name, **state, agent="writer", updates=updates)
            noted.write(f"{name} {-float(number)}\n")
            noted.flush()
            os.fsync(noted.fileno())


if __name__ == "__main__":
    main(sys.argv[1])
