"""The tables `vectors__{space}`: every part embedded once."""
