"""Trains the learned heads of the `local` space, and evaluates them.

`make heads` runs it. The trained heads are committed, so that nobody has to train them.
"""
