"""Cases of replication.md 4.11: `run.py DIR CASE…` runs each in a new directory below DIR and prints
what an application can see. The test runs it on a plain directory and on a mirrored one; both outputs
must be the same. Nothing that may differ (inode and device numbers, times of now) is printed."""
import os, sys

import content, names, rights
from words import CASES, say


def main():
    base, wanted = sys.argv[1], sys.argv[2:] or list(CASES)
    os.umask(0o022)
    for name in wanted:
        os.chdir(base)
        os.mkdir(name)
        os.chdir(name)
        say("==", name)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 0
            try:
                CASES[name]()
            except BaseException as e:
                import traceback
                say("case failed", repr(e), traceback.extract_tb(e.__traceback__)[-2:])
                code = 1
            sys.stdout.flush()
            os._exit(code)
        say("end", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


main()
