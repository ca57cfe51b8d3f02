"""A tiny home, built once a session: a world with runs, one without, one of a single domain, and one with no texts."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from crossrec.data.demo import DemoConfig  # noqa: E402
from crossrec.data.prepare import write_tables  # noqa: E402
from crossrec.report import charts  # noqa: E402
from crossrec.runs.demo import make_world  # noqa: E402
from crossrec.runs.execute import train  # noqa: E402

SMALL = {"users": 120, "source_items": 60, "target_items": 60, "source_events": 1500, "target_events": 1000}
READS = {"encoder": "static", "components": 8, "taste_dim": 8, "epochs": 3, "batch_size": 64}
QUICK = {"epochs": 2, "dim": 16, "blocks": 1, "batch_size": 64}


def table(domain: str, people: range, each: int) -> pd.DataFrame:
    """Events without times, ratings or texts."""
    rows = [(f"p{u}", f"{domain}{(u + i) % 9}") for u in people for i in range(each)]
    return pd.DataFrame(rows, columns=["user_id", "item_id"])


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(home))
        make_world("demo", DemoConfig(**SMALL))
        for recipe in ("popularity", "linear-map"):
            train(recipe, "demo", name=f"demo-{recipe}")
        for recipe in ("source-sasrec", "target-sasrec", "transfer-sasrec"):
            train(recipe, "demo", QUICK, name=f"demo-{recipe}")
        train("racrec", "demo", READS, split_kind="cold-user-50", name="demo-racrec")
        make_world("demo-untrained", DemoConfig(**SMALL, seed=1))
        write_tables("single", {"target": table("t", range(30), 3)}, {}, labels=("", "Tools"))
        events = {"source": table("s", range(30), 4), "target": table("t", range(10, 40), 3)}
        write_tables("bare", events, {}, labels=("Shoes", "Socks"))
    return home


@pytest.fixture
def home(built, monkeypatch):
    """The tiny home, in CROSSREC_HOME; tests only read it."""
    import streamlit as st

    monkeypatch.setenv("CROSSREC_HOME", str(built))
    st.cache_data.clear()
    st.cache_resource.clear()
    return built


@pytest.fixture(autouse=True)
def valid_charts(monkeypatch):
    """Holds what the pages draw against Vega-Lite's schema, which takes too long to be done for every press."""
    monkeypatch.setattr(charts, "spec", lambda drawing: drawing().to_dict())


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """Copies a home, which a test may then change, and makes it the artifacts folder."""
    import streamlit as st

    def copy(home):
        shutil.copytree(home, tmp_path / "home")
        monkeypatch.setenv("CROSSREC_HOME", str(tmp_path / "home"))
        st.cache_data.clear()
        st.cache_resource.clear()
        return tmp_path / "home"

    return copy


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path))
    return tmp_path
