"""The table `samples`: the records of a drop."""
