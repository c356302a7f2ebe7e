"""What Dagster loads: one set of definitions for each strategy, and what they share."""

from __future__ import annotations

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """Return the definitions of the strategies that the settings name; Dagster calls it."""
    # Importing this module reads no file and takes no longer than importing Dagster.
    from quant_mlops.orchestration.code_location import code_location
    from quant_mlops.settings import load_settings

    return code_location(load_settings())
