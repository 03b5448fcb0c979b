"""The `local` space: encoders whose weights come with packages, so that no model hub is needed.

A vector has two halves, so that a cosine is a weighted sum of two:

- a place among meanings: text by MiniLM, pictures by the names of the classes that they look like
  (ConSE), which needs no training;
- a place in a space of 320 dimensions that heads learned from captioned drawings.

Recordings are heard through the image encoder, and a head places them in both halves.
`pipelines/local_heads` trains the heads, docs/local.md says how well they do.
"""
