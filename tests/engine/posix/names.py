"""Cases about names, directories and kinds of inodes."""
import fcntl, os, socket, stat, threading

from words import *


@case
def renames():
    put("a", b"A"), put("b", b"B")
    os.mkdir("d1"), os.mkdir("d2"), put("d1/in1"), put("d2/in2")
    tell("replace", os.rename, "a", "b")
    say(get("b"), sorted(os.listdir(".")))
    put("c", b"C")
    tell("noreplace existing", renameat2, "b", "c", 1)
    tell("noreplace", renameat2, "b", "n", 1)
    tell("exchange files", renameat2, "n", "c", 2)
    say(get("n"), get("c"))
    tell("exchange directories", renameat2, "d1", "d2", 2)
    say(os.listdir("d1"), os.listdir("d2"))
    tell("exchange file and directory", renameat2, "n", "d1", 2)
    say(get("d1"), os.listdir("n"))
    tell("exchange nothing", renameat2, "n", "nothing", 2)
    tell("both flags", renameat2, "n", "c", 3)
    tell("directory on file", os.rename, "n", "d1")
    tell("file on directory", os.rename, "d1", "n")
    tell("not empty", os.rename, "n", "d2")
    os.mkdir("empty")
    tell("on empty", os.rename, "n", "empty")
    tell("below itself", os.rename, "empty", "empty/sub")
    os.mkdir("x"), os.mkdir("x/y")
    tell("up", os.rename, "x/y", "y")
    tell("missing", os.rename, "none", "some")
    os.link("c", "c_link")
    tell("same inode", os.rename, "c", "c_link")
    say(sorted(os.listdir(".")))
    fd = os.open("c", os.O_RDWR)
    os.rename("c", "y/moved")
    os.write(fd, b"written after the move")
    say(get("y/moved"), get("c_link"))
    exchange_and_write()


def exchange_and_write():
    put("e1", b"one"), put("e2", b"two")
    f1, f2 = os.open("e1", os.O_RDWR), os.open("e2", os.O_RDWR)
    renameat2("e1", "e2", 2)
    os.write(f1, b"ONE"), os.write(f2, b"TWO")
    say(get("e1"), get("e2"))
    os.unlink("e1")
    os.write(f2, b"!")
    say(get("e2"), os.fstat(f2).st_nlink, os.fstat(f1).st_nlink)


@case
def hard_links():
    put("h", b"one")
    os.mkdir("d")
    os.link("h", "d/h2")
    os.link("d/h2", "h3")
    say(os.stat("h").st_nlink, os.path.samefile("h", "d/h2"))
    with open("h3", "ab") as f:
        f.write(b" two")
    say(get("h"), get("d/h2"))
    os.unlink("h")
    with open("d/h2", "ab") as f:
        f.write(b" three")
    say(get("h3"), os.stat("h3").st_nlink)
    os.chmod("h3", 0o600)
    say(oct(os.stat("d/h2").st_mode))
    tell("exists", os.link, "h3", "d/h2")
    tell("directory", os.link, "d", "dd")
    tell("missing", os.link, "none", "nn")
    os.symlink("h3", "s")
    os.link("s", "s2", follow_symlinks=False)
    say(os.readlink("s2"), os.lstat("s").st_nlink)
    os.rename("h3", "d/h2")
    say(sorted(os.listdir(".")), sorted(os.listdir("d")))
    fd = os.open("d/h2", os.O_RDWR)
    os.unlink("d/h2")
    os.write(fd, b"ONE")
    os.unlink("h3")
    os.write(fd, b"TWO")
    say(os.fstat(fd).st_nlink, os.pread(fd, 20, 0))


@case
def symbolic_links():
    for name, target in (("a", "b"), ("bytes", b"\xff\xfe\n x"), ("long", "x/" * 2000), ("abs", "/etc/none")):
        os.symlink(target, name)
        say(os.fsencode(os.readlink(name)) == os.fsencode(target), os.lstat(name).st_size)
    tell("too long", os.symlink, "y" * 4096, "toolong")
    tell("exists", os.symlink, "c", "a")
    tell("dangling", os.open, "a", os.O_RDONLY)
    put("b", b"through")
    say(get("a"))
    tell("nofollow", os.open, "a", os.O_RDONLY | os.O_NOFOLLOW)
    os.lchown("a", 5, 6)
    os.utime("a", ns=(10**18, 10**18 + 5), follow_symlinks=False)
    show("a", True)
    show("b")
    os.symlink("loop2", "loop1"), os.symlink("loop1", "loop2")
    tell("loop", os.open, "loop1", os.O_RDONLY)
    tell("rmdir", os.rmdir, "a")
    os.rename("a", "a2")
    say(os.readlink("a2"))


