"""Asset checks: blocking ones stop the run, the others warn."""
