"""Requests made from the API's own description: no answer is a 500, and none breaks the description."""

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette
from starlette.routing import Mount

from crossrec.api import api

EACH = 600 if os.environ.get("CROSSREC_LONG") == "1" else 25
"""Requests of each route."""
RUNS = ("tiny-transfer-sasrec", "tiny-popularity", "tiny-source-sasrec", "no-such-run", "../runs", "")
ITEMS = ("S0001", "S0004", "A0001", "A0003", "<script>", "=1+1")
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)

schema = schemathesis.openapi.from_asgi("/api/openapi.json", Starlette(routes=[Mount("/api", app=api)]))


def likely(values: dict[str, Any], place: int) -> dict[str, Any]:
    """Names that exist in place of most invented ones: else every request would end at the first check."""
    if isinstance(values.get("run"), str):
        values["run"] = RUNS[place % len(RUNS)]
    if isinstance(values.get("item_id"), str):
        values["item_id"] = ITEMS[place % len(ITEMS)]
    for key in ("source_items", "target_items"):
        if isinstance(values.get(key), list) and place % 3:
            values[key] = [ITEMS[(place + n) % len(ITEMS)] for n in range(min(len(values[key]), 3))]
    return values


@pytest.mark.usefixtures("tiny")
@schema.parametrize()
@settings(max_examples=EACH, suppress_health_check=list(HealthCheck), derandomize=True)
def test_every_answer_is_as_described(case: schemathesis.Case) -> None:
    place = len(repr((case.body, case.query)))
    if isinstance(case.body, dict):
        case.body = likely(dict(case.body), place)
    if case.query and "run" in case.query:
        case.query = likely(dict(case.query), place)
    response = case.call()
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400:
        assert list(response.json()) == ["error"] and len(response.json()["error"]) < 600
