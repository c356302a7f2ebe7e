"""Drift of a live strategy: its metrics, the rules that judge them and the state they lead to."""
