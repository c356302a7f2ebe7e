"""The command line: `quant-mlops`."""
