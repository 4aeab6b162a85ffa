"""The course's commands: python3 tools/course.py book|test|...   (make book, make test, ... call this file)

This file must be readable by any Python, old ones too, so that they can say what is wrong.
"""

import os
import sys

NEEDED = (3, 11)


def newer_python():
    """Look on the PATH for a Python that is new enough."""
    for minor in (14, 13, 12, 11):
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, "python3.%d" % minor)
            if os.path.exists(path) and os.access(path, os.X_OK):
                return path
    return None


def main():
    if sys.version_info[:2] < NEEDED:
        found = newer_python()
        if found and not os.environ.get("COURSE_SECOND_TRY"):
            os.environ["COURSE_SECOND_TRY"] = "1"
            os.execv(found, [found] + sys.argv)
        sys.stderr.write(
            "The course needs Python %d.%d or newer; this is Python %d.%d (%s).\n"
            "Install a newer one, or name it: make book PYTHON=/path/to/python3.12\n"
            % (NEEDED + tuple(sys.version_info[:2]) + (sys.executable,))
        )
        return 1
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from tools import commands

    return commands.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
