"""The exercises of the course, one file per chapter; see :mod:`mini_ot_exercises.engine` for their form."""
