"""The entry: `streamlit run app`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import streamlit as st

from app.ui.errors import tell

app = st.App("main.py", on_script_error=tell)
