"""Alerts: their outbox, the channels they leave by, and what they do to a strategy."""
