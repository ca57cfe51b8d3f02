import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dataset_rows import rows
from small_hub import Hub

from crossrec import paths
from crossrec.data import hub
from crossrec.errors import CrossrecError

SOURCE, TARGET = "All_Beauty", "Video_Games"
REVIEWS = f"raw/review_categories/{SOURCE}.jsonl"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(hub, "PAUSE", 0.01)
    monkeypatch.setattr(hub, "INTERVAL", 0.0)


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """An invented hub: two categories, 30 users, large enough that a file does not fit one packet."""
    root = tmp_path / "remote"
    for category in (SOURCE, TARGET):
        reviews = [
            {
                "rating": 1.0 + n % 5,
                "title": f"title {n}",
                "text": f"{category} " + "word " * 400,
                "asin": f"B00000{n % 40:04d}",
                "parent_asin": f"B00000{n % 40:04d}",
                "user_id": f"AF{n % 30:026d}",
                "timestamp": 1_500_000_000_000 + n,
            }
            for n in range(300)
        ]
        items = [{"parent_asin": f"B00000{n:04d}", "title": f"{category} {n}"} for n in range(40)]
        _lines(root / f"raw/review_categories/{category}.jsonl", reviews)
        _lines(root / f"raw/meta_categories/meta_{category}.jsonl", items)
    csv = root / "benchmark/5core/rating_only"
    csv.mkdir(parents=True)
    for category in (SOURCE, TARGET):
        (csv / f"{category}.csv").write_text("user_id,parent_asin,rating,timestamp\nAF1,B000000001,5.0,1500000000000\n")
    return root


def _lines(path: Path, objects: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))


def test_downloads_the_files_of_both_categories_and_tells_the_bytes(remote: Path, serve: Callable[[Path], Hub]) -> None:
    serve(remote)
    events: list[dict[str, Any]] = []
    files = hub.download(SOURCE, TARGET, on_event=events.append)
    assert set(files) == {"source", "target", "source_items", "target_items"}
    for role, path in files.items():
        name = next(event["file"] for event in events if event["role"] == role)
        size = (remote / name).stat().st_size
        assert path.read_bytes() == (remote / name).read_bytes()
        done = [event["done"] for event in events if event["role"] == role]
        assert done[0] == 0 and done[-1] == size and done == sorted(done)
        assert all(event["total"] == size for event in events if event["role"] == role)
        assert paths.downloads() in path.parents


def test_a_file_that_is_there_is_not_fetched_again_but_a_changed_one_is(
    remote: Path, serve: Callable[[Path], Hub]
) -> None:
    server = serve(remote)
    hub.download(SOURCE, TARGET)
    before = len(server.gets())
    hub.download(SOURCE, TARGET)
    assert len(server.gets()) == before
    (remote / REVIEWS).write_bytes((remote / REVIEWS).read_bytes() + b"{}\n")
    files = hub.download(SOURCE, TARGET)
    assert [path for path, _ in server.gets()[before:]] == [REVIEWS]
    assert files["source"].read_bytes().endswith(b"{}\n")


def test_a_cut_connection_is_taken_up_where_it_broke(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)
    server.cut_after = [100_000, 50_000]
    files = hub.download(SOURCE, TARGET)
    spans = [span for path, span in server.gets() if path == REVIEWS]
    assert spans[0] is None and len(spans) == 3
    starts = [int((span or "").removeprefix("bytes=").rstrip("-")) for span in spans[1:]]
    assert 0 < starts[0] <= 100_000 < starts[1] + 1 <= 150_001 and starts[0] < starts[1]
    assert files["source"].read_bytes() == (remote / REVIEWS).read_bytes()


def test_an_interrupted_download_is_taken_up_by_the_next_call(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)

    def interrupt(event: dict[str, Any]) -> None:
        if event["done"] > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hub.download(SOURCE, TARGET, on_event=interrupt)
    assert not list(paths.downloads().rglob(f"{SOURCE}.jsonl"))
    first: list[dict[str, Any]] = []
    files = hub.download(SOURCE, TARGET, on_event=first.append)
    assert first[0]["done"] > 50_000
    assert server.gets()[1] == (REVIEWS, f"bytes={first[0]['done']}-")
    assert files["source"].read_bytes() == (remote / REVIEWS).read_bytes()


