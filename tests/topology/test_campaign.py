"""A campaign as in production: MongoDB with users, Redis, workers and a launcher of their own."""

from __future__ import annotations

import json

import pytest
from cluster import until
from history import read, report, violations
from production import Site
from pymongo import MongoClient
from servers import Mongo, RedisServer

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


def test_it_ends_and_its_history_is_clean(site: Site, mongo: Mongo, redis: RedisServer) -> None:
    for queues in ("evaluate,relax", "relax,screen", "screen,learn"):
        site.worker(queues)
    site.launcher()
    loop = site.loop()
    assert site.wait(loop, 500) == 0, site.log("run")
    until(lambda: not site.record().get("learner"), 120)  # whoever still learned has said so
    site.at_rest()
    records = read(site.database, "topology")
    found = violations(records)
    assert not found, report(found)
    assert records.campaign["state"] == "complete"
    verified = [one for one in records.candidates if one["state"] == "verified"]
    assert len(verified) >= 3
    assert len(site.paid()) == len(set(site.paid()))
    with redis.client() as client:
        calls = client.info("commandstats")
    assert calls["cmdstat_lpush"]["calls"] > 3  # the messages went by Redis
    viewer = mongo.add_user(f"{site.database.name}_viewer", "read", site.database.name)
    for words in (("status", "topology", "--json"), ("query", "topology", "--format", "csv")):
        pid = site.command(*words, MONGODB_URI=viewer)  # who only looks needs no other right
        assert site.wait(pid, 120) == 0, site.log(words[0])
    printed = (site.folder / "status.log").read_text()
    summary = json.loads(printed[printed.index("{") :])
    assert summary["candidates"] == len(records.candidates)
    with MongoClient(site.uri) as client:
        (role,) = client.admin.command("connectionStatus")["authInfo"]["authenticatedUserRoles"]
    assert role["role"] == "readWrite"  # and no other right was needed
