"""Media as delivered: is it whole, how large is it, and how does it look in small.

Every reader takes undecoded bytes and Limits, checks sizes before it decodes, decodes the whole
so that truncation is found, and raises RecordError for whatever is wrong.
"""
