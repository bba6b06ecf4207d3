"""Cases about what a file holds."""
import ctypes, errno, fcntl, mmap, os, threading

from words import *


@case
def write_and_read():
    fd = os.open("f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    say(os.write(fd, b"abc" * 5000), os.pwrite(fd, b"XYZ", 7), os.pwrite(fd, b"end", 100_000))
    say(os.lseek(fd, 0, os.SEEK_CUR), os.fstat(fd).st_size, os.pread(fd, 12, 0), os.pread(fd, 10, 99_998))
    tell("excl", os.open, "f", os.O_CREAT | os.O_EXCL)
    tell("missing", os.open, "none", os.O_RDONLY)
    tell("isdir", os.open, ".", os.O_WRONLY)
    tell("notdir", os.open, "f/x", os.O_RDONLY)
    tell("o_directory", os.open, "f", os.O_DIRECTORY)
    ro = os.open("f", os.O_RDONLY)
    tell("write on read-only", os.write, ro, b"x")
    wo = os.open("f", os.O_WRONLY)
    tell("read on write-only", os.read, wo, 1)
    tell("negative", os.pwrite, fd, b"x", -1)
    say(os.writev(fd, [b"a", b"bc", b""]), os.pwritev(fd, [b"1", b"2"], 3))
    say(len(get("f")), hash_of("f"))


@case
def append_from_several_processes():
    def child(letter):
        fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for i in range(200):
            os.write(fd, letter * 63 + b"\n")
        os._exit(0)
    pids = []
    for letter in (b"a", b"b", b"c", b"d"):
        pid = os.fork()
        if pid == 0:
            child(letter)
        pids.append(pid)
    say([os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]) for p in pids])
    lines = sorted(get("log").split(b"\n")[:-1])
    put("log", b"".join(l + b"\n" for l in lines))
    say(len(lines), sorted({bytes(l) for l in lines}) == [x * 63 for x in (b"a", b"b", b"c", b"d")])
    fd = os.open("log", os.O_RDWR | os.O_APPEND)
    os.pwrite(fd, b"tail\n", 0)
    say(os.fstat(fd).st_size)
    os.truncate("log", 10)
    os.write(fd, b"+")
    say(os.fstat(fd).st_size, get("log"))


@case
def mmap_shared():
    fd = os.open("m", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 70_000)
    m = mmap.mmap(fd, 70_000)
    m[0:5] = b"hello"
    m[65_536:65_540] = b"page"
    m.flush()
    say(os.pread(fd, 5, 0), os.pread(fd, 4, 65_536))
    os.pwrite(fd, b"W", 1)
    say(m[0:5])
    m[10:20] = b"0123456789"
    m.flush(0, 4096)
    other = os.open("m", os.O_RDONLY)
    say(os.pread(other, 10, 10))
    p = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)
    p[0:3] = b"no!"
    say(os.pread(fd, 3, 0))
    pid = os.fork()
    if pid == 0:
        m[100:103] = b"kid"
        os._exit(0)
    os.waitpid(pid, 0)
    say(m[100:103])
    m.flush()
    m.close()
    p.close()
    os.fsync(fd)
    say(hash_of("m"))


@case
def truncate_and_extend():
    put("t", b"x" * 10_000)
    for size in (5_000, 20_000, 4_096, 0, 3, 1 << 30, 7):
        os.truncate("t", size)
        say(size, os.stat("t").st_size, hash_of("t") if size < 1 << 20 else "")
    fd = os.open("t", os.O_RDWR)
    os.ftruncate(fd, 8192)
    os.pwrite(fd, b"z", 8191)
    os.ftruncate(fd, 8191)
    os.ftruncate(fd, 8192)
    say(os.pread(fd, 2, 8190))
    put("t2", b"y" * 100)
    fd = os.open("t2", os.O_RDWR | os.O_TRUNC)
    say(os.fstat(fd).st_size)
    tell("negative", os.ftruncate, fd, -1)
    tell("directory", os.truncate, ".", 0)
    ro = os.open("t2", os.O_RDONLY)
    tell("read-only", os.ftruncate, ro, 0)


