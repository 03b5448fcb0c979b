"""The curation page: what was kept, what was lost and why, and the values of every signal.

Everything is read from the tables in batches, so that memory does not grow with the corpus.
"""
