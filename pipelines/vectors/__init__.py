"""The tables `vectors__{space}`: the vector of each part, embedded once."""
