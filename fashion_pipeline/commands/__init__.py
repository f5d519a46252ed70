"""What each command of `fashion-pipeline` does; `cli.py` only parses."""
