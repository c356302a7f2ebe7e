"""Dagster: when each step of the loop runs. No other room imports it."""

from __future__ import annotations

import warnings

import dagster as dg

# Single-run backfills and pools are marked beta by Dagster and are pinned in the constraints.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
