"""The REST routes, served under /api by the process that serves the pages.

A list for a person is a POST, for what people write does not belong into an address. Nothing that is sent is logged,
and no error repeats it but for an id.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Annotated, Any, Literal, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossrec import __version__
from crossrec.api_docs import page
from crossrec.errors import CrossrecError
from crossrec.recommend.explain import Explanation
from crossrec.recommend.explain import explain as explained
from crossrec.recommend.person import MOST_CHARACTERS, MOST_ITEMS, MOST_K, MOST_REVIEWS, Person, Review, checked_k
from crossrec.recommend.recommender import Answer, RunRecommender
from crossrec.runs.catalog import Item
from crossrec.runs.folder import Run, list_runs, open_run

MOST_BYTES = 1_000_000
"""Largest body that is read."""
WORKERS = 2
"""Answers computed at once; the others wait, so that the pages stay responsive."""
KEPT = 4
"""Loaded runs."""
T = TypeVar("T")

# --- what is sent -----------------------------------------------------------------------------------------------------
# Types are checked here; bounds by `Person`, which checks them for every door, and are told in the document.


class Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SentReview(Sent):
    text: str = Field(
        json_schema_extra={"minLength": 1, "maxLength": MOST_CHARACTERS}, examples=["A quiet winter film, with snow."]
    )
    stars: float | None = Field(None, json_schema_extra={"minimum": 1, "maximum": 5}, examples=[5])


class Ask(Sent):
    """A person: a user id, reviews and picked items, in any combination; all that is given counts together."""

    run: str = Field(description="Name of a finished run.", examples=["demo-transfer-sasrec"])
    user_id: str | None = Field(None, description="A user of the run's dataset.")
    reviews: list[SentReview] = Field(
        [], description="What the person wrote in the source domain.", json_schema_extra={"maxItems": MOST_REVIEWS}
    )
    source_items: list[str] = Field(
        [], description="Ids, oldest first.", json_schema_extra={"maxItems": MOST_ITEMS}, examples=[["S0001"]]
    )
    target_items: list[str] = Field(
        [],
        description="Ids, oldest first; none of them is recommended.",
        json_schema_extra={"maxItems": MOST_ITEMS},
        examples=[["A0003"]],
    )
    k: int = Field(10, description="Length of the list.", json_schema_extra={"minimum": 1, "maximum": MOST_K})

    def person(self) -> Person:
        """Raises CrossrecError where something is out of bounds, or nothing is told at all."""
        checked_k(self.k)
        person = Person(
            self.user_id,
            tuple(Review(review.text, review.stars) for review in self.reviews),
            tuple(self.source_items),
            tuple(self.target_items),
        )
        if person.user_id is None and not person.told:
            raise CrossrecError("Nobody is known: give user_id, reviews, source_items or target_items.")
        return person


class AskWhy(Ask):
    item_id: str = Field(description="An item that could be recommended.", examples=["A0001"])


# --- what comes back --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Health:
    status: str
    version: str
    runs: int
    """Finished ones."""


@dataclass(frozen=True)
class RunInfo:
    run: str
    title: str
    recipe: str
    dataset: str
    domain: str
    """What it recommends: "target", or "source" for models of that domain."""
    created: str


class Refused(Exception):
    """A sentence with the status that it is sent with."""

    def __init__(self, status: int, sentence: object):
        super().__init__(str(sentence))
        self.status = status


class Error(BaseModel):
    error: str = Field(examples=["There is no run 'dmo-transfer-sasrec'. Did you mean 'demo-transfer-sasrec'?"])


MEANINGS = {
    400: "It cannot be answered",
    404: "No such run, user or item",
    413: "The body is too large",
    422: "Something is missing, of another type or out of bounds",
}
ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": Error, "description": m} for status, m in MEANINGS.items()}


# --- the work, in threads ---------------------------------------------------------------------------------------------


class Loaded:
    """The runs that were asked last, opened; one that was trained again is opened again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], RunRecommender] = OrderedDict()
        self._lock, self._opening = Lock(), Lock()

    def __call__(self, name: str) -> RunRecommender:
        try:
            run = open_run(name)
        except CrossrecError as error:
            raise Refused(404, error) from error
        weights = run.recommender / "weights.safetensors"
        key = (str(run.folder), weights.stat().st_mtime_ns if weights.exists() else 0)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with self._opening:  # one at a time: two requests for a new run open it once
            with self._lock:
                if key in self._kept:
                    return self._kept[key]
            opened = RunRecommender(run)
            with self._lock:
                self._kept[key] = opened
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return opened

    def __len__(self) -> int:
        return len(self._kept)


loaded = Loaded()
_limiter: RunVar[CapacityLimiter] = RunVar("crossrec_workers")


