"""The page about curation: what was kept, what was lost and why, what each signal found.

Everything is read from the tables by streams, so that a corpus of any size has a page.
"""
