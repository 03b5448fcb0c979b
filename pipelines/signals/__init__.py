"""The table `signals`: measurements of every sample of a drop, stored once.

A signal is a measured value; thresholds are in the policy. Each file of `scorers` has one scorer,
`registry` lists the scorers, and `stage` runs them.
"""
