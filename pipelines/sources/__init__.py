"""Raw input: which drops a source delivers, and the records in them, good and bad.

What is counted must be what is read: for every unit, `count_records` equals the number of items
that `read_unit` yields, however broken the input is. They share nothing but the way from one
header, line, or listed file to the next, and the counts that footers promise.
"""