@case
def fallocate_modes():
    KEEP, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE = 1, 2, 8, 16, 32, 64
    fd = os.open("a", os.O_RDWR | os.O_CREAT)
    os.write(fd, bytes(range(256)) * 256)
    tell("extend", fallocate, fd, 0, 0, 100_000)
    say(os.fstat(fd).st_size)
    tell("keep", fallocate, fd, KEEP, 0, 200_000)
    say(os.fstat(fd).st_size)
    tell("punch", fallocate, fd, KEEP | PUNCH, 4096, 8192)
    say(os.pread(fd, 3, 4095), os.fstat(fd).st_size)
    tell("punch part of a page", fallocate, fd, KEEP | PUNCH, 30_000, 10)
    say(os.pread(fd, 14, 29_998))
    tell("punch without keep", fallocate, fd, PUNCH, 0, 10)
    tell("zero", fallocate, fd, ZERO, 90_000, 20_000)
    say(os.fstat(fd).st_size)
    tell("zero keep", fallocate, fd, ZERO | KEEP, 120_000, 20_000)
    say(os.fstat(fd).st_size)
    tell("zero length", fallocate, fd, 0, 0, 0)
    ro = os.open("a", os.O_RDONLY)
    tell("read-only", fallocate, ro, 0, 0, 10)
    say(hash_of("a"))
    m = mmap.mmap(fd, 4096)
    m[0:4] = b"mmap"
    tell("punch beneath a mapping", fallocate, fd, KEEP | PUNCH, 0, 4096)
    say(m[0:4])
    say(hash_of("a"))


@case
def copy_ranges():
    put("s", bytes(range(256)) * 1000)
    s = os.open("s", os.O_RDONLY)
    d = os.open("d", os.O_RDWR | os.O_CREAT)
    say(os.copy_file_range(s, d, 100_000, 5, 10))
    say(os.fstat(d).st_size, hash_of("d"))
    say(os.copy_file_range(s, d, 1 << 20, 200_000, 0), os.fstat(d).st_size, hash_of("d"))
    same = os.open("s", os.O_RDWR)
    tell("same file", os.copy_file_range, same, same, 1000, 0, 100_000)
    tell("overlap", os.copy_file_range, same, same, 1000, 0, 500)
    say(hash_of("s"))
    os.pwrite(d, b"dirty in cache", 0)
    e = os.open("e", os.O_RDWR | os.O_CREAT)
    say(os.copy_file_range(d, e, 14, 0, 0), os.pread(e, 14, 0))
    say(os.sendfile(e, s, 0, 5000), os.fstat(e).st_size)
    try:
        fcntl.ioctl(e, 0x40049409, s)
        say("clone ok")
    except OSError as x:
        say("clone refused", x.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL))


@case
def unlinked_while_open():
    put("u", b"first")
    fd = os.open("u", os.O_RDWR)
    os.unlink("u")
    say(sorted(os.listdir(".")), os.write(fd, b"second!"), os.pread(fd, 20, 0), os.fstat(fd).st_nlink)
    os.fsync(fd)
    os.ftruncate(fd, 3)
    os.fchmod(fd, 0o611)
    put("u", b"another one of that name")
    os.pwrite(fd, b"Z", 0)
    say(os.pread(fd, 20, 0), get("u"), oct(os.fstat(fd).st_mode))
    tell("link again", name_it, fd, "again")
    put("v", b"victim"), put("w", b"winner")
    v = os.open("v", os.O_RDWR)
    os.rename("w", "v")
    os.write(v, b"lost")
    say(os.pread(v, 9, 0), get("v"), os.fstat(v).st_nlink)
    m = mmap.mmap(v, 4)
    m[0:2] = b"mm"
    m.flush()
    say(os.pread(v, 9, 0))
    os.mkdir("dir")
    d = os.open("dir", os.O_RDONLY)
    os.rmdir("dir")
    tell("create in a removed directory", os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=d)
    say(os.listdir(d))


