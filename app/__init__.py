"""The Streamlit application; pages are in `pages/`, logic is in `crossrec`."""
