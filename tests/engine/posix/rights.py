"""Cases about owners, modes, times, attributes and locks."""
import fcntl, os, stat, struct

from words import *


@case
def modes_owners_times():
    put("f", b"x")
    os.mkdir("d")
    for mode in (0o000, 0o7777, 0o4755, 0o2755, 0o1777, 0o640):
        os.chmod("f", mode), os.chmod("d", mode)
        show("f"), show("d")
    os.chown("f", 12, 13), show("f")
    os.chown("f", -1, 14), show("f")
    os.chmod("f", 0o6755), os.chown("f", 15, -1), show("f")
    for ns in ((1, 2), (10**18 + 7, 10**18 + 9), (-5 * 10**9, 3), (2**33 * 10**9, 2**33 * 10**9 + 1)):
        os.utime("f", ns=ns), show("f", True)
        os.utime("d", ns=ns), say(os.stat("d").st_mtime_ns)
    before = os.stat("f").st_ctime_ns
    os.utime("f")
    s = os.stat("f")
    say(s.st_mtime_ns >= before - 10**9, s.st_ctime_ns >= before)
    fd = os.open("f", os.O_RDWR)
    os.utime("f", ns=(5, 5))
    os.fchmod(fd, 0o644)
    say(os.stat("f").st_mtime_ns)
    os.write(fd, b"y")
    say(os.stat("f").st_mtime_ns > 10**18, os.fstat(fd).st_mtime_ns > 10**18)
    os.utime("f", ns=(5, 5))
    os.close(fd)
    say(os.stat("f").st_mtime_ns)
    now = os.stat("f").st_ctime_ns
    os.utime("d", ns=(5, 5))
    put("d/new")
    say(os.stat("d").st_mtime_ns >= now)


@case
def times_move_with_changes():
    """mtime and ctime seen by the writer are fresh after each kind of change."""
    put("f", b"1234567890" * 1000), os.mkdir("d")
    fd = os.open("f", os.O_RDWR)
    def stale(name):
        os.utime(name, ns=(5, 5))
    def look(what, name):
        say(what, os.stat(name).st_mtime_ns > 10**18, os.stat(name).st_ctime_ns > 10**18)
    stale("f"), os.pwrite(fd, b"x", 3), look("write", "f")
    stale("f"), os.ftruncate(fd, 10), look("truncate", "f")
    stale("f"), os.ftruncate(fd, 10), look("truncate to the same", "f")
    stale("f"), os.truncate("f", 10), look("path truncate to the same", "f")
    stale("f"), fallocate(fd, 0, 0, 100), look("fallocate", "f")
    stale("f"), os.close(os.open("f", os.O_RDWR | os.O_TRUNC)), look("O_TRUNC", "f")
    stale("f"), os.close(os.open("f", os.O_RDWR | os.O_TRUNC)), look("O_TRUNC of empty", "f")
    stale("f"), os.chmod("f", 0o600), look("chmod", "f")
    stale("f"), os.setxattr("f", "user.a", b"1"), look("setxattr", "f")
    stale("d"), put("d/a"), look("create", "d")
    stale("d"), os.link("f", "d/l"), look("link", "d")
    stale("d"), os.rename("d/l", "d/m"), look("rename", "d")
    stale("d"), os.unlink("d/m"), look("unlink", "d")
    stale("d"), os.mkdir("d/s"), look("mkdir", "d")
    stale("d"), os.rmdir("d/s"), look("rmdir", "d")
    stale("d"), os.symlink("x", "d/s"), look("symlink", "d")


@case
def set_id_bits_go():
    put("f", b"x" * 100), os.chown("f", 1234, 1234)
    def user(change, mode):
        os.chmod("f", mode)
        as_user(change)
        show("f")
    def wr():
        fd = os.open("f", os.O_RDWR)
        os.write(fd, b"y")
    for mode in (0o6755, 0o2745, 0o4711, 0o2665):
        user(wr, mode)
    user(lambda: os.truncate("f", 50), 0o6755)
    user(lambda: os.close(os.open("f", os.O_WRONLY | os.O_TRUNC)), 0o6755)
    user(lambda: os.truncate("f", 0), 0o6755)
    user(lambda: fallocate(os.open("f", os.O_RDWR), 0, 0, 5000), 0o6755)
    user(lambda: os.chown("f", -1, 1234), 0o6755)
    user(lambda: os.chmod("f", 0o2755), 0o644)
    os.chown("f", 1234, 77)
    user(lambda: os.chmod("f", 0o2755), 0o644)
    os.chmod("f", 0o6755)
    wr()
    show("f")
    cap = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    put("cap", b"x"), os.chown("cap", 1234, 1234)
    os.setxattr("cap", "security.capability", cap)
    say(os.getxattr("cap", "security.capability") == cap)
    def wcap():
        fd = os.open("cap", os.O_WRONLY)
        os.write(fd, b"y")
    as_user(wcap)
    tell("capability after write", os.getxattr, "cap", "security.capability")
    os.setxattr("cap", "security.capability", cap)
    as_user(lambda: os.truncate("cap", 0))
    tell("capability after truncate", os.getxattr, "cap", "security.capability")
    os.setxattr("cap", "security.capability", cap)
    os.chown("cap", 1, 1)
    tell("capability after chown", os.getxattr, "cap", "security.capability")


