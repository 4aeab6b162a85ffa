"""Where ``mo.check`` comes from; the exercises and their engine are a package of their own."""

from mini_ot_exercises.engine import Exercise, chapter, check, find

__all__ = ["Exercise", "chapter", "check", "find"]
