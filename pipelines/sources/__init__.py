"""Raw input: the drops that a source delivers, and the records in them, good and bad.

For every unit, `count_records` equals the number of items that `read_unit` yields, however broken
the input is. Counting and reading share only two things: how to step from one header, line or
listed file to the next, and the row counts in the footers of files.
"""
