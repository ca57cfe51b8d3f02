"""The REST routes: answers equal to those of the library, and a sentence with the right status for everything else."""

import html
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from crossrec import __version__, api
from crossrec.recommend.explain import explain
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import list_runs, open_run

RUN = "tiny-transfer-sasrec"
ASK: dict[str, Any] = {
    "run": RUN,
    "reviews": [{"text": "A frozen winter drama 🎬 <b>with</b> snow", "stars": 5}, {"text": "喜劇"}],
    "source_items": ["S0004"],
    "target_items": ["A0003"],
    "k": 4,
}
PERSON = Person(None, (Review(ASK["reviews"][0]["text"], 5), Review("喜劇")), ("S0004",), ("A0003",))


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[Mount("/api", app=api.api)]), raise_server_exceptions=False)


def refused(response: Any, status: int, *words: str) -> None:
    """One sentence as JSON, and nothing else."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    for word in words:
        assert word in response.json()["error"]


pytestmark = pytest.mark.usefixtures("tiny")


def test_health_and_runs(client: TestClient) -> None:
    assert client.get("/api/health").json() == {"status": "ok", "version": __version__, "runs": 4}
    found = client.get("/api/runs").json()
    assert [one["run"] for one in found] == [run.name for run in list_runs(finished=True)]
    assert set(found[0]) == {"run", "title", "recipe", "dataset", "domain", "created"}
    assert {one["run"]: one["domain"] for one in found}["tiny-source-sasrec"] == "source"


def test_a_list_is_that_of_the_library(client: TestClient) -> None:
    response = client.post("/api/recommend", json=ASK)
    assert response.status_code == 200
    answer = RunRecommender(open_run(RUN)).ask(PERSON, 4)
    assert response.json() == json.loads(json.dumps(answer.to_dict()))
    assert len(response.json()["items"]) == 4
    known = client.post("/api/recommend", json={"run": RUN, "user_id": "u0002"}).json()
    assert known["basis"] == "both domains"
    assert len(known["items"]) == 10


def test_reasons_are_those_of_the_library(client: TestClient) -> None:
    item_id = client.post("/api/recommend", json=ASK).json()["items"][0]["item_id"]
    response = client.post("/api/explain", json={**ASK, "item_id": item_id})
    assert response.status_code == 200
    assert response.json() == json.loads(
        json.dumps(explain(RunRecommender(open_run(RUN)), PERSON, item_id, 4).to_dict())
    )


def test_items(client: TestClient) -> None:
    catalog = RunRecommender(open_run(RUN)).catalog
    title = catalog.items("source", [7])[0].title or ""
    found = client.get("/api/items", params={"run": RUN, "q": title, "domain": "source", "limit": 3}).json()
    assert found[0]["item_id"] == "S0007"
    assert [one["item_id"] for one in client.get("/api/items", params={"run": RUN, "limit": 5}).json()] == [
        one.item_id for one in catalog.search("target", "", 5)
    ]
    assert client.get("/api/items", params={"run": RUN, "q": "%"}).json() == []


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"run": "tiny-transfer"}, 404, "Did you mean 'tiny-transfer-sasrec'?"),
        ({"run": "../tiny"}, 404, "cannot name a run"),
        ({"run": None}, 422, "run: "),
        ({"user_id": "nobody"}, 404, "There is no such user in 'tiny'."),
        ({"source_items": ["S0061"]}, 404, "There is no item 'S0061' in Screen; the nearest ids are S00"),
        ({"target_items": ["S0001"]}, 404, "There is no item 'S0001' in Sound"),
        ({"reviews": [{"text": ""}]}, 422, "Review 1 is empty"),
        ({"reviews": [{"text": "a" * 10_000}]}, 422, "Review 1 has 10,000 characters, and at most 5,000 are read"),
        ({"reviews": [{"text": "good"}] * 200}, 422, "There are 200 reviews, and at most 50 are taken"),
        ({"reviews": [{"text": "good", "stars": 7}]}, 422, "The stars of review 1 must be from 1 to 5"),
        ({"reviews": [{"text": "good", "stars": float("nan")}]}, 422, "The stars of review 1 must be from 1 to 5"),
        ({"reviews": [{"text": "good", "stars": "secret"}]}, 422, "reviews.0.stars: "),
        ({"reviews": [{"text": "good", "likes": 3}]}, 422, "reviews.0.likes: "),
        ({"reviews": "secret"}, 422, "reviews: "),
        ({"reviews": [{"text": "half a \ud800 pair"}], "k": 0}, 422, "k must be from 1 to 100, and it is 0."),
        ({"k": 101}, 422, "k must be from 1 to 100"),
        ({"k": "many"}, 422, "k: "),
        ({"secret": 1}, 422, "secret: Extra inputs are not permitted."),
        ({"reviews": [], "source_items": [], "target_items": []}, 422, "Nobody is known"),
    ],
)
def test_bad_input_is_one_sentence(client: TestClient, changes: dict[str, Any], status: int, words: str) -> None:
    body = json.dumps({**ASK, **changes})
    response = client.post("/api/recommend", content=body, headers={"Content-Type": "application/json"})
    refused(response, status, words)
    if "secret" not in changes:
        assert "secret" not in response.text


def test_half_a_pair_of_surrogates_is_read(client: TestClient) -> None:
    body = json.dumps({"run": RUN, "reviews": [{"text": "half a \ud800 pair"}]})
    response = client.post("/api/recommend", content=body, headers={"Content-Type": "application/json"})
    assert response.json()["evidence"][0]["text"] == "half a ? pair"


def test_what_cannot_be_explained(client: TestClient) -> None:
    refused(client.post("/api/explain", json=ASK), 422, "item_id: Field required.")
    refused(client.post("/api/explain", json={**ASK, "item_id": "A0099"}), 404, "There is no item 'A0099'")
    refused(client.post("/api/explain", json={**ASK, "item_id": "A0003"}), 400, "is among the items of this person")


def test_a_run_without_the_domain(client: TestClient) -> None:
    refused(client.get("/api/items", params={"run": "tiny-source-sasrec"}), 400, "knows no items of the target domain")
    refused(
        client.post("/api/recommend", json={**ASK, "run": "tiny-source-sasrec"}), 400, "knows no items of the target"
    )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({}, "run: "),
        ({"run": RUN, "domain": "both"}, "domain: "),
        ({"run": RUN, "limit": "0"}, "limit: "),
        ({"run": RUN, "limit": "101"}, "limit: "),
        ({"run": RUN, "q": "a" * 201}, "q: "),
    ],
)
def test_bad_searches(client: TestClient, params: dict[str, str], words: str) -> None:
    refused(client.get("/api/items", params=params), 422, words)


def test_other_bodies(client: TestClient) -> None:
    as_json = {"Content-Type": "application/json"}
    refused(client.post("/api/recommend", content="{", headers=as_json), 400, "The body is not JSON.")
    refused(client.post("/api/recommend", content="[]", headers=as_json), 422, "must be a JSON object")
    refused(client.post("/api/recommend", content="run=x"), 422, "sent as application/json")
    refused(client.post("/api/recommend"), 422, "must be a JSON object")
    large = json.dumps({"run": RUN, "reviews": [{"text": "a" * 1_000_000}]})
    refused(client.post("/api/recommend", content=large, headers=as_json), 413, "larger than 1,000,000 bytes")
    # The same in pieces, without a length.
    pieces = (b"a" * 100_000 for _ in range(11))
    refused(client.post("/api/recommend", content=pieces), 413, "larger than 1,000,000 bytes")


def test_other_routes_and_methods(client: TestClient) -> None:
    refused(client.get("/api/nothing"), 404, "/api/docs lists them")
    refused(client.get("/api/recommend"), 405, "does not take that method")


def test_a_defect_is_told_without_its_content(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise ValueError("inside")

    monkeypatch.setattr(RunRecommender, "ask", broken)
    response = client.post("/api/recommend", json=ASK)
    refused(response, 500, "Something went wrong on our side")
    assert "inside" not in response.text


def test_no_words_of_a_person_are_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for changes in ({}, {"k": 0}, {"reviews": [{"text": "A frozen" * 1000}]}):
            client.post("/api/recommend", json={**ASK, **changes})
        client.post("/api/recommend", json={"run": RUN, "user_id": "u0002"})
    assert "frozen" not in caplog.text
    assert "u0002" not in caplog.text


def test_no_other_site_may_read(client: TestClient) -> None:
    response = client.get("/api/health", headers={"Origin": "https://example.org"})
    assert "access-control-allow-origin" not in response.headers


def test_the_page_of_the_routes_needs_no_network(client: TestClient) -> None:
    page, document = client.get("/api/docs"), client.get("/api/openapi.json").json()
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert "http" not in page.text
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            assert f"{method.upper()} /api{path}" in page.text
            assert html.escape(about["summary"]) in page.text
    assert "list of {text, stars}, at most 50" in page.text
    assert set(document["paths"]) == {"/health", "/runs", "/items", "/recommend", "/explain"}
    assert document["paths"]["/recommend"]["post"]["responses"].keys() >= {"200", "400", "404", "413", "422"}
    assert document["components"]["schemas"]["SentReview"]["properties"]["text"]["maxLength"] == 5000


def test_the_example_of_the_page_is_a_request(client: TestClient) -> None:
    examples = [
        json.loads(html.unescape(one)) for one in re.findall("<pre>(.*?)</pre>", client.get("/api/docs").text, re.S)
    ]
    assert len(examples) == 2
    for route, example in zip(("recommend", "explain"), examples, strict=True):
        response = client.post(f"/api/{route}", json={**example, "run": RUN})
        assert response.status_code == 200, response.text


# --- loaded runs ------------------------------------------------------------------------------------------------------


def test_few_runs_are_kept(tiny_copy: Path) -> None:
    kept = api.Loaded()
    for number in range(api.KEPT + 1):
        shutil.copytree(tiny_copy / "runs" / "tiny-popularity", tiny_copy / "runs" / f"r{number}")
    first = kept("r0")
    assert kept("r0") is first
    for number in range(1, api.KEPT):
        kept(f"r{number}")
    assert kept("r0") is first  # asked again, so not the oldest
    kept(f"r{api.KEPT}")
    assert len(kept) == api.KEPT
    assert kept("r0") is first


def test_a_run_that_was_trained_again_is_opened_again(tiny_copy: Path) -> None:
    kept = api.Loaded()
    first = kept("tiny-popularity")
    os.utime(tiny_copy / "runs" / "tiny-popularity" / "recommender" / "weights.safetensors", ns=(1, 1))
    assert kept("tiny-popularity") is not first


def test_a_run_is_opened_once_by_many(monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    opened: list[Any] = []

    def slow(run: Any) -> RunRecommender:
        opened.append(run)
        return RunRecommender(run)

    monkeypatch.setattr(api, "RunRecommender", slow)
    kept = api.Loaded()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: kept("tiny-popularity"), range(16)))
    assert len(opened) == len({id(one) for one in found}) == 1


ENTRY = """
from starlette.testclient import TestClient
from app.streamlit_app import app
print(TestClient(app).get("/api/health").json()["status"])
"""


def test_the_app_serves_the_routes(tiny: Path) -> None:
    """In a process of its own, for a Streamlit app is one a process."""
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", ENTRY], cwd=root / "app", env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "ok\n", done.stderr
