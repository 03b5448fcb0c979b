"""The pool of Ray actors that run an encoder."""
