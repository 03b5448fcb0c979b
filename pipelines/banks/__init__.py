"""The tables `banks__{space}`: the samples that corrections are fitted, chosen and tested on."""
