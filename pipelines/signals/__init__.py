"""signals: measurements of every sample of a drop, stored once.

A signal is a fact; thresholds live in the policy. One file holds one scorer, or a few that belong
together; `registry` lists them, `stage` runs them.
"""
