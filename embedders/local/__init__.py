"""The encoders of the space `local`. Their weights come with packages, so no model hub is needed.

A vector has two parts, so that a cosine is a weighted sum of two cosines:

- meaning, 384 dimensions: text by MiniLM; images by the names of the classes that they resemble
  (ConSE), which needs no training;
- learned, 320 dimensions: heads that were trained on captioned drawings.

Recordings go through the image encoder as spectrograms, and a head maps its features to both parts.
`pipelines/local_heads` trains the heads; docs/local.md has their figures.
"""
