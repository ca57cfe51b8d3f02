"""The entry: `streamlit run app`. Pages at /, the REST routes at /api."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import streamlit as st
from starlette.routing import Mount

from app.ui.errors import tell
from crossrec.api import api

app = st.App("main.py", routes=[Mount("/api", app=api)], on_script_error=tell)
