"""Imported before all libraries: it holds them to one thread, which they read when they are loaded."""

import os

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINI_OT_NUM_THREADS")
os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
