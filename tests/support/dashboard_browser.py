"""Records for a dashboard, and a browser that speaks its protocol without a screen."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dash import Dash
from filter_cases import START, make_candidate
from werkzeug.test import Client, TestResponse

from db.states import FUNNEL, State

CAMPAIGN = "one"
HOSTILE = '<script>alert("x")</script>'

Record = dict[str, Any]


def stored_candidate(number: int, source: random.Random) -> Record:
    """A candidate with a history that leads to its state."""
    one = make_candidate(number, source) | {"campaign": CAMPAIGN, "_id": f"{CAMPAIGN}-{number:04d}"}
    state = State(one["state"])
    end = source.randrange(1, len(FUNNEL)) if state not in FUNNEL else FUNNEL.index(state)
    path = [*FUNNEL[:end], state]
    one["history"] = [
        {"from": None, "to": str(to), "at": START + timedelta(minutes=place), "agent": "test"}
        for place, to in enumerate(path)
    ]
    if state is State.REJECTED:
        one["rejection"] = {"reason": source.choice(["smact", "max_force"]), "detail": {}}
    else:
        one.pop("rejection", None)
    return one


@dataclass
class Browser:
    """Asks a dashboard what a browser would ask.

    Attributes:
        app: The dashboard.
        client: Speaks to it without a port.
    """

    app: Dash
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = self.app.server.test_client()

    def ask(
        self,
        output: str,
        inputs: list[tuple[str, str, Any]],
        state: list[tuple[str, str, Any]] = (),
    ) -> TestResponse:
        """Ask one callback."""

        def named(given: list[tuple[str, str, Any]]) -> list[Record]:
            return [{"id": one, "property": name, "value": value} for one, name, value in given]

        parts = output.strip(".").split("...") if output.startswith("..") else [output]
        outputs = [dict(zip(("id", "property"), one.rsplit(".", 1))) for one in parts]
        body = {
            "output": output,
            "outputs": outputs if output.startswith("..") else outputs[0],
            "inputs": named(inputs),
            "state": named(state),
            "changedPropIds": [f"{inputs[0][0]}.{inputs[0][1]}"],
        }
        return self.client.post("/_dash-update-component", json=body)

    def open(self, path: Any, search: Any = "") -> Any:
        """Open an address: the content of the page."""
        answer = self.ask(
            "..page.children...page-title.data..",
            [("address", "pathname", path), ("address", "search", search)],
        )
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text)["response"]["page"]["children"]


def walk(component: Any) -> Iterator[Record]:
    """Go through the components of an answer."""
    if isinstance(component, list):
        for one in component:
            yield from walk(one)
    elif isinstance(component, dict) and "props" in component:
        yield component
        yield from walk(component["props"].get("children"))


def text(component: Any) -> str:
    """What is written in a component."""
    if isinstance(component, list):
        return "".join(text(one) for one in component)
    if isinstance(component, dict):
        return text(component["props"].get("children"))
    return "" if component is None else str(component)


def table(page: Any, name: str) -> list[list[str]]:
    """Heads and rows of the table of a name."""
    (found,) = [one for one in walk(page) if one["props"].get("id") == name]
    rows = [one for one in walk(found) if one["type"] == "Tr"]
    return [[text(cell) for cell in row["props"]["children"]] for row in rows]


def links(component: Any) -> dict[str, str]:
    """Text to address of the links."""
    return {text(one): one["props"]["href"] for one in walk(component) if "href" in one["props"]}
