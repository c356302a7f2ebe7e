"""One module a group of assets; each asset is named as the table it fills."""
