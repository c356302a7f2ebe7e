"""Sessions of exchanges, and price files read against them."""
