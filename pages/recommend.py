"""What would this person like? Reviews, a user id and picked items in; two models side by side, why, and what if."""

import streamlit as st

from app.ui import answer_lists, answers, cards, champions, models, people, person_form, state
from app.ui.errors import as_sentence, plain, say
from crossrec.data.folder import load_meta
from crossrec.errors import CrossrecError
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import Answer

NONE = "none"
ROW = 35  # px, of the table of evidence


# --- cards -----------------------------------------------------------------------------------------------------------


def choose_models(known: dict[str, str], usual: dict[str, str]) -> list[str]:
    """The names of the one or two runs that answer."""
    if st.session_state.get("rec_a", usual["rec_a"]) not in known:
        st.session_state["rec_a"] = usual["rec_a"]
    first = st.selectbox(
        "Model",
        list(known),
        index=list(known).index(usual["rec_a"]),
        format_func=known.__getitem__,
        key="rec_a",
        width=220,
        persist_state="session",
        help="Every finished run that recommends in the target domain; at first the champion of strangers, if there is "
        "one.",
    )
    others = [NONE, *(name for name in known if name != first)]
    if st.session_state.get("rec_b", usual["rec_b"]) not in others:
        st.session_state["rec_b"] = next((name for name in usual.values() if name in others), NONE)
    second = st.selectbox(
        "Beside it",
        others,
        index=others.index(usual["rec_b"]) if usual["rec_b"] in others else 0,
        format_func=lambda name: known.get(name, "No other model"),
        key="rec_b",
        width=220,
        persist_state="session",
        help="Answers for the same person, so that the two lists can be compared.",
    )
    return [first] if second == NONE else [first, second]


@st.fragment
def what_if(run: str, title: str, answer: Answer, person: Person, fallback: bool) -> None:
    """The same list, had some of the evidence been missing or had other stars."""
    st.header("What if something were not known?", anchor=False)
    st.markdown(f"Untick a piece, or give it other stars: {plain(title)} is asked again without retraining.")
    frame = answers.pieces(answer.evidence)
    left, right = st.columns(2, gap="large")
    with left:
        column = st.column_config
        edited = st.data_editor(
            frame,
            key=f"rec_what_{answers.mark(run, person)}_{st.session_state.get('rec_what_resets', 0)}",
            hide_index=True,
            width="stretch",
            height=min(10, len(frame) + 1) * ROW + 3,
            disabled=["what", "kind"],
            placeholder="–",
            alt="Pieces of evidence, each of which can be left out or given other stars",
            column_config={
                "counts": column.CheckboxColumn("Counts", width=80, pinned=True),
                "stars": column.NumberColumn("Stars", width=80, min_value=1, max_value=5, step=0.5, format="%g"),
                "what": column.TextColumn("Evidence", width="large"),
                "kind": column.TextColumn("Kind", width="small"),
            },
        )
        changes = answers.changes(frame, edited)
        st.button(
            "As it was",
            key="rec_what_reset",
            icon=":material/restart_alt:",
            disabled=not changes,
            on_click=lambda: st.session_state.update(rec_what_resets=st.session_state.get("rec_what_resets", 0) + 1),
        )
    with right, as_sentence():
        if not changes:
            cards.absent("Before and after", "Nothing has been changed yet.")
            return
        found = models.what_if(run, person, changes, fallback)
        table = answers.moved(found)
        st.markdown(f"**{plain(answers.moved_sentence(found, table))}**")
        st.dataframe(
            table,
            key="rec_moves",
            hide_index=True,
            width="stretch",
            height="content",
            placeholder="–",
            alt="The list before and after the change",
            column_config={
                "now": column.NumberColumn("Now", width=50),
                "item": column.TextColumn("Item", width="medium"),
                "was": column.NumberColumn("Was", width=50),
                "move": column.TextColumn("Move", width=70),
            },
        )


def elsewhere(run: str, person: Person, fallback: bool, whole: bool) -> None:
    with st.expander("The same as a command, over REST, as a link", icon=":material/terminal:"):
        cards.commands(answers.command(run, person, fallback))
        if answers.stars_are_lost(person):
            st.caption("The command takes stars for all reviews or for none, so here it leaves them out.")
        if fallback:
            st.caption("Over REST an id that is not known is refused.")
        else:
            st.markdown("`POST /api/recommend`, described at `/api/docs`:")
            st.code(answers.body(run, person), language="json", wrap_lines=True)
        if whole:
            st.caption("The address of this page is a link to what you see.")
        else:
            st.caption(
                f"The address of this page is a link, but it carries {people.LINKED} reviews of up to "
                f"{people.LONGEST_LINKED} characters and {people.LINKED_ITEMS} picked items of a kind at most: not "
                "everything that was entered is in it."
            )


# --- page ------------------------------------------------------------------------------------------------------------

people.read_link("recommend")
st.title("What would this person like?", anchor=False)
said = st.container()
with st.container(horizontal=True, vertical_alignment="bottom"):
    dataset = state.choose_dataset("recommend", "rec_a", "rec_b", "rec_pick", "rec_have", "rec_why")
    meta = load_meta(dataset)
    finished, others = state.runs(dataset)
    titles = models.titles(finished)
    best = champions.of_strangers(dataset)
    begin = models.usual(finished, best.run if best else None)
    usual = dict(zip(("rec_a", "rec_b"), [*begin, NONE, NONE], strict=False))
    chosen = choose_models(titles, usual) if finished else []
source, target = (meta["domains"][which]["name"] or "the other domain" for which in ("source", "target"))
if not chosen:
    with said:
        cards.answer(f"Nobody can tell yet: no model has been trained on {dataset}.", "unknown")
    cards.no_runs(dataset, others)
    st.stop()

tabs = st.tabs(
    person_form.WAYS, key="rec_way", bind="query-params", default=person_form.WAYS[st.session_state["rec_first_way"]]
)
with tabs[0]:
    person_form.write_reviews(meta, source)
with tabs[1]:
    user = person_form.name_person(dataset, source, target)
with tabs[2]:
    picked = person_form.pick_items(chosen[0])
whole = people.write_link(usual)

try:
    person, fallback = Person(user, people.reviews()[0], **picked), False
except CrossrecError as error:
    with said:
        say(error)
    st.stop()
if user is None and not person.told:
    with said:
        cards.answer(answers.invitation(source, target, not meta["counts"]["source_events"]), "unknown")
    st.stop()
if user is not None:
    try:
        state.pair(dataset).user_index(user)
    except CrossrecError as error:
        with said:
            say(error)
            fallback = st.toggle(people.ALL_THE_SAME, key="rec_anyway")
        if not fallback:
            st.stop()

found: dict[str, Answer] = {}
for run in chosen:
    with as_sentence():
        found[run] = models.answer(run, person, fallback)
if found:
    first, answer = next(iter(found.items()))
    with said:
        st.info(plain(answers.sentence(answer, titles[first], person, source)), icon=":material/recommend:")
    answer_lists.side_by_side(found, titles, person, fallback, source, target)
    if answer.evidence:
        what_if(first, titles[first], answer, person, fallback)
    elsewhere(first, person, fallback, whole)
