"""`python -m quant_mlops`."""

from quant_mlops.cli.main import main

main()