@case
def special_files():
    os.mkfifo("fifo", 0o620)
    os.mknod("block", stat.S_IFBLK | 0o600, os.makedev(7, 300))
    os.mknod("char", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod("plain", stat.S_IFREG | 0o640)
    s = socket.socket(socket.AF_UNIX)
    here = os.open(".", os.O_RDONLY)
    s.bind(f"/proc/self/fd/{here}/sock")
    for n in ("fifo", "block", "char", "plain", "sock"):
        show(n)
        t = os.lstat(n)
        say(os.major(t.st_rdev), os.minor(t.st_rdev))
    r = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
    w = os.open("fifo", os.O_WRONLY)
    os.write(w, b"through the pipe")
    say(os.read(r, 100))
    s.listen()
    c = socket.socket(socket.AF_UNIX)
    c.connect(f"/proc/self/fd/{here}/sock")
    c.sendall(b"hi")
    say(s.accept()[0].recv(9))
    os.chmod("sock", 0o700), os.chown("fifo", 3, 4), os.rename("char", "char2")
    os.link("block", "block2")
    show("sock"), show("fifo"), show("char2"), show("block2")
    os.unlink("block")
    tell("device driver", os.open, "block2", os.O_RDONLY)
    os.setxattr("block2", "trusted.x", b"1")
    say(os.getxattr("block2", "trusted.x"))


@case
def names_of_any_byte():
    names = [bytes([b]) * 3 for b in range(1, 256) if b not in b"/." ] + [b"n" * 255, b"\xff" * 255, b" ", b"\n", b"-rf", b"...", b"a\tb\\c"]
    for n in names:
        put(n, n)
        os.rename(n, b"d" + n[1:] if n[:1] != b"d" else n)
    found = sorted(os.listdir(b"."))
    say(len(found), found[:3], found[-3:])
    tell("too long", put, b"x" * 256)
    tell("empty", os.mkdir, b"")
    tell("mkdir .", os.mkdir, b".")
    tell("rmdir .", os.rmdir, b".")
    tell("rmdir ..", os.rmdir, b"x/..")
    tell("unlink .", os.unlink, b".")
    tell("rename .", os.rename, b".", b"zz")
    tell("mkdir a/", os.mkdir, b"slash/")
    tell("unlink a/", os.unlink, b"slash/")
    tell("path too long", os.open, b"p/" * 2100, os.O_RDONLY)
    tell("slash in the middle of a file", os.open, b"...//x", os.O_RDONLY)


@case
def many_entries():
    n = 20_000
    for i in range(n):
        os.close(os.open(f"entry-{i:05}", os.O_CREAT | os.O_WRONLY, 0o644))
    l = os.listdir(".")
    say(len(l), len(set(l)))
    say(sum(1 for e in os.scandir(".") if e.is_file(follow_symlinks=False) and e.stat().st_size == 0))
    seen = set()
    with os.scandir(".") as it:
        for k, e in enumerate(it):
            seen.add(e.name)
            if k % 4 == 0:
                os.unlink(e.name)
    say(len(seen))
    left = os.listdir(".")
    say(len(left))
    for name in left[:len(left) - 500]:
        os.unlink(name)
    say(len(os.listdir(".")))
    for name in os.listdir("."):
        os.unlink(name)
    put("last")


@case
def listing_while_changing():
    stable = {f"stable{i}" for i in range(300)}
    for s in stable:
        put(s)
    stop = threading.Event()
    def churn():
        k = 0
        while not stop.is_set():
            put(f"t{k % 50}"), os.rename(f"t{k % 50}", f"r{k % 7}")
            if k % 3 == 0:
                os.unlink(f"r{k % 7}")
            k += 1
    t = threading.Thread(target=churn)
    t.start()
    bad = 0
    for _ in range(100):
        names = [n for n in os.listdir(".") if n.startswith("stable")]
        bad += set(names) != stable or len(names) != len(stable)
    stop.set(), t.join()
    say("bad listings", bad)
    for n in os.listdir("."):
        if not n.startswith("stable"):
            os.unlink(n)
    say(len(os.listdir(".")))


@case
def directories():
    tell("mkdir", os.mkdir, "a", 0o750)
    tell("exists", os.mkdir, "a")
    put("a/f")
    tell("not empty", os.rmdir, "a")
    tell("rmdir file", os.rmdir, "a/f")
    tell("unlink dir", os.unlink, "a")
    os.unlink("a/f")
    tell("rmdir", os.rmdir, "a")
    tell("gone", os.rmdir, "a")
    deep = "deep"
    os.mkdir(deep)
    here = os.open(".", os.O_RDONLY)
    os.chdir(deep)
    for i in range(300):
        os.mkdir("level"), os.chdir("level")
    put("bottom", b"down here")
    say(len(os.getcwd()) > 1500, get("bottom"))
    os.fchdir(here)
    os.rename("deep", "deeper")
    os.chdir("deeper")
    for i in range(300):
        os.chdir("level")
    say(get("bottom"))
    os.fchdir(here)
    say(os.stat(".").st_nlink)
    tell("link count", lambda: os.stat("deeper").st_nlink)


@case
def refusals():
    put("f", b"x")
    fd = os.open("f", os.O_RDWR)
    def ioc(n):
        buf = bytearray(8)
        return fcntl.ioctl(fd, n, buf)
    say(get("f"))
    tell("limit", os.pwrite, fd, b"x", (1 << 63) - 2)
    tell("too large", os.truncate, "f", (1 << 63) - 1)
    tell("mkdir below a file", os.mkdir, "f/x")
    tell("readlink of a file", os.readlink, "f")
    tell("unlink missing", os.unlink, "zip")
    tell("chmod missing", os.chmod, "zip", 0)
    tell("getxattr missing", os.getxattr, "zip", "user.x")