def test_a_connection_that_keeps_failing_stops_with_a_sentence(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)
    server.cut_after = [0] * 20
    with pytest.raises(CrossrecError, match=r"The connection to .* failed .* goes on from where it stopped"):
        hub.download(SOURCE, TARGET)
    assert len(server.gets()) == hub.ATTEMPTS


def test_damaged_bytes_are_refused(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)
    server.cut_after = [100_000, 0, 0, 0, 0, 0]
    with pytest.raises(CrossrecError):
        hub.download(SOURCE, TARGET)
    (part,) = paths.downloads().rglob("*.part")
    part.write_bytes(b"x" + part.read_bytes()[1:])
    server.cut_after = []
    with pytest.raises(CrossrecError, match="damaged and was removed"):
        hub.download(SOURCE, TARGET)
    assert hub.download(SOURCE, TARGET)["source"].read_bytes() == (remote / REVIEWS).read_bytes()


def test_a_missing_file_and_a_failing_hub_are_one_sentence_each(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)
    with pytest.raises(CrossrecError, match=r"has no file raw/review_categories/Books\.jsonl"):
        hub.download("Books", TARGET)
    server.status = 503
    with pytest.raises(CrossrecError, match=r"HTTP 503|connection"):
        hub.download(SOURCE, TARGET)


def test_no_connection_is_one_sentence_unless_the_files_are_here(
    remote: Path, serve: Callable[[Path], Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(remote)
    hub.download(SOURCE, TARGET)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert hub.download(SOURCE, TARGET)["source"].is_file()
    with pytest.raises(CrossrecError, match=r"The connection to http://127.0.0.1:9 failed") as raised:
        hub.download("Books", TARGET)
    assert "\n" not in str(raised.value)


def test_names_are_checked_before_anything_is_asked(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)
    with pytest.raises(CrossrecError, match=r"Did you mean 'Video_Games'"):
        hub.download(SOURCE, "VideoGames")
    with pytest.raises(CrossrecError, match="Digital_Music is not in the 5core subset"):
        hub.download("Digital_Music", TARGET, subset="5core")
    with pytest.raises(CrossrecError, match=r"Did you mean '5core'"):
        hub.download(SOURCE, TARGET, subset="5-core")  # type: ignore[arg-type]
    with pytest.raises(CrossrecError, match="name two categories"):
        hub.download(SOURCE, SOURCE)
    assert server.asked == []
    assert len(set(hub.CATEGORIES)) == 33


def test_download_pair_imports_what_it_fetched(remote: Path, serve: Callable[[Path], Hub]) -> None:
    server = serve(remote)
    folder = hub.download_pair("pair", SOURCE, TARGET)
    meta = paths.read_json(folder / "dataset.json")
    assert meta["origin"]["kind"] == "hub" and meta["origin"]["source"]["format"] == "2023 json lines"
    assert (meta["domains"]["source"]["name"], meta["domains"]["target"]["name"]) == ("All Beauty", "Video Games")
    assert meta["counts"]["overlap_users"] == 30
    assert rows("pair", "target.items")[0]["title"] == "Video_Games 0"
    asked = len(server.asked)
    with pytest.raises(CrossrecError, match="exists"):
        hub.download_pair("pair", SOURCE, TARGET)
    assert len(server.asked) == asked


def test_the_rating_subsets_have_csv_events(remote: Path, serve: Callable[[Path], Hub]) -> None:
    serve(remote)
    folder = hub.download_pair("core", SOURCE, TARGET, "5core")
    meta = paths.read_json(folder / "dataset.json")
    assert meta["origin"]["source"]["format"] == "csv" and meta["counts"]["source_events"] == 1


def test_the_real_sample_in_the_hubs_layout(shared: Path, serve: Callable[[Path], Hub]) -> None:
    serve(shared / "amazon_reviews_2023_sample")
    folder = hub.download_pair("real", "Electronics", "Tools_and_Home_Improvement")
    meta = paths.read_json(folder / "dataset.json")
    assert meta["domains"]["target"]["has_text"] and meta["counts"]["overlap_users"] == 14
