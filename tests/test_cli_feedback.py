"""The loop on the command line."""

import json
from collections.abc import Callable

import pytest

Crossrec = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("tiny")


def test_the_demo_of_the_loop(crossrec: Crossrec) -> None:
    asked = ("rl-demo", "--dataset", "tiny", "--steps", "40", "--seeds", "3")
    code, out, err = crossrec(*asked)
    assert code == 0, err
    assert out.startswith("Learning from 40 slates brings ")
    for name in ("Learned", "Frozen", "Greedy", "Random", "Popularity", "Oracle"):
        assert f"\n{name}" in out
    assert "Regret to the oracle" in out
    assert "The people are simulated" in out
    found = json.loads(crossrec(*asked, "--json")[1])
    assert found["run"] == "tiny-transfer-sasrec"
    assert len(found["curves"]["learned"]) == 40
    mean = found["measures"]["learned"]["reward"]["mean"] - found["measures"]["frozen"]["reward"]["mean"]
    assert found["gain"]["mean"] == pytest.approx(mean, abs=1e-5)
    assert found["measures"]["oracle"]["regret"]["mean"] == 0


def test_what_it_cannot_do_is_told(crossrec: Crossrec) -> None:
    assert crossrec("rl-demo", "--dataset", "tinny")[0] == 1
    assert crossrec("rl-demo", "--dataset", "tiny", "--seeds", "1")[0] == 2
    code, _, err = crossrec("rl-demo", "--dataset", "tiny", "--run", "tiny-source-sasrec")
    assert (code, "source domain" in err) == (1, True)