@case
def temporary_files():
    fd = os.open(".", os.O_RDWR | os.O_TMPFILE, 0o640)
    os.write(fd, b"nameless " * 2000)
    os.ftruncate(fd, 12_345)
    os.fchmod(fd, 0o604)
    os.setxattr(fd, "user.t", b"1")
    say(sorted(os.listdir(".")))
    name_it(fd, "named")
    show("named")
    os.pwrite(fd, b"more", 20_000)
    say(hash_of("named"), os.getxattr("named", "user.t"))
    os.close(fd)
    put("named2", b"x")
    fd = os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_EXCL, 0o600)
    tell("O_EXCL cannot be linked", name_it, fd, "no")
    os.close(fd)
    show("named")


@case
def sparse_files():
    fd = os.open("sp", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"a" * 4096, 0), os.pwrite(fd, b"b" * 4096, 1 << 20), os.pwrite(fd, b"c", 1 << 40)
    say(os.fstat(fd).st_size, os.fstat(fd).st_blocks < 100)
    say(os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 5000, os.SEEK_DATA), os.lseek(fd, 1 << 20, os.SEEK_HOLE))
    tell("no data", os.lseek, fd, (1 << 40) + 1, os.SEEK_DATA)
    os.ftruncate(fd, 2 << 20)
    tell("only a hole", os.lseek, fd, 1572864, os.SEEK_DATA)
    say(os.fstat(fd).st_size, hash_of("sp"))


@case
def synchronous_writes():
    for flags, name in ((os.O_SYNC, "sync"), (os.O_DSYNC, "dsync")):
        fd = os.open(name, os.O_RDWR | os.O_CREAT | flags)
        say(os.write(fd, b"s" * 10_000), os.pwrite(fd, b"t", 5))
        say(os.pread(fd, 8, 0))
    fd = os.open("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    m = mmap.mmap(-1, 8192)
    m[0:8192] = b"d" * 8192
    say(os.write(fd, m), os.lseek(fd, 0, 0), os.readv(fd, [m]))
    os.pwrite(fd, memoryview(m)[:4096], 65536)
    say(os.fstat(fd).st_size, hash_of("direct"))
    other = os.open("direct", os.O_RDWR)
    os.pwrite(other, b"cached", 0)
    n = os.preadv(fd, [m], 0)
    say(n, m[0:8])
    os.fsync(fd), os.fdatasync(fd)
    os.sync()
    d = os.open(".", os.O_RDONLY)
    os.fsync(d)
    say(checked(libc.syncfs(d)))
    say(checked(libc.sync_file_range(other, ctypes.c_long(0), ctypes.c_long(0), 7)))
    p = os.pwritev(other, [b"rwf"], 10, os.RWF_SYNC)
    say(p, os.pread(other, 3, 10))


@case
def concurrent_writers():
    fd = os.open("c", os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 1 << 20)
    def work(n):
        f = os.open("c", os.O_RDWR)
        for i in range(100):
            os.pwrite(f, bytes([n]) * 1000, (i * 8 + n) * 1000)
    ts = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    [t.start() for t in ts], [t.join() for t in ts]
    say(hash_of("c"))
    def names(n):
        for i in range(100):
            put(f"{n}-{i}", b"z" * i), os.rename(f"{n}-{i}", f"final{i}-{n}")
    ts = [threading.Thread(target=names, args=(n,)) for n in range(4)]
    [t.start() for t in ts], [t.join() for t in ts]
    say(len(os.listdir(".")), sum(os.stat(x).st_size for x in os.listdir(".")))


@case
def large_writes():
    data = os.urandom(1 << 16) * 80
    fd = os.open("big", os.O_RDWR | os.O_CREAT)
    say(os.write(fd, data), os.pwrite(fd, data[:3_000_001], 17))
    say(get("big") == data[:17] + data[:3_000_001] + data[3_000_018:])
    os.ftruncate(fd, 0)
