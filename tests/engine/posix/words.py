"""What all cases use: system calls that Python lacks, and words that print results."""
import ctypes, errno, os, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def say(*words):
    print(*words, flush=True)


def tell(word, f, *args, **kw):
    """Runs a call and prints its result or the name of its errno."""
    try:
        r = f(*args, **kw)
        say(word, "ok" if r is None else r)
        return r
    except OSError as e:
        say(word, errno.errorcode.get(e.errno, e.errno))
        return None


def put(name, data=b"", mode=0o644):
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    os.write(fd, data)
    os.close(fd)


def get(name):
    with open(name, "rb") as f:
        return f.read()


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def fallocate(fd, mode, off, length):
    c = ctypes.c_long
    checked(libc.fallocate(fd, mode, c(off), c(length)))


def name_it(fd, name):
    checked(libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, os.fsencode(name), 0x400))


def renameat2(a, b, flags):
    checked(libc.syscall(316, -100, os.fsencode(a), -100, os.fsencode(b), flags))


def as_user(f, uid=1234, gid=1234, groups=(), umask=0o022):
    """In a child, so that nothing of it stays."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            f()
            os._exit(0)
        except BaseException as e:
            say("child failed", repr(e))
            os._exit(1)
    say("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def show(name, times=False):
    s = os.lstat(name)
    words = [name, oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink if not stat.S_ISDIR(s.st_mode) else "-",
             s.st_size if not stat.S_ISDIR(s.st_mode) else "-"]
    if times:
        words += [s.st_atime_ns, s.st_mtime_ns]
    say(*words)


def hash_of(name):
    import hashlib
    return hashlib.sha256(get(name)).hexdigest()[:16]