@case
def extended_attributes():
    put("f"), os.mkdir("d"), os.symlink("f", "s")
    for target in ("f", "d"):
        os.setxattr(target, "user.a", b"\0\xff\n")
        os.setxattr(target, "user.empty", b"")
        os.setxattr(target, "trusted.b", b"b" * 1000)
        tell("create existing", os.setxattr, target, "user.a", b"2", os.XATTR_CREATE)
        tell("replace missing", os.setxattr, target, "user.z", b"2", os.XATTR_REPLACE)
        tell("replace", os.setxattr, target, "user.a", b"3", os.XATTR_REPLACE)
        tell("get", os.getxattr, target, "user.a")
        tell("list", lambda: sorted(os.listxattr(target)))
        tell("remove", os.removexattr, target, "user.a")
        tell("remove again", os.removexattr, target, "user.a")
        tell("get removed", os.getxattr, target, "user.a")
    tell("too large", os.setxattr, "f", "user.big", b"x" * 65_537)
    tell("no namespace", os.setxattr, "f", "nothing.x", b"1")
    tell("user on symlink", os.setxattr, "s", "user.x", b"1", follow_symlinks=False)
    tell("trusted on symlink", os.setxattr, "s", "trusted.x", b"1", follow_symlinks=False)
    tell("list symlink", os.listxattr, "s", follow_symlinks=False)
    tell("long name", os.setxattr, "f", "user." + "n" * 250, b"1")
    tell("too long name", os.setxattr, "f", "user." + "n" * 251, b"1")
    def user():
        tell("list as user", lambda: sorted(os.listxattr("f")))
        tell("trusted as user", os.getxattr, "f", "trusted.b")
        tell("set as user", os.setxattr, "f", "user.u", b"1")
    as_user(user)


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


@case
def access_lists():
    ANY = 0xFFFFFFFF
    a = acl((1, 6, ANY), (2, 7, 1234), (4, 4, ANY), (16, 7, ANY), (32, 0, ANY))
    put("f", b"secret", 0o600), os.mkdir("d", 0o755)
    os.setxattr("f", "system.posix_acl_access", a)
    show("f")
    say(os.getxattr("f", "system.posix_acl_access").hex())
    as_user(lambda: tell("granted", lambda: get("f")))
    as_user(lambda: tell("denied", lambda: get("f")), uid=1235, gid=1235)
    os.chmod("f", 0o600)
    say(os.getxattr("f", "system.posix_acl_access").hex())
    as_user(lambda: tell("masked", lambda: get("f")))
    os.setxattr("d", "system.posix_acl_default", a)
    old = os.umask(0o077)
    put("d/inherits", b"x", 0o666), os.mkdir("d/sub", 0o777)
    os.mknod("d/node", stat.S_IFREG | 0o666), os.symlink("x", "d/sym"), os.mkfifo("d/fifo", 0o666)
    fd = os.open("d", os.O_RDWR | os.O_TMPFILE, 0o666)
    name_it(fd, "d/tmp")
    os.umask(old)
    for n in ("inherits", "sub", "node", "fifo", "tmp"):
        show("d/" + n)
        tell("access", lambda: os.getxattr("d/" + n, "system.posix_acl_access").hex())
    tell("default", lambda: os.getxattr("d/sub", "system.posix_acl_default").hex())
    as_user(lambda: tell("inherited", lambda: get("d/inherits")))
    tell("default on a file", os.setxattr, "f", "system.posix_acl_default", a)
    tell("garbage", os.setxattr, "f", "system.posix_acl_access", b"garbage")
    os.removexattr("f", "system.posix_acl_access")
    show("f")
    os.chmod("f", 0o2755), os.chown("f", 1234, 77)
    os.chmod("f", 0o2755)
    as_user(lambda: tell("acl by owner", os.setxattr, "f", "system.posix_acl_access", a))
    show("f")


