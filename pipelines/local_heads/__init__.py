"""The learned heads of the `local` space: data from packages, training, figures.

`make heads` runs it; the heads are committed, so that nobody needs to.
"""
