"""The only floor that knows devices, threads and number formats."""
