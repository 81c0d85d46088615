"""The parts of run.py: what is timed, how the candidates take turns, and how the result is told."""