@case
def permissions_of_a_user():
    os.mkdir("private", 0o700), put("private/x", b"x")
    put("ro", b"r", 0o644), put("none", b"n", 0o000), put("group", b"g", 0o660), os.chown("group", 0, 500)
    os.mkdir("open", 0o777), os.chmod("open", 0o777)
    os.mkdir("sticky"), os.chmod("sticky", 0o1777), put("sticky/roots")
    def user():
        tell("private", os.open, "private/x", os.O_RDONLY)
        tell("list", os.listdir, "private")
        tell("read", lambda: get("ro"))
        tell("write", os.open, "ro", os.O_WRONLY)
        tell("none", os.open, "none", os.O_RDONLY)
        tell("group", lambda: get("group"))
        tell("create", put, "mine")
        tell("create open", put, "open/mine", b"m", 0o666)
        tell("chown", os.chown, "open/mine", 0, 0)
        tell("chmod", os.chmod, "ro", 0o777)
        tell("chmod own", os.chmod, "open/mine", 0o606)
        tell("sticky unlink", os.unlink, "sticky/roots")
        tell("sticky rename", os.rename, "sticky/roots", "sticky/x")
        tell("sticky own", put, "sticky/mine")
        tell("utime", os.utime, "ro", ns=(1, 1))
        tell("device", os.mknod, "open/dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        tell("fifo", os.mkfifo, "open/fifo", 0o600)
        tell("xattr", os.setxattr, "ro", "user.x", b"1")
        tell("link of another's file", os.link, "none", "open/l")
        tell("access", lambda: [os.access("ro", m) for m in (os.R_OK, os.W_OK, os.X_OK)])
        os.mkdir("open/sub", 0o700), os.symlink("x", "open/sym")
        put("open/sub/f")
        show("open/sub"), show("open/sym"), show("open/sub/f")
        fd = os.open("open", os.O_RDWR | os.O_TMPFILE, 0o640)
        name_it(fd, "open/tmp")
        show("open/tmp")
    as_user(user, groups=(500,))
    for n in ("open/mine", "open/fifo", "sticky/mine"):
        show(n)
    def ro_create():
        fd = os.open("open/born-read-only", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444)
        say(os.write(fd, b"data"))
        os.fchmod(fd, 0o000)
        say(os.write(fd, b"more"))
    as_user(ro_create)
    show("open/born-read-only")
    say(get("open/born-read-only"))


@case
def umask_and_setgid():
    for mask in (0, 0o022, 0o077, 0o777):
        old = os.umask(mask)
        put(f"f{mask}", b"", 0o666), os.mkdir(f"d{mask}", 0o777)
        os.umask(old)
        show(f"f{mask}"), show(f"d{mask}")
    os.mkdir("sg"), os.chown("sg", 0, 700), os.chmod("sg", 0o2777)
    def make():
        put("sg/f", b"", 0o2775), os.mkdir("sg/d"), os.symlink("x", "sg/s"), os.mkfifo("sg/p")
        fd = os.open("sg", os.O_RDWR | os.O_TMPFILE, 0o640)
        name_it(fd, "sg/t")
    make()
    for n in "fdspt":
        show("sg/" + n)
    os.mkdir("sg2"), os.chown("sg2", 0, 700), os.chmod("sg2", 0o2777)
    def user():
        os.chdir("sg2")
        put("f", b"", 0o2775), put("g", b"", 0o6775), os.mkdir("d", 0o2755), os.symlink("x", "s")
    as_user(user)
    for n in "fgds":
        show("sg2/" + n)


@case
def locks():
    put("l", b"x" * 100)
    a = os.open("l", os.O_RDWR)
    fcntl.flock(a, fcntl.LOCK_EX)
    def other():
        b = os.open("l", os.O_RDWR)
        tell("flock", fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tell("shared", fcntl.flock, b, fcntl.LOCK_SH | fcntl.LOCK_NB)
    as_user(other, uid=0, gid=0)
    fcntl.flock(a, fcntl.LOCK_UN)
    fcntl.lockf(a, fcntl.LOCK_EX, 10, 20)
    def third():
        b = os.open("l", os.O_RDWR)
        tell("overlap", fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 25)
        tell("beside", fcntl.lockf, b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)
        os.write(b, b"not mandatory")
    as_user(third, uid=0, gid=0)
    ofd = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    b = os.open("l", os.O_RDWR)
    tell("ofd", lambda: fcntl.fcntl(b, 37, ofd) and None)
