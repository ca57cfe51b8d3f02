"""The app while the demo is built behind it, and explore's map while it is made."""

import pytest
from test_pages import alerts, open_page, said, words

from crossrec.runs import demo_task, item_map, queue
from crossrec.runs.task import TaskWriter


@pytest.fixture
def no_keeper(monkeypatch):
    """What waits is started by nobody."""
    monkeypatch.setattr(queue, "keep", lambda: None)


def progress(at) -> list[str]:
    return [element.proto.text for element in at.get("progress")]


@pytest.mark.usefixtures("no_keeper")
@pytest.mark.parametrize("name", ["home", "explore", "compare", "recommend", "feedback", "learn", "train"])
def test_before_the_first_world_every_page_says_what_comes(empty_home, name):
    demo_task.enqueue()
    at = open_page(name)
    assert progress(at)[0] == "The demo is being built: getting ready."
    if name != "train":
        assert "The first world is being made" in words(at) and "There is no data yet" not in words(at)


@pytest.mark.usefixtures("no_keeper")
def test_how_far_it_is_and_why_it_stopped(copy_of, built):
    copy_of(built)
    task = demo_task.enqueue()
    with TaskWriter(task.folder) as writer:
        writer.status(step=3, steps=38, doing="popularity on demo-unrelated", progress=2 / 38)
        at = open_page("home", data="demo")
        assert progress(at) == [
            "The demo is being built: step 3 of 38, training popularity on demo-unrelated. "
            "The pages fill by themselves."
        ]
        assert "Transfer" in alerts(at)[0] or "evidence" in alerts(at)[0] or "carries" in alerts(at)[0]
        writer.status(doing="vectors of demo")
        assert "encoding the texts of demo" in progress(open_page("compare", data="demo"))[0]
        writer.end("failed", "There is no room on the disk.")
    at = open_page("home", data="demo")
    assert not progress(at)
    assert "The demo is not complete: There is no room on the disk. `crossrec demo` goes on." in said(at)


@pytest.mark.usefixtures("no_keeper")
def test_the_map_is_asked_for_made_and_shown(copy_of, built):
    home = copy_of(built)
    tab = {"data": "demo", "exp_tab": "Map of items"}
    at = open_page("explore", **tab)
    at.button(key="exp_map_make").click().run()
    assert not at.exception
    task = item_map.of("demo")
    assert task is not None and task.state == "queued" and task.folder.is_relative_to(home)
    assert "The map is being made" in said(open_page("explore", **tab))
    item_map.carry_out(task.folder)
    at = open_page("explore", **tab)
    found = item_map.read(task)
    assert f"{len(found.items):,} items by the mean vector" in said(at)
    assert "by chance it would be" in said(at) and len(at.get("plotly_chart")) == 1
    user = at.selectbox(key="exp_map_user").options[1]
    at.selectbox(key="exp_map_user").select(user).run()
    assert not at.exception
    assert f"{user} has " in said(at) and "the stars are the" in said(at)
    at.segmented_control(key="exp_map_by").set_value("Theme").run()
    assert not at.exception


@pytest.mark.usefixtures("no_keeper")
def test_data_without_words_says_why_there_is_no_map(copy_of, built):
    copy_of(built)
    task = item_map.enqueue("bare")
    with pytest.raises(Exception, match="Nothing is written"):
        item_map.carry_out(task.folder)
    at = open_page("explore", data="bare", exp_tab="Map of items")
    assert "Nothing is written about the items of 'bare'" in said(at)
