"""A scripted clinician annotates a folder in a real window; see `benchmarks.clinician.__main__`."""
