"""What every floor uses: checks of input, files, processes, provenance, numbers as text."""
