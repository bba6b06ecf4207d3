"""churn.py DIR SEED COUNT [STOP]: random operations of every kind below DIR, many on the same few names.
What fails, fails: only that both copies end the same counts. COUNT 0: until a file STOP exists."""
import ctypes, mmap, os, random, stat, sys

libc = ctypes.CDLL(None, use_errno=True)
base, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.makedirs(base, exist_ok=True)
os.chdir(base)
r = random.Random(seed)
handles = []
NAMES = [f"n{i}" for i in range(12)]
DIRS = [".", "d0", "d1", "d0/e", "d1/e"]


def name():
    return os.path.join(r.choice(DIRS), r.choice(NAMES + ["d0", "d1", "e"]) if r.random() < 0.9 else f"x{r.randrange(400)}")


def handle():
    if not handles or r.random() < 0.4:
        fd = os.open(name(), os.O_RDWR | os.O_NONBLOCK | (os.O_CREAT if r.random() < 0.7 else 0), 0o644)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError
        handles.append(fd)
        if len(handles) > 12:
            os.close(handles.pop(r.randrange(len(handles))))
        return fd
    return r.choice(handles)


def place():
    return r.choice((0, 1, 4095, 4096, 10_000, 1 << 20, (1 << 20) - 3, r.randrange(3 << 20)))


def write():
    os.pwrite(handle(), r.randbytes(r.choice((1, 100, 4096, 5000, 70_000))), place())


def append():
    fd = os.open(name(), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK)
    try:
        os.write(fd, r.randbytes(300))
    finally:
        os.close(fd)


def create():
    os.close(os.open(name(), os.O_CREAT | os.O_EXCL | os.O_WRONLY, r.choice((0o600, 0o644, 0o755))))


def replace():
    n = name() + ".tmp"
    fd = os.open(n, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NONBLOCK, 0o644)
    os.write(fd, r.randbytes(r.randrange(20_000)))
    if r.random() < 0.5:
        os.fsync(fd)
    os.close(fd)
    os.rename(n, n[:-4])


def truncate():
    os.ftruncate(handle(), place())


def punch():
    mode = r.choice((0, 1, 3, 16, 17))
    libc.fallocate(handle(), mode, ctypes.c_long(place()), ctypes.c_long(r.choice((1, 4096, 100_000))))


def mapped():
    fd = handle()
    size = os.fstat(fd).st_size
    if size > 0:
        # Another program may cut the file meanwhile: then the writer dies of SIGBUS.
        child = os.fork()
        if child > 0:
            os.waitpid(child, 0)
            return
        try:
            with mmap.mmap(fd, min(size, 1 << 20)) as m:
                at = r.randrange(len(m))
                m[at:at + 50] = r.randbytes(len(m[at:at + 50]))
                m.flush()
        finally:
            os._exit(0)


def tmpfile():
    fd = os.open(r.choice(DIRS), os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, r.randbytes(9000))
    handles.append(fd)
    if r.random() < 0.7:
        libc.linkat(-100, f"/proc/self/fd/{fd}".encode(), -100, name().encode(), 0x400)


def rename():
    libc.syscall(316, -100, name().encode(), -100, name().encode(), r.choice((0, 0, 0, 1, 2)))


def copy():
    os.copy_file_range(handle(), handle(), r.choice((10, 50_000)), place(), place())


def chown():
    os.chown(name(), r.randrange(5), r.randrange(5), follow_symlinks=False)


def utime():
    t = r.randrange(10**18)
    os.utime(name(), ns=(t, t + 1), follow_symlinks=False)


def setx():
    os.setxattr(name(), f"user.a{r.randrange(3)}", r.randbytes(r.randrange(50)), follow_symlinks=False)


OPERATIONS = [
    (write, 30), (append, 5), (create, 10), (replace, 8), (truncate, 6), (punch, 4), (mapped, 3), (tmpfile, 2),
    (rename, 12), (copy, 2), (chown, 2), (utime, 2), (setx, 3),
    (lambda: os.unlink(name()), 8), (lambda: os.link(name(), name()), 5),
    (lambda: os.symlink(r.choice(NAMES), name()), 3), (lambda: os.mkdir(name(), 0o755), 6),
    (lambda: os.rmdir(name()), 5), (lambda: os.mknod(name(), stat.S_IFIFO | 0o600), 1),
    (lambda: os.chmod(name(), r.choice((0o600, 0o644, 0o4755, 0o711))), 3),
    (lambda: os.removexattr(name(), f"user.a{r.randrange(3)}"), 1),
    (lambda: os.fsync(handle()), 1),
]
calls, weights = [c for c, _ in OPERATIONS], [w for _, w in OPERATIONS]
for d in DIRS[1:]:
    try:
        os.mkdir(d)
    except OSError:
        pass
done = 0
while done < count if count else not os.path.exists(sys.argv[4]):
    done += 1
    try:
        r.choices(calls, weights)[0]()
    except (OSError, ValueError):
        pass
print("done", done)