async def in_thread(work: Callable[[], T]) -> T:
    """Runs what takes time beside the event loop, which also serves the pages."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(WORKERS)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


def _opened(ask: Ask) -> tuple[RunRecommender, Person]:
    """The run and the person that a request means.

    Raises:
        Refused: 422 out of bounds, 404 no such run, user or item.
    """
    try:
        person = ask.person()
    except CrossrecError as error:
        raise Refused(422, error) from error
    recommender = loaded(ask.run)
    if person.user_id is not None:
        pair = recommender.pair
        try:
            pair.user_index(person.user_id)
        except CrossrecError as error:
            # The sentence of the library names the nearest ids; over the network nobody is told who else there is.
            raise Refused(404, f"There is no such user in {pair.name!r}.") from error
    for which, ids in (("source", person.source_items), ("target", person.target_items)):
        for item_id in ids:
            _item(recommender, which, item_id)
    return recommender, person


def _item(recommender: RunRecommender, which: str, item_id: str) -> None:
    shelf = recommender.catalog.shelf(which)  # a run without this domain is refused with 400
    if item_id not in shelf.numbers:
        try:
            recommender.catalog.by_id(which, item_id)
        except CrossrecError as error:
            raise Refused(404, error) from error


def _recommend(ask: Ask) -> Answer:
    recommender, person = _opened(ask)
    return recommender.ask(person, ask.k)


def _explain(ask: AskWhy) -> Explanation:
    recommender, person = _opened(ask)
    _item(recommender, recommender.which, ask.item_id)
    return explained(recommender, person, ask.item_id, ask.k)


def _items(run: str, q: str, domain: str, limit: int) -> list[Item]:
    return loaded(run).catalog.search(domain, q, limit)


def _tested() -> list[Run]:
    """Trials of a search are not offered: each search names one run that was tested."""
    return list_runs(finished=True, tested=True)


def _runs() -> list[RunInfo]:
    keys = ("run", "title", "recipe", "dataset", "domain", "created")
    return [RunInfo(**{key: config[key] for key in keys}) for config in (r.config() for r in _tested())]


# --- the routes -------------------------------------------------------------------------------------------------------


class BodyLimit:
    """Reads a body up to a size and answers 413 beyond it, also where its length was not told or not true."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > MOST_BYTES:
                sentence = f"The body is larger than {MOST_BYTES:,} bytes: send less."
                await JSONResponse({"error": sentence}, 413)(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, again, send)


api = FastAPI(
    title="crossrec",
    version=__version__,
    description="Recommendations in one domain from what is known of a person in another.",
    docs_url=None,  # their pages fetch scripts from elsewhere
    redoc_url=None,
    responses=ERRORS,
)
api.add_middleware(BodyLimit)


@api.exception_handler(Refused)
async def _refused(request: Request, error: Refused) -> JSONResponse:
    return JSONResponse({"error": str(error)}, error.status)


@api.exception_handler(CrossrecError)
async def _sentence(request: Request, error: CrossrecError) -> JSONResponse:
    return JSONResponse({"error": str(error)}, 400)


@api.exception_handler(HTTPException)
async def _http(request: Request, error: HTTPException) -> JSONResponse:
    sentence = {404: "There is no such route; /api/docs lists them.", 405: "This route does not take that method."}
    return JSONResponse({"error": sentence.get(error.status_code, str(error.detail))}, error.status_code, error.headers)


@api.exception_handler(RequestValidationError)
async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return JSONResponse({"error": "The body is not JSON."}, 400)
    if first["loc"] == ("body",):
        return JSONResponse({"error": "The body must be a JSON object, sent as application/json."}, 422)
    # Where and what, never the value.
    where = ".".join(str(part)[:40] for part in first["loc"] if part not in ("body", "query"))
    return JSONResponse({"error": f"{where}: {first['msg']}."}, 422)


@api.exception_handler(Exception)
async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": "Something went wrong on our side; the server's log says what."}, 500)


@api.get("/health", summary="Whether the service answers")
async def health() -> Health:
    return Health("ok", __version__, len(await in_thread(_runs)))


@api.get("/runs", summary="The finished runs, newest first")
async def runs() -> list[RunInfo]:
    return await in_thread(_runs)


@api.get("/items", summary="Items by words of their title or creator")
async def items(
    run: Annotated[str, Query(description="Name of a finished run.")],
    q: Annotated[str, Query(max_length=200, description="Words, taken literally; none finds the most popular.")] = "",
    domain: Literal["source", "target"] = "target",
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[Item]:
    return await in_thread(partial(_items, run, q, domain, limit))


@api.post("/recommend", summary="The best items for a person, and what the list rests on")
async def recommend(ask: Ask) -> Answer:
    return await in_thread(partial(_recommend, ask))


@api.post("/explain", summary="Why an item stands where it stands in a person's list")
async def explain(ask: AskWhy) -> Explanation:
    return await in_thread(partial(_explain, ask))


@api.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    return HTMLResponse(
        page(api.openapi()), headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    )
