"""No correction: g' = g and a bias of zero. What every other method is measured against."""

from store.corrections.method import Compiled, Method

METHOD = Method("none", compile=lambda params, state, rows, look: Compiled(), banks=())
