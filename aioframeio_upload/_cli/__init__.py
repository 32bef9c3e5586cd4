"""The command line; its commands are in `app.py`."""
