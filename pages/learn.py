"""How does it work? Each model drawn with the tensors of one person, what moves when it reads less, and the traps."""

import streamlit as st

from app.ui import cards, inside, models, people, state
from app.ui.errors import as_sentence, percent
from crossrec.data.folder import load_meta

TABS = ("A sequence", "Bridge and gate", "Reviews", "One encoder", "A policy step", "How one is fooled")
WITH_PERSON = TABS[:4]

st.title("How does it work?", anchor=False)
said = st.container()
with st.container(horizontal=True, vertical_alignment="bottom"):
    dataset = state.choose_dataset("learn", "lrn_user")
    meta = load_meta(dataset)
    finished, _ = state.runs(dataset)
    labels = {which: meta["domains"][which]["name"] or which for which in ("source", "target")}
    examples = people.example_people(dataset)
    user = st.selectbox(
        "Person",
        list(examples),
        key="lrn_user",
        bind="query-params",
        width=340,
        accept_new_options=True,
        format_func=lambda one: f"{one}, {examples[one][0]} + {examples[one][1]} events" if one in examples else one,
        help=f"With their {labels['source']} and {labels['target']} events; or type any id of the dataset.",
    )

tabs = st.tabs(TABS, key="lrn_tab", bind="query-params", on_change="rerun")
for tab, name in zip(tabs, TABS, strict=True):
    if not tab.open:
        continue
    with tab, as_sentence():
        if name in WITH_PERSON and not user:
            st.caption("Choose a person above: what follows is drawn for them.")
        elif name == TABS[0]:
            inside.sequence(finished, dataset, user, labels)
        elif name == TABS[1]:
            inside.bridge(finished, dataset, user, labels)
        elif name == TABS[2]:
            inside.reviews(finished, dataset, user, labels)
        elif name == TABS[3]:
            inside.unified(finished, dataset, user, labels)
        elif name == TABS[4]:
            inside.policy(dataset)
        else:
            inside.fooled(dataset, labels, meta["domains"]["target"]["items"], meta["domains"]["target"]["has_rating"])
with said, as_sentence():
    transfer = inside.newest(finished, "transfer-sasrec")
    share = inside.share(transfer.name, user) if transfer is not None and user else None
    if share is None:
        cards.answer(
            "By reading what a person did and wrote in one domain, and learning what it says about the other.",
            "unknown",
        )
    else:
        cards.answer(
            f"For {user}, {percent(share)} of what {models.titles([transfer])[transfer.name]} goes by comes from "
            f"{labels['source']}, the rest from {labels['target']}: below, how that comes about.",
            "how",
        )
