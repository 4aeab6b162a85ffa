"""The exercises of the course, one file per chapter; see :mod:`mini_ot.check` for their form."""
