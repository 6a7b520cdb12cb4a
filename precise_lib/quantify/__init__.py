"""Own data: files to concentrations, errors and flags, and back to files and a report."""
