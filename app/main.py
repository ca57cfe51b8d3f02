"""Navigation: which pages there are. Each page is a script in `pages/`."""

from pathlib import Path

import streamlit as st

from app.ui import loading

loading.wait()

from app.ui import first_run  # noqa: E402
from app.ui.errors import as_sentence  # noqa: E402
from crossrec.report import theme  # noqa: E402

PAGES = Path(__file__).resolve().parent.parent / "pages"
# A file of ours: a Material icon here would be fetched from the web.
ICON = Path(__file__).resolve().parent / "ui" / "icon.svg"

st.set_page_config(page_title="crossrec", page_icon=str(ICON), layout="wide")

pages = {
    "": [
        st.Page(
            PAGES / "home.py",
            title="Home",
            icon=":material/home:",
            url_path="start",
            default=True,
            help="Does taste carry over from one domain to another? The answer, and the numbers behind it.",
        ),
        # The default page is served at "/", never at its own url_path; so /home is a second, hidden way in.
        st.Page(PAGES / "home.py", title="Home", icon=":material/home:", url_path="home", visibility="hidden"),
    ],
    "Look": [
        st.Page(
            PAGES / "explore.py",
            title="Explore",
            icon=":material/travel_explore:",
            url_path="explore",
            help="Can these domains help each other? Sizes, overlap, activity, one person's path, the reviews.",
        ),
        st.Page(
            PAGES / "train.py",
            title="Train",
            icon=":material/model_training:",
            url_path="train",
            help="What does it take? What a training will cost, the queue, each run as it goes, and data of your own.",
        ),
        st.Page(
            PAGES / "compare.py",
            title="Compare",
            icon=":material/balance:",
            url_path="compare",
            help="Did transfer help, and whom? Paired differences with intervals, groups, and how it was measured.",
        ),
    ],
    "Try": [
        st.Page(
            PAGES / "recommend.py",
            title="Recommend",
            icon=":material/recommend:",
            url_path="recommend",
            help="What would this person like? Write reviews, name a user or pick items; see why, and what if.",
        ),
        st.Page(
            PAGES / "feedback.py",
            title="Feedback",
            icon=":material/cycle:",
            url_path="feedback",
            help="What does the loop learn? Click and skip, take an update apart, judge a policy from a log.",
        ),
    ],
    "Understand": [
        st.Page(
            PAGES / "learn.py",
            title="Learn",
            icon=":material/school:",
            url_path="learn",
            help="How does it work? Each model drawn for one person, and how a comparison fools itself.",
        ),
    ],
}

# Streamlit writes white on every primary button, which in dark is 2.3 : 1, fades green code in captions to 3 : 1, and
# gives axes a grey of 3.7 : 1 in light; our own grey for marks is no better as text.
LEGIBLE = f"""<style>
button[kind="primary"] {{color: light-dark(#FFFFFF, #10100F)}}
[data-testid="stCaptionContainer"] code {{color: inherit}}
[data-testid="stVegaLiteChart"] text:is([fill="#808495"], [fill="{theme.MUTED}"]) {{fill: light-dark(#5A5D68, #A9ADB5)}}
</style>"""
st.html(LEGIBLE)
st.logo(str(ICON), size="large")
page = st.navigation(pages)
first_run.show()
with as_sentence():
    page.run()
